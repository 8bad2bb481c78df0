"""Consent: nothing is fetched before a person has agreed to the terms of those who publish it.

The Natural Scenes Dataset's bucket is open to everybody; its agreement is what allows to use it.
BOLD5000's brain data are free of terms (CC0), but its pictures are not. So the answer is asked for
once, at a terminal, and recorded in the data folder.
"""

import datetime
import functools
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.errors import DataError

from ..steps import content

ANSWER = "I agree"


@dataclass(frozen=True)
class Terms:
    """What a person is asked to agree to.

    Attributes
    ----------
    what : str
        Whose terms: "NSD".
    url : str
        Where the terms themselves are.
    summary : str
        Name of the file beside this module that says in substance what they demand.
    version : int
        Of the summary. Raise it when it changes in substance: everybody is asked again.
    marker : str
        Name of the file in the data folder that records the answer.
    variable : str
        Of the environment; confirms the answer where there is no terminal.
    question : str
        Follows "Type ... if you".
    remedy : str
        What to do after a refusal.
    """

    what: str
    url: str
    summary: str
    version: int
    marker: str
    variable: str
    question: str
    remedy: str


NSD = Terms(
    what="NSD",
    url="https://cvnlab.slite.page/p/IB6BSeW_7o",  # codespell:ignore slite
    summary="terms.txt",
    version=1,
    marker="nsd-terms-accepted.json",
    variable="NSD_TERMS_ACCEPTED",
    question="have submitted the NSD Data Access Agreement and accept its terms",
    remedy="Read and submit the agreement (https://naturalscenesdataset.org), then run the same "
    "command again.",
)
BOLD5000_PICTURES = Terms(
    what="the pictures of BOLD5000",
    url="https://bold5000-dataset.github.io/website/",
    summary="terms_bold5000.txt",
    version=1,
    marker="bold5000-pictures-accepted.json",
    variable="BOLD5000_PICTURES_ACCEPTED",
    question="accept these terms and want to download the pictures",
    remedy="The rest is free of terms: fetch it alone with PICTURES=none.",
)

say = functools.partial(print, flush=True)


def at_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def agree(what: str, remedy: str) -> None:
    """Ask for consent; return only if the answer is :data:`ANSWER`.

    Parameters
    ----------
    what : str
        Follows "Type ... if you".
    remedy : str
        What to do after any other answer.

    Raises
    ------
    DataError
        On any other answer.
    """
    answer = input(f"Type `{ANSWER}` if you {what}: ")
    if answer.strip().strip("`'\"").lower() != ANSWER.lower():
        raise DataError(
            f"the terms were not accepted, so nothing was downloaded. Expected: {ANSWER}. {remedy}"
        )


def ensure_consent(root: Path, terms: Terms | None = None) -> None:
    """Return only if the terms were accepted; ask at a terminal if they were not yet.

    Where there is no terminal, a variable such as ``NSD_TERMS_ACCEPTED=yes`` is needed besides the
    record: a folder that was only copied does not speak for the person who runs the job.

    Parameters
    ----------
    root : pathlib.Path
        The data folder; the answer is recorded there.
    terms : Terms, optional
        Those of NSD by default.

    Raises
    ------
    DataError
        If consent was refused, or cannot be asked for.
    """
    terms = terms or NSD
    marker, variable = root / terms.marker, terms.variable
    given = _recorded(marker, terms.version)
    if not at_terminal():
        if given and os.environ.get(variable) == "yes":
            return
        raise DataError(
            f"consent to the terms of {terms.what} ({terms.url}) cannot be asked for without a "
            f"terminal. Expected: a record in {marker}, which is {'' if given else 'not '}there, "
            f"and {variable}=yes in the environment. Run the same command once at a terminal to be "
            f"asked (before any download); then set {variable}=yes here to confirm your answer."
        )
    if not given:
        summary = Path(__file__).with_name(terms.summary).read_text()
        say(summary.format(TERMS_URL=terms.url))
        agree(terms.question, terms.remedy)
        record = {
            "accepted": True,
            "agreement": f"the person who typed the answer said: I {terms.question}",
            "answer": ANSWER,
            "date": datetime.date.today().isoformat(),
            "summary_version": terms.version,
            "terms": terms.url,
        }
        with atomic_path(marker) as part:
            part.write_text(json.dumps(record, indent=1) + "\n")
        say(f"Recorded in {marker}.")


def _recorded(marker: Path, version: int) -> bool:
    """Whether this version of the summary was accepted."""
    said = content(marker)
    return said.get("accepted") is True and said.get("summary_version") == version
