"""Turns candidates into networks: builds them, applies structural steps, restores trained weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.evaluators.tasks.task import Task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.inference import recalibrate
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.step import TransformContext
from paredown.spaces.earlier_names import present_names_in, present_state
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.families.family import ImageShape
from paredown.spaces.families.imported import NAME as IMPORTED

COUNTED = tuple(n for n, e in EVALUATORS.items() if e.needs == "model" and e.metric.how == "counted")
"""Metrics that are exact on the untrained network, such as `macs` and `params`."""
SAMPLED_IMAGES = 256
"""Number of training images that a structural step may use."""
DECIDED = "decided"
"""Metadata key of the weights file that holds the decisions of the steps, as JSON."""


@dataclass(frozen=True)
class Compressed:
    """A network after the structural steps.

    Attributes:
        network: The network.
        decided: Decisions of each step, by step.
        skipped: Layers that each step left unchanged, with the reason.
    """

    network: nn.Module
    decided: dict[str, dict[str, Any]]
    skipped: dict[str, dict[str, str]]


def input_shape(candidate: Candidate, task: Task) -> ImageShape:
    """Return channels, height and width of the input of a candidate's network."""
    return task.input_shape(FAMILIES[candidate.family].resolution(candidate.knobs))


def build(candidate: Candidate, shape: ImageShape, classes: int) -> nn.Module:
    """Return the untrained network of a candidate before compression, with its exits.

    Raises:
        InfeasibleCandidate: The knobs do not fit the input, or a step cannot attach its layers to the network.
    """
    return attached(FAMILIES[candidate.family].build(candidate.knobs, shape, classes), candidate, shape)


def attached(model: nn.Module, candidate: Candidate, shape: ImageShape) -> nn.Module:
    """Return the network with the layers that the candidate's steps attach to it; the network itself without any.

    Raises:
        InfeasibleCandidate: A step cannot attach its layers to the network.
    """
    for name, step in STEPS.items():
        if step.attach is not None and name in candidate.steps:
            model = step.attach(model, candidate.steps[name], TransformContext(torch.zeros(1, *shape)))
    return model


def apply_structural_steps(
    model: nn.Module,
    candidate: Candidate,
    shape: ImageShape,
    data: TrainingData | None = None,
    decided: Mapping[str, dict[str, Any]] | None = None,
    *,
    values: bool = True,
    owned: bool = False,
) -> Compressed:
    """Apply the structural steps of a candidate to a network.

    Args:
        model: The network; it is not changed unless it is `owned`.
        candidate: The candidate, which names the steps and their knobs.
        shape: Channels, height, width of one input.
        data: Data that steps may use; batch statistics are re-estimated from it after each step.
        decided: Earlier decisions of the steps, which they repeat.
        values: Whether the resulting weights matter, or only their shapes.
        owned: Whether nobody else needs the network, so that steps may change it instead of a copy.

    Raises:
        InfeasibleCandidate: A step cannot apply to this network.
    """
    device = next(model.parameters()).device
    images, labels = (None, None) if data is None else _sample(data, device)
    decisions: dict[str, dict[str, Any]] = {}
    skipped: dict[str, dict[str, str]] = {}
    transforms = [(name, step.transform) for name, step in STEPS.items() if step.transform and name in candidate.steps]
    for name, transform in transforms:
        example = torch.zeros(1, *shape, device=device)
        matter = values or name != transforms[-1][0]  # a later step may decide by the weights
        context = TransformContext(
            example,
            images,
            labels,
            dict((decided or {}).get(name, {})),
            values=matter,
            owned=owned,
            known=not values and candidate.family != IMPORTED,
            excluded=candidate.skip,
            pinned=candidate.keep,
        )
        model, owned = transform(model, candidate.steps[name], context), True
        decisions |= {name: context.decided} if context.decided else {}
        skipped |= {name: context.skipped} if context.skipped else {}
        if data is not None:
            recalibrate(model, data)
    return Compressed(model, decisions, skipped)


def _sample(data: TrainingData, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return randomly drawn training inputs and their classes; folders hold images class by class."""
    rows = np.random.default_rng(0).permutation(len(data.train.images))[:SAMPLED_IMAGES]
    images = torch.from_numpy(data.normalise(data.train.images[rows])).to(device)
    return images, torch.from_numpy(data.train.labels[rows]).to(device)


def shaping(candidate: Candidate) -> Candidate:
    """Return the candidate with those of its steps alone that change the layers of the network."""
    steps = {n: k for n, k in candidate.steps.items() if STEPS[n].attach is not None or STEPS[n].transform is not None}
    return replace(candidate, steps=steps)


def count_costs(candidate: Candidate, task: Task) -> dict[str, float] | None:
    """Return the costs of the untrained, compressed network, by metric; None where it cannot be built."""
    shape = input_shape(candidate, task)
    try:
        model = apply_structural_steps(
            build(candidate, shape, len(task.classes)), candidate, shape, values=False, owned=True
        ).network
    except InfeasibleCandidate:
        return None
    return {name: EVALUATORS[name].evaluate(EvaluationInput(model, shape)).value for name in COUNTED}


def rebuild(candidate: Candidate, task: Task, weights: Path) -> tuple[nn.Module, ImageShape]:
    """Return the trained network of a finished trial and the shape of its input.

    The untrained network takes the shapes that the steps decided on, then the stored weights. Weights that an earlier
    version stored under other names are renamed.
    """
    shape = input_shape(candidate, task)
    model = build(candidate, shape, len(task.classes))
    with safe_open(weights, framework="pt") as file:
        decided = present_names_in(model, json.loads((file.metadata() or {}).get(DECIDED, "{}")))
        state = present_state(model, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  (no dict)
    model = apply_structural_steps(model, candidate, shape, decided=decided, values=False, owned=True).network
    model.load_state_dict(state)
    return model.eval(), shape
