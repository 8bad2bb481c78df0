"""``results.json``: the numbers of ``results.md``, every one, and in one simple form."""

import json
import re

import pytest

from fmri_utils.plots import results
from fmri_utils.project.artifacts import sha256_file
from fmri_utils.project.errors import ArtifactError
from fmri_utils.project.profiles import load_profile

CELL = {"low": 0.1, "high": 0.3, "chance": 0.05, "interval_over": "images"}


def table(**rows):
    about = {"dataset": "simulated", "simulated": True, "subject": 1, "split": "shared"}
    about |= {"repeats": 3, "clip_model": "small"}
    made = {"about": about, "versions": {"numpy": "2"}, "n_images": 7, "rows": rows}
    return made | {"baseline": "mean", "ceiling": "oracle", "sets": ["mean", "ridge", "oracle"]}


def entry(mean, ridge, oracle):
    values = {"mean": mean, "ridge": ridge, "oracle": oracle}
    scores = {k: v if isinstance(v, dict) else {"value": v, **CELL} for k, v in values.items()}
    return {"better": "higher", "statistic": "mean", "scores": scores}


def test_every_row_stands_beside_baseline_and_ceiling(tmp_path):
    absent = {"not_available": "no weights here"}
    tables = table(top=entry(0.1, 0.2, 1.0)), table(SwAV=entry(absent, absent, absent))
    config = load_profile("smoke").as_dict()
    statistics = {"effect": 0.75, "other": float("nan")}
    record = results.results_record(config, *tables, statistics)
    rows = {(r["table"], r["metric"], r["method"]): r for r in record["rows"]}
    ridge = rows["embeddings", "top", "ridge"]
    assert [ridge[n] for n in results.NUMBERS] == [0.2, 0.1, 0.3, 0.05, 0.1, 1.0]
    assert (ridge["role"], ridge["n_images"], ridge["better"]) == ("method", 7, "higher")
    assert rows["embeddings", "top", "mean"]["role"] == "baseline"
    assert rows["pictures", "SwAV", "ridge"]["not_available"] == "no weights here"
    assert rows["pictures", "SwAV", "ridge"]["value"] is None
    assert rows["voxels", "AUROC", "effect"]["value"] == 0.75
    assert rows["voxels", "AUROC", "other"]["not_available"] == "not a finite number"
    assert (record["profile"], record["subject"], record["roi"]) == ("smoke", 1, "nsdgeneral")
    path = tmp_path / "results.json"
    assert results.save_results(tmp_path, record, "page") == [path, tmp_path / "results.md"]
    assert results.read_results(path) == record


def test_a_difference_has_no_baseline_and_no_ceiling():
    made = table(top=entry(0.1, 0.2, 1.0)) | {"differences": ["ridge - mean"]}
    made["rows"]["top"]["scores"]["ridge - mean"] = {"value": 0.1, **CELL, "chance": None}
    record = results.results_record(load_profile("smoke").as_dict(), made, made, {})
    row = next(r for r in record["rows"] if r["method"] == "ridge - mean")
    assert row["role"] == "difference"
    assert [row[n] for n in results.NUMBERS] == [0.1, 0.1, 0.3, None, None, None]


def test_page_and_record_of_a_run_agree(smoke):
    """All cells of the page, in its order, are the record's numbers."""
    profile = smoke[0]
    record = results.read_results(profile.figures / "results.json")
    cells = []
    for row in record["rows"]:
        numbers = (row["value"], row["low"], row["high"])
        if row["not_available"]:
            cells.append("not available")
        elif row["table"] == "voxels":
            cells.append(f"{row['value']:.3f}")
        else:
            cells.append("{:.3f} [{:.3f}, {:.3f}]".format(*numbers))
    shown = []
    for line in (profile.figures / "results.md").read_text().splitlines():
        inner = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and "---" not in line and inner[0] not in ("score", "statistic"):
            shown += inner[2:] if len(inner) == 3 else inner[3:]
    assert shown == cells
    assert (record["seed"], record["profile"]) == (971, "smoke")


def test_every_file_of_the_figures_folder_is_described(smoke):
    profile = smoke[0]
    provenance = json.loads((profile.figures / "provenance.json").read_text())
    there = {p.name for p in profile.figures.iterdir() if re.match(r"fig|results", p.name)}
    assert set(provenance["files"]) == there
    for name, digest in provenance["files"].items():
        assert sha256_file(profile.figures / name) == digest
    assert provenance["config"] == json.loads(json.dumps(profile.as_dict()))
    lafite = profile.lafite
    weights = [profile.path(name) for name in (lafite.weights, lafite.judge, lafite.bank)]
    assert provenance["inputs"] == {path.name: sha256_file(path) for path in weights}
    assert "versions" not in provenance  # the same file on every machine
    here = json.loads((profile.figures / "inputs.json").read_text())
    assert {"betas.h5", "effects.h5", "encoder_scores.json"} <= set(here["inputs"])
    for name, digest in here["inputs"].items():
        assert sha256_file(profile.derived / name) == digest
    assert "torch" in here["versions"]


@pytest.mark.parametrize("text", ["[]", "{", '{"rows": [1]}', '{"rows": [{"metric": "x"}]}', "\0"])
def test_what_is_no_record_is_refused(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"results: .* cannot be read .*`make 08`"):
        results.read_results(path)
