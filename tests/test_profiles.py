"""Profiles refuse what they do not know, and name what they do."""

import dataclasses

import pytest
from refusals import refused

from fmri_utils.perturbation import parse_concepts
from fmri_utils.project.errors import ProfileError
from fmri_utils.project.profiles import PROFILES, load_profile
from pipeline.request import parse_request


def test_every_profile_loads_and_is_frozen():
    assert set(PROFILES) == {"smoke", "demo", "nsd"}
    for name in PROFILES:
        profile = load_profile(name)
        with pytest.raises(dataclasses.FrozenInstanceError):
            profile.seed = 3
        concepts = parse_concepts(profile.perturbation.concepts)
        assert list(concepts) == ["faces", "bodies", "places", "words"]  # of the localizers


def test_real_data_are_never_simulated_and_never_called_so():
    assert load_profile("nsd").simulation is None
    assert "simulated" not in load_profile("nsd").dataset_label
    assert "simulated" in load_profile("demo").dataset_label


def test_other_subjects_seeds_and_overrides_get_their_own_folders():
    folds = ({"overrides": [f"encoder.n_folds={n}"]} for n in (3, 4))
    changes = ({}, {"subject": 2}, {"seed": 3}, *folds)
    runs = [load_profile("smoke"), *(load_profile("demo", **change) for change in changes)]
    for kind in ("derived", "runs", "figures"):
        assert len({getattr(run, kind) for run in runs}) == len(runs)


def test_overrides_set_their_key():
    given = ["encoder.n_folds=3", "data.roi=prf-visualrois", "simulation.ncsnr=0.3"]
    profile = load_profile("demo", overrides=[*given, "encoder.weight_decay=1"])
    assert (profile.encoder.n_folds, profile.data.roi) == (3, "prf-visualrois")
    assert (profile.simulation.ncsnr, profile.encoder.weight_decay) == (0.3, 1.0)


def test_what_is_unknown_is_refused_and_the_valid_is_named():
    for arguments, message in (
        (["PROFILE=demi"], "Valid profiles: demo, nsd, smoke"),
        (["SUBJEKT=1"], "Valid settings: PROFILE, SUBJECT, SEED, DEVICE"),
        (["SUBJECT=one"], "Expected: a whole number"),
        (["SUBJECT=9"], r"subject is 9 \(int\). Expected: less than or equal to 8"),
        (["encoder.folds=3"], r"Valid keys: \['batch_size'"),
        (["encodr.n_folds=3"], "no section 'encodr'"),
        (["encoder.n_folds=three"], "Expected: a valid integer"),
        (["simulation.n_shared=101"], "multiple of 250"),
        (["simulation.colour=3"], "unknown key"),
        (["perturbation.concepts=['places']"], "expected 'name: word word"),
        (["99"], "no notebook '99'"),
    ):
        refused(message, parse_request, arguments, error=ProfileError)


@pytest.mark.parametrize("folder", ["/elsewhere/figures", "../figures", "figures/../../x"])
def test_figures_outside_the_project_are_refused_at_once(folder):
    with pytest.raises(ProfileError, match=r"figures is '.*'; expected a folder in the project"):
        load_profile("smoke", overrides=[f"output.figures={folder}"])
