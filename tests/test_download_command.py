"""The command: settings, consent, the dry run, and being killed in the middle."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from download_server import Fault, contents

from fmri_utils.nsd import NSDLayout, available_sessions, read_betas, roi_mask
from fmri_utils.project.errors import DataError
from pipeline.download import consent
from pipeline.download.__main__ import main
from pipeline.download.client import Client
from pipeline.download.settings import (
    HELP,
    N_SESSIONS,
    parse_request,
    parse_sessions,
    sessions_text,
)

pytest_plugins = ["nsd_fixture", "download_fixture"]

ROOT = Path(__file__).parents[1]
FOLDER = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"


# Settings


def test_defaults_fetch_the_least():
    request = parse_request(["SUBJECT=3"], Path("/data"))
    assert request.sessions == tuple(range(1, 33))
    assert (request.betas, request.roi, request.stimuli) == ("roi", "nsdgeneral", "coco")
    assert request.nsd_url.startswith("https://")
    assert request.coco_url.startswith("https://")


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("SUBJEKT=1", "no setting"),
        ("PROFILE=nsd", "no setting"),
        ("dry-run", "no setting"),
        ("SUBJECT=2", "given twice"),
        ("SUBJECT=9", "at most 8"),
        ("SUBJECT=one", "a whole number"),
        ("SESSIONS=41", "has the sessions 1-40"),
        ("SESSIONS=3-1", "such as 1-3"),
        ("SESSIONS=0", "such as 1-3"),
        ("SESSIONS=1,,2", "such as 1-3"),
        ("SESSIONS=1;2", "such as 1-3"),
        ("BETAS=all", "'roi', 'hdf5', 'nifti' or 'none'"),
        ("STIMULI=yes", "'coco', 'brick' or 'none'"),
        ("ROI=nsdgenral", "Kastner2015"),
        ("ROI=", "Kastner2015"),
        ("ROI=../x", "Kastner2015"),
        ("VERSION=b3", "betas_fithrf_GLMdenoise_RR"),
        ("SPACE=fsaverage", "'func1pt8mm' or 'func1mm'"),
        ("DRY_RUN=maybe", "1 or 0"),
        ("CONNECTIONS=1000", "at most 64"),
        ("NSD_URL=s3://natural-scenes-dataset", "expected an address such as https"),
    ],
)
def test_what_is_not_known_is_refused_with_what_is(argument, words):
    first = argument.startswith("SUBJECT=") and words != "given twice"
    given = [argument] if first else ["SUBJECT=1", argument]
    with pytest.raises(DataError, match=words) as err:
        parse_request(given, Path("/data"))
    with pytest.raises(DataError, match="SUBJECT is not given"):
        parse_request([], Path("/data"))
    if words == "no setting":
        assert all(name in str(err.value) for name in HELP)


def test_sessions_are_read_and_written():
    assert parse_sessions("7-9, 1,4,2", 1) == (1, 2, 4, 7, 8, 9)
    assert sessions_text((1, 2, 4, 7, 8, 9)) == "1-2,4,7-9"
    for subject, n in enumerate(N_SESSIONS, start=1):
        assert parse_sessions(sessions_text(parse_sessions("", subject)), subject)[-1] == n


@pytest.mark.parametrize(
    "roi", ["nsdgeneral", "lh.streams:early,ventral+prf-eccrois:ecc4++HCP_MMP1", "brainmask"]
)
def test_rois_are_taken_as_the_reader_takes_them(roi):
    assert parse_request(["SUBJECT=1", f"ROI={roi}"], Path("/data")).roi == roi


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


def test_consent_is_asked_once_and_recorded(tmp_path, ensure):
    text = ensure(tmp_path, "I agree")
    for word in ("Data Access Agreement", "cite", "passed on", consent.TERMS_URL):
        assert word in text
    assert '"accepted": true' in (tmp_path / consent.MARKER).read_text()
    assert ensure(tmp_path, "must not be asked") == ""


@pytest.mark.parametrize("answer", ["", "yes", "no", "I agree not", "agree"])
def test_any_other_answer_is_no(tmp_path, answer, ensure):
    with pytest.raises(DataError, match="nothing was downloaded"):
        ensure(tmp_path, answer)
    assert not (tmp_path / consent.MARKER).exists()


def test_without_a_terminal_both_record_and_variable_are_needed(tmp_path, ensure):
    for variable in ("", "yes"):
        with pytest.raises(DataError, match=r"once at a terminal"):
            ensure(tmp_path, variable=variable)
    ensure(tmp_path, "I agree")
    with pytest.raises(DataError, match=f"Set {consent.VARIABLE}=yes"):
        ensure(tmp_path, variable="1")
    assert ensure(tmp_path, variable="yes") == ""


@pytest.mark.parametrize("text", ["", "{", "[]", '{"accepted": "no"}', '{"accepted": true}'])
def test_a_record_that_says_no_such_thing_does_not_count(tmp_path, text, ensure):
    (tmp_path / consent.MARKER).write_text(text)
    with pytest.raises(DataError, match="nothing was downloaded"):
        ensure(tmp_path, "no")


def test_another_version_of_the_summary_is_asked_again(tmp_path, monkeypatch, ensure):
    ensure(tmp_path, "I agree")
    monkeypatch.setattr(consent, "SUMMARY_VERSION", 2)
    assert "Type `I agree`" in ensure(tmp_path, "I agree")


def settings(server, root, *more):
    urls = [f"NSD_URL={server.url}/nsd", f"COCO_URL={server.url}/coco", f"ROOT={root}"]
    return ["SUBJECT=1", "SESSIONS=1-2", "STIMULI=none", *urls, *more]


def test_without_consent_not_one_request_is_made(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(consent.VARIABLE, "yes")
    assert main(settings(server, tmp_path / "data")) == 2
    assert "once at a terminal" in capsys.readouterr().err
    assert server.log == []
    assert not (tmp_path / "data").exists()


def test_a_person_at_a_terminal_is_asked(server, tmp_path):
    root = tmp_path / "data"
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 100))  # a bar has no room without
    ends = {"stdin": follower, "stdout": follower, "stderr": follower}
    process = start(settings(server, root, "BETAS=none"), **ends)
    os.close(follower)
    shown = b""
    while b"accept its terms: " not in shown:
        shown += os.read(leader, 4096)
    assert server.log == []
    os.write(leader, b"I agree\n")
    with contextlib.suppress(OSError):  # the other end is closed
        while True:
            shown += os.read(leader, 65536)
    assert process.wait(60) == 0, shown.decode()
    os.close(leader)
    assert (root / consent.MARKER).exists()
    assert server.asked()
    assert b"files: " in shown  # a progress bar


@pytest.mark.parametrize("error", [KeyboardInterrupt, EOFError])
def test_whoever_leaves_at_the_question_has_not_agreed(
    server, tmp_path, capsys, monkeypatch, error
):
    def leave(*_, **__):
        raise error

    monkeypatch.setattr("pipeline.download.__main__.ensure_consent", leave)
    assert main(settings(server, tmp_path / "data")) == 130
    assert "stopped" in capsys.readouterr().err
    assert server.log == []


# The dry run


def test_a_dry_run_lists_files_and_bytes_and_writes_nothing(server, nsd, tmp_path, capsys):
    root = tmp_path / "data"
    assert main(settings(server, root, "BETAS=nifti", "DRY_RUN=1", "STIMULI=brick")) == 2  # twice
    given = [s for s in settings(server, root) if not s.startswith("STIMULI")]
    capsys.readouterr()
    assert main([*given, "BETAS=nifti", "STIMULI=brick", "DRY_RUN=1"]) == 0
    out = capsys.readouterr().out
    size = (nsd.root / FOLDER / "betas_session02.nii.gz").stat().st_size
    assert f"{size:,}  {FOLDER}/betas_session02.nii.gz" in out
    assert "not there  nsddata/ppdata/subj01/func1pt8mm/prf_gain.nii.gz" in out
    listed = [line.split() for line in out.splitlines() if "  nsddata" in line]
    total = sum(int(n.replace(",", "")) for n, *_ in listed if n[0].isdigit())
    assert f"Whole files: {total:,} bytes" in out
    assert "nsd_stimuli.hdf5" in out
    assert server.asked("GET") == []
    assert not root.exists()


def test_a_dry_run_of_areas_says_what_is_only_estimated(server, tmp_path, capsys):
    given = [s for s in settings(server, tmp_path / "data") if not s.startswith("STIMULI")]
    assert main([*given, "DRY_RUN=1"]) == 0
    out = capsys.readouterr().out
    assert "Voxels of nsdgeneral, out of" in out
    assert "Estimated" in out
    assert "1,500 of COCO's photographs" in out


def test_a_dry_run_without_a_server_says_unknown(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pipeline.download.__main__.Client", lambda **_: Client(n_retries=0))
    given = ["SUBJECT=1", "DRY_RUN=1", "NSD_URL=http://127.0.0.1:9", "COCO_URL=http://127.0.0.1:9"]
    assert main([*given, f"ROOT={tmp_path}/x"]) == 0
    out = capsys.readouterr().out
    assert "unknown  nsddata/experiments/nsd/nsd_expdesign.mat" in out
    assert "of unknown length" in out


# Killed


def start(arguments, **options):
    command = [sys.executable, "-m", "pipeline.download", *arguments]
    environment = {**os.environ, consent.VARIABLE: "yes", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **options)


@pytest.mark.parametrize(
    ("betas", "how"), [("nifti", "kill"), ("roi", "kill"), ("nifti", "interrupt")]
)
def test_a_stopped_download_goes_on_to_the_same_end(server, nsd, fetch, betas, how, ensure):
    ensure(fetch.root, "I agree")
    suffix = "nii.gz" if betas == "nifti" else "hdf5"
    second = f"/nsd/{FOLDER}/betas_session02.{suffix}"
    server.fail(second, *[Fault()] * (betas == "roi"), Fault(stall_after=3000))
    process = start(settings(server, fetch.root, f"BETAS={betas}"), stderr=subprocess.PIPE)
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
    assert 2 not in sessions_here(layout)
    mask = roi_mask(NSDLayout(nsd.root, 1))
    with pytest.raises(DataError, match=r"there are no betas|are missing"):
        read_betas(layout, mask, [1, 2], progress=False)
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


def sessions_here(layout):
    try:
        return available_sessions(layout, allow_gaps=True)
    except DataError:
        return []
