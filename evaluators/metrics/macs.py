"""Multiply-accumulate operations of one forward pass.

Counted: convolutions and matrix products, a multiply and its add as one. Not counted: normalisation (folded
into convolutions on export), activations, additions, pooling.

Of a network with exits it is the expected number: that up to each exit, weighted by the share of validation images
which leave there. Before training it is the number up to the end, which no image exceeds.
"""

from typing import TYPE_CHECKING

import numpy as np

from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

if TYPE_CHECKING:
    from torch import Tensor, nn

    from paredown.spaces.exits.network import MultiExit
    from paredown.spaces.families.family import ImageShape

METRIC = Metric("macs", "MAC", "counted", decimals=None)


def _count(inputs: EvaluationInput) -> Measurement:
    from paredown.evaluators.files.exit_runtime import BatchRuntime
    from paredown.spaces.exits.network import MultiExit

    if not isinstance(inputs.model, MultiExit):
        return Measurement(METRIC.name, _counted(inputs.model, _example(inputs.model, inputs.shape))[0])
    macs = exit_macs(inputs.model, inputs.shape)
    if inputs.file is None or inputs.images is None:
        return Measurement(METRIC.name, macs[-1])
    each = np.array(macs)[BatchRuntime(inputs.file).run(inputs.images).taken]
    spread = 1.96 * float(each.std()) / len(each) ** 0.5
    return Measurement(METRIC.name, float(each.mean()), spread, "measured")


def exit_macs(model: "MultiExit", shape: "ImageShape") -> list[int]:
    """Return what an image costs that leaves at each exit, the end last; heads that it passed count too."""
    x, done, macs = _example(model, shape), 0, []
    for i, stage in enumerate(model.stages):
        own, x = _counted(stage, x)
        done += own
        if i < len(model.heads):
            done += _counted(model.heads[i], x)[0]
        macs.append(done)
    return macs


def _counted(model: "nn.Module", example: "Tensor") -> tuple[int, "Tensor"]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from paredown.spaces.module_mode import evaluating

    with evaluating(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        output: Tensor = model(example)
    return counter.get_total_flops() // 2, output


def _example(model: "nn.Module", shape: "ImageShape") -> "Tensor":
    import torch

    return torch.zeros(1, *shape, device=next(model.parameters()).device)


MACS = Evaluator(METRIC, "model", _count)
