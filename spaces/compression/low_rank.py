"""Low rank: replace a layer by two or three thinner ones that multiply to nearly the same.

A linear layer and a 1 x 1 convolution are split by the singular value decomposition, a k x k convolution
by Tucker-2, or into a column and a row of kernels (spatial). Ranks are a share of the full rank, so that the shapes
are known before training; by the rule `energy` they are, at most that share, as small as keeps so much of the sum
of squared singular values, which depends on the trained weights. A layer whose factors would cost more than itself
is left alone; so are depthwise and grouped convolutions, and those that pad with anything but zeros.

Source:
    Denton et al., Exploiting Linear Structure, NeurIPS 2014, section 3 (SVD);
    Kim et al., Compression of Deep CNNs for Fast and Low Power Mobile Applications, ICLR 2016,
    section 3 (Tucker-2 by higher-order SVD);
    Jaderberg, Vedaldi, Zisserman, Speeding up Convolutional Neural Networks with Low Rank Expansions, BMVC 2014,
    scheme 2 (k x 1, then 1 x k); Tai et al., Convolutional Neural Networks with Low-rank Regularization, ICLR 2016,
    section 2 (its closed form by SVD).
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from paredown.spaces.compression.step import Step, TransformContext
from paredown.spaces.compression.surgery import replace
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.knob import Choice, Knobs, Range

RANKS = "ranks"
"""Key of what was decided by energy: layer to its ranks, from input to output."""
Rank = Callable[[Tensor, int], int]
"""(matrix, its full rank) -> rank of its factors."""
Decomposition = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Matrix -> its singular value decomposition."""


def _factorise(model: nn.Module, knobs: Knobs, material: TransformContext) -> nn.Module:
    LOW_RANK.check(knobs)
    factored = copy.deepcopy(model)
    by_energy = knobs.get("rule", "ratio") == "energy"
    decided: dict[str, list[int]] | None = material.decided.get(RANKS) if by_energy else None
    ranks: dict[str, list[int]] = {}
    found = False
    with torch.no_grad():
        for name, layer in list(factored.named_modules()):
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                continue
            if isinstance(layer, nn.Conv2d) and (layer.groups > 1 or layer.padding_mode != "zeros"):
                material.skipped[name] = f"has {layer.groups} groups, pads with {layer.padding_mode}"
                continue
            found = True
            taken: list[int] = []
            if decided is None or name in decided:
                rank = _recorded(taken, knobs, (decided or {}).get(name))
                factors = _factors(layer, knobs, rank, _svd if material.values else _zeros)
                if decided is not None or _weights(factors) < _weights(layer):
                    replace(factored, layer, factors)
                    ranks[name] = taken
                    continue
            material.skipped[name] = "its factors would cost as much as the layer, or more"
    if not found:
        raise InfeasibleCandidate("low_rank: the network has no linear layer and no dense convolution padded by zeros")
    if by_energy:
        material.decided[RANKS] = ranks
    return factored


def _factors(layer: nn.Linear | nn.Conv2d, knobs: Knobs, rank: Rank, svd: Decomposition) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return _split_linear(layer, rank(layer.weight, min(layer.weight.shape)), svd)
    if layer.kernel_size == (1, 1):
        return _split_pointwise(layer, rank(layer.weight.flatten(1), min(layer.in_channels, layer.out_channels)), svd)
    if knobs.get("kernel", "tucker2") == "spatial":
        matrix = _columns_by_rows(layer.weight)
        return _split_spatially(layer, rank(matrix, min(matrix.shape)), svd)
    rank_in = rank(layer.weight.transpose(0, 1).flatten(1), layer.in_channels)
    return _tucker2(layer, rank_in, rank(layer.weight.flatten(1), layer.out_channels), svd)


def _recorded(taken: list[int], knobs: Knobs, given: list[int] | None) -> Rank:
    """Return the rule that gives ranks, which notes them in `taken` and repeats those that are given."""

    def rank(matrix: Tensor, full: int) -> int:
        taken.append(given[len(taken)] if given is not None else _rank(matrix, full, knobs))
        return taken[-1]

    return rank


def _rank(matrix: Tensor, full: int, knobs: Knobs) -> int:
    """Return the rank by ratio, or the smallest up to it that keeps the energy."""
    most = max(1, round(full * float(knobs["ratio"])))
    if knobs.get("rule", "ratio") == "ratio":
        return most
    energies = torch.linalg.svdvals(matrix).square().cumsum(0)
    enough = int((energies < float(knobs["energy"]) * energies[-1]).sum()) + 1
    return min(enough, most)


def _weights(layer: nn.Module) -> int:
    return sum(p.numel() for p in layer.parameters())


def _svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return left vectors, values and right vectors of a matrix `m x n`: `m x k`, `k` and `k x n`, k the lesser."""
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return u, s, v


def _zeros(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return zeros of the shapes that `_svd` gives, which takes minutes for a large network."""
    rows, columns = matrix.shape
    full = min(rows, columns)
    return matrix.new_zeros(rows, full), matrix.new_zeros(full), matrix.new_zeros(full, columns)


