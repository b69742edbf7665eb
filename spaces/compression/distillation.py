"""Distillation: learn from a teacher's logits beside the labels, and from its features where wanted.

`weight` is the share of the teacher in the loss, `temperature` softens both outputs. With `hints` above 0 the features
before the classifier are matched too, through a linear map that is thrown away after training; it is their weight.

Source:
    Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015, section 2;
    Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015, section 2.2.
"""

from torch import Tensor
from torch.nn import functional as F

from paredown.spaces.compression.step import Step, TeacherLoss
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


def _hint_weight(knobs: Knobs) -> float:
    return float(knobs.get("hints", 0.0))  # candidates of studies without this knob have none


DISTILLATION = Step(
    name="distillation",
    short="distil",
    knobs={"weight": Range(0.0, 0.9, 0.3), "temperature": Choice((1, 2, 4)), "hints": Range(0.0, 1.0, 0.25)},
    switch="weight",
    off=0.0,
    teacher_loss=TeacherLoss(_loss, _hint_weight),
    source="Hinton, Vinyals, Dean, Distilling the Knowledge, 2015; Romero et al., FitNets, ICLR 2015",
)
