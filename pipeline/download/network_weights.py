"""Weights of public networks for real data; ``make weights PROFILE=nsd`` calls this.

Fetched are CLIP, which the decoding aims at, and the networks that score pictures. Every file goes
where its library looks for it, so that nothing else has to be told. LAFITE's checkpoints and the
Natural Scenes Dataset have other terms; where they are to be had is said at the end.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm.auto import tqdm

from fmri_utils.clip.space import LOCAL
from fmri_utils.lafite.released.reader import WHERE
from fmri_utils.metrics.feature_networks import WeightsFile, open_clip_file, required_weights
from fmri_utils.metrics.frechet import fid_weights
from fmri_utils.project.errors import DataError, WeightsError
from fmri_utils.project.profiles import PROJECT_ROOT, Profile

from ..runner import parse_request
from .answers import Denied, Missing
from .client import Client
from .command import at_terminal, exit_status, say
from .consent import ANSWER, agree, is_yes
from .download_log import Records, alone, part_of
from .plan import check_space, gigabytes
from .transfer import fetch

VARIABLE = "CONSENT"
N_REDIRECTS = 5
VIT_B_32_MEGABYTES = 577.0  # 151 M parameters in single precision
QUESTION = f"Type `{ANSWER}` if you accept these licences and want to download the files: "
REMEDY = f"Then run `make weights PROFILE=nsd` again, or with {VARIABLE}=yes."

Say = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """Where the bytes of a file come from and go to.

    Attributes
    ----------
    url : str
    path : pathlib.Path
        For the hub's cache, the file of bytes that its links point to.
    sha256 : str
        Its SHA-256 or the start of it; empty where nobody publishes one.
    """

    url: str
    path: Path
    sha256: str


def wanted_weights(profile: Profile) -> list[WeightsFile]:
    """The public files that a profile needs, CLIP first.

    Networks that score pictures, and the one of the FID while training, have learned from
    photographs; for simulated scenes there is a judge instead.
    """
    files = []
    if not profile.clip.model.startswith(LOCAL):
        model = profile.clip.model, profile.clip.pretrained
        files.append(open_clip_file("CLIP of the profile", *model, VIT_B_32_MEGABYTES))
    return files + ([*required_weights(), fid_weights()] if profile.simulation is None else [])


def is_here(file: WeightsFile, records: Records) -> bool:
    """Whether a file is on this machine and is what it should be.

    A file without a published checksum counts only if this command fetched it, or compared it
    with the server's.
    """
    if not file.path().is_file():
        return False
    if file.sha256_prefix:
        return not file.problem()
    return records.is_whole(file.path())


def describe(file: WeightsFile, here: bool) -> str:
    """What a person should know before they agree: size, licence, source, checksum, place."""
    checksum = "none is published: length, and MD5 where the server tells it"
    if file.sha256_prefix:
        checksum = f"SHA-256 {file.sha256_prefix[:12]}"
    elif file.hub:
        checksum = "SHA-256, asked from the hub"
    state = "here, checked" if here else "to fetch"
    if not here and file.path().is_file():
        state = "here, to be compared with the server's"
    lines = [
        f"{file.network}: {file.name}, about {gigabytes(file.megabytes * 2**20)}  ({state})",
        f"  licence   {file.licence}",
        f"  source    {file.url}",
        f"  checksum  {checksum}",
        f"  goes to   {file.path()}",
    ]
    return "\n".join(lines)


def ensure_consent(
    *,
    at_terminal: bool,
    ask: Callable[[str], str],
    say: Say,
    environment: Mapping[str, str],
) -> None:
    """Return only if the licences, which have been shown, were accepted.

    Parameters
    ----------
    at_terminal, ask, say, environment
        As for :func:`pipeline.download.consent.ensure_consent`; the variable is ``CONSENT``.

    Raises
    ------
    DataError
        If they were not, or nobody can be asked.
    """
    if is_yes(environment.get(VARIABLE, "")):
        return
    if not at_terminal:
        raise DataError(
            "consent to the licences of these weights cannot be asked for without a terminal, so "
            "nothing was downloaded. Run the same command at a terminal, or start it here with "
            f"{VARIABLE}=yes in the environment to confirm that it is yours."
        )
    agree("Nothing has been fetched yet.", QUESTION, REMEDY, ask=ask, say=say)


def source_of(file: WeightsFile) -> Source:
    """Ask where a file is and what its checksum is; only the hub has to be asked.

    Raises
    ------
    WeightsError
        If the hub does not answer, or gives no SHA-256.
    """
    if not file.hub:
        return Source(file.url, file.path(), file.sha256_prefix)
    from huggingface_hub import constants, get_hf_file_metadata

    try:
        found = get_hf_file_metadata(file.url)
    except Exception as err:  # the errors of the library's own HTTP client, of several kinds
        raise WeightsError(
            f"{file.network}: {file.url} cannot be asked for ({type(err).__name__}: "
            f"{str(err).splitlines()[0]}). Check the network, and that HF_HUB_OFFLINE is not 1. "
            f"By hand: {file.command()}"
        ) from err
    digest = found.etag or ""
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise WeightsError(
            f"{file.network}: the hub names {file.url} {digest!r}; expected a SHA-256. Without one "
            f"the file cannot be checked. By hand: {file.command()}"
        )
    folder = f"models--{file.hub.split()[0].replace('/', '--')}"
    return Source(file.url, Path(constants.HF_HUB_CACHE) / folder / "blobs" / digest, digest)


def fetch_weights(
    files: Sequence[WeightsFile],
    client: Client,
    records: Records,
    *,
    say: Say,
    progress: bool = True,
) -> None:
    """Bring files to where their libraries look for them.

    Parameters
    ----------
    files : sequence of WeightsFile
        Those that are not here; see :func:`is_here`.
    client : Client
        Connections, with redirects: the hub keeps its large files elsewhere.
    records : Records
        List of what was fetched.
    say : callable
        Shows a line of text.
    progress : bool
        Show a bar over bytes.

    Raises
    ------
    WeightsError, DataError
        If one cannot be had, or arrives damaged twice. Whatever was finished stays, and the same
        call goes on.
    """
    for file in files:
        source = source_of(file)
        try:
            remote = client.head(source.url)
            source.path.parent.mkdir(parents=True, exist_ok=True)
            part = part_of(source.path)
            begun = part.stat().st_size if part.is_file() else 0
            if not source.path.exists():
                check_space(source.path.parent, (remote.size or 0) - begun)
            bar = {"unit": "B", "unit_scale": True, "desc": file.name, "disable": not progress}
            with tqdm(total=remote.size, **bar) as shown:
                count = shown.update
                how = fetch(client, remote, source.path, records, count, sha256=source.sha256)
        except (Missing, Denied) as err:
            code = 404 if isinstance(err, Missing) else 403
            raise WeightsError(
                f"{file.network}: {source.url} was answered with {code}. Expected: the file "
                f"{file.name}; its publisher may have moved it. Look for it, and put it at "
                f"{file.path()}."
            ) from err
        if file.hub:
            file = _link(file, source)
        _check(file)
        say(f"{file.name}: {'fetched' if how == 'fetched' else 'was here'}, {_checked(source)}")


def _checked(source: Source) -> str:
    return "SHA-256 as published" if source.sha256 else "length as on the server"


def _link(file: WeightsFile, source: Source) -> WeightsFile:
    """Let the hub's library put its links to bytes that are in its cache already."""
    from huggingface_hub import hf_hub_download

    path = Path(hf_hub_download(*file.hub.split()))
    return replace(file, cached=path, sha256_prefix=source.sha256)


