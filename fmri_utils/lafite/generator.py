"""LAFITE's generator: a StyleGAN2 whose every convolution also sees a CLIP embedding.

The parameters carry the names of LAFITE's checkpoints, so ``Generator.state_dict()`` is one.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ..project.settings import Count, Line, Positive, settings
from .layers import STRUCTURE_LR, FullyConnected, SynthesisConvolution, ToRGB, upsample_image
from .lean import LARGE_BYTES, render_ones

NOISE_MODES = ("const", "none", "random")
W_AVG_BETA = 0.995


def block_resolutions(resolution: int) -> list[int]:
    """The resolutions 4, 8, ..., ``resolution``.

    Raises
    ------
    ValueError
        If ``resolution`` is not a power of two of at least 8.
    """
    if resolution < 8 or resolution & (resolution - 1):
        raise ValueError(f"resolution is {resolution!r}; expected a power of two, 8 or more")
    return [2**i for i in range(2, resolution.bit_length())]


def channels_by_rule(resolution: int, channel_base: int, channel_max: int) -> tuple[int, ...]:
    """Channels of the blocks 4 ... ``resolution``: min(channel_base // r, channel_max)."""
    return tuple(min(channel_base // r, channel_max) for r in block_resolutions(resolution))


@settings
class NetworkSizes:
    """What the sizes of the generator and of the discriminator have in common."""

    condition_dim: Count = 512
    resolution: Count = 256
    channel_base: Count = 32768
    channel_max: Count = 512
    channels: tuple[Count, ...] | None = None
    clamp: Positive | None = 256.0

    def __post_init__(self):
        blocks = block_resolutions(self.resolution)
        if len(self.block_channels) != len(blocks) or min(self.block_channels) < 1:
            raise ValueError(
                f"channels are {self.block_channels}; expected positive ones for each of {blocks}"
            )

    @property
    def block_channels(self) -> tuple[int, ...]:
        """Channels of the blocks 4, 8, ..., resolution."""
        if self.channels is not None:
            return self.channels
        return channels_by_rule(self.resolution, self.channel_base, self.channel_max)


@settings
class GeneratorConfig(NetworkSizes):
    """Sizes of a generator.

    Parameters
    ----------
    z_dim, w_dim, condition_dim : int
        Widths of the noise vector, of the latent, and of the condition (the CLIP embedding).
    hidden_dim : int
        Width of the second condition layer; 512 in LAFITE.
    inner_dim : int, optional
        Width of the first condition layer; (condition_dim + hidden_dim) // 2 by default.
    resolution : int
        Height and width of the image, a power of two.
    channel_base, channel_max : int
        Channels at resolution r are min(channel_base // r, channel_max).
    channels : tuple of int, optional
        Channels of the blocks 4, 8, ..., resolution, if they do not follow that rule.
    mapping_layers : int
        Fully connected layers from z to w.
    change : int
        Layers above this resolution have "structure 1", the others "structure 2".
    structure_1 : tuple of str, optional
        Names (``"b64.conv0"``) of the structure-1 layers, if ``change`` does not describe them.
    clamp : float or None
        Bound of the activations; 256 in LAFITE. None is a little faster.
    n_conditions : {1, 2}
        Embeddings that the generator takes, beside each other: with 2 (an image's and a caption's)
        each layer has a second condition branch, as in Mind Reader (arXiv 2210.01769).

    Raises
    ------
    ProfileError
        If a size is not a positive integer or the resolution not a power of two, or if layers of
        structure 1 should take two conditions.
    """

    z_dim: Count = 512
    w_dim: Count = 512
    hidden_dim: Count = 512
    inner_dim: Count | None = None
    mapping_layers: Count = 8
    change: Count = 256
    structure_1: tuple[Line, ...] | None = None
    n_conditions: Literal[1, 2] = 1

    def __post_init__(self):
        if self.inner_dim is None:
            inner_dim = (self.condition_dim + self.hidden_dim) // 2
            object.__setattr__(self, "inner_dim", inner_dim)
        super().__post_init__()
        one = self.resolution > self.change if self.structure_1 is None else bool(self.structure_1)
        if self.n_conditions == 2 and one:
            raise ValueError(
                "n_conditions is 2; expected structure 2 in all layers (change at the resolution)"
            )

    @property
    def condition_width(self) -> int:
        """Length of the vector of all conditions beside each other."""
        return self.n_conditions * self.condition_dim

    @property
    def num_ws(self) -> int:
        """How many latents the synthesis network takes: one per convolution, and one more."""
        return 2 * len(block_resolutions(self.resolution))

    def structure(self, layer: str) -> int:
        """1 or 2, of the layer named like ``"b64.conv0"``."""
        if self.structure_1 is not None:
            return 1 if layer in self.structure_1 else 2
        return 1 if int(layer.split(".")[0][1:]) > self.change else 2


class MappingNetwork(nn.Module):
    """z to w: normalised input, then fully connected layers with learning rate x 0.01."""

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.z_dim = config.z_dim
        self.num_ws = config.num_ws
        self.num_layers = config.mapping_layers
        for i in range(config.mapping_layers):
            n_in = config.z_dim if i == 0 else config.w_dim
            layer = FullyConnected(n_in, config.w_dim, lr_multiplier=STRUCTURE_LR, active=True)
            self.add_module(f"fc{i}", layer)
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def forward(self, z: Tensor, truncation_psi: float = 1.0) -> Tensor:
        """Latents of all layers.

        Parameters
        ----------
        z : Tensor, (B, z_dim)
            Standard normal noise.
        truncation_psi : float
            w is pulled towards its mean: w_avg + psi * (w - w_avg). 1 leaves it as it is.

        Returns
        -------
        Tensor, (B, num_ws, w_dim)
        """
        assert z.ndim == 2 and z.shape[1] == self.z_dim, f"z {tuple(z.shape)}"
        w = z * torch.rsqrt(z.square().mean(dim=-1, keepdim=True) + 1e-8)  # mean square of one
        for i in range(self.num_layers):
            w = getattr(self, f"fc{i}")(w)
        if truncation_psi != 1.0:
            w = self.w_avg + truncation_psi * (w - self.w_avg)
        return w.unsqueeze(1).expand(-1, self.num_ws, -1)

    @torch.no_grad()
    def update_average(self, w: Tensor) -> None:
        """Move ``w_avg`` towards the mean of w (B, w_dim); training calls it once a step."""
        self.w_avg.lerp_(w.detach().mean(dim=0), 1.0 - W_AVG_BETA)


class SynthesisBlock(nn.Module):
    """One resolution: two convolutions (one in block 4) and a picture in three channels."""

    def __init__(self, config: GeneratorConfig, resolution: int, n_in: int, n_out: int):
        super().__init__()
        names = ("w_dim", "condition_dim", "inner_dim", "hidden_dim", "clamp", "n_conditions")
        shared = {name: getattr(config, name) for name in names}
        if resolution == 4:
            self.const = nn.Parameter(torch.randn(n_out, 4, 4))
        for name, n_from in (("conv0", n_in), ("conv1", n_out), ("torgb", n_out)):
            own = shared | {"structure": config.structure(f"b{resolution}.{name}")}
            if name == "torgb":
                self.torgb = ToRGB(n_from, **own)
            elif n_from:  # the block at 4 has no conv0
                up = name == "conv0"
                layer = SynthesisConvolution(n_from, n_out, resolution=resolution, up=up, **own)
                self.add_module(name, layer)


class SynthesisNetwork(nn.Module):
    """Latents and condition to an image, in two steps: styles, then convolutions."""

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        self.resolutions = block_resolutions(config.resolution)
        n_in = 0
        for resolution, n_out in zip(self.resolutions, config.block_channels, strict=True):
            self.add_module(f"b{resolution}", SynthesisBlock(config, resolution, n_in, n_out))
            n_in = n_out

    def layers(self) -> list[tuple[str, nn.Module, int]]:
        """(name, layer, index of its w) of every styled layer, in the order of use."""
        out, index = [], 0
        for resolution in self.resolutions:
            block = getattr(self, f"b{resolution}")
            for name in ("conv0", "conv1"):
                if hasattr(block, name):
                    out.append((f"b{resolution}.{name}", getattr(block, name), index))
                    index += 1
            # ToRGB shares the latent of the next block's first convolution.
            out.append((f"b{resolution}.torgb", block.torgb, index))
        return out

    def convolutions(self) -> list[SynthesisConvolution]:
        """The convolutions that take noise, in the order of use."""
        return [layer for _, layer, _ in self.layers() if isinstance(layer, SynthesisConvolution)]

    def styles(self, ws: Tensor, condition: Tensor) -> list[Tensor]:
        """Style of every layer, in the order of :meth:`layers`.

        Parameters
        ----------
        ws : Tensor, (B, num_ws, w_dim)
        condition : Tensor, (B, condition_width)

        Returns
        -------
        list of Tensor, (B, channels of the layer's input)
        """
        config = self.config
        assert ws.shape[1:] == (config.num_ws, config.w_dim), f"ws {tuple(ws.shape)}"
        width = config.condition_width
        assert condition.shape[1:] == (width,), f"condition {tuple(condition.shape)}"
        return [layer.style(ws[:, i], condition) for _, layer, i in self.layers()]

    def draw_noise(self, n: int, rng: torch.Generator) -> list[Tensor]:
        """Fresh noise images, (n, 1, r, r) per convolution, from an explicit generator."""
        noise = []
        for layer in self.convolutions():
            like = {"device": layer.noise_const.device, "dtype": layer.noise_const.dtype}
            shape = n, 1, layer.resolution, layer.resolution
            noise.append(torch.randn(shape, generator=rng, **like))
        return noise

    def noise_images(
        self, noise_mode: str, n: int, rng: torch.Generator | None = None
    ) -> list[Tensor | None]:
        """Noise of every convolution under ``noise_mode``; see :meth:`Generator.forward`."""
        if noise_mode == "none":
            return [None] * len(self.convolutions())
        if noise_mode == "const":
            return [layer.noise_const for layer in self.convolutions()]
        if noise_mode != "random":
            raise ValueError(f"noise_mode is {noise_mode!r}; expected one of {NOISE_MODES}.")
        if rng is None:
            raise ValueError("noise_mode 'random' needs rng, a torch.Generator.")
        return self.draw_noise(n, rng)

    def render(self, styles: Sequence[Tensor], noise: Sequence[Tensor | None]) -> Tensor:
        """Image (B, 3, R, R) from the styles and the noise of each convolution."""
        styles, noise = iter(styles), iter(noise)
        x = self.b4.const
        # channels_last is what the CPU's (and tensor cores') convolutions like best.
        x = x.expand(1, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        image = None
        for k, resolution in enumerate(self.resolutions):
            block = getattr(self, f"b{resolution}")
            if torch.is_inference_mode_enabled() and self._is_large(resolution) and k > 0:
                blocks = [getattr(self, f"b{r}") for r in self.resolutions[k:]]
                return render_ones(blocks, x, image, list(styles), list(noise))
            if resolution > 4:
                x = block.conv0(x, next(styles), next(noise))
            x = block.conv1(x, next(styles), next(noise))
            rgb = block.torgb(x, next(styles))
            image = rgb if image is None else upsample_image(image) + rgb
        return image

    def _is_large(self, resolution: int) -> bool:
        """Whether one sample's activations are worth a pass of their own, on a CPU."""
        block = getattr(self, f"b{resolution}")
        n_bytes = block.conv1.weight.shape[0] * resolution**2 * block.conv1.weight.element_size()
        return block.conv1.weight.device.type == "cpu" and n_bytes >= LARGE_BYTES

    def forward(
        self,
        ws: Tensor,
        condition: Tensor,
        noise_mode: str = "const",
        noise: Sequence[Tensor | None] | None = None,
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """Image (B, 3, R, R) from ws (B, num_ws, w_dim) and condition (B, condition_dim).

        ``noise`` (one (H, W) or (B or 1, 1, H, W) tensor or None per convolution, see
        :meth:`draw_noise`) goes before ``noise_mode``. See :meth:`Generator.forward`.
        """
        if noise is None:
            noise = self.noise_images(noise_mode, ws.shape[0], rng)
        expected = len(self.convolutions())
        if len(noise) != expected:
            raise ValueError(f"{len(noise)} noise images; expected {expected}, one per convolution")
        return self.render(self.styles(ws, condition), noise)


class Generator(nn.Module):
    """Noise vector and CLIP embedding to an image.

    Parameters
    ----------
    config : GeneratorConfig
        A fresh network is initialised from torch's global random state.

    Attributes
    ----------
    mapping : MappingNetwork
    synthesis : SynthesisNetwork
    """

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(config)
        self.synthesis = SynthesisNetwork(config)

    def forward(
        self,
        z: Tensor,
        condition: Tensor,
        noise_mode: str = "const",
        truncation_psi: float = 1.0,
        noise: Sequence[Tensor | None] | None = None,
        rng: torch.Generator | None = None,
    ) -> Tensor:
        """Generate images.

        Parameters
        ----------
        z : Tensor, (B, z_dim)
            Standard normal noise.
        condition : Tensor, (B, condition_width)
            CLIP embeddings of unit norm; two of them beside each other if ``n_conditions`` is 2.
        noise_mode : {"const", "none", "random"}
            The stored noise images, no noise, or fresh noise from ``rng``.
        truncation_psi : float
            1 for the full variety, 0 for the mean latent.
        noise : sequence of Tensor, optional
            Explicit noise images, one per convolution; goes before ``noise_mode``.
        rng : torch.Generator, optional
            Needed for ``noise_mode="random"``, on the network's device.

        Returns
        -------
        Tensor, (B, 3, R, R)
            About -1 (black) to 1 (white), not clipped.
        """
        ws = self.mapping(z, truncation_psi)
        return self.synthesis(ws, condition, noise_mode, noise, rng)
