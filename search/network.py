"""From candidates to networks: build, apply structural steps, restore trained weights."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from paredown.evaluators.catalogue import EVALUATORS
from paredown.evaluators.specimen import Specimen
from paredown.evaluators.tasks.task import Task
from paredown.evaluators.training import TrainingData, recalibrate
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.families.family import ImageShape

COUNTED = tuple(n for n, e in EVALUATORS.items() if e.needs == "model" and e.metric.how == "counted")
"""Metrics that the untrained network has exactly, such as `macs` and `params`."""


def compress(model: nn.Module, candidate: Candidate, shape: ImageShape, data: TrainingData | None = None) -> nn.Module:
    """Return the network after the structural steps; batch statistics re-estimated where there is data."""
    device = next(model.parameters()).device
    example = torch.zeros(1, *shape, device=device)
    for name, step in STEPS.items():
        if step.transform is not None and name in candidate.steps:
            model = step.transform(model, candidate.steps[name], example)
            if data is not None:
                recalibrate(model, data)
    return model


def count_costs(candidate: Candidate, task: Task) -> dict[str, float] | None:
    """Return what is counted on the untrained, compressed network, by metric; None where it cannot be built."""
    family = FAMILIES[candidate.family]
    resolution = family.resolution(candidate.knobs)
    shape = (task.channels, resolution, resolution)
    try:
        model = compress(family.build(candidate.knobs, shape, len(task.classes)), candidate, shape)
    except InfeasibleCandidate:
        return None
    return {name: EVALUATORS[name].evaluate(Specimen(model, shape)).value for name in COUNTED}


def rebuild(candidate: Candidate, task: Task, weights: Path) -> tuple[nn.Module, ImageShape]:
    """Return the trained network of a finished trial and the shape of its input.

    Structural steps decide shapes by knobs alone, so the untrained network takes the stored weights.
    """
    resolution = FAMILIES[candidate.family].resolution(candidate.knobs)
    shape = (task.channels, resolution, resolution)
    model = FAMILIES[candidate.family].build(candidate.knobs, shape, len(task.classes))
    model = compress(model, candidate, shape)
    model.load_state_dict(load_file(weights))
    return model.eval(), shape
