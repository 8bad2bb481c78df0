"""One call of the downloader, from the list of files to the last of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fmri_utils.nsd.paths import NSDLayout
from fmri_utils.project.errors import DataError

from .answers import Denied, Missing, Remote
from .area_betas import fetch_sessions
from .client import Client
from .coco import JPEG_BYTES, SIDE, captions_here, fetch_captions, fetch_pictures
from .download_log import Records, alone, part_of
from .plan import Wanted, annotations, check_space, gigabytes, look_up, remote_sessions, whole_files
from .settings import N_IMAGES, Request
from .transfer import fetch_all

Say = Callable[[str], None]
ROI_SHARE = 0.05  # of a whole file's bytes, for an area of nsdgeneral's size; see benchmarks


def download(request: Request, client: Client, *, say: Say, progress: bool = True) -> None:
    """Bring everything that a request asks for and that is not here.

    The terms must have been accepted; see :func:`pipeline.download.consent.ensure_consent`.

    Parameters
    ----------
    request : Request
        What to bring, and where to.
    client : Client
        Connections.
    say : callable
        Shows a line of text.
    progress : bool
        Show bars.

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
        archive = annotations(request) if _wants_captions(request, layout, records) else None
        extra = [archive] if archive else []
        found = look_up(client, [*wholes, *sessions.values(), *extra], say)
        jobs = [(found[w], root / w.key) for w in wholes if w in found]
        check_space(root, sum(_bytes_left(remote, path) for remote, path in jobs))
        _report(fetch_all(client, jobs, records, progress=progress), say)
        if sessions:
            remotes = {session: found[wanted] for session, wanted in sessions.items()}
            _fetch_voxels(request, layout, remotes, client, records, say, progress)
        if request.stimuli == "coco":
            fetch_pictures(request, layout, client, records, say=say, progress=progress)
        if archive:
            fetch_captions(layout, found[archive], client, records, progress=progress)


def _wants_captions(request: Request, layout: NSDLayout, records: Records) -> bool:
    return request.stimuli != "none" and not captions_here(layout, records)


def _bytes_left(remote: Remote, path: Path) -> int:
    if path.is_file():
        return 0
    part = part_of(path)
    return (remote.size or 0) - (part.stat().st_size if part.is_file() else 0)


def _report(results: dict[Path, str], say: Say) -> None:
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


def _fetch_voxels(request, layout, remotes, client, records, say: Say, progress: bool) -> None:
    traffic = fetch_sessions(request, layout, remotes, client, records, say=say, progress=progress)
    if traffic.n_requests:
        say(
            f"Voxels of {request.roi}: {gigabytes(traffic.n_bytes)} in {traffic.n_requests} "
            f"requests and {traffic.n_rounds} rounds."
        )


def list_files(request: Request, client: Client, *, say: Say) -> None:
    """Say which files a request stands for and how long they are; nothing is written.

    Parameters
    ----------
    request : Request
        What would be brought.
    client : Client
        Connections; only lengths are asked for.
    say : callable
        Shows a line of text.
    """
    sessions = remote_sessions(request)
    files = [*whole_files(request), *sessions]
    if request.stimuli != "none":
        files.append(annotations(request))
    sizes = _sizes(client, files)
    heading = None
    for wanted in files:
        if wanted.what != heading:
            heading = wanted.what
            say(f"{heading}:")
        text = sizes[wanted] if isinstance(sizes[wanted], str) else f"{sizes[wanted]:,}"
        there = "  (here)" if (request.root / wanted.key).is_file() else ""
        say(f"{text:>20}  {wanted.key}{there}")
    _say_totals(request, files, sessions, sizes, say)


def _sizes(client: Client, files: list[Wanted]) -> dict[Wanted, int | str]:
    """Bytes of each file, or a word."""
    silent: list[DataError] = []  # once the server does not answer, it is not asked again

    def ask(wanted: Wanted) -> tuple[Wanted, int | str]:
        if silent:
            return wanted, "unknown"
        try:
            size = client.head(wanted.url).size
        except Missing:
            return wanted, "not there"
        except Denied:
            return wanted, "denied"
        except DataError as err:
            silent.append(err)
            return wanted, "unknown"
        return wanted, "unknown" if size is None else size

    return dict(client.parallel(ask, files))


def _say_totals(request: Request, files, sessions, sizes, say: Say) -> None:
    def total(chosen: list[Wanted]) -> int:
        return sum(sizes[w] for w in chosen if isinstance(sizes[w], int))

    fetched = [w for w in files if w not in sessions and not (request.root / w.key).is_file()]
    n_unknown = sum(sizes[w] == "unknown" for w in files)
    unknown = f", and {n_unknown} of unknown length" if n_unknown else ""
    say(f"Whole files: {total(fetched):,} bytes to fetch ({gigabytes(total(fetched))}){unknown}.")
    if sessions:
        say(
            f"Voxels of {request.roi}, out of {gigabytes(total(sessions))}: for an area of the "
            f"size of nsdgeneral about {gigabytes(ROI_SHARE * total(sessions))} to fetch. "
            "(Estimated; it depends on the area.)"
        )
    if request.stimuli == "coco":
        n = min(750 * len(request.sessions), N_IMAGES)
        say(
            f"At most {n:,} of COCO's photographs: about {gigabytes(n * JPEG_BYTES)} to fetch, "
            f"{gigabytes(n * SIDE**2 * 3)} on disk. (Estimated; their lengths are not asked for.)"
        )
    say("A dry run: nothing was downloaded.")