def _check(file: WeightsFile) -> None:
    if problem := file.problem():
        raise WeightsError(
            f"{file.network}: {problem}. Expected: the file that was just fetched. Delete "
            f"{file.path()} and run the same command again."
        )


def elsewhere(profile: Profile) -> str:
    """What this command does not fetch, and where it is to be had."""
    return (
        "Not fetched here:\n"
        f"  LAFITE  {WHERE}. Convert one with `make lafite-import FILE=checkpoint.pkl`; the "
        f"profile looks for it at {profile.lafite.weights}.\n"
        "  NSD     `make nsd-download SUBJECT=1` asks for the dataset's terms first; the profile "
        f"looks for it at {profile.data.root}."
    )


def run(
    profile: Profile,
    client: Client,
    folder: Path,
    *,
    at_terminal: bool,
    ask: Callable[[str], str],
    say: Say,
    environment: Mapping[str, str],
    progress: bool = True,
) -> None:
    """List, ask, fetch: the whole command.

    Parameters
    ----------
    profile : Profile
    client : Client
    folder : pathlib.Path
        Holds the list of what was fetched.
    at_terminal, ask, say, environment
        As for :func:`ensure_consent`.
    progress : bool

    Raises
    ------
    FmriUtilsError
        If consent is not given, or a file cannot be had.
    """
    files = wanted_weights(profile)
    if not files:
        say(
            f"PROFILE={profile.name} needs no weights from elsewhere: its networks are in the "
            "repository (data/pretrained). For real data: make weights PROFILE=nsd."
        )
        return
    records = Records(folder)
    here = [is_here(file, records) for file in files]
    missing = [file for file, is_there in zip(files, here, strict=True) if not is_there]
    say("\n".join(describe(*pair) for pair in zip(files, here, strict=True)))
    if missing:
        total = sum(file.megabytes for file in missing if not file.path().is_file())
        about = gigabytes(total * 2**20)
        say(f"To fetch: about {about}. The licences are those of the publishers, not of this code.")
        ensure_consent(at_terminal=at_terminal, ask=ask, say=say, environment=environment)
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder):
            fetch_weights(missing, client, Records(folder), say=say, progress=progress)
    else:
        say("Every file is here: nothing to fetch.")
    say(elsewhere(profile))


def _run(arguments: Sequence[str]) -> None:
    own = [argument for argument in arguments if argument.startswith(f"{VARIABLE}=")]
    profile = parse_request([argument for argument in arguments if argument not in own]).profile
    run(
        profile,
        Client(n_redirects=N_REDIRECTS),
        PROJECT_ROOT / "data" / "weights",
        at_terminal=at_terminal(),
        ask=input,
        say=say,
        environment={**os.environ, **dict(argument.split("=", 1) for argument in own)},
        progress=sys.stderr.isatty(),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The runner's settings and ``CONSENT=yes``; see :func:`.command.exit_status`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return exit_status(lambda: _run(given))


if __name__ == "__main__":
    raise SystemExit(main())
