"""Files that belong to a request, and what the servers say of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from fmri_utils.project.errors import DataError

from .client import Absent, Remote, head, parallel
from .consent import say


@dataclass(frozen=True)
class Wanted:
    """A file that belongs to a request.

    Attributes
    ----------
    key : str
        Its place in the bucket, and below the data folder.
    url : str
        Its address.
    what : str
        Heading for lists.
    optional : bool
        Not every subject has it.
    """

    key: str
    url: str
    what: str
    optional: bool


def ask_all(files: Sequence[Wanted], n_connections: int) -> dict[Wanted, Remote | Absent]:
    """Ask the servers for size and version of files.

    Raises
    ------
    DataError
        If a server does not answer.
    """

    async def ask(wanted: Wanted) -> Remote | Absent:
        try:
            return await head(wanted.url)
        except Absent as err:
            return err

    return dict(zip(files, parallel(ask, files, n_connections), strict=True))


def present(answers: dict[Wanted, Remote | Absent]) -> dict[Wanted, Remote]:
    """The files that are on the servers.

    Raises
    ------
    DataError
        If files that are not optional are not there; it names them all.
    """
    absent = {wanted: answer for wanted, answer in answers.items() if isinstance(answer, Absent)}
    if needed := [str(error) for wanted, error in absent.items() if not wanted.optional]:
        raise DataError("\n".join(needed))
    if absent:
        names = (wanted.key.rsplit("/", 1)[-1] for wanted in absent)
        say(f"Not on the server for this subject, and left out: {', '.join(names)}.")
    return {wanted: answer for wanted, answer in answers.items() if wanted not in absent}
