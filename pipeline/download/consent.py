"""Consent to the terms of the Natural Scenes Dataset, asked once and recorded in the data folder.

The bucket is open to everybody; the agreement is what allows to use it. So nothing is fetched
before a person has said, at a terminal, that the agreement was submitted.
"""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path

from fmri_utils.project.artifacts import atomic_path
from fmri_utils.project.errors import DataError

from .asking import ANSWER, agree, at_terminal, say

MARKER = "nsd-terms-accepted.json"
VARIABLE = "NSD_TERMS_ACCEPTED"
TERMS_URL = "https://cvnlab.slite.page/p/IB6BSeW_7o"  # codespell:ignore slite
SITE_URL = "https://naturalscenesdataset.org"
SUMMARY_VERSION = 1  # raise it when the summary changes in substance: everybody is asked again

SUMMARY = f"""\
The Natural Scenes Dataset (NSD) is free, but not without terms. Its authors ask everybody to
submit the NSD Data Access Agreement before downloading. The form and the terms are linked from
  {SITE_URL}
  {TERMS_URL}
In substance, and in our words (the terms themselves are what counts):
  * Access is given for research and teaching only, free of charge, and to nobody exclusively.
  * Neither the data nor parts of it may be passed on to any other person or organisation.
    Copies on the web are no exception.
  * Everybody in your team who works with the data keeps the terms; you see to it.
  * The data may not be sold or used for profit.
  * You follow the rules of your institution and its ethics board.
  * You do not try to find out who the participants are. If something in the data tells it by
    accident, you report that to the authors.
  * Whatever you publish cites Allen et al. (2022), Nature Neuroscience 25, 116-126, and
    acknowledges the grants NSF IIS-1822683 and IIS-1822929.
  * The data come as they are, without warranty or liability. The law of your country applies.
This program does not submit the form for you."""

QUESTION = (
    f"Type `{ANSWER}` if you have submitted the NSD Data Access Agreement and accept its terms: "
)


def ensure_consent(root: Path) -> None:
    """Return only if the terms were accepted; ask at a terminal if they were not yet.

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
    given = _recorded(root)
    if at_terminal():
        if not given:
            say(SUMMARY)
            agree(
                QUESTION,
                f"Read and submit the agreement ({SITE_URL}), then run the same command again.",
            )
            _record(root)
            say(f"Recorded in {root / MARKER}.")
    elif not given:
        raise DataError(
            "consent to the terms of NSD cannot be asked for without a terminal, and none is "
            f"recorded in {root / MARKER}. Run the same command once at a terminal (the first "
            f"question comes before any download), then start it here with {VARIABLE}=yes in the "
            f"environment. The terms: {TERMS_URL}"
        )
    elif os.environ.get(VARIABLE) != "yes":
        raise DataError(
            f"consent to the terms of NSD is recorded in {root / MARKER}, but this runs without a "
            f"terminal. Set {VARIABLE}=yes in the environment to confirm that it is yours. The "
            f"terms: {TERMS_URL}"
        )


def _recorded(root: Path) -> bool:
    """Whether this version of the summary was accepted."""
    try:
        marker = json.loads((root / MARKER).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(marker, dict) and (
        marker.get("accepted") is True and marker.get("summary_version") == SUMMARY_VERSION
    )


def _record(root: Path) -> None:
    marker = {
        "accepted": True,
        "agreement": "NSD Data Access Agreement, submitted by the person who typed the answer",
        "answer": ANSWER,
        "date": datetime.date.today().isoformat(),
        "summary_version": SUMMARY_VERSION,
        "terms": TERMS_URL,
    }
    with atomic_path(root / MARKER) as part:
        part.write_text(json.dumps(marker, indent=1) + "\n")