def _halves(matrix: Tensor, rank: int, svd: Decomposition) -> tuple[Tensor, Tensor]:
    """Return `out x rank` and `rank x in` whose product is the best approximation of that rank."""
    u, s, v = svd(matrix)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * v[:rank]


def _split_linear(layer: nn.Linear, rank: int, svd: Decomposition = _svd) -> nn.Module:
    left, right = _halves(layer.weight, rank, svd)
    inner = nn.Linear(layer.in_features, rank, bias=False).to(layer.weight)
    outer = nn.Linear(rank, layer.out_features, bias=layer.bias is not None).to(layer.weight)
    inner.weight.copy_(right)
    outer.weight.copy_(left)
    _copy_bias(layer, outer)
    return nn.Sequential(inner, outer)


def _split_pointwise(layer: nn.Conv2d, rank: int, svd: Decomposition = _svd) -> nn.Module:
    left, right = _halves(layer.weight.flatten(1), rank, svd)
    stride = (layer.stride[0], layer.stride[1])
    inner = nn.Conv2d(layer.in_channels, rank, 1, stride, _padding(layer), bias=False).to(layer.weight)
    outer = nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None).to(layer.weight)
    inner.weight.copy_(right[:, :, None, None])
    outer.weight.copy_(left[:, :, None, None])
    _copy_bias(layer, outer)
    return nn.Sequential(inner, outer)


def _tucker2(layer: nn.Conv2d, rank_in: int, rank_out: int, svd: Decomposition = _svd) -> nn.Module:
    weight = layer.weight
    out_basis = svd(weight.flatten(1))[0][:, :rank_out]
    in_basis = svd(weight.transpose(0, 1).flatten(1))[0][:, :rank_in]
    rank_out, rank_in = out_basis.shape[1], in_basis.shape[1]
    centre = torch.einsum("oikl,or,is->rskl", weight, out_basis, in_basis)
    first = nn.Conv2d(layer.in_channels, rank_in, 1, bias=False).to(layer.weight)
    middle = nn.Conv2d(
        rank_in,
        rank_out,
        (layer.kernel_size[0], layer.kernel_size[1]),
        (layer.stride[0], layer.stride[1]),
        _padding(layer),
        (layer.dilation[0], layer.dilation[1]),
        bias=False,
    ).to(weight)
    last = nn.Conv2d(rank_out, layer.out_channels, 1, bias=layer.bias is not None).to(layer.weight)
    first.weight.copy_(in_basis.T[:, :, None, None])
    middle.weight.copy_(centre)
    last.weight.copy_(out_basis[:, :, None, None])
    _copy_bias(layer, last)
    return nn.Sequential(first, middle, last)


def _columns_by_rows(weight: Tensor) -> Tensor:
    """Return a weight, `outputs x inputs x height x width`, as `(inputs height) x (width outputs)`."""
    return weight.permute(1, 2, 3, 0).flatten(2).flatten(0, 1)


def _split_spatially(layer: nn.Conv2d, rank: int, svd: Decomposition = _svd) -> nn.Module:
    """Return a convolution of columns, then one of rows; zero padding commutes with both, as the first has no bias."""
    (height, width), (down, across) = layer.kernel_size, layer.dilation
    left, right = _halves(_columns_by_rows(layer.weight), rank, svd)  # (inputs height) x r, r x (width outputs)
    rank = left.shape[1]
    padding = layer.padding
    first = nn.Conv2d(
        layer.in_channels,
        rank,
        (height, 1),
        (layer.stride[0], 1),
        padding if isinstance(padding, str) else (padding[0], 0),
        (down, 1),
        bias=False,
    ).to(layer.weight)
    second = nn.Conv2d(
        rank,
        layer.out_channels,
        (1, width),
        (1, layer.stride[1]),
        padding if isinstance(padding, str) else (0, padding[1]),
        (1, across),
        bias=layer.bias is not None,
    ).to(layer.weight)
    first.weight.copy_(left.T.reshape(rank, layer.in_channels, height, 1))
    second.weight.copy_(right.reshape(rank, width, layer.out_channels).permute(2, 0, 1)[:, :, None, :])
    _copy_bias(layer, second)
    return nn.Sequential(first, second)


def _padding(layer: nn.Conv2d) -> str | tuple[int, int]:
    return layer.padding if isinstance(layer.padding, str) else (layer.padding[0], layer.padding[1])


def _copy_bias(source: nn.Linear | nn.Conv2d, target: nn.Linear | nn.Conv2d) -> None:
    if source.bias is not None and target.bias is not None:
        target.bias.copy_(source.bias)


LOW_RANK = Step(
    name="low_rank",
    short="rank",
    knobs={
        "ratio": Range(0.25, 1.0, 0.125),
        "rule": Choice(("ratio", "energy")),
        "energy": Range(0.5, 0.99, 0.01, only_if=("rule", "energy")),
        "kernel": Choice(("tucker2", "spatial")),
    },
    switch="ratio",
    off=1.0,
    transform=_factorise,
    source="Denton et al., NeurIPS 2014; Kim et al., ICLR 2016; Jaderberg et al., BMVC 2014",
    shapes_known=lambda knobs: knobs.get("rule", "ratio") == "ratio",
)
