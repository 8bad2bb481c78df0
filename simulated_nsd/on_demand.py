"""What the notebooks ask of the simulator; both answer "nothing" where a profile has real data."""

from pathlib import Path

import numpy as np

from fmri_utils.nsd.area_masks import not_available
from fmri_utils.project.errors import DataError
from fmri_utils.project.simulation_config import SimulationConfig

from . import scenes
from .ground_truth import GroundTruth, OutsideError, load_ground_truth
from .subject import simulate_subject


def prepare(
    root: Path, settings: SimulationConfig | None, subject: int, *, progress: bool = True
) -> dict | None:
    """Simulate the subject if the profile has simulated data and they are not there yet.

    Parameters
    ----------
    root : pathlib.Path
        The NSD folder.
    settings : SimulationConfig or None
        The profile's section ``simulation``; None for real data, which are left alone.
    subject : int

    Returns
    -------
    dict or None
        The simulator's summary.

    Raises
    ------
    DataError
        If the profile expects real data and the folder holds simulated ones: every figure would
        call them real.
    """
    if settings is None:
        if (root / "simulation.json").exists():
            raise DataError(
                f"{root} holds simulated data (simulation.json), but this profile is for real "
                "data, and its figures would call them the Natural Scenes Dataset. Expected: a "
                "folder of NSD. Set data.root=, or use PROFILE=demo."
            )
        return None
    return simulate_subject(root, settings, subject, progress=progress)


def planted_truth(
    root: Path, simulation: SimulationConfig | None, subject: int, mask: np.ndarray
) -> GroundTruth | None:
    """What was planted in the voxels of a mask, or None where nobody knows, which is printed.

    Nobody knows of real data, nor of a region that reaches beyond visual cortex.

    Parameters
    ----------
    root : pathlib.Path
        The NSD folder.
    simulation : SimulationConfig or None
        The profile's section of that name.
    """
    if simulation is None:
        print("not available: planted truth (real data)")
        return None
    try:
        return load_ground_truth(root, subject, mask)
    except OutsideError:
        not_available("planted truth", "some of its voxels lie outside visual cortex")
        return None


def draw_labelled(stream: int, seed: int, n: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Drawn scenes (n, size, size, 3) and the kind of the main thing in each, (n,)."""
    drawn = scenes.sample_scenes(stream, seed, n)
    pictures = np.stack([scenes.draw_scene(scene, size) for scene in drawn])
    return pictures, np.array([scene.main.kind for scene in drawn])
