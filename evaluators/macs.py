"""Multiply-accumulate operations of one forward pass.

Counted: convolutions and matrix products, a multiply and its add as one. Not counted: normalisation (folded
into convolutions on export), activations, additions, pooling.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from paredown.evaluators.measurement import Measurement, Metric
from paredown.evaluators.specimen import Evaluator, Specimen

METRIC = Metric("macs", "MAC", "counted")


def _count(specimen: Specimen) -> Measurement:
    parameter = next(specimen.model.parameters())
    example = torch.zeros(1, *specimen.shape, device=parameter.device)
    was_training = specimen.model.training
    specimen.model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        specimen.model(example)
    specimen.model.train(was_training)
    return Measurement(METRIC.name, counter.get_total_flops() // 2)


MACS = Evaluator(METRIC, "model", _count)
