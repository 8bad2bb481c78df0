"""The arrays of one subject, made by the same functions as in notebooks 01 and 02."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fmri_utils import nsd
from fmri_utils.clip.space import LOCAL, open_clip_space
from fmri_utils.encoders import unit
from fmri_utils.project.artifacts import check_manifest, load_arrays, save_arrays, sha256_file
from fmri_utils.project.errors import ArtifactError
from fmri_utils.project.profiles import PROJECT_ROOT, Profile
from simulated_nsd.ground_truth import load_ground_truth
from simulated_nsd.on_demand import prepare


@dataclass(frozen=True, eq=False)
class Subject:
    """Training and test data of a subject.

    Attributes
    ----------
    betas : numpy.ndarray, (n_trials, n_voxels)
        Single training trials, z-scored within their session.
    groups, session : numpy.ndarray of int, (n_trials,)
    targets : dict of str to numpy.ndarray, (n_trials, C)
        ``image`` and ``caption`` embedding of each training trial.
    test_betas : numpy.ndarray, (n_test_trials, n_voxels)
        Single test trials.
    test_groups : numpy.ndarray of int, (n_test_trials,)
    pattern : numpy.ndarray, (n, n_voxels)
        Test images, repeats averaged.
    test_ids : numpy.ndarray of int, (n,)
    truth : dict of str to numpy.ndarray, (n, C)
    noiseless : tuple of numpy.ndarray or None
        The planted responses without noise, of the training trials' images (n_trials, n_voxels) and
        of the test images (n, n_voxels); None for real data.
    """

    betas: np.ndarray
    groups: np.ndarray
    session: np.ndarray
    targets: dict[str, np.ndarray]
    test_betas: np.ndarray
    test_groups: np.ndarray
    pattern: np.ndarray
    test_ids: np.ndarray
    truth: dict[str, np.ndarray]
    noiseless: tuple[np.ndarray, np.ndarray] | None


def measured_arrays(
    profile: Profile, device: torch.device, *, progress: bool
) -> dict[str, np.ndarray]:
    """Read a subject's betas and embed its images and captions, as notebooks 01 and 02 do."""
    prepare(profile.data_root, profile.simulation, profile.subject, progress=progress)
    layout = nsd.NSDLayout(
        profile.data_root, profile.subject, beta_version=profile.data.beta_version
    )
    sessions = nsd.available_sessions(layout)[: profile.data.n_sessions or None]
    nsd.check_design(layout, sessions)
    table = nsd.trial_table(layout, sessions)
    split = nsd.split_by_image(table, min_repeats=profile.data.min_repeats)
    rows = np.arange(len(table))
    is_train = np.isin(rows, split.train_trials)
    mask = nsd.roi_mask(layout, profile.data.roi)
    session = table["session"].to_numpy()
    raw = nsd.read_betas(layout, mask, sessions, progress=progress)
    betas = nsd.zscore_sessions(raw, session, is_train)
    ids = np.unique(table["nsd_id"])
    clip = open_clip_space(
        profile.clip.model, profile.clip.pretrained, device=device, root=PROJECT_ROOT
    )
    images = nsd.read_images(layout, ids, size=profile.clip.image_size, progress=progress)
    captions = [(five * 5)[:5] for five in nsd.read_captions(layout, ids)]
    each = clip.encode_texts([text for five in captions for text in five], progress=progress)
    arrays = {
        "betas": betas,
        "nsd_id": table["nsd_id"].to_numpy(),
        "session": session,
        "is_train": is_train,
        "is_test": np.isin(rows, split.test_trials),
        "ids": ids,
        "image": clip.encode_images(images, batch_size=profile.clip.batch_size, progress=progress),
        "caption": unit(each.reshape(len(ids), 5, -1).mean(1)),
    }
    if profile.simulation is not None:
        truth = load_ground_truth(profile.data_root, profile.subject, mask)
        place = {image: row for row, image in enumerate(truth.nsd_id)}
        arrays["noiseless"] = truth.signal[[place[i] for i in ids]]
    return arrays


def load_subject(
    profile: Profile, number: int, folder: Path, device: torch.device, *, progress: bool = True
) -> tuple[Subject, str]:
    """One subject's data, read from the study's folder or made and kept there.

    Parameters
    ----------
    profile : Profile
        Its own subject does not matter.
    number : int
    folder : pathlib.Path
        Of the study.
    device : torch.device
        For CLIP.
    progress : bool

    Returns
    -------
    subject : Subject
    digest : str
        SHA-256 of the file, which every cell of this subject names as its input.
    """
    profile = dataclasses.replace(profile, subject=number)
    path = folder / f"subj{number:02d}.h5"
    config = {k: v for k, v in profile.as_dict().items() if k in ("data", "clip", "simulation")}
    config |= {"subject": number, "clip_weights": _clip_digest(profile.clip.model)}
    if not is_current(path, config):
        arrays = measured_arrays(profile, device, progress=progress)
        save_arrays(path, arrays, config=config)
    return _subject(load_arrays(path, remedy="Run the study again.")), sha256_file(path)


def is_current(path: Path, config: dict) -> bool:
    """Whether a file is whole and was made with these settings."""
    try:
        found = check_manifest(path, remedy="")["config"]
    except ArtifactError:  # not made yet, or cut off while it was written
        return False
    return found == json.loads(json.dumps(config))


def _clip_digest(model: str) -> str:
    """Hash of the weights of a local CLIP; empty for one that open_clip downloads."""
    path = PROJECT_ROOT / model.removeprefix(LOCAL) / "open_clip_model.safetensors"
    return sha256_file(path) if model.startswith(LOCAL) else ""


def _subject(arrays: dict[str, np.ndarray]) -> Subject:
    train, test = arrays["is_train"], arrays["is_test"]
    groups, test_groups = arrays["nsd_id"][train], arrays["nsd_id"][test]
    pattern, test_ids, _ = nsd.average_repeats(arrays["betas"][test], test_groups)
    rows = np.searchsorted(arrays["ids"], groups)
    test_rows = np.searchsorted(arrays["ids"], test_ids)
    clean = arrays.get("noiseless")
    return Subject(
        betas=arrays["betas"][train],
        groups=groups,
        session=arrays["session"][train],
        targets={name: arrays[name][rows] for name in ("image", "caption")},
        test_betas=arrays["betas"][test],
        test_groups=test_groups,
        pattern=pattern,
        test_ids=test_ids,
        truth={name: arrays[name][test_rows] for name in ("image", "caption")},
        noiseless=None if clean is None else (clean[rows], clean[test_rows]),
    )
