"""Consent: nothing is fetched before a person has agreed to the terms of those who publish it.

The Natural Scenes Dataset's bucket is open to everybody; its agreement is what allows to use it. So
the answer is asked for once, at a terminal, and recorded in the data folder.
"""

import datetime
import functools
import json
import os
import sys
from pathlib import Path

from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.errors import DataError

from ..steps import content

ANSWER = "I agree"
MARKER = "nsd-terms-accepted.json"
VARIABLE = "NSD_TERMS_ACCEPTED"
TERMS_URL = "https://cvnlab.slite.page/p/IB6BSeW_7o"  # codespell:ignore slite
SITE_URL = "https://naturalscenesdataset.org"
SUMMARY_VERSION = 1  # raise it when the summary changes in substance: everybody is asked again

SUMMARY = Path(__file__).with_name("terms.txt").read_text()

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


def ensure_consent(root: Path) -> None:
    """Return only if the terms of NSD were accepted; ask at a terminal if they were not yet.

    Where there is no terminal, the variable ``NSD_TERMS_ACCEPTED=yes`` is needed besides the
    record: a folder that was only copied does not speak for the person who runs the job.

    Parameters
    ----------
    root : pathlib.Path
        The data folder; the answer is recorded in ``nsd-terms-accepted.json`` there.

    Raises
    ------
    DataError
        If consent was refused, or cannot be asked for.
    """
    marker = root / MARKER
    given = _recorded(marker)
    if not at_terminal():
        if given and os.environ.get(VARIABLE) == "yes":
            return
        raise DataError(
            f"consent to the terms of NSD ({TERMS_URL}) cannot be asked for without a terminal. "
            f"Expected: a record in {marker}, which is {'' if given else 'not '}there, and "
            f"{VARIABLE}=yes in the environment. Run the same command once at a terminal to be "
            f"asked (before any download); then set {VARIABLE}=yes here to confirm your answer."
        )
    if not given:
        say(SUMMARY.format(SITE_URL=SITE_URL, TERMS_URL=TERMS_URL))
        agree(
            "have submitted the NSD Data Access Agreement and accept its terms",
            f"Read and submit the agreement ({SITE_URL}), then run the same command again.",
        )
        record = {
            "accepted": True,
            "agreement": "NSD Data Access Agreement, submitted by the person who typed the answer",
            "answer": ANSWER,
            "date": datetime.date.today().isoformat(),
            "summary_version": SUMMARY_VERSION,
            "terms": TERMS_URL,
        }
        with atomic_path(marker) as part:
            part.write_text(json.dumps(record, indent=1) + "\n")
        say(f"Recorded in {marker}.")


def _recorded(marker: Path) -> bool:
    """Whether this version of the summary was accepted."""
    said = content(marker)
    return said.get("accepted") is True and said.get("summary_version") == SUMMARY_VERSION
