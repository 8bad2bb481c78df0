"""Long computations in parts: what is finished is kept, so that a killed run goes on from there."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from tqdm.auto import tqdm

from .artifacts import sha256_json, write_arrays, write_json
from .errors import ArtifactError
from .reading import reading

Arrays = dict[str, np.ndarray]


class Parts:
    """A folder of finished parts, one HDF5 file each, that belongs to one set of inputs.

    Parameters
    ----------
    folder : pathlib.Path
        Where the folders of parts lie.
    key : mapping
        Everything the result depends on, JSON-serialisable: settings, hashes of the inputs. Other
        inputs get another folder, so parts of different runs never mix.

    Attributes
    ----------
    folder : pathlib.Path
        Holds ``key.json`` and ``part-NNNNN.h5``.
    """

    def __init__(self, folder: Path, key: Mapping):
        self.folder = Path(folder) / f"parts-{sha256_json(dict(key))[:16]}"
        self._key = dict(key)

    def path(self, number: int) -> Path:
        """File of one part."""
        return self.folder / f"part-{number:05d}.h5"

    def run(
        self,
        numbers: Sequence[int],
        compute: Callable[[int], Arrays],
        *,
        progress: bool = False,
        what: str = "parts",
    ) -> None:
        """Compute and store the parts that are missing.

        Parameters
        ----------
        numbers : sequence of int
        compute : callable
            ``compute(number) -> {name: array}``; a part depends on its number only, so that a
            resumed run ends with the same values.
        """
        write_json(self.folder / "key.json", self._key, sort_keys=True, default=str)
        missing = [number for number in numbers if not self.path(number).is_file()]
        for number in tqdm(missing, desc=what, disable=not progress, leave=False):
            write_arrays(self.path(number), compute(number))

    def load(self, number: int) -> Arrays:
        """Arrays of one finished part, in the order in which they were computed.

        Raises
        ------
        ArtifactError
            If it is missing or damaged.
        """
        path = self.path(number)
        damaged = "delete it and run again; only this part is computed anew."
        with (
            reading(path, "a finished part", damaged=damaged, error=ArtifactError),
            h5py.File(path, "r") as file,
        ):
            return {name: data[()] for name, data in file.items()}

    def remove(self) -> None:
        """Delete the folder, once the whole result is stored elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)
