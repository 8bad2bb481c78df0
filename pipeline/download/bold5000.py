"""``make bold5000-download``: one subject of BOLD5000, Release 2.0, and the pictures.

Trials and masks come from OpenNeuro's bucket, betas from figshare, whose addresses change: they are
asked for by figshare's own list of the article's files. The list tells lengths and MD5, too. Where
figshare does not serve programs, the archives come through a browser: ``BETAS_FILE=``.
"""

import asyncio
import contextlib
import itertools
import json
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from fmri_utils.nsd import bold5000 as names
from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.command import command
from fmri_utils.project.errors import DataError
from fmri_utils.project.profiles import PROJECT_ROOT
from fmri_utils.project.reading import reading, require
from fmri_utils.project.settings import settings

from .. import setting
from .client import Absent, Remote, get, head, head_of_part
from .consent import BOLD5000_PICTURES, ensure_consent, say
from .settings import Address, Folder, parse_request
from .transfer import Records, alone, fetch_all, gigabytes
from .wanted import Wanted, ask_all, present

OPENNEURO = "https://s3.amazonaws.com/openneuro.org/ds001499"
FIGSHARE = "https://api.figshare.com/v2/articles/14456124/versions/2"
PICTURES = "https://figshare.com/ndownloader/files/36563031"
BETAS_ZIP, PICTURES_ZIP = "BOLD5000_GLMsingle_ROI_betas.zip", "presented_stimuli.zip"
# How an archive is called in settings, and where a person finds it.
BY_HAND = {
    BETAS_ZIP: ("BETAS", "https://doi.org/10.6084/m9.figshare.14456124"),
    PICTURES_ZIP: ("PICTURES", BOLD5000_PICTURES.url),
}
CONNECTIONS = 16


@settings
class Bold5000Request:
    """One call of the downloader; what each setting may be is said beside it.

    Attributes
    ----------
    subject : int
        From 1.
    root, betas_file, pictures_file : pathlib.Path
        The data folder; archives that are here already.
    """

    subject: int = setting(0, "1 to 4 (CSI1 to CSI4); must be given", ge=1, le=len(names.RUNS))
    pictures: Literal["yes", "no"] = setting("yes", "yes, or no: brain data only, free of terms")
    betas_file: Folder | None = setting(None, f"a {BETAS_ZIP} that is here already")
    pictures_file: Folder | None = setting(None, "an archive of the pictures that is here already")
    root: Folder = setting(PROJECT_ROOT / "data/bold5000", "the data folder")
    dry_run: bool = setting(False, "1 to list files and bytes only")
    verify: bool = setting(False, "1 to hash every file that is here again")
    openneuro_url: Address = setting(OPENNEURO, "address of ds001499")
    figshare_url: Address = setting(FIGSHARE, "address of the betas' article in figshare's API")
    betas_url: Address | None = setting(None, f"address of {BETAS_ZIP} itself, by figshare's list")
    pictures_url: Address = setting(PICTURES, "address of the archive of the pictures")


def bucket_files(request: Bold5000Request) -> list[Wanted]:
    """Event files and masks of a subject in OpenNeuro's bucket."""
    subject, keys = request.subject, []
    for session, n_runs in enumerate(names.RUNS[subject], start=1):
        folder = f"sub-CSI{subject}/ses-{session:02d}/func"
        runs = range(1, n_runs + 1)
        keys += [f"{folder}/{names.event_name(subject, session, run)}" for run in runs]
    for side, area in itertools.product(names.SIDES, names.AREAS):
        name = names.published_mask(subject, side + area)
        keys.append(f"derivatives/spm/sub-CSI{subject}/{name}")
    url = request.openneuro_url
    return [Wanted(f"ds001499/{key}", f"{url}/{key}", "of ds001499", False) for key in keys]


def listed_file(address: str, name: str) -> Remote:
    """A file of a figshare article, as figshare's list of its files tells it.

    Parameters
    ----------
    address : str
        The article in figshare's API.
    name : str
        The file's name.

    Raises
    ------
    DataError
        If the list cannot be had, is not as figshare documents it, or does not name the file.
    """
    found: list[str] = []
    # The article itself names its first files; a list of its own, all of them.
    for url in (address, f"{address}/files?page_size=1000"):
        try:
            answer = json.loads(asyncio.run(get(url))[0])
            files = answer["files"] if isinstance(answer, dict) else answer
            for file in files:
                found.append(file["name"])
                if file["name"] == name:
                    md5 = str(file["computed_md5"] or file["supplied_md5"])
                    remote = Remote(file["download_url"], int(file["size"]), f'"{md5}"', True)
                    if remote.md5 and remote.size > 0:
                        return remote
                    raise ValueError(f"size {file['size']}, MD5 {md5!r}")
        except Absent:
            continue
        except (ValueError, KeyError, TypeError) as err:
            raise DataError(
                f"{url} is not the list of files that figshare's API documents "
                f"({type(err).__name__}: {err})."
            ) from err
    raise DataError(f"the article {address} lists no file {name}, but {found[:12] or 'none'}.")


