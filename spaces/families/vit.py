"""Plain vision transformer: patches, self-attention, the mean of all patches; no class token.

The width is the number of heads times the width of a head, so it always divides. Images are padded with zeros to a
multiple of the patch. Positions are sines and cosines of row and column, with nothing to train.

Source:
    Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, section 3.1;
    Beyer, Zhai, Kolesnikov, Better plain ViT baselines for ImageNet-1k, 2022 (mean of the patches, positions);
    Touvron et al., Data-efficient image transformers, ICML 2021, table 1 (the size `vit_tiny`).
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.family import Family, ImageShape
from paredown.spaces.families.layers import named
from paredown.spaces.knob import Choice, Knob, Knobs, Range, Value

LEAST_GRID, MOST_PATCHES = 2, 1024
"""Minimum number of patches along the shorter side, and maximum in all: attention costs the square of it."""
SLOWEST = 10_000
"""Ratio of the shortest to the longest wavelength of the positions."""


class Attention(nn.Module):
    """Self-attention of several heads."""

    kept = ("query_key_value",)

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x t x d` to the same shape; `t` patches of width `d`."""
        n, t, d = x.shape
        parts = self.query_key_value(x).reshape(n, t, 3, self.heads, self.head_width)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (query @ key.transpose(2, 3) / math.sqrt(self.head_width)).softmax(3)
        y: Tensor = self.project((weights @ value).transpose(1, 2).reshape(n, t, d))
        return y


class Block(nn.Module):
    """Attention, then a perceptron of one hidden layer, each normalised before and added to its input.

    Attributes:
        earlier_names: Earlier versions numbered what is added in two sequences.
    """

    earlier_names: Mapping[str, str] = {
        "attention.0": "norm1",
        "attention.1": "attention",
        "perceptron": "mlp",
        "perceptron.0": "norm2",
        "perceptron.1": "mlp.expand",
        "perceptron.2": "mlp.activation",
        "perceptron.3": "mlp.project",
    }

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = named(expand=nn.Linear(width, hidden), activation=nn.GELU(), project=nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x t x d` to the same shape."""
        x = x + self.attention(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class VisionTransformer(nn.Module):
    """Patches become vectors; blocks follow, then the mean over patches and a classifier.

    Every block adds to these vectors, and positions have their width, so that width cannot be pruned.
    """

    kept = ("patches",)

    def __init__(self, shape: ImageShape, classes: int, knobs: Knobs) -> None:
        super().__init__()
        patch, heads = int(knobs["patch"]), int(knobs["heads"])
        width = heads * int(knobs["head_width"])
        hidden = round(width * float(knobs["mlp_ratio"]))
        rows, columns = _grid(shape, patch)
        missing = (rows * patch - shape[1], columns * patch - shape[2])
        self.patches = nn.Conv2d(shape[0], width, patch, patch, (math.ceil(missing[0] / 2), math.ceil(missing[1] / 2)))
        self.positions: Tensor
        self.register_buffer("positions", positions(rows, columns, width))
        self.blocks = nn.Sequential(*(Block(width, heads, hidden) for _ in range(int(knobs["depth"]))))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x c x h x w` to `n x classes`."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        y: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return y


def positions(rows: int, columns: int, width: int) -> Tensor:
    """Return `t x width`: sines and cosines of the row and of the column of each of the `t` patches, row by row.

    Args:
        rows: Patches from top to bottom.
        columns: Patches from left to right.
        width: A multiple of 4.
    """
    frequencies = SLOWEST ** -(torch.arange(width // 4) / (width // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.flatten()[:, None] * frequencies for place in (column, row)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1)


def _grid(shape: ImageShape, patch: int) -> tuple[int, int]:
    rows, columns = math.ceil(shape[1] / patch), math.ceil(shape[2] / patch)
    at = f"vit: images of {shape[1]} x {shape[2]} px make {rows} x {columns} patches of {patch} px"
    if min(rows, columns) < LEAST_GRID:
        raise InfeasibleCandidate(f"{at}; allowed: at least {LEAST_GRID} x {LEAST_GRID}, by a smaller patch")
    if rows * columns > MOST_PATCHES:
        raise InfeasibleCandidate(f"{at}; allowed: at most {MOST_PATCHES} in all, by a larger patch")
    return rows, columns


def _knobs(resolutions: Range) -> Mapping[str, Knob]:
    # The first must fit the smallest image and the last the largest: they are the ends of the space.
    larger = tuple(patch for patch in (8, 16) if resolutions.high >= 8 * patch)
    return {
        "patch": Choice((4, 2, *larger)),
        "depth": Range(1, 12, 1),
        "heads": Choice((1, 2, 3, 4, 6)),
        "head_width": Choice((8, 16, 32, 64)),
        "mlp_ratio": Range(1.0, 4.0, 0.5),
        "resolution": resolutions,
    }


def _baseline(resolutions: Range) -> Mapping[str, Value]:
    """Return a usual network with the largest patch of the space; images below 8 px allow only patches of 2 px."""
    patch = 16 if resolutions.high >= LEAST_GRID * 4 else 2
    return {"patch": patch, "depth": 6, "heads": 4, "head_width": 16, "mlp_ratio": 2.0}


def _build(knobs: Knobs, shape: ImageShape, classes: int) -> nn.Module:
    return VisionTransformer(shape, classes, knobs)


VIT = Family(
    name="vit",
    knobs=_knobs,
    baseline=_baseline,
    resolution=lambda knobs: int(knobs["resolution"]),
    build=_build,
    source="Dosovitskiy et al., ICLR 2021; Beyer, Zhai, Kolesnikov, Better plain ViT baselines, 2022",
    variants={
        "vit_tiny": {"patch": 16, "depth": 12, "heads": 3, "head_width": 64, "mlp_ratio": 4.0, "resolution": 224}
    },
)
