"""The download of BOLD5000: through figshare's list and by hand, checked, resumed, with consent."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from download_server import Fault, contents
from refusals import refused

from fmri_utils.nsd.open_dataset import open_dataset
from fmri_utils.project.errors import DataError
from pipeline.download import bold5000 as job
from pipeline.download import client, consent, transfer
from pipeline.download.settings import parse_request

pytest_plugins = ["nsd_fixture", "download_fixture", "bold5000_fixture"]

TERMS = consent.BOLD5000_PICTURES
LIST, GIVEN, STORED = "/api/articles/1/versions/2", "/ndownloader/files/1", "/s3/x"
PICTURES = "/ndownloader/files/2"


def entry(server, made, **changes):
    data = made.archive.read_bytes()
    md5 = hashlib.md5(data).hexdigest()
    file = {"name": made.archive.name, "size": len(data), "computed_md5": md5}
    return file | {"supplied_md5": md5, "download_url": server.url + GIVEN} | changes


def tell(server, *entries, address=LIST):
    answer = list(entries) if "?" in address else {"files": list(entries)}
    server.files[address] = json.dumps(answer).encode()


@pytest.fixture
def made(bold5000, server):
    """A subject with all name traps, on the servers; figshare sends on to another place."""
    made = bold5000(2, {"LHLOC": "LHLO", "RHLOC": "RHLO", "RHRSC": "RHRRSC"})
    server.files.clear()
    server.add_folder(made.root / "ds001499", "/openneuro/ds001499")
    server.files[STORED] = made.archive
    server.etags[STORED] = '"of-its-own-2"'
    server.always[GIVEN] = Fault(302, {"Location": f"{server.url}{STORED}?sig=a%2Fb"})
    server.files[f"{STORED}?sig=a%2Fb"] = made.archive
    server.files[PICTURES] = made.root / "presented_stimuli.zip"
    tell(server, {"name": "other.zip", "size": 1}, entry(server, made))
    return made


@pytest.fixture
def bring(server, made, tmp_path, monkeypatch, capsys):
    """Run the command at a terminal; returns what was said."""

    def bring(*arguments, answer="I agree"):
        given = {"SUBJECT": "2", "ROOT": bring.root, "PICTURES_URL": server.url + PICTURES}
        given |= {"OPENNEURO_URL": f"{server.url}/openneuro/ds001499"}
        given |= {"FIGSHARE_URL": server.url + LIST}
        given |= dict(argument.split("=", 1) for argument in arguments)
        monkeypatch.setattr(consent, "at_terminal", lambda: answer is not None)
        monkeypatch.setattr("builtins.input", lambda question: print(question) or answer)
        settings = [f"{name}={value}" for name, value in given.items()]
        job.run(parse_request(settings, job.Bold5000Request))
        return capsys.readouterr().out

    bring.root = tmp_path / "data"
    return bring


def test_a_subject_arrives_whole_and_is_read(made, bring, server):
    said = bring()
    assert "3 of 3 sessions, 185 trials" in said and made.archive.name in said
    assert said.index("bytes  events (5 files)") < said.index("Type `I agree`")
    got = contents(bring.root)
    assert got.pop(TERMS.marker)
    assert got == {name: (made.root / name).read_bytes() for name in got}
    masks = [name for name in got if "_mask-" in name]
    assert len(masks) == 10 and len(got) == 5 + 10 + 2
    data = open_dataset("bold5000", bring.root, 2)
    np.testing.assert_array_equal(
        data.read_betas()[:, 0], made.volumes[:, data.mask][:, 0].astype("f")
    )
    server.log.clear()
    assert "Files: 15 here" in bring() and server.asked("GET") == []


def test_a_dry_run_tells_bytes_and_writes_and_asks_nothing(made, bring, server):
    said = bring("DRY_RUN=1", answer=None)
    assert f"{made.archive.stat().st_size:>15,} bytes  {made.archive.name} (1 file)" in said
    assert "masks (10 files)" in said and not bring.root.exists()
    assert [e.path for e in server.asked("GET")] == [LIST]


def test_only_the_pictures_have_terms(made, bring, capsys):
    refused("nothing was downloaded.*PICTURES=no", bring, answer="no")
    assert not bring.root.exists()
    refused(f"{TERMS.variable}=yes in the environment", bring, answer=None)
    capsys.readouterr()
    said = bring("PICTURES=no", answer=None)
    assert "were read" in said and "agree" not in said
    assert not (bring.root / "presented_stimuli.zip").exists()


def test_files_that_are_here_are_taken_and_figshare_is_not_asked(made, bring, server, tmp_path):
    mine = tmp_path / "mine.zip"
    shutil.copy(made.archive, mine)
    for path in (LIST, PICTURES):
        del server.files[path]
    pictures = f"PICTURES_FILE={made.root / 'presented_stimuli.zip'}"
    said = bring(f"BETAS_FILE={mine}", pictures, answer=None)
    assert "were read" in said and mine.exists()
    bring(answer=None)  # now all is known
    mine.write_bytes(mine.read_bytes()[:-100])
    (bring.root / made.archive.name).unlink()
    refused("an archive: .*mine.zip cannot be read", bring, f"BETAS_FILE={mine}", answer=None)
    assert mine.exists()
    refused("is missing.*Check BETAS_FILE=", bring, "BETAS_FILE=no.zip", answer=None)


def test_another_address_is_taken_with_its_question_mark(made, bring, server):
    """HEAD is refused, as by addresses that are signed for GET."""
    url = "/elsewhere/betas.zip?dl=1&rlkey=a%20b"
    server.files[url] = made.archive
    server.always[url] = Fault(status=403)
    server.fail(url, *[Fault()] * 9)
    assert "were read" in bring(f"BETAS_URL={server.url}{url}", "PICTURES=no")
    assert server.asked(part=LIST) == []


def test_a_list_of_its_own_names_what_the_article_does_not(made, bring, server):
    tell(server, {"name": "other.zip", "size": 1})
    tell(server, entry(server, made), address=f"{LIST}/files?page_size=1000")
    assert "were read" in bring("PICTURES=no")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "BOLD5000_betas.zip"}, "lists no file BOLD5000_GLM.*but .'BOLD5000_betas.zip'"),
        ({"computed_md5": "", "supplied_md5": ""}, "not the list .*MD5"),
        ({"size": "many"}, "not the list"),
        ({"computed_md5": "0" * 32}, "came damaged: its MD5"),
        ({"size": 1000}, "changed on the server"),
        ({"download_url": "http://127.0.0.1:9/x"}, "could not be fetched"),
    ],
)
def test_what_figshare_says_otherwise_is_refused_with_the_way_by_hand(
    made, bring, server, monkeypatch, changes, words
):
    monkeypatch.setitem(client.RETRIES, "max_retries", 1)
    tell(server, entry(server, made, **changes))
    with pytest.raises(DataError, match=words) as err:
        bring("PICTURES=no")
    assert "BETAS_FILE=path/to/it" in str(err.value)
    assert not (bring.root / made.archive.name).exists()
    tell(server, entry(server, made))
    assert "were read" in bring("PICTURES=no")


def test_figshare_that_sends_a_page_for_people_is_refused(made, bring, server):
    for path, words in ((LIST, "not the list"), (PICTURES, "presented_stimuli.zip cannot be read")):
        good, server.files[path] = server.files[path], b"<html>are you human?</html>"
        refused(f"{words}.*with a browser", bring)
        server.files[path] = good
    assert not (bring.root / "presented_stimuli.zip").exists()


def test_a_broken_download_goes_on_where_it_was(made, bring, server, monkeypatch):
    monkeypatch.setattr(transfer, "PIECE", 20_000)
    size = made.archive.stat().st_size
    assert size > 60_000
    signed = f"{STORED}?sig=a%2Fb"
    server.fail(signed, Fault(), Fault(), Fault(status=404))
    refused("does not exist on the server", bring, "PICTURES=no")
    (part,) = bring.root.glob("*.part")
    assert part.stat().st_size == 40_000
    server.log.clear()
    bring("PICTURES=no")
    assert sum(e.sent for e in server.asked(part=signed)) == size - 40_000


def test_what_is_not_as_the_reader_expects_is_said_at_once(made, bring, server):
    name = next(path for path in server.files if path.endswith("run-01_events.tsv"))
    server.files[name] = server.files[name].read_bytes().replace(b"\t37\t", b"\t38\t")
    refused("expected 1 to 37 in order", bring, "PICTURES=no")
    del server.files[next(path for path in server.files if path.endswith("mask-RHRRSC.nii.gz"))]
    refused(r"RHRRSC.nii.gz does not exist on the server \(404\)", bring, "PICTURES=no")


def test_settings_are_told_when_one_is_wrong():
    for arguments, words in (
        (["SUBJECT=5"], "less than or equal to 4"),
        (["PICTURES=maybe", "SUBJECT=1"], "'yes' or 'no'"),
        (["SESSIONS=1", "SUBJECT=1"], "(?s)no setting.*BETAS_FILE"),
        ([], "1 to 4"),
    ):
        refused(words, parse_request, arguments, job.Bold5000Request)