def measured(url: str) -> Remote:
    """Size and version of a file at an address; some servers tell them only with a byte of it."""
    with contextlib.suppress(Absent):
        if (told := asyncio.run(head(url))).size:
            return told
    return asyncio.run(head_of_part(url))


@contextlib.contextmanager
def or_by_hand(name: str) -> Iterator[None]:
    """Add to an error about an archive how to bring it by other means."""
    kind, where = BY_HAND[name]
    try:
        yield
    except DataError as err:
        raise DataError(
            f"{err} figshare may refuse programs: then fetch {name} with a browser ({where}) and "
            f"run the same command again with {kind}_FILE=path/to/it, or with another address, "
            f"{kind}_URL=."
        ) from err


def archives(request: Bold5000Request, records: Records) -> dict[str, Remote | Path]:
    """The archives of a request that are not here yet: where each comes from.

    Raises
    ------
    DataError
        If one cannot be had; it says how to bring it by hand.
    """
    given = {BETAS_ZIP: request.betas_file, PICTURES_ZIP: request.pictures_file}
    urls = {BETAS_ZIP: request.betas_url, PICTURES_ZIP: request.pictures_url}
    if request.pictures == "no":
        del given[PICTURES_ZIP]
    found: dict[str, Remote | Path] = {}
    for name, path in given.items():
        if records.is_whole(request.root / name):
            continue
        if path:
            found[name] = require(path, name, f"Check {BY_HAND[name][0]}_FILE=.")
            continue
        with or_by_hand(name):
            url = urls[name]
            found[name] = measured(url) if url else listed_file(request.figshare_url, name)
    return found


def check_archive(path: Path, *, ours: bool) -> None:
    """Check every member of a zip archive against its own checksum.

    Raises
    ------
    DataError
        If it is damaged or no archive; a file that this command fetched is removed then.
    """
    try:
        with reading(path, "an archive", damaged="fetch it again."), zipfile.ZipFile(path) as file:
            if bad := file.testzip():
                raise ValueError(f"its member {bad} is damaged")
    except DataError as err:
        if ours and "keep it" not in str(err):
            path.unlink()
        raise


def download(request: Bold5000Request, found: dict[str, Remote | Path], records: Records) -> None:
    """Bring everything that is not here; the terms must have been accepted.

    Parameters
    ----------
    request : Bold5000Request
        What was asked for.
    found : dict of str to Remote or pathlib.Path
        Key of each file, and where it is: on a server, or an archive on this computer.
    records : Records
        The list of finished files.

    Raises
    ------
    DataError
        If something cannot be had. Whatever was finished stays, and the same request goes on.
    """
    root = request.root
    small = {key: there for key, there in found.items() if key not in BY_HAND}
    fetch_all([(remote, root / key) for key, remote in small.items()], records)
    for key in (key for key in found if key in BY_HAND):
        there, path = found[key], root / key
        if isinstance(there, Remote):
            with or_by_hand(key):
                fetch_all([(there, path)], records)
                check_archive(path, ours=True)
            continue
        check_archive(there, ours=False)
        with atomic_path(path) as part:
            shutil.copyfile(there, part)
        records.add(path, Remote(there.as_uri(), there.stat().st_size, None))


def list_files(request: Bold5000Request, found: dict[str, Remote | Path]) -> None:
    """Say how long the files of each kind are, before anything is fetched."""
    kinds = defaultdict(list)
    for key, there in found.items():
        kind = "events" if key.endswith(".tsv") else "masks" if key.endswith(".gz") else key
        kinds[kind].append(there.size if isinstance(there, Remote) else there.stat().st_size)
    for kind, sizes in kinds.items():
        say(f"{sum(sizes):>15,} bytes  {kind} ({len(sizes)} file{'s' * (len(sizes) > 1)})")
    total = gigabytes(sum(map(sum, kinds.values())))
    say(f"To fetch, unless it is here: {total}, into {request.root}.")


def run(request: Bold5000Request) -> None:
    """List, ask, fetch, check: the whole command.

    Raises
    ------
    DataError
        If consent is not given, something cannot be had, or it is not as the reader expects.
    """
    root = request.root
    records = Records(root, thorough=request.verify)
    answers = present(ask_all(bucket_files(request), CONNECTIONS))
    found = {wanted.key: remote for wanted, remote in answers.items()}
    found |= archives(request, records)
    list_files(request, found)
    if request.dry_run:
        say("A dry run: nothing was downloaded.")
        return
    if isinstance(found.get(PICTURES_ZIP), Remote):
        ensure_consent(root, BOLD5000_PICTURES)
    root.mkdir(parents=True, exist_ok=True)
    with alone(root):
        download(request, found, records)
    data = names.open_bold5000(root, request.subject)
    say(
        f"The data are in {root}, and were read: {data.coverage}, {len(data.table):,} trials, "
        f"{data.mask.sum():,} voxels. Cite Chang et al. (2019) and Prince et al. (2022)."
    )


@command
def main(arguments: list[str]) -> None:
    """Download, or list with ``DRY_RUN=1``."""
    run(parse_request(arguments, Bold5000Request))


if __name__ == "__main__":
    raise SystemExit(main())
