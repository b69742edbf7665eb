"""Channel pruning: remove the channels that matter least, with all that depends on them.

A dependency graph says which channels of which layers go together; what such a group loses follows from its
scope: the same share of every group (`layer`), a share that depends on how early the group runs (`stage`), or a
share of all channels of the network, wherever they matter least (`global`). With the first two, the shapes, and
so every counted cost, are known before training.

Source:
    Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023, section 3 (groups, their importance);
    Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017 (magnitude);
    Liu et al., Learning Efficient Convolutional Networks through Network Slimming, ICCV 2017 (`bn_scale`);
    Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019, equation 8 (`taylor`).
"""

import copy
import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn import functional as F

from paredown.spaces.compression.step import Step, TransformContext
from paredown.spaces.compression.surgery import calls_of
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.knob import Choice, Knobs, Range

MULTIPLE = 4
"""Channels that remain are rounded to a multiple: what vector units and int8 kernels take at once."""
STAGES = ("early", "middle", "late")
"""Thirds of the groups in the order in which they run."""
MOST = 0.9
"""A stage loses at most that share of its channels."""
PRUNED = "pruned"
"""Key of what was decided: a list of layer and indices of its output channels, in order of removal."""


@dataclass
class _Group:
    """Channels of several layers that go together.

    Attributes:
        name: Of the layer at its root.
        scores: Importance of each index that can go, small ones go first; an index stands for one channel in
            each of the `blocks`.
        blocks: The channels lie in so many blocks of equal length, which all lose the same indices: groups of a
            convolution or of a normalisation.
    """

    name: str
    scores: Tensor
    blocks: int

    @property
    def channels(self) -> int:
        return len(self.scores) * self.blocks

    def unit(self, multiple: int) -> int:
        """Return so many indices make the channels a multiple."""
        return multiple // math.gcd(multiple, self.blocks)

    def without(self, count: int) -> list[int]:
        """Return the channels of the `count` indices of least importance."""
        least = self.scores.argsort()[:count]
        return sorted(int(i) + block * len(self.scores) for block in range(self.blocks) for i in least)


def _prune(model: nn.Module, knobs: Knobs, material: TransformContext) -> nn.Module:
    CHANNEL_PRUNING.check(knobs)
    pruned = copy.deepcopy(model).eval()
    calls = calls_of(pruned, material.example)
    layers = {c.module: c.name for c in calls if isinstance(c.module, nn.Conv2d | nn.Linear)}
    if len(layers) < 2:
        raise InfeasibleCandidate("channel_pruning: the network has no layer but its output layer")
    output = list(layers)[-1]
    frozen = {name for name, p in pruned.named_parameters() if not p.requires_grad}
    outputs = {layer: _outputs(layer) for layer in layers}
    expected = calls[0].outputs
    try:
        with warnings.catch_warnings(), torch.enable_grad():
            # Of parameters outside of layers, which it prunes along their last dimension: checked below.
            warnings.filterwarnings("ignore", "Unwrapped parameters", UserWarning)
            graph = torch_pruning.DependencyGraph().build_dependency(
                pruned.requires_grad_(True), example_inputs=material.example, verbose=False
            )
        if PRUNED not in material.decided:
            groups = _groups(pruned, graph, output, list(layers), knobs, material)
            material.decided[PRUNED] = _decide(groups, knobs)
        for name, channels in material.decided[PRUNED]:
            layer = pruned.get_submodule(name)
            prune = graph.get_pruner_of_module(layer).prune_out_channels
            graph.get_pruning_group(layer, prune, channels).prune()
        shapes = calls_of(pruned, material.example)[0].outputs
    except Exception as error:  # whatever the graph cannot follow in a network of the user
        reason = f"{type(error).__name__}: {error}"
        raise InfeasibleCandidate(f"channel_pruning: the network cannot be pruned by its graph: {reason}") from error
    if shapes != expected:
        raise InfeasibleCandidate(f"channel_pruning: the output would change from {expected[0]} to {shapes[0]}")
    for layer, name in layers.items():
        if layer is not output and _outputs(layer) == outputs[layer]:
            material.skipped[name] = _why_kept(outputs[layer], knobs)
    if all(_outputs(layer) == outputs[layer] for layer in layers):
        raise InfeasibleCandidate("channel_pruning: no layer has channels that can go")
    for name, parameter in pruned.named_parameters():
        parameter.grad = None
        parameter.requires_grad_(name not in frozen)
    return pruned


def kept_layers(network: nn.Module) -> list[nn.Module]:
    """Return the layers whose outputs must stay: a module may name such layers of its own in `kept`."""
    return [module.get_submodule(name) for module in network.modules() for name in getattr(module, "kept", ())]


def _outputs(layer: nn.Conv2d | nn.Linear) -> int:
    return layer.weight.shape[0]


