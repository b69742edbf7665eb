"""Low rank: replace a layer by two or three thinner ones that multiply to nearly the same.

A linear layer and a 1 x 1 convolution are split by the singular value decomposition, a k x k convolution
by Tucker-2, or into a column and a row of kernels (spatial; convolutions along one or three axes take Tucker-2).
Ranks are a share of the full rank, so that the shapes are known before training; by the rule `energy` they are the
smallest that keep that share of the sum of squared singular values, which depends on the trained weights. A layer
whose factors would cost more than itself is left alone; so are depthwise and grouped convolutions, and those that
pad with anything but zeros.

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
from typing import Any

import torch
from torch import Tensor, nn

from paredown.spaces.compression.layers import Convolution, MatrixLayer, layers_to_replace
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
    factored = model if material.owned else copy.deepcopy(model)
    by_energy = knobs.get("rule", "ratio") == "energy"
    decided: dict[str, list[int]] | None = material.decided.get(RANKS) if by_energy else None
    ranks: dict[str, list[int]] = {}
    found = False
    with torch.no_grad():
        for name, layer in layers_to_replace(factored, material).items():
            if reason := _why_whole(layer):
                material.skipped[name] = reason
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
        reasons = "; ".join(dict.fromkeys(f"{name} {reason}" for name, reason in material.skipped.items()))
        raise InfeasibleCandidate(
            "low_rank: the network has no linear layer and no dense convolution padded by zeros that it may split"
            + (f": {reasons}" if reasons else "")
        )
    if by_energy:
        material.decided[RANKS] = ranks
    return factored


def _why_whole(layer: MatrixLayer) -> str:
    if isinstance(layer, nn.Linear):
        return ""
    if layer.groups > 1:
        return f"has {layer.groups} groups"
    return f"pads by {layer.padding_mode}, not by zeros" if layer.padding_mode != "zeros" else ""


def _factors(layer: MatrixLayer, knobs: Knobs, rank: Rank, svd: Decomposition) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return _split_linear(layer, rank(layer.weight, min(layer.weight.shape)), svd)
    if set(layer.kernel_size) == {1}:
        return _split_pointwise(layer, rank(layer.weight.flatten(1), min(layer.in_channels, layer.out_channels)), svd)
    if knobs.get("kernel", "tucker2") == "spatial" and isinstance(layer, nn.Conv2d):
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
    inner = nn.Linear(layer.in_features, rank, bias=False)
    outer = nn.Linear(rank, layer.out_features, bias=layer.bias is not None)
    return _chain(layer, (inner, right), (outer, left))


def _split_pointwise(layer: Convolution, rank: int, svd: Decomposition = _svd) -> nn.Module:
    left, right = _halves(layer.weight.flatten(1), rank, svd)
    kind = _kind(layer)
    inner = kind(layer.in_channels, rank, 1, layer.stride, layer.padding, bias=False)
    outer = kind(rank, layer.out_channels, 1, bias=layer.bias is not None)
    return _chain(layer, (inner, right), (outer, left))


def _tucker2(layer: Convolution, rank_in: int, rank_out: int, svd: Decomposition = _svd) -> nn.Module:
    weight, kind = layer.weight, _kind(layer)
    out_basis = svd(weight.flatten(1))[0][:, :rank_out]
    in_basis = svd(weight.transpose(0, 1).flatten(1))[0][:, :rank_in]
    rank_out, rank_in = out_basis.shape[1], in_basis.shape[1]
    centre = torch.einsum("oi...,or,is->rs...", weight, out_basis, in_basis)
    first = kind(layer.in_channels, rank_in, 1, bias=False)
    middle = kind(rank_in, rank_out, layer.kernel_size, layer.stride, layer.padding, layer.dilation, bias=False)
    last = kind(rank_out, layer.out_channels, 1, bias=layer.bias is not None)
    return _chain(layer, (first, in_basis.T), (middle, centre), (last, out_basis))


def _kind(layer: Convolution) -> Any:
    """Return the class of the library: its arguments have as many numbers as the weight has axes behind the second."""
    return {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[layer.weight.ndim]


def _chain(layer: MatrixLayer, *factors: tuple[MatrixLayer, Tensor]) -> nn.Module:
    """Return the factors with their weights, the layer's bias on the last; trained where the layer is."""
    for factor, weight in factors:
        factor.to(layer.weight)
        factor.weight.copy_(weight.reshape(factor.weight.shape))
        factor.weight.requires_grad_(layer.weight.requires_grad)
    last = factors[-1][0]
    if layer.bias is not None and last.bias is not None:
        last.bias.copy_(layer.bias)
        last.bias.requires_grad_(layer.bias.requires_grad)
    return nn.Sequential(*(factor for factor, _ in factors))


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
    )
    second = nn.Conv2d(
        rank,
        layer.out_channels,
        (1, width),
        (1, layer.stride[1]),
        padding if isinstance(padding, str) else (0, padding[1]),
        (1, across),
        bias=layer.bias is not None,
    )
    rows = right.reshape(rank, width, layer.out_channels).permute(2, 0, 1)
    return _chain(layer, (first, left.T), (second, rows))


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
