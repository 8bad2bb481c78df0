"""Files by their names, wherever they lie below a folder, also inside of zip archives."""

import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from ...project.artifacts import own_files
from ...project.errors import DataError
from ...project.reading import reading, require

MOST_BYTES = 2**31  # of one member, unpacked; the largest area has 697 voxels in 5,254 trials
REMEDY = "Fetch it with `make bold5000-download SUBJECT=...`, or put it anywhere below the folder."
DAMAGED = "delete it and fetch it again."
NOTHING = "Give the folder that `make bold5000-download` fills, or fill it: "


class Place(NamedTuple):
    """Where a file lies: a path, or a member of the zip archive there."""

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path}, {self.member}" if self.member else str(self.path)

    def is_in(self, folder: str) -> bool:
        """Whether some folder on the way to it has this name, whatever the case."""
        parts = (*self.path.parts, *self.member.split("/"))[:-1]
        return folder.lower() in (part.lower() for part in parts)


def plain(name: str) -> str:
    """A file's name without what differs between copies: case, and ``.jpeg`` for ``.jpg``."""
    return re.sub(r"\.jpeg$", ".jpg", name.lower())


class NamedFiles:
    """All files below a folder, and all members of the zip archives there.

    A member is only ever read into memory: its path is no place on this disk, whatever it says.

    Parameters
    ----------
    root : path-like
        The folder.

    Raises
    ------
    DataError
        If the folder does not exist or is empty, or an archive is damaged.
    """

    def __init__(self, root: Path):
        self.root = Path(root)
        self._places: dict[str, list[Place]] = {}
        self._archives: dict[Path, zipfile.ZipFile] = {}
        for path in own_files(self.root, "**/*"):
            self._add(path.name, Place(path))
            if path.suffix.lower() == ".zip":
                self._add_members(path)
        if not self._places:
            raise DataError(f"the folder {self.root} does not exist or is empty. {NOTHING}{REMEDY}")

    def _add(self, name: str, place: Place) -> None:
        self._places.setdefault(plain(name), []).append(place)

    def _add_members(self, path: Path) -> None:
        with reading(path, "a zip archive", damaged=DAMAGED):
            archive = self._archives[path] = zipfile.ZipFile(path)
            members = [info.filename for info in archive.infolist() if not info.is_dir()]
        for member in members:
            name = member.rsplit("/", 1)[-1]
            if not name.startswith("."):  # macOS keeps its notes in __MACOSX/._name
                self._add(name, Place(path, member))

    def __contains__(self, name: str) -> bool:
        return plain(name) in self._places

    def matching(self, pattern: re.Pattern) -> dict[str, re.Match]:
        """Names that a pattern fits as a whole, and how it fits them, in order."""
        names = sorted({(p.member or p.path.name).rsplit("/", 1)[-1] for p in self._all()})
        return {name: match for name in names if (match := pattern.fullmatch(name))}

    def _all(self) -> list[Place]:
        return [place for places in self._places.values() for place in places]

    def read(self, name: str, what: str, *, folder: str = "") -> tuple[bytes, Place]:
        """Read the one file of a name.

        Parameters
        ----------
        name : str
            The name, without folders; upper and lower case are the same.
        what : str
            What it holds, for messages.
        folder : str
            If some files of that name lie in a folder of this name, only these count.

        Returns
        -------
        data : bytes
            The whole file.
        place : Place
            Where it was found.

        Raises
        ------
        DataError
            If there is none, it is damaged, or two of the same name differ.
        """
        places = self._places.get(plain(name), [])
        if not places:
            raise DataError(f"{what} is missing: no {name} anywhere below {self.root}. {REMEDY}")
        places = [place for place in places if place.is_in(folder)] or places
        data = self._bytes(places[0], what)
        for other in places[1:]:
            if self._bytes(other, what) != data:
                raise DataError(
                    f"{what}: two files of the name {name} differ: {places[0]} and {other}. "
                    "Move the wrong one out of the folder."
                )
        return data, places[0]

    def _bytes(self, place: Place, what: str) -> bytes:
        require(place.path, what, REMEDY)
        with reading(place.path, what, damaged=DAMAGED):
            if not place.member:
                return place.path.read_bytes()
            archive = self._archives[place.path]
            if (size := archive.getinfo(place.member).file_size) > MOST_BYTES:
                raise ValueError(f"{place.member} would have {size} bytes")
            return archive.read(place.member)  # compares the member's checksum
