"""Channel pruning: remove the channels of least norm, with all that depends on them.

Each layer loses the same share of its channels, so the shapes, and with them every counted cost, are
known before training.

Source:
    Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023, section 3;
    Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017 (magnitude).
"""

import copy

import torch_pruning
from torch import nn

from paredown.spaces.compression.step import Material, Step
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.knob import Knobs, Range

MULTIPLE = 4
"""Channels that remain are rounded to a multiple: what vector units and int8 kernels take at once."""


def _prune(model: nn.Module, knobs: Knobs, material: Material) -> nn.Module:
    pruned = copy.deepcopy(model).eval()
    layers = [m for m in pruned.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if len(layers) < 2:
        raise InfeasibleCandidate("channel_pruning: the network has no layer but its output layer")
    requires_grad = [p.requires_grad for p in pruned.parameters()]
    pruner = torch_pruning.pruner.BasePruner(
        pruned,
        material.example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=float(knobs["ratio"]),
        ignored_layers=[layers[-1], *kept_layers(pruned)],
        round_to=MULTIPLE,
    )
    pruner.step()
    for parameter, required in zip(pruned.parameters(), requires_grad, strict=True):
        parameter.requires_grad_(required)
    return pruned


def kept_layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers whose outputs must stay: a module may name such layers of its own in `kept`."""
    return [module.get_submodule(name) for module in model.modules() for name in getattr(module, "kept", ())]


CHANNEL_PRUNING = Step(
    name="channel_pruning",
    knobs={"ratio": Range(0.0, 0.75, 0.125)},
    switch="ratio",
    off=0.0,
    transform=_prune,
    source="Fang et al., DepGraph, CVPR 2023",
)
