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

import torch
from torch import Tensor, nn

from paredown.spaces.compression.masks import weights_of, zeros_kept
from paredown.spaces.compression.step import Hold, Step
from paredown.spaces.compression.target import Target
from paredown.spaces.knob import Choice, Knobs


def _shrink(network: nn.Module, knobs: Knobs, learning_rate: float) -> None:
    threshold = learning_rate * float(knobs["strength"])
    with torch.no_grad():
        for weight in _treated(network, knobs).values():
            if knobs["kind"] == "l1":
                weight.copy_(nn.functional.softshrink(weight, threshold))
            else:
                weight.mul_((1 - threshold / _root_mean_squares(weight)).clamp_min(0.0))


def _root_mean_squares(weight: Tensor) -> Tensor:
    """Return that of each filter, of the weight's dimensions; a filter of zeros gets a tiny one."""
    return weight.square().mean(tuple(range(1, weight.dim())), keepdim=True).sqrt().clamp_min(1e-30)


def _held(model: nn.Module, knobs: Knobs, target: Target) -> contextlib.AbstractContextManager[Hold]:
    return zeros_kept(_treated(model, knobs))


def _treated(network: nn.Module, knobs: Knobs) -> dict[str, nn.Parameter]:
    every = weights_of(network)
    return every if knobs["kind"] == "l1" else {name: w for name, w in every.items() if w.dim() > 2}


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
