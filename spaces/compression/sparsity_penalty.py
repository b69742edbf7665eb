"""Sparsity penalty: train weights towards zero, then make the smallest exactly zero.

`kind` l1 adds `strength` times the sum of all magnitudes to the loss, and single weights vanish; group_lasso adds
`strength` times the sum over all filters of convolutions of their norm times the root of their size, and whole filters
vanish. Steps of a gradient come close to zero but do not stay there, so after training what is below a small share of
its layer's largest becomes zero, and stays zero through fine-tuning. Biases and norms are left alone.

Source:
    Han et al., Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015, section 3.1 (L1);
    Wen et al., Learning Structured Sparsity in Deep Neural Networks, NeurIPS 2016, section 3.1, equation 2;
    Yuan, Lin, Model Selection and Estimation in Regression with Grouped Variables, 2006, section 2.2 (root of size).
"""

import contextlib
import copy

import torch
from torch import Tensor, nn

from paredown.spaces.compression.masks import weights_of, zeros_kept
from paredown.spaces.compression.step import Hold, Material, Step
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.knob import Choice, Knobs

NEGLIGIBLE = 0.01
"""Weights (l1) and norms of filters (group_lasso) below this share of the layer's largest become zero.

A share, because a layer before a batch normalisation may have any scale. Of freshly drawn weights 1 % are below it.
"""


def _penalty(network: nn.Module, knobs: Knobs) -> Tensor:
    grouped = knobs["kind"] == "group_lasso"
    # Asked of the layer: while it is quantized in training, its weight is computed from another.
    weights = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | (nn.Conv2d if grouped else nn.Linear))]
    total = torch.zeros((), device=next(network.parameters()).device)
    for weight in weights:
        total = total + (_norms(weight).sum() * weight[0].numel() ** 0.5 if grouped else weight.abs().sum())
    return float(knobs["strength"]) * total


def _norms(weight: Tensor) -> Tensor:
    """Return the norm of each filter; its gradient is finite where a filter is zero."""
    return weight.flatten(1).square().sum(1).clamp_min(1e-24).sqrt()


def _round_to_zero(model: nn.Module, knobs: Knobs, material: Material) -> nn.Module:
    rounded = copy.deepcopy(model)
    weights = _treated(rounded, knobs, material.skipped)
    if not weights:
        raise InfeasibleCandidate(f"sparsity_penalty: no layer has weights that {knobs['kind']} could make zero")
    with torch.no_grad():
        for weight in weights.values():
            size = weight.abs()
            if knobs["kind"] == "group_lasso":
                size = _norms(weight).view(-1, *[1] * (weight.dim() - 1)).expand_as(weight)
            weight.masked_fill_(size < NEGLIGIBLE * size.max(), 0.0)
    return rounded


def _held(model: nn.Module, knobs: Knobs) -> contextlib.AbstractContextManager[Hold]:
    return zeros_kept(_treated(model, knobs, {}))


def _treated(network: nn.Module, knobs: Knobs, skipped: dict[str, str]) -> dict[str, nn.Parameter]:
    weights = weights_of(network, skipped)
    if knobs["kind"] == "group_lasso":
        for name in [n for n, w in weights.items() if w.dim() == 2]:
            skipped[name] = "group_lasso is for the filters of convolutions"
            del weights[name]
    return weights


SPARSITY_PENALTY = Step(
    name="sparsity_penalty",
    knobs={"kind": Choice(("none", "l1", "group_lasso")), "strength": Choice((1e-5, 3e-5, 1e-4, 3e-4, 1e-3))},
    switch="kind",
    off="none",
    transform=_round_to_zero,
    finetuning=_held,
    penalty=_penalty,
    source="Han et al., NeurIPS 2015 (L1); Wen et al., NeurIPS 2016 (group lasso)",
    shapes_known=False,
)
