"""`make all PROFILE=nsd` from end to end on stand-ins of the real formats; part of the long tests.

The numbers mean nothing. What is tested is that the path of the real data runs, on a CPU and in
little memory, and says the truth about what it had and what it lacked.
"""

import json
import re
import resource
import shutil
import tomllib

import nsd_standins
import pytest

from fmri_utils.lafite import load_generator
from fmri_utils.lafite.released import convert
from fmri_utils.project.artifacts import check_manifest
from fmri_utils.project.profiles import PROJECT_ROOT
from pipeline.engine import make
from pipeline.execute import execute
from pipeline.request import parse_request
from pipeline.steps import steps

pytestmark = pytest.mark.slow

SEED = 977  # a run of its own
GIGABYTES = 8
REAL = ("data", "clip", "lafite", "output", "simulation")  # sections that make the profile real
SMALLER = {"clip.image_size": 64, "clip.batch_size": 50, "lafite.batch_size": 10}
SMALLER |= {"embedding.n_steps": 30, "embedding.temperatures": [0.1, 1.0]}
SMALLER |= {"encoder.n_alphas": 4, "encoder.n_folds": 2, "encoder.n_steps": 60}
SMALLER |= {"reconstruction.n_shown": 3, "reconstruction.n_passes": 4}
SMALLER |= {"reconstruction.tuning_images": 16, "perturbation.n_images": 5}


def settings(root):
    """The sizes of the smoke profile, whatever sections it has, and where the stand-ins are."""
    smoke = tomllib.loads((PROJECT_ROOT / "fmri_utils/project/profiles/smoke.toml").read_text())
    sizes = {
        f"{section}.{key}": value
        for section, table in smoke.items()
        if isinstance(table, dict) and section not in REAL
        for key, value in table.items()
    }
    places = {"data.root": f"{root / 'nsd'}", "lafite.weights": f"{root / 'lafite.safetensors'}"}
    places |= {"clip.model": f"local-dir:{root / 'clip'}", "clip.pretrained": ""}
    both = {**sizes, **SMALLER, **places}
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in both.items()]


@pytest.fixture(scope="module")
def standins(tmp_path_factory):
    root = tmp_path_factory.mktemp("standins")
    nsd_standins.write_nsd(root / "nsd")
    assert nsd_standins.write_clip(root / "clip") == 151_277_313
    with pytest.MonkeyPatch.context() as patch:
        nsd_standins.write_lafite(root / "released.pkl", patch)
    out = root / "lafite.safetensors"  # as `make lafite-import` does it
    assert convert.main([f"FILE={root / 'released.pkl'}", f"OUT={out}"]) == 0
    assert load_generator(out).config.resolution == 32
    return root


@pytest.fixture(scope="module")
def real(standins):
    """The whole run; its folders are removed afterwards."""
    arguments = ["all", "PROFILE=nsd", f"SEED={SEED}", "DEVICE=cpu", *settings(standins)]
    request = parse_request(arguments)
    try:
        yield request, make(request)
    finally:
        profile = request.profile
        for folder in (profile.derived, profile.runs, profile.figures):
            shutil.rmtree(folder, ignore_errors=True)


def test_every_notebook_runs_and_leaves_its_files(real):
    request, done = real
    assert sorted(done) == [step.stem for step in steps()]
    for stem in done:
        record = json.loads((request.profile.runs / f"{stem}-record.json").read_text())
        assert all((PROJECT_ROOT / name).stat().st_size for name in record["written"])
    manifests = [p for p in request.profile.derived.glob("*.json") if p.name.count(".") > 1]
    assert len(manifests) >= 8
    for path in manifests:
        assert check_manifest(path.with_suffix(""), remedy="")["config"]["name"] == "nsd"
    assert len([*request.profile.figures.glob("fig*.png")]) >= 5
    # The widest process of the run; a kernel of one notebook each.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < GIGABYTES * 2**20


def printed(profile):
    """What the executed notebooks show as text."""
    out = []
    for path in sorted(profile.runs.glob("[0-9][0-9]_*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            for output in cell.get("outputs", []):
                text = output.get("text") or output.get("data", {}).get("text/plain", [])
                out.append("".join(text))
    return "\n".join(out)


def test_it_says_which_data_it_had_and_which_networks_it_lacked(real):
    profile = real[0].profile
    text = (profile.figures / "results.md").read_text()
    assert text.startswith("# Results: Natural Scenes Dataset, subject 1")
    assert "simulated, subject" not in text + printed(profile)
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line[:1] == "|"}
    for name in ("Alex(2)", "Alex(5)", "Incep", "CLIP", "EffNet-B", "SwAV", "judge kind"):
        assert rows[name].count("not available") == 4, rows[name]
    assert re.search(r"judge kind: not available: there is no judge", text)
    assert re.search(r"Alex\(2\): not available: the weights .* are not on this machine", text)
    assert not re.search(r"\bnan\b", text)
    assert "not available: planted truth (real data)" in printed(profile)
    assert "PixCorr" in rows and "not available" not in rows["PixCorr"]


def test_the_explorer_shows_its_static_view(real):
    request, _ = real
    source, executed = PROJECT_ROOT / "notebooks" / "explore.py", request.profile.runs / "explore"
    picture, _ = execute(source, executed.with_suffix(".ipynb"), request.parameters)
    picture = PROJECT_ROOT / picture
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000


def test_a_second_run_does_nothing(real):
    assert make(real[0], progress=False) == []
