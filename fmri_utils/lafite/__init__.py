"""LAFITE in plain PyTorch: generator, discriminator, losses, training and weights files.

Written from the papers: Zhou et al. 2022 (arXiv 2111.13792), Karras et al. 2020
(arXiv 1912.04958) and 2020 (arXiv 2006.06676). No custom CUDA operators, no code of others.
"""

from .discriminator import Discriminator, DiscriminatorConfig
from .generator import Generator, GeneratorConfig
from .generator_files import load_generator, save_generator
from .released.reader import read_official_pickle
from .state import discriminator_from_state, generator_from_state
from .training.config import TrainingConfig
from .training.data import TrainingData
from .training.loop import Observers, TrainingResult, train
