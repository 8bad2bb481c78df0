"""The optimiser of both networks."""

import torch
from torch import nn

from ..layers import STRUCTURE_LR, FullyConnected, SynthesisConvolution
from .config import TrainingConfig


def _groups(network: nn.Module, config: TrainingConfig) -> list[dict]:
    """Parameters by speed: mapping and condition layers, strengths of the noise, and the others."""
    speeds = dict.fromkeys(network.parameters(), 1.0)
    for layer in network.modules():
        if isinstance(layer, FullyConnected) and layer.bias_gain == STRUCTURE_LR:
            speeds |= dict.fromkeys(layer.parameters(), config.condition_rate)
        elif isinstance(layer, SynthesisConvolution):
            speeds[layer.noise_strength] = config.noise_rate
    groups: dict[float, list] = {}
    for parameter, speed in speeds.items():
        groups.setdefault(speed, []).append(parameter)
    return [{"params": params, "speed": speed} for speed, params in groups.items()]


class LazyAdam(torch.optim.Adam):
    """Adam whose rate and betas are corrected for a regulariser that acts every few steps.

    The regulariser's own update is one more in ``interval``, hence the factor
    interval / (interval + 1); see Karras et al. 2020, appendix B.

    Parameters
    ----------
    network : nn.Module
    config : TrainingConfig
    rate : float
        Learning rate before the correction.
    interval : int
        0 if there is no regulariser.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig, rate: float, interval: int):
        ratio = interval / (interval + 1) if interval else 1.0
        self.rate = rate * ratio
        betas = (config.beta1**ratio, config.beta2**ratio)
        groups = _groups(network, config)
        # fused: one pass over the parameters
        super().__init__(groups, lr=self.rate, betas=betas, eps=config.epsilon, fused=True)

    def set_factor(self, factor: float) -> None:
        """Set every group's rate to ``factor`` times its own full rate."""
        for group in self.param_groups:
            group["lr"] = self.rate * group["speed"] * factor
