"""Sparsity penalty: training pulls weights towards zero, and those that do not resist become exactly zero.

`kind` l1 penalises the sum of all magnitudes, and single weights vanish; group_lasso penalises the sum over all filters
of convolutions of their norm times the root of their size, and whole filters vanish. Both are minimised by their
proximal operator after each step of the optimizer, since steps along a gradient come close to zero but never stay
there. `strength` is the weight of the penalty: in a step with learning rate r, magnitudes (or the root mean squares of
filters) shrink by r times strength. Fine-tuning is without the penalty and keeps the zeros, so that the rest recovers.
Biases and norms are left alone.

Source:
    Han et al., Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015, section 3.1 (L1);
    Wen et al., Learning Structured Sparsity in Deep Neural Networks, NeurIPS 2016, section 3.1, equation 2;
    Parikh, Boyd, Proximal Algorithms, 2014, sections 6.5.2 and 6.5.4 (soft thresholding of elements and of blocks).
"""

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from paredown.spaces.compression.masks import weights_of, zeros_kept
from paredown.spaces.compression.step import Hold, Step
from paredown.spaces.compression.target import Target
from paredown.spaces.knob import Choice, Knobs


def _shrink(network: nn.Module, knobs: Knobs, learning_rate: float, excluded: Sequence[str] = ()) -> None:
    threshold = learning_rate * float(knobs["strength"])
    with torch.no_grad():
        for weight in _treated(network, knobs, {}, excluded).values():
            if knobs["kind"] == "l1":
                weight.copy_(nn.functional.softshrink(weight, threshold))
            else:
                weight.mul_((1 - threshold / _root_mean_squares(weight)).clamp_min(0.0))


def _root_mean_squares(weight: Tensor) -> Tensor:
    """Return that of each filter, of the weight's dimensions; a filter of zeros gets a tiny one."""
    return weight.square().mean(tuple(range(1, weight.dim())), keepdim=True).sqrt().clamp_min(1e-30)


def _held(
    network: nn.Module, knobs: Knobs, target: Target, excluded: Sequence[str] = ()
) -> contextlib.AbstractContextManager[Hold]:
    skipped: dict[str, str] = {}
    weights = _treated(network, knobs, skipped, excluded)
    return zeros_kept(weights, skipped)


def _treated(
    network: nn.Module, knobs: Knobs, skipped: dict[str, str], excluded: Sequence[str]
) -> dict[str, nn.Parameter]:
    weights = weights_of(network, skipped, excluded)
    if knobs["kind"] == "group_lasso":
        skipped |= dict.fromkeys((n for n, w in weights.items() if w.dim() == 2), "has no filters of a convolution")
    return {name: weight for name, weight in weights.items() if name not in skipped}


SPARSITY_PENALTY = Step(
    name="sparsity_penalty",
    short="penalty",
    knobs={
        "kind": Choice(("none", "l1", "group_lasso")),
        "strength": Choice((0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0)),
    },
    switch="kind",
    off="none",
    finetuning=_held,
    proximal=_shrink,
    source="Han et al., NeurIPS 2015 (L1); Wen et al., NeurIPS 2016 (group lasso)",
    shapes_known=False,
)
