"""The networks that student and teacher share: a small vision transformer, an MLP, and the head."""

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations


class Edges(nn.Module):
    """Pictures (B, 3, H, W) to their horizontal and vertical gradients (B, 2, H, W).

    Fixed Sobel filters of the luminance, as DeepCluster's first layer (Caron et al. 2018): colour
    and the large even areas of a background, which any two views share, are not there to be
    learned instead of shape.
    """

    def __init__(self):
        super().__init__()
        across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
        self.register_buffer("filters", torch.stack([across, across.T])[:, None], persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Gradients (B, 2, H, W); pictures go on beyond their border as they end."""
        luminance = functional.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        return functional.conv2d(luminance, self.filters)


def convolutional_stem(patch: int, width: int) -> nn.Sequential:
    """Pictures (B, 3, H, W) to one vector for each patch, (B, width, H / patch, W / patch).

    After :class:`Edges` convolutions of stride two, each with twice the channels of the one before,
    instead of one linear map of a whole patch: a transformer then learns from fewer pictures (Xiao
    et al. 2021).
    """
    channels = [width // 2**i for i in reversed(range(patch.bit_length() - 1))]
    layers: list[nn.Module] = [Edges()]
    for before, after in zip([2, *channels[:-1]], channels, strict=True):
        layers.append(nn.Conv2d(before, after, 3, stride=2, padding=1))
        layers += [nn.GroupNorm(1, after), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(width, width, 1))


def place_codes(width: int, n_side: int) -> torch.Tensor:
    """Where a patch is, (1, width, n_side, n_side): sines and cosines of its row and column.

    They vary smoothly, so that views with fewer patches may have them interpolated, and are as
    large as what is seen, so that the layout of a picture counts from the start.
    """
    rates = torch.pi * 2.0 ** torch.linspace(-1, 2, width // 4)  # from a half wave to four
    ends = 1 - 1 / n_side  # places are the centres of the patches, the picture spanning -1 to 1
    waves = rates[:, None] * torch.linspace(-ends, ends, n_side)
    codes = torch.cat([waves.sin(), waves.cos()])  # (width / 2, n_side)
    rows = codes[:, :, None].expand(-1, n_side, n_side)
    return torch.cat([rows, rows.transpose(1, 2)])[None]


class ClassAttention(nn.Module):
    """A last layer in which one token gathers from all patches (CaiT, Touvron et al. 2021).

    What the token attends to is all that it knows of a picture, so that the attention can be read.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.norm = nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        nn.init.trunc_normal_(self.token, std=0.02)

    def forward(self, patches: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of patches (B, P, width) the token (B, width), and its attention (B, heads, P)."""
        token = self.token.expand(len(patches), -1, -1)
        seen = self.norm(patches)
        found, weights = self.attend(
            self.norm(token), seen, seen, need_weights=True, average_attn_weights=False
        )
        token = (token + found)[:, 0]
        return token + self.mlp(token), weights[:, :, 0]


class TinyViT(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021) small enough for a CPU.

    Parameters
    ----------
    size : int
        Pixels on a side of a full view. Smaller views use interpolated positions.
    patch : int
        Pixels on a side of a patch, a power of two.
    width, depth, heads : int
        The last of ``depth`` layers is a :class:`ClassAttention`.
    """

    def __init__(
        self, size: int = 64, patch: int = 8, width: int = 96, depth: int = 3, heads: int = 3
    ):
        super().__init__()
        self.width, self.n_side = width, size // patch
        self.embed = convolutional_stem(patch, width)
        self.place = nn.Parameter(place_codes(width, self.n_side))
        form = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, **form) for _ in range(depth - 1)
        )
        self.gather = ClassAttention(width, heads)
        self.norm = nn.LayerNorm(width)

    def _gathered(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The class token (B, width) and its attention (B, heads, h, w)."""
        maps = self.embed(images)  # (B, width, h, w)
        place = self.place
        if maps.shape[2:] != place.shape[2:]:
            place = functional.interpolate(place, maps.shape[2:], mode="bilinear")
        patches = (maps + place).flatten(2).transpose(1, 2)  # (B, h w, width)
        for layer in self.layers:
            patches = layer(patches)
        token, weights = self.gather(patches)
        return self.norm(token), weights.unflatten(2, maps.shape[2:])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features (B, width), the class token, of images (B, 3, H, W), RGB in [0, 1]."""
        return self._gathered(images)[0]

    @torch.no_grad()
    def attention(self, images: torch.Tensor) -> torch.Tensor:
        """Attention of the class token to each patch, (B, heads, h, w); each map sums to one."""
        return self._gathered(images)[1]


class VoxelMLP(nn.Module):
    """Two layers over voxels; features (B, width) of patterns (B, V)."""

    def __init__(self, n_voxels: int, width: int = 128, hidden: int = 256):
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(
            nn.Linear(n_voxels, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(self, patterns: torch.Tensor) -> torch.Tensor:
        """Features (B, width)."""
        return self.layers(patterns)


class Head(nn.Module):
    """Projection head of DINO: an MLP, unit length, and a weight-normalised last layer.

    The last layer's rows have length one, so that an output is the cosine of the feature with one
    of ``n_outputs`` directions ("prototypes"), and no output can win by a larger weight.
    """

    def __init__(self, width: int, n_outputs: int):
        super().__init__()
        first, second, third = nn.Linear(width, 256), nn.Linear(256, 256), nn.Linear(256, 64)
        self.mlp = nn.Sequential(first, nn.GELU(), second, nn.GELU(), third)
        self.last = parametrizations.weight_norm(nn.Linear(64, n_outputs, bias=False))
        length = self.last.parametrizations.weight.original0  # (n_outputs, 1), kept at one
        length.data.fill_(1.0)
        length.requires_grad = False

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Outputs (B, n_outputs), cosines in [-1, 1], before any temperature."""
        return self.last(functional.normalize(self.mlp(features), dim=1))


class Learner(nn.Module):
    """A backbone and its head; student and teacher are one of these each."""

    def __init__(self, backbone: nn.Module, n_outputs: int):
        super().__init__()
        self.backbone = backbone
        self.head = Head(backbone.width, n_outputs)

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Outputs (B, n_outputs) of a batch of views of one size."""
        return self.head(self.backbone(views))
