"""Parts of a study that are computed once and kept, so that a killed study goes on."""

from collections.abc import Callable, Mapping, Sequence

from fmri_utils.project.notebook_files import Files
from fmri_utils.project.parts import Arrays, Parts


def finished(
    files: Files, study: str, settings: Mapping, numbers: Sequence[int], compute: Callable
) -> list[Arrays]:
    """The arrays of all parts; those that are missing are computed, shown by a bar and kept.

    Parameters
    ----------
    files : Files
        What the study reads. Parts lie under ``study`` in the run's derived folder.
    study : str
        Its name, for the bar and in the key of the parts.
    settings : mapping
        All else that a part depends on, besides the files and its number.
    numbers : sequence of int
    compute : callable
        ``compute(number) -> {name: array}``.
    """
    parts = Parts(files.cfg.derived / "study", {"study": study, **settings, **files.hashes})
    parts.run(numbers, compute, progress=True, what=study)
    return [parts.load(number) for number in numbers]
