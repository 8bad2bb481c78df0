"""The networks that student and teacher share: a small vision transformer, an MLP, and the head."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations


class TinyViT(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021) small enough for a CPU.

    Parameters
    ----------
    size : int
        Pixels on a side of a full view. Smaller views use interpolated positions.
    patch : int
        Pixels on a side of a patch; one token each, and one more, the class token.
    width, depth, heads : int
    """

    def __init__(
        self, size: int = 64, patch: int = 8, width: int = 96, depth: int = 4, heads: int = 3
    ):
        super().__init__()
        self.settings = {
            "size": size,
            "patch": patch,
            "width": width,
            "depth": depth,
            "heads": heads,
        }
        self.width, self.n_side = width, size // patch
        self.embed = nn.Conv2d(3, width, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(torch.zeros(1, width, self.n_side, self.n_side))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                heads,
                4 * width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        nn.init.trunc_normal_(self.place, std=0.02)
        nn.init.trunc_normal_(self.token, std=0.02)

    def _tokens(self, images: torch.Tensor) -> torch.Tensor:
        """Class token and patch tokens with their places, (B, 1 + P, width)."""
        maps = self.embed(2 * images - 1)  # (B, width, h, w)
        place = self.place
        if maps.shape[2:] != place.shape[2:]:
            place = functional.interpolate(
                place, maps.shape[2:], mode="bilinear", align_corners=False
            )
        patches = (maps + place).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(images), -1, -1), patches], 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Features (B, width), the class token, of images (B, 3, H, W), RGB in [0, 1]."""
        tokens = self._tokens(images)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm(tokens[:, 0])

    @torch.no_grad()
    def attention(self, images: torch.Tensor) -> torch.Tensor:
        """Attention of the class token to each patch in the last layer, (B, heads, h, w).

        Each map sums to the share of attention that does not go to the class token itself.
        """
        tokens = self._tokens(images)
        for layer in self.layers[:-1]:
            tokens = layer(tokens)
        last = self.layers[-1]
        normed = last.norm1(tokens)
        _, weights = last.self_attn(
            normed, normed, normed, need_weights=True, average_attn_weights=False
        )  # (B, heads, 1 + P, 1 + P)
        patch = self.settings["patch"]
        side = (images.shape[2] // patch, images.shape[3] // patch)
        return weights[:, :, 0, 1:].unflatten(2, side)


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

    def __init__(self, width: int, n_outputs: int, hidden: int = 256, bottleneck: int = 64):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.last = parametrizations.weight_norm(nn.Linear(bottleneck, n_outputs, bias=False))
        length = self.last.parametrizations.weight.original0  # (n_outputs, 1), kept at one
        length.data.fill_(1.0)
        length.requires_grad = False

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Outputs (B, n_outputs), cosines in [-1, 1], before any temperature."""
        return self.last(functional.normalize(self.mlp(features), dim=1))


class Learner(nn.Module):
    """A backbone and its head; student and teacher are one of these each."""

    def __init__(self, backbone: nn.Module, n_outputs: int, **head: int):
        super().__init__()
        self.backbone = backbone
        self.head = Head(backbone.width, n_outputs, **head)

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Outputs (B, n_outputs) of a batch of views of one size."""
        return self.head(self.backbone(views))
