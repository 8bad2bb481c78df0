"""What notebooks hand to each other: one table of files, one way to open and to save them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from . import artifacts, provenance
from .errors import ArtifactError
from .profiles import PROJECT_ROOT, Profile
from .reading import require

WRITTEN_BY = {
    "01": ("betas.h5", "stimuli.h5"),
    "02": ("embeddings.h5", "joint.h5"),
    "03": (
        *(f"{encoder}.safetensors" for encoder in ("ridge", "contrastive", "mlp", "matched")),
        *("prior.safetensors", "predictions.h5", "encoder_scores.json"),
    ),
    "04": ("reconstructions.h5", "picture_scores.json"),
    "05": ("effects.h5",),
    "06": ("areas.h5", "areas.json"),
    "07": ("student_teacher.h5", "selfsupervised_scores.json"),
}
"""Number of each notebook, and the files that it writes into a run's derived folder."""


GET_WEIGHTS = "Restore the file, or name another by lafite.weights=."


def derived_file(cfg: Profile, name: str) -> tuple[Path, str]:
    """Path of a derived file, and what to do where it is missing.

    Parameters
    ----------
    cfg : Profile
    name : str
        ``"betas"`` or ``"betas.h5"``. Without an ending, the first of the table is meant.

    Raises
    ------
    ArtifactError
        If no notebook writes such a file.
    """
    known = {file: number for number, files in WRITTEN_BY.items() for file in files}
    found = [file for file in known if name in (file, file.partition(".")[0])]
    if not found:
        raise ArtifactError(f"no notebook writes {name!r}. Expected: one of {', '.join(known)}.")
    return cfg.derived / found[0], f"Run `make {known[found[0]]}`."


