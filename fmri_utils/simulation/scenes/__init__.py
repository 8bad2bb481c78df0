"""Procedurally drawn scenes: the stimuli of the simulated Natural Scenes Dataset."""

from fmri_utils.simulation.scenes.captions import caption_scene
from fmri_utils.simulation.scenes.catalogue import BACKGROUNDS, GROUPS, KINDS
from fmri_utils.simulation.scenes.drawing import draw_scene
from fmri_utils.simulation.scenes.model import Scene, Thing
from fmri_utils.simulation.scenes.palette import COLOURS
from fmri_utils.simulation.scenes.sampling import sample_scene, sample_scenes

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "GROUPS",
    "KINDS",
    "Scene",
    "Thing",
    "caption_scene",
    "draw_scene",
    "sample_scene",
    "sample_scenes",
]
