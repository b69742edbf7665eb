"""Distillation: learn from the baseline's logits beside the labels.

Source:
    Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015, section 2.
"""

from torch import Tensor
from torch.nn import functional as F

from paredown.spaces.compression.step import Step
from paredown.spaces.knob import Choice, Knobs, Range


def _loss(task_loss: Tensor, logits: Tensor, teacher: Tensor, knobs: Knobs) -> Tensor:
    weight, temperature = float(knobs["weight"]), float(knobs["temperature"])
    soft = F.kl_div(
        F.log_softmax(logits / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - weight) * task_loss + weight * temperature**2 * soft


DISTILLATION = Step(
    name="distillation",
    knobs={"weight": Range(0.0, 0.9, 0.3), "temperature": Choice((1, 2, 4))},
    switch="weight",
    off=0.0,
    loss=_loss,
    source="Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015",
)