class Arrays(Mapping):
    """The arrays of one derived file, each read when it is first asked for; groups are dicts.

    Parameters
    ----------
    path : pathlib.Path
        An HDF5 file whose manifest was checked.
    remedy : str
        What to do if it lacks an array or has changed since.
    """

    def __init__(self, path: Path, remedy: str):
        self._path, self._remedy, self._read = path, remedy, {}
        with artifacts.reading_derived(path, remedy), h5py.File(path, "r") as file:
            self._names = tuple(file)
        self._stamp = self._now()

    def _now(self) -> tuple[int, int]:
        about = self._path.stat()
        return about.st_mtime_ns, about.st_size

    def __getitem__(self, name: str) -> np.ndarray | dict:
        if name not in self._read:
            if name not in self._names:
                raise ArtifactError(
                    f"{self._path} lacks {name!r}; it holds {sorted(self._names)}. {self._remedy}"
                )
            with artifacts.reading_derived(self._path, self._remedy):
                now = self._now()
            if now != self._stamp:
                raise ArtifactError(
                    f"{self._path} has changed since it was opened. Expected: the file that was "
                    "opened, so that all arrays are of one run. Run this notebook from the top."
                )
            self._read |= artifacts.read_arrays(self._path, (name,), remedy=self._remedy)
        return self._read[name]

    def get(self, name: str, default: object = None) -> object:
        """An array, or the default where the file has none of this name."""
        return self[name] if name in self._names else default

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Files(dict):
    """Opened files of a run by name, and where the results of what reads them are saved.

    An HDF5 file is a mapping of arrays, a JSON file its content. Weights are given as paths, for
    :func:`fmri_utils.encoders.load_encoder` and :func:`fmri_utils.lafite.load_generator`.

    Attributes
    ----------
    cfg : Profile
    hashes : dict of str to str
        Name of each opened file, and its SHA-256.
    written : list of pathlib.Path
        What was saved, in order.
    """

    def __init__(self, cfg: Profile, names: tuple[str, ...]):
        self.cfg, self.hashes, self.written = cfg, {}, []
        super().__init__((name, self._open(name)) for name in names)

    def _open(self, name: str) -> object:
        if name == "generator":
            path = self.cfg.path(self.cfg.lafite.weights)
            require(path, "the generator's weights", GET_WEIGHTS, ArtifactError)
            self.hashes[path.name] = artifacts.sha256_file(path)
            return path
        path, remedy = derived_file(self.cfg, name)
        self.hashes[path.name] = artifacts.check_manifest(path, remedy=remedy)["sha256"]
        if path.suffix == ".h5":
            return Arrays(path, remedy)
        return artifacts.read_json(path, remedy=remedy) if path.suffix == ".json" else path

    @property
    def origin(self) -> dict:
        """What manifests say of all that is made from these files: ``config`` and ``inputs``."""
        return {"config": self.cfg.as_dict(), "inputs": self.hashes}

    def save(self, name: str, value: object, write: Callable | None = None) -> None:
        """Write a derived file with its manifest.

        Parameters
        ----------
        name : str
            As for :func:`open_inputs`.
        value : object
            Mapping of arrays for an HDF5 file, a JSON-serialisable value for a JSON file, or what
            ``write`` takes.
        write : callable, optional
            ``write(value, path)``, such as :func:`fmri_utils.encoders.save_encoder`.
        """
        path, _ = derived_file(self.cfg, name)
        if write is not None:
            with artifacts.atomic_path(path) as tmp:
                write(value, tmp)
            artifacts.write_manifest(path, **self.origin)
        elif path.suffix == ".json":
            artifacts.save_json(path, value, **self.origin)
        else:
            artifacts.save_arrays(path, value, **self.origin)
        self.written.append(path)

    def about_figures(self, notebook: str) -> dict[str, str]:
        """What every figure says of itself: notebook, settings (a hash of them) and seed."""
        configuration = artifacts.sha256_json(self.cfg.as_dict())[:12]
        return {"notebook": notebook, "configuration": configuration, "seed": str(self.cfg.seed)}

    def publish(self, drawn: Iterable[Path], *, made_by: str) -> None:
        """Put figures and results into the run's folder of figures; see :func:`provenance.publish`.

        Parameters
        ----------
        drawn : iterable of pathlib.Path
            New files, elsewhere.
        made_by : str
            Name of the notebook.
        """
        cfg = self.cfg
        names = cfg.lafite.weights, cfg.lafite.judge, cfg.lafite.bank, cfg.dino.weights
        paths = [path for path in map(cfg.path, names) if path.is_file()]
        weights = {path.name: artifacts.sha256_file(path) for path in paths}
        about = {"made_by": made_by, "weights": weights, **self.origin}
        self.written += provenance.publish(drawn, cfg.figures, **about)

    def finish(self, next_notebook: str) -> artifacts.OutputList:
        """Declare what was saved: the value of every numbered notebook's last cell."""
        return artifacts.list_outputs(self.written, root=PROJECT_ROOT, next_notebook=next_notebook)


def open_inputs(cfg: Profile, *names: str) -> Files:
    """Open files that earlier notebooks wrote, after checking that each is whole and unchanged.

    Parameters
    ----------
    cfg : Profile
    *names : str
        Such as ``"betas"``, ``"areas.json"``, or ``"generator"``, the profile's LAFITE weights;
        none for a notebook that reads no derived file.

    Raises
    ------
    ArtifactError
        If a file is missing or damaged; the message names the notebook that writes it.
    """
    return Files(cfg, names)


def open_study(cfg: Profile, name: str) -> dict:
    """What ``make study`` found and wrote beside the figures; empty where it was not run.

    Parameters
    ----------
    cfg : Profile
    name : str
        A part of the study: ``"encoders"``, ``"generator"``, ``"perturbation"``,
        ``"selfsupervised"`` or ``"simulator"``.

    Raises
    ------
    ArtifactError
        If the file is damaged, or has no manifest.
    """
    path = cfg.figures / f"study_{name}.json"
    return artifacts.load_json(path, remedy="Run `make study`.") if path.is_file() else {}
