"""Weights of public networks for real data; ``make weights PROFILE=nsd`` calls this.

Fetched are CLIP, which the decoding aims at, and the networks that score pictures. The libraries
that use them fetch them, torch.hub and huggingface_hub, each into its own cache. What is added here
is consent to the licences, and a check of every file. LAFITE's checkpoints and the Natural Scenes
Dataset have other terms; where they are to be had is said at the end.
"""

import os
import sys

import huggingface_hub
import torch

from fmri_utils.clip.space import LOCAL
from fmri_utils.lafite.released.reader import WHERE
from fmri_utils.metrics.feature_networks import WeightsFile, open_clip_file, required_weights
from fmri_utils.metrics.frechet import fid_weights
from fmri_utils.project.command import command
from fmri_utils.project.errors import DataError, WeightsError
from fmri_utils.project.profiles import Profile

from ..request import parse_request, taken
from .consent import agree, at_terminal, say
from .transfer import gigabytes

VARIABLE = "CONSENT"
VIT_B_32_MEGABYTES = 577.0  # 151 M parameters in single precision


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


def describe(file: WeightsFile) -> str:
    """What a person should know before they agree: size, licence, source, checksum, place."""
    unknown = "asked from the hub" if file.hub else "none is published: the file is read once"
    state = "to fetch" if file.problem() else "here, checked"
    return (
        f"{file.network}: {file.name}, about {gigabytes(file.megabytes * 2**20)}  ({state})\n"
        f"  licence   {file.licence}\n"
        f"  source    {file.url}\n"
        f"  SHA-256   {file.sha256_prefix[:12] or unknown}\n"
        f"  goes to   {file.cached}"
    )


def ensure_consent() -> None:
    """Return only if the licences, which have been shown, were accepted.

    Raises
    ------
    DataError
        If they were not, or nobody can be asked.
    """
    if os.environ.get(VARIABLE) == "yes":
        return
    if not at_terminal():
        raise DataError(
            "consent to these licences cannot be asked for without a terminal, so nothing was "
            f"downloaded. Run the same command at a terminal, or confirm it by {VARIABLE}=yes."
        )
    agree("accept these licences and want to download the files", "Then run it again.")


def bring(file: WeightsFile) -> None:
    """Let the library that uses a file fetch it into its own cache.

    Raises
    ------
    WeightsError
        If it cannot be had, or arrives damaged.
    """
    there = file.cached.exists()
    try:
        if file.hub:  # what open_clip calls before it builds the network
            huggingface_hub.hf_hub_download(*file.hub.split())
        else:
            how = {"progress": sys.stderr.isatty(), "check_hash": bool(file.sha256_prefix)}
            how |= {"file_name": file.name, "map_location": "cpu", "weights_only": True}
            torch.hub.load_state_dict_from_url(file.url, str(file.cached.parent), **how)
    except Exception as err:  # of urllib, torch, pickle and the hub's own HTTP client
        if not there:
            file.cached.unlink(missing_ok=True)  # torch.hub keeps a file that is cut off
        raise WeightsError(
            f"{file.network}: {file.url} could not be fetched ({type(err).__name__}: "
            f"{(str(err) or '-').splitlines()[0]}). Check the network, and that HF_HUB_OFFLINE is "
            "not 1, then run the same command again."
        ) from err


def run(profile: Profile) -> None:
    """List, ask, fetch, check: the whole command.

    Raises
    ------
    FmriUtilsError
        If consent is not given, or a file cannot be had or is damaged. Files that are whole stay.
    """
    files = wanted_weights(profile)
    if not files:
        say(
            f"PROFILE={profile.name} needs no weights from elsewhere: its networks are in the "
            "repository (data/pretrained). For real data: make weights PROFILE=nsd."
        )
        return
    say("\n".join(map(describe, files)))
    missing = [file for file in files if file.problem()]
    if missing:
        total = gigabytes(sum(file.megabytes for file in missing) * 2**20)
        say(f"To fetch: about {total}. The licences are those of the publishers, not of this code.")
        ensure_consent()
        for file in missing:
            bring(file)
            say(f"{file.name}: fetched")
        for file in wanted_weights(profile):  # anew: now the hub's library knows their SHA-256
            if problem := file.problem():
                place = file.cached.resolve()
                raise WeightsError(
                    f"{file.network}: {problem}. Delete {place} and run the same command again."
                )
    else:
        say("Every file is here: nothing to fetch.")
    say(
        "Not fetched here:\n"
        f"  LAFITE  {WHERE}. Convert one with `make lafite-import FILE=checkpoint.pkl`, or "
        f"train one: `make lafite-train PROFILE={profile.name}`. The profile looks for it at "
        f"{profile.lafite.weights}.\n"
        "  NSD     `make nsd-download SUBJECT=1` asks for the dataset's terms first; the profile "
        f"looks for it at {profile.data.root}."
    )


@command
def main(arguments: list[str]) -> None:
    """Settings of a run and ``CONSENT=yes``."""
    own, rest = taken(arguments, [VARIABLE])
    os.environ.update(own)
    run(parse_request(rest).profile)


if __name__ == "__main__":
    raise SystemExit(main())
