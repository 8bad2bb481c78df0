"""One call of the downloader, from the list of files to the last of them."""

from __future__ import annotations

from pathlib import Path

from fmri_utils.nsd.paths import NSDLayout
from fmri_utils.project.errors import DataError

from .area_betas import fetch_sessions
from .asking import say
from .client import Client, Denied, Missing, Remote
from .coco import JPEG_BYTES, SIDE, captions_here, fetch_captions, fetch_pictures
from .download_log import Records, alone
from .plan import (
    annotations,
    ask_all,
    check_space,
    gigabytes,
    look_up,
    remote_sessions,
    whole_files,
)
from .settings import N_IMAGES, Request
from .transfer import fetch_all, part_of

ROI_SHARE = 0.05  # of a whole file's bytes, for an area of nsdgeneral's size; see benchmarks


def download(request: Request, client: Client) -> None:
    """Bring everything that a request asks for and that is not here.

    The terms must have been accepted; see :func:`pipeline.download.consent.ensure_consent`.

    Raises
    ------
    DataError
        If something cannot be had. Whatever was finished stays, and the same request goes on.
    """
    root = request.root
    if (root / "simulation.json").exists():
        raise DataError(
            f"{root} holds simulated data, which must not mix with the real. Give another ROOT=."
        )
    (root / "nsddata").mkdir(parents=True, exist_ok=True)
    with alone(root):
        records = Records(root, thorough=request.verify)
        layout = NSDLayout(root, request.subject, request.space, request.version)
        sessions = dict(zip(request.sessions, remote_sessions(request), strict=False))
        wholes = whole_files(request)
        archive = annotations(request)
        lacks_captions = request.stimuli != "none" and not captions_here(layout, records)
        files = [*wholes, *sessions.values(), *([archive] if lacks_captions else [])]
        found = look_up(client, files)
        jobs = [(found[w], root / w.key) for w in wholes if w in found]
        check_space(root, sum(_bytes_left(remote, path) for remote, path in jobs))
        _report(fetch_all(client, jobs, records))
        if sessions:
            remotes = {session: found[wanted] for session, wanted in sessions.items()}
            fetch_sessions(request, layout, remotes, client, records)
        if request.stimuli == "coco":
            fetch_pictures(request, layout, client, records)
        if lacks_captions:
            fetch_captions(layout, found[archive], client, records)


def _bytes_left(remote: Remote, path: Path) -> int:
    if path.is_file():
        return 0
    part = part_of(path, remote)
    return remote.size - (part.stat().st_size if part.is_file() else 0)


def _report(results: dict[Path, str]) -> None:
    """Say what happened to whole files."""
    counts = {kind: [p.name for p in results if results[p] == kind] for kind in results.values()}
    fetched, here, known = (len(counts.get(kind, ())) for kind in ("fetched", "here", "known"))
    also = f", {known} were brought by other means and are what the server has" if known else ""
    say(f"{fetched} whole files fetched and checked, {here} were here{also}.")
    if "newer" in counts:
        say(
            "The server has another version of these now; yours are whole and were left: "
            f"{', '.join(counts['newer'])}. Delete them to fetch the new ones."
        )


def list_files(request: Request, client: Client) -> None:
    """Say which files a request stands for and how long they are; nothing is written."""
    sessions = remote_sessions(request)
    files = [*whole_files(request), *sessions]
    if request.stimuli != "none":
        files.append(annotations(request))
    answers = ask_all(client, files)
    sizes = {w: answer.size for w, answer in answers.items() if isinstance(answer, Remote)}
    words = {Missing: "not there", Denied: "denied"}
    heading = None
    for wanted in files:
        if wanted.what != heading:
            heading = wanted.what
            say(f"{heading}:")
        word = words.get(type(answers[wanted]), "unknown")
        text = f"{sizes[wanted]:,}" if wanted in sizes else word
        there = "  (here)" if (request.root / wanted.key).is_file() else ""
        say(f"{text:>20}  {wanted.key}{there}")
    fetched = [w for w in sizes if w not in sessions and not (request.root / w.key).is_file()]
    n_bytes = sum(sizes[w] for w in fetched)
    n_unknown = sum(type(answer) is DataError for answer in answers.values())
    unknown = f", and {n_unknown} of unknown length" if n_unknown else ""
    say(f"Whole files: {n_bytes:,} bytes to fetch ({gigabytes(n_bytes)}){unknown}.")
    if sessions:
        n_bytes = sum(sizes.get(w, 0) for w in sessions)
        say(
            f"Voxels of {request.roi}, out of {gigabytes(n_bytes)}: for an area of the size of "
            f"nsdgeneral about {gigabytes(ROI_SHARE * n_bytes)} to fetch. (Estimated; it depends "
            "on the area.)"
        )
    if request.stimuli == "coco":
        n = min(750 * len(request.sessions), N_IMAGES)
        say(
            f"At most {n:,} of COCO's photographs: about {gigabytes(n * JPEG_BYTES)} to fetch, "
            f"{gigabytes(n * SIDE**2 * 3)} on disk. (Estimated; their lengths are not asked for.)"
        )
    say("A dry run: nothing was downloaded.")
