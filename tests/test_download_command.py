"""The command: settings, consent, the dry run, and being killed in the middle."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from download_fixture import ATLASES
from download_server import Fault, contents
from refusals import refused

from fmri_utils.nsd import NSDLayout, read_betas, roi_mask
from fmri_utils.project.errors import DataError
from pipeline.download import __main__ as job
from pipeline.download import client, consent
from pipeline.download.__main__ import main
from pipeline.download.settings import HELP, N_SESSIONS, parse_request

pytest_plugins = ["nsd_fixture", "download_fixture"]

ROOT = Path(__file__).parents[1]
FOLDER = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"


# Settings


def test_defaults_fetch_the_least_and_areas_are_named_as_for_the_reader():
    request = parse_request(["SUBJECT=3", "VERIFY="])
    assert (request.betas, request.roi, request.stimuli) == ("roi", "nsdgeneral", "coco")
    assert request.version == parse_request(["SUBJECT=1", "SPACE=func1mm"]).version
    assert request.nsd_url.startswith("https://") and request.coco_url.startswith("https://")
    assert parse_request(["SUBJECT=1", "SESSIONS=7-9, 1,4,2"]).sessions == (1, 2, 4, 7, 8, 9)
    for subject, n in enumerate(N_SESSIONS, start=1):
        assert parse_request([f"SUBJECT={subject}"]).sessions == tuple(range(1, n + 1))
    for roi in ("lh.streams:early,ventral+prf-eccrois:ecc4++HCP_MMP1", "brainmask"):
        assert parse_request(["SUBJECT=1", f"ROI={roi}"]).roi == roi
    assert parse_request(["SUBJECT=1", "ROI=V1+ faces"]).roi == "prf-visualrois:V1v,V1d+floc-faces"


def test_what_is_not_known_is_refused_with_what_is():
    for argument, words in (
        ("SUBJEKT=1", "no setting"),
        ("SUBJECT=2", "given twice"),
        ("SUBJECT=9", "less than or equal to 8"),
        ("SUBJECT=", "SUBJECT is not given"),
        ("SESSIONS=41", "of the sessions 1-40"),
        ("SESSIONS=3-1", "such as 1-3"),
        ("BETAS=all", "'roi', 'hdf5', 'nifti' or 'none'"),
        ("ROI=../x", "Kastner2015"),
        ("VERSION=b3", "betas_fithrf_GLMdenoise_RR"),
        ("DRY_RUN=maybe", "a valid boolean"),
        ("NSD_URL=s3://natural-scenes-dataset", "should be 'http' or 'https'"),
    ):
        first = argument.startswith("SUBJECT=") and words != "given twice"
        with pytest.raises(DataError, match=words) as err:
            parse_request([argument] if first else ["SUBJECT=1", argument])
        if words == "no setting":
            assert all(name in str(err.value) for name in HELP)


# Consent


@pytest.fixture
def ensure(monkeypatch, capsys):
    """Ask for consent, at a terminal if there is an answer; returns what was said."""

    def ensure(root, answer=None, variable=""):
        monkeypatch.setattr(consent, "at_terminal", lambda: answer is not None)
        monkeypatch.setattr("builtins.input", lambda question: print(question) or answer)
        monkeypatch.setenv(consent.VARIABLE, variable)
        consent.ensure_consent(root)
        return capsys.readouterr().out

    return ensure


def test_consent_is_asked_once_and_recorded(tmp_path, ensure, monkeypatch):
    text = ensure(tmp_path, "I agree")
    for word in ("Data Access Agreement", "cite", "passed on", consent.TERMS_URL):
        assert word in text
    assert '"accepted": true' in (tmp_path / consent.MARKER).read_text()
    assert ensure(tmp_path, "must not be asked") == ""
    monkeypatch.setattr(consent, "SUMMARY_VERSION", 2)
    assert "Type `I agree`" in ensure(tmp_path, "I agree")


@pytest.mark.parametrize("answer", ["", "yes", "no", "I agree not", "agree"])
@pytest.mark.parametrize("text", [None, "{", "[]", '{"accepted": "no"}', '{"accepted": true}'])
def test_any_other_answer_is_no_and_a_damaged_record_does_not_count(tmp_path, answer, text, ensure):
    if text:
        (tmp_path / consent.MARKER).write_text(text)
    refused("nothing was downloaded", ensure, tmp_path, answer)
    assert (tmp_path / consent.MARKER).exists() == bool(text)


def test_without_a_terminal_both_record_and_variable_are_needed(tmp_path, ensure):
    for variable in ("", "yes"):
        refused(r"is not there.*once at a terminal", ensure, tmp_path, variable=variable)
    ensure(tmp_path, "I agree")
    refused(f"is there, and {consent.VARIABLE}=yes", ensure, tmp_path, variable="1")
    assert ensure(tmp_path, variable="yes") == ""


def settings(server, root, *more):
    urls = [f"NSD_URL={server.url}/nsd", f"COCO_URL={server.url}/coco", f"ROOT={root}"]
    return ["SUBJECT=1", "SESSIONS=1-2", *urls, *more]


def test_without_consent_not_one_request_is_made(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(consent.VARIABLE, "yes")
    assert main(settings(server, tmp_path / "data")) == 2
    assert "once at a terminal" in capsys.readouterr().err
    monkeypatch.setattr(consent, "at_terminal", lambda: True)
    for error in (KeyboardInterrupt, EOFError):  # whoever leaves at the question
        monkeypatch.setattr("builtins.input", Mock(side_effect=error))
        assert main(settings(server, tmp_path / "data")) == 130
        assert "stopped" in capsys.readouterr().err
    assert server.log == [] and not (tmp_path / "data").exists()


# The dry run


@pytest.fixture
def dry_run(server, tmp_path, capsys, monkeypatch):
    """List what a request stands for; returns the exit status, what was said, and the error."""
    monkeypatch.setattr(job, "ATLASES", ATLASES)
    server.files[f"/coco/{job.ANNOTATIONS}"] = b"captions"

    def dry_run(*more):
        names = [argument.partition("=")[0] for argument in more]
        given = settings(server, tmp_path / "data", "DRY_RUN=1")
        status = main([g for g in given if g.partition("=")[0] not in names] + list(more))
        assert server.asked("GET") == [] and not (tmp_path / "data").exists()
        return status, *capsys.readouterr()

    return dry_run


def test_a_dry_run_lists_files_and_bytes_and_writes_nothing(dry_run, nsd):
    status, out, _ = dry_run("BETAS=nifti", "STIMULI=brick")
    assert status == 0
    size = (nsd.root / FOLDER / "betas_session02.nii.gz").stat().st_size
    assert f"{size:,}  {FOLDER}/betas_session02.nii.gz" in out
    assert "not there  nsddata/ppdata/subj01/func1pt8mm/prf_gain.nii.gz" in out
    listed = [line.split() for line in out.splitlines() if "  nsddata" in line]
    total = sum(int(n.replace(",", "")) for n, *_ in listed if n[0].isdigit())
    assert f"Whole files: {total:,} bytes" in out and "nsd_stimuli.hdf5" in out
    status, out, _ = dry_run()
    assert status == 0 and "Voxels of nsdgeneral, out of" in out
    assert "Estimated" in out and "1,500 of COCO's photographs" in out


def test_a_dry_run_at_a_wrong_address_is_a_clear_error(dry_run, server, monkeypatch):
    """It once said "0 bytes to fetch", and that all was well."""
    monkeypatch.setitem(client.RETRIES, "max_retries", 1)
    unreachable = r"http://127.0.0.1:9/.* 1 retries.*Connection refused.*Check the addr"
    wrong = r"(?s)expdesign.mat does not exist on the server.*betas_session02.hdf5 does not exist"
    for setting, words in (
        ("NSD_URL=http://127.0.0.1:9", unreachable),
        ("COCO_URL=http://127.0.0.1:9", unreachable),
        (f"NSD_URL={server.url}/wrong", wrong),
    ):
        status, out, error = dry_run(setting)
        assert status == 2 and "bytes to fetch" not in out
        assert re.search(words, error), error
    assert "not there  nsddata/experiments" in out


# Killed


@pytest.mark.parametrize(
    ("betas", "how"), [("nifti", "kill"), ("roi", "kill"), ("nifti", "interrupt")]
)
def test_a_stopped_download_goes_on_to_the_same_end(server, nsd, fetch, betas, how, ensure):
    ensure(fetch.root, "I agree")
    suffix = "nii.gz" if betas == "nifti" else "hdf5"
    second = f"/nsd/{FOLDER}/betas_session02.{suffix}"
    server.fail(second, *[Fault()] * (betas == "roi"), Fault(stall_after=3000))
    given = settings(server, fetch.root, f"BETAS={betas}", "STIMULI=none")
    command = [sys.executable, "-m", "pipeline.download", *given]
    environment = {**os.environ, consent.VARIABLE: "yes", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    assert server.stalled.wait(60)
    if how == "kill":
        process.kill()
    else:
        process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1].decode()
    server.go.set()  # only now: the rest must not arrive before the signal
    assert process.returncode == (-signal.SIGKILL if how == "kill" else 130)
    assert how == "kill" or "the same command goes on" in said
    layout = NSDLayout(fetch.root, 1)
    mask = roi_mask(NSDLayout(nsd.root, 1))
    refused(r"there are no betas|are missing", read_betas, layout, mask, [1, 2], progress=False)
    server.log.clear()
    fetch(f"BETAS={betas}", "SESSIONS=1-2")
    resumed = contents(fetch.root)
    undisturbed = fetch.root.with_name("undisturbed")
    fetch(f"BETAS={betas}", "SESSIONS=1-2", f"ROOT={undisturbed}")
    resumed.pop(consent.MARKER)
    assert resumed == contents(undisturbed)
    betas = read_betas(layout, mask, [1, 2], progress=False)
    stored = [nsd.subjects[1].stored[i][mask].T for i in range(2)]
    np.testing.assert_array_equal(betas, np.concatenate(stored) / np.float32(300))
