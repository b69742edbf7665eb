"""Low rank: replace a layer by two or three thinner ones that multiply to nearly the same.

A linear layer and a 1 x 1 convolution are split by the singular value decomposition, a k x k convolution
by Tucker-2. Ranks are a share of the full rank, so the shapes are known before training. A layer whose
factors would cost more than itself is left alone; so are depthwise and grouped convolutions, and those that
pad with anything but zeros.

Source:
    Denton et al., Exploiting Linear Structure, NeurIPS 2014, section 3 (SVD);
    Kim et al., Compression of Deep CNNs for Fast and Low Power Mobile Applications, ICLR 2016,
    section 3 (Tucker-2 by higher-order SVD).
"""

import copy

import torch
from torch import Tensor, nn

from paredown.spaces.compression.step import Material, Step
from paredown.spaces.knob import Knobs, Range


def _factorise(model: nn.Module, knobs: Knobs, material: Material) -> nn.Module:
    del material
    ratio = float(knobs["ratio"])
    factored = copy.deepcopy(model)
    with torch.no_grad():
        for name, layer in list(factored.named_modules()):
            factors = _factors(layer, ratio)
            if factors is not None and _weights(factors) < _weights(layer):
                parent_name, _, child = name.rpartition(".")
                setattr(factored.get_submodule(parent_name), child, factors)
    return factored


def _factors(layer: nn.Module, ratio: float) -> nn.Module | None:
    if isinstance(layer, nn.Linear):
        return _split_linear(layer, _rank(min(layer.weight.shape), ratio))
    if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros":
        if layer.kernel_size == (1, 1):
            return _split_pointwise(layer, _rank(min(layer.in_channels, layer.out_channels), ratio))
        return _tucker2(layer, _rank(layer.in_channels, ratio), _rank(layer.out_channels, ratio))
    return None


def _rank(full: int, ratio: float) -> int:
    return max(1, round(full * ratio))


def _weights(layer: nn.Module) -> int:
    return sum(p.numel() for p in layer.parameters())


def _halves(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return `out x rank` and `rank x in` whose product is the best approximation of that rank."""
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * v[:rank]


def _split_linear(layer: nn.Linear, rank: int) -> nn.Module:
    left, right = _halves(layer.weight, rank)
    inner = nn.Linear(layer.in_features, rank, bias=False).to(layer.weight)
    outer = nn.Linear(rank, layer.out_features, bias=layer.bias is not None).to(layer.weight)
    inner.weight.copy_(right)
    outer.weight.copy_(left)
    _copy_bias(layer, outer)
    return nn.Sequential(inner, outer)


def _split_pointwise(layer: nn.Conv2d, rank: int) -> nn.Module:
    left, right = _halves(layer.weight.flatten(1), rank)
    stride = (layer.stride[0], layer.stride[1])
    inner = nn.Conv2d(layer.in_channels, rank, 1, stride, _padding(layer), bias=False).to(layer.weight)
    outer = nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None).to(layer.weight)
    inner.weight.copy_(right[:, :, None, None])
    outer.weight.copy_(left[:, :, None, None])
    _copy_bias(layer, outer)
    return nn.Sequential(inner, outer)


def _tucker2(layer: nn.Conv2d, rank_in: int, rank_out: int) -> nn.Module:
    weight = layer.weight
    out_basis = torch.linalg.svd(weight.flatten(1), full_matrices=False).U[:, :rank_out]
    in_basis = torch.linalg.svd(weight.transpose(0, 1).flatten(1), full_matrices=False).U[:, :rank_in]
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


def _padding(layer: nn.Conv2d) -> str | tuple[int, int]:
    return layer.padding if isinstance(layer.padding, str) else (layer.padding[0], layer.padding[1])


def _copy_bias(source: nn.Linear | nn.Conv2d, target: nn.Linear | nn.Conv2d) -> None:
    if source.bias is not None and target.bias is not None:
        target.bias.copy_(source.bias)


LOW_RANK = Step(
    name="low_rank",
    knobs={"ratio": Range(0.25, 1.0, 0.125)},
    switch="ratio",
    off=1.0,
    transform=_factorise,
    source="Denton et al., NeurIPS 2014; Kim et al., ICLR 2016",
)
