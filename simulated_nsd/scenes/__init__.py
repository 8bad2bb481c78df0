"""Procedurally drawn scenes: the stimuli of the simulated Natural Scenes Dataset."""

from simulated_nsd.scenes.caption_text import caption_scene
from simulated_nsd.scenes.catalogue import BACKGROUNDS, GROUPS, KINDS
from simulated_nsd.scenes.drawing import draw_scene
from simulated_nsd.scenes.model import Scene, Thing
from simulated_nsd.scenes.palette import COLOURS
from simulated_nsd.scenes.sampling import sample_scene, sample_scenes
