"""Multiply-accumulate operations of one forward pass.

Counted: convolutions and matrix products, a multiply and its add as one. Not counted: normalisation (folded
into convolutions on export), activations, additions, pooling. Where the network runs an operator that multiplies and
has no formula, the value is a lower bound and the note names the operator.

Of a network with exits it is the expected number: that up to each exit, weighted by the share of validation images
which leave there. Before training it is the number up to the end, which no image exceeds.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import How, Measurement, Metric

if TYPE_CHECKING:
    from torch import Tensor, nn

    from paredown.spaces.counting import Count
    from paredown.spaces.exits.network import MultiExit
    from paredown.spaces.families.family import ImageShape

METRIC = Metric("macs", "MAC", "counted", decimals=None)


def _count(inputs: EvaluationInput) -> Measurement:
    from paredown.evaluators.files.exit_runtime import BatchRuntime
    from paredown.spaces.exits.network import MultiExit

    if not isinstance(inputs.model, MultiExit):
        count = _counted(inputs.model, _example(inputs.model, inputs.shape))
        return _measurement(float(count.macs), count.unknown)
    counts = _exit_counts(inputs.model, inputs.shape)
    unknown = {name for count in counts for name in count.unknown}
    macs = [count.macs for count in counts]
    if inputs.file is None or inputs.images is None:
        return _measurement(macs[-1], unknown)
    each = np.array(macs)[BatchRuntime(inputs.file, exact=inputs.exact).run(inputs.images).taken]
    spread = 1.96 * float(each.std()) / len(each) ** 0.5
    return _measurement(float(each.mean()), unknown, spread, "measured")


def _measurement(value: float, unknown: Collection[str], spread: float = 0.0, how: How = "counted") -> Measurement:
    if not unknown:
        return Measurement(METRIC.name, value, spread, how)
    note = f"a lower bound: there is no formula for {', '.join(sorted(unknown))}"
    return Measurement(METRIC.name, value, spread, "lower bound", note=note)


def exit_macs(model: "MultiExit", shape: "ImageShape") -> list[int]:
    """Return what an image costs that leaves at each exit, the end last; heads that it passed count too."""
    return [count.macs for count in _exit_counts(model, shape)]


def _exit_counts(model: "MultiExit", shape: "ImageShape") -> "list[Count]":
    from paredown.spaces.counting import Count

    x, macs, counts = _example(model, shape), 0, []
    unknown: tuple[str, ...] = ()
    for i, stage in enumerate(model.stages):
        parts = [own := _counted(stage, x)]
        x = own.output
        if i < len(model.heads):
            parts.append(_counted(model.heads[i], x))
        macs += sum(part.macs for part in parts)
        unknown += tuple(name for part in parts for name in part.unknown)
        counts.append(Count(macs, unknown, x))
    return counts


def _counted(model: "nn.Module", example: "Tensor") -> "Count":
    from paredown.spaces.counting import counted
    from paredown.spaces.module_mode import evaluating

    with evaluating(model):
        return counted(model, example)


def _example(model: "nn.Module", shape: "ImageShape") -> "Tensor":
    import torch

    return torch.zeros(1, *shape, device=next(model.parameters()).device)


MACS = Evaluator(METRIC, "model", _count)
