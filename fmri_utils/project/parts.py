"""Long computations in parts: what is finished is kept, so that a killed run goes on from there."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from tqdm.auto import tqdm

from .artifacts import atomic_path, sha256_json
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
        with atomic_path(self.folder / "key.json") as tmp:
            tmp.write_text(json.dumps(self._key, indent=1, sort_keys=True, default=str) + "\n")

        missing = [number for number in numbers if not self.path(number).is_file()]
        for number in tqdm(missing, desc=what, disable=not progress, leave=False):
            arrays = compute(number)
            with (
                atomic_path(self.path(number)) as tmp,
                h5py.File(tmp, "w", track_order=True) as file,
            ):
                for name, values in arrays.items():
                    file.create_dataset(name, data=values, track_times=False)

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
