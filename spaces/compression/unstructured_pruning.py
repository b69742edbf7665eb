"""Unstructured pruning: set the weights of least magnitude to zero, one by one.

Shapes stay, so neither MACs nor latency fall in a dense runtime; the packed file does. All convolutions and linear
layers take part, the first and the classifier too; biases and norms do not.

`scope` global: one threshold for the whole network, so that layers with small weights lose more; layer: each layer
loses the same share. `pattern` 2:4: of each four weights along the input channels at least two are zero, the form that
sparse tensor cores compute with; a `ratio` above 0.5 takes more of what is left, a lower one changes nothing. Layers
whose input channels (per group) are no multiple of 4 are left alone then. `schedule` one_shot: all at once, then
fine-tuning; gradual: during fine-tuning, by a share that rises as a cubic.

Source:
    Han et al., Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015, section 3;
    Zhu, Gupta, To Prune, or Not to Prune, 2017, section 3, equation 1 (the cubic);
    Mishra et al., Accelerating Sparse Deep Neural Networks, 2021, section 3 (2:4).
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from paredown.spaces.compression.masks import least, weights_of, zeros_kept
from paredown.spaces.compression.step import Hold, Step, TransformContext
from paredown.spaces.compression.target import Target
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.knob import Choice, Knobs, Range

GROUP, KEPT = 4, 2
"""Length of a group of weights along the input channels, and how many of them may be other than zero."""
RAMP = 0.75
"""The gradual schedule ends after this share of fine-tuning: what remains recovers with all zeros in place."""
UPDATES = 24
"""So many times the gradual schedule chooses anew, evenly spread over the ramp."""


def _prune(model: nn.Module, knobs: Knobs, material: TransformContext) -> nn.Module:
    pruned = copy.deepcopy(model)
    weights = _treated(pruned, knobs, material.skipped, material.excluded)
    if not weights:
        raise InfeasibleCandidate("unstructured_pruning: no layer has weights that it can prune")
    # Before training there are no images: what is counted then is what the gradual schedule ends with.
    if knobs["schedule"] == "one_shot" or material.images is None:
        _zero(weights, _chosen(weights, knobs, 1.0))
    return pruned


def _finetuned(
    network: nn.Module, knobs: Knobs, target: Target, excluded: Sequence[str] = ()
) -> contextlib.AbstractContextManager[Hold]:
    weights = _treated(network, knobs, {}, excluded)
    return _rising(weights, knobs) if knobs["schedule"] == "gradual" else zeros_kept(weights, {})


@contextlib.contextmanager
def _rising(weights: Mapping[str, nn.Parameter], knobs: Knobs) -> Iterator[Hold]:
    """Prune a share that rises from 0 to the whole; what is zero stays zero, so that the mask only grows."""
    chosen = [torch.zeros_like(w, dtype=torch.bool) for w in weights.values()]
    reached = 0

    def after_step(progress: float) -> None:
        nonlocal chosen, reached
        _zero(weights, chosen)
        stage = UPDATES if progress >= 1 else min(UPDATES, int(progress / RAMP * UPDATES))
        if stage > reached:
            reached = stage
            chosen = _chosen(weights, knobs, 1 - (1 - stage / UPDATES) ** 3)
            _zero(weights, chosen)

    def state() -> dict[str, Any]:
        return {"chosen": chosen, "reached": reached}

    def load_state(state: Mapping[str, Any]) -> None:
        nonlocal chosen, reached
        chosen = [zero.to(weight.device) for zero, weight in zip(state["chosen"], weights.values(), strict=True)]
        reached = state["reached"]

    yield Hold(after_step, settled=RAMP, state=state, load_state=load_state)


def _treated(
    network: nn.Module, knobs: Knobs, skipped: dict[str, str], excluded: Sequence[str]
) -> dict[str, nn.Parameter]:
    weights = weights_of(network, skipped, excluded)
    if knobs["pattern"] == "none":
        return weights
    for name in [n for n, w in weights.items() if w.shape[1] % GROUP]:
        skipped[name] = f"its {weights[name].shape[1]} input channels a group are no multiple of {GROUP}"
    return {name: w for name, w in weights.items() if name not in skipped}


def _chosen(weights: Mapping[str, Tensor], knobs: Knobs, share: float) -> list[Tensor]:
    """Return where the zeros are to be, with this share of them in place."""
    tensors = [weight.detach() for weight in weights.values()]
    ratio = float(knobs["ratio"]) * share
    first = [_least_of_each_group(t, share) if knobs["pattern"] != "none" else torch.zeros_like(t) > 0 for t in tensors]
    rest = [torch.where(zero, 0.0, t) for zero, t in zip(first, tensors, strict=True)]  # the pattern's zeros go first
    if knobs["scope"] == "layer":
        second = [least([t], round(ratio * t.numel()))[0] for t in rest]
    else:
        second = least(rest, round(ratio * sum(t.numel() for t in rest)))
    return [a | b for a, b in zip(first, second, strict=True)]


def _least_of_each_group(weight: Tensor, share: float) -> Tensor:
    """Return where the smaller half of each group of four is; of these zeros only a share, the smallest ones."""
    groups = torch.unflatten(weight.movedim(1, -1), -1, (-1, GROUP))
    order = groups.abs().argsort(dim=-1, stable=True)
    zero = torch.zeros_like(groups, dtype=torch.bool).scatter(-1, order[..., : GROUP - KEPT], True)
    zero = zero.flatten(-2).movedim(-1, 1)
    return least([torch.where(zero, weight, torch.inf)], round(share * int(zero.sum())))[0]


def _zero(weights: Mapping[str, nn.Parameter], chosen: list[Tensor]) -> None:
    with torch.no_grad():
        for weight, zero in zip(weights.values(), chosen, strict=True):
            weight.masked_fill_(zero, 0.0)


UNSTRUCTURED_PRUNING = Step(
    name="unstructured_pruning",
    short="zeros",
    knobs={
        "ratio": Range(0.0, 0.95, 0.05),
        "scope": Choice(("global", "layer")),
        "pattern": Choice(("none", "2:4")),
        "schedule": Choice(("one_shot", "gradual")),
    },
    switch="ratio",
    off=0.0,
    transform=_prune,
    finetuning=_finetuned,
    source="Han et al., NeurIPS 2015; Zhu, Gupta, To Prune, or Not to Prune, 2017; Mishra et al., 2021",
)