def _why_kept(channels: int, knobs: Knobs) -> str:
    return f"all {channels} channels stay: tied to the output, or what is left of them is no multiple of " + str(
        knobs.get("multiple", MULTIPLE)
    )


def _groups(
    network: nn.Module, graph: Any, output: nn.Module, layers: list[nn.Module], knobs: Knobs, material: TransformContext
) -> list[_Group]:
    """Return the groups that can lose channels, in the order in which their first layers run."""
    importance = _importance(network, knobs, material)
    fallback = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    names = {module: name for name, module in network.named_modules()}
    found = []
    for group in graph.get_all_groups(
        ignored_layers=[output, *kept_layers(network)], root_module_types=(nn.Conv2d, nn.Linear)
    ):
        root = group[0].dep.target.module
        if _is_split_over_blocks(group, graph):
            continue
        scores = importance(group)
        scores = fallback(group) if scores is None else scores  # no batch normalisation in it
        blocks = math.lcm(*(_blocks(dep.target.module) for dep, _ in group))
        if len(scores) % blocks == 0:
            scores = scores.view(blocks, -1).mean(0).cpu()
            position = min(layers.index(dep.target.module) for dep, _ in group if dep.target.module in layers)
            found.append((position, _Group(names[root], scores, blocks)))
    return [group for _, group in sorted(found, key=lambda pair: pair[0])]


def _blocks(module: nn.Module) -> int:
    if isinstance(module, nn.Conv2d) and module.groups not in (1, module.out_channels):
        return module.groups
    return module.num_groups if isinstance(module, nn.GroupNorm) else 1


def _is_split_over_blocks(group: Any, graph: Any) -> bool:
    """Tell whether a layer with blocks has only some of its channels in the group, as after a concatenation."""
    for dep, indices in group:
        module = dep.target.module
        if _blocks(module) > 1:
            into = isinstance(module, nn.Conv2d) and graph.is_in_channel_pruning_fn(dep.handler)
            channels = module.in_channels if into else getattr(module, "out_channels", None) or module.num_channels
            if len(indices) != channels:
                return True
    return False


def _importance(network: nn.Module, knobs: Knobs, material: TransformContext) -> Any:
    """Return what scores the channels of a group; Taylor without images is L2: only shapes matter then."""
    kind = knobs.get("importance", "l2")
    if kind == "bn_scale":
        return torch_pruning.importance.BNScaleImportance()
    if kind == "taylor" and material.images is not None and material.labels is not None:
        network.zero_grad()
        with torch.enable_grad():
            loss = F.cross_entropy(network(material.images), material.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        for parameter in network.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        return torch_pruning.importance.GroupTaylorImportance()
    return torch_pruning.importance.GroupMagnitudeImportance(p=1 if kind == "l1" else 2)


def _decide(groups: list[_Group], knobs: Knobs) -> list[list[Any]]:
    ratio, scope = float(knobs["ratio"]), knobs.get("scope", "layer")
    multiple = int(knobs.get("multiple", MULTIPLE))
    decided: list[list[Any]] = []
    threshold = _threshold(groups, ratio) if scope == "global" else 0.0
    for at, group in enumerate(groups):
        n, unit = len(group.scores), group.unit(multiple)
        if scope == "layer":
            left = int(n * (1 - ratio)) // unit * unit  # none: the group stays as it is
        elif scope == "stage":
            share = min(ratio * float(knobs.get(STAGES[at * len(STAGES) // len(groups)], 1.0)), MOST)
            left = max(unit, int(n * (1 - share)) // unit * unit)
        else:
            left = max(unit, round(int((group.scores > threshold).sum()) / unit) * unit)
        if 0 < left < n:
            decided.append([group.name, group.without(n - left)])
    return decided


def _threshold(groups: list[_Group], ratio: float) -> float:
    """Return the importance up to which that share of all channels lies; a group's mean importance is 1."""
    scores = torch.cat([group.scores.repeat_interleave(group.blocks) for group in groups] or [torch.zeros(1)])
    gone = int(len(scores) * ratio)
    return float(scores.sort().values[gone - 1]) if gone else -math.inf


CHANNEL_PRUNING = Step(
    name="channel_pruning",
    short="channels",
    knobs={
        "ratio": Range(0.0, 0.75, 0.125),
        "importance": Choice(("l2", "l1", "bn_scale", "taylor")),
        "scope": Choice(("layer", "global", "stage")),
        "early": Range(0.5, 1.5, 0.5, only_if=("scope", "stage")),
        "middle": Range(0.5, 1.5, 0.5, only_if=("scope", "stage")),
        "late": Range(0.5, 1.5, 0.5, only_if=("scope", "stage")),
        "multiple": Choice((4, 8, 16, 1)),
    },
    switch="ratio",
    off=0.0,
    transform=_prune,
    source="Fang et al., DepGraph, CVPR 2023; Molchanov et al., CVPR 2019",
    shapes_known=lambda knobs: knobs.get("scope", "layer") != "global",
)
