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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn import functional as F

from paredown.spaces.compression.channel_proof import ChannelGraph, unproven
from paredown.spaces.compression.layers import (
    MATRIX_LAYERS,
    computes_weight,
    excluded,
    shared_weights,
    weighted,
)
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
        name: Name of the layer at its root.
        makers: Names of all layers whose output channels are in the group.
        scores: Importance of each index that can go, small ones go first; an index stands for one channel in
            each of the `blocks`.
        blocks: Number of blocks of equal length in which the channels lie, which all lose the same indices: groups
            of a convolution or of a normalisation, parts that are split off and meet again.
    """

    name: str
    makers: list[str]
    scores: Tensor
    blocks: int

    @property
    def channels(self) -> int:
        return len(self.scores) * self.blocks

    def unit(self, multiple: int) -> int:
        """Return how many indices together change the number of channels by a multiple."""
        return multiple // math.gcd(multiple, self.blocks)

    def without(self, count: int) -> list[int]:
        """Return the channels of the `count` indices of least importance."""
        least = self.scores.argsort()[:count]
        return sorted(int(i) + block * len(self.scores) for block in range(self.blocks) for i in least)


def _prune(model: nn.Module, knobs: Knobs, material: TransformContext) -> nn.Module:
    CHANNEL_PRUNING.check(knobs)
    pruned = (model if material.owned else copy.deepcopy(model)).eval()
    calls = calls_of(pruned, material.example)
    order, expected = [call.name for call in calls if isinstance(call.module, MATRIX_LAYERS)], calls[0].outputs
    if len(order) < 2:
        raise InfeasibleCandidate("channel_pruning: the network has no layer but its output layer")
    frozen = {name for name, p in pruned.named_parameters() if not p.requires_grad}
    before = _shapes(pruned)
    replayed = PRUNED in material.decided
    stay = _staying(pruned, material)
    try:
        graph = ChannelGraph(pruned.requires_grad_(True), material.example)
        groups = [] if replayed else _groups(graph, order, knobs, material, stay)
        decided = material.decided[PRUNED] if replayed else _decide(groups, knobs)
        if not material.known and (material.values or not replayed):  # else the proof comes from elsewhere
            decided = _proven(pruned, decided, groups, material)
        unfit = set(material.skipped) - set(stay)
        for name, channels in decided:
            graph.group(name, channels).prune()
        shapes = calls_of(pruned, material.example)[0].outputs
    except Exception as error:  # whatever the graph cannot follow in a network of the user
        reason = f"{type(error).__name__}: {error}"
        raise InfeasibleCandidate(f"channel_pruning: the network cannot be pruned by its graph: {reason}") from error
    if shapes != expected:
        raise InfeasibleCandidate(f"channel_pruning: the output would change from {expected[0]} to {shapes[0]}")
    material.decided[PRUNED] = decided
    _name_what_stays(before, _shapes(pruned), {order[-1], *dict(pruned.named_parameters())}, knobs, material)
    if not decided:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in material.skipped.items())
        cause = "the network cannot be pruned by its graph" if unfit else "no layer has channels that can go"
        raise InfeasibleCandidate(f"channel_pruning: {cause}: {reasons}")
    for name, parameter in pruned.named_parameters():
        parameter.grad = None
        parameter.requires_grad_(name not in frozen)
    return pruned


def _proven(
    network: nn.Module, decided: list[list[Any]], groups: list[_Group], material: TransformContext
) -> list[list[Any]]:
    """Return what may go by the proof; what may not is named."""
    reasons = unproven(network, material.example, [(name, channels) for name, channels in decided])
    makers = {group.name: group.makers for group in groups}
    for name, reason in reasons.items():
        material.skipped |= dict.fromkeys(makers.get(name, [name]), reason)
    return [[name, channels] for name, channels in decided if name not in reasons]


def _staying(network: nn.Module, material: TransformContext) -> dict[str, str]:
    """Return what holds weights whose channels must stay for another reason than the graph, with that reason."""
    patterns, shared = (*material.excluded, *material.pinned), shared_weights(network)
    found = {}
    for name, module in weighted(network).items():
        places = shared.get(id(getattr(module, "weight", None)), [])
        if pattern := excluded(name, patterns):
            found[name] = f"the user keeps {pattern!r} as it is"
        elif others := [place for place in places if place != f"{name}.weight"]:
            found[name] = f"shares its weight with {others[0]}"
        elif isinstance(module, nn.Module) and computes_weight(module):
            found[name] = "its weight is computed from other parameters"
    return found


def _shapes(network: nn.Module) -> dict[str, list[torch.Size]]:
    """Return the shapes of what holds weights, by name."""
    return {
        name: [module.shape] if isinstance(module, nn.Parameter) else [p.shape for p in module.parameters()]
        for name, module in weighted(network).items()
    }


def _name_what_stays(
    before: Mapping[str, list[torch.Size]],
    after: Mapping[str, list[torch.Size]],
    no_makers: Collection[str],
    knobs: Knobs,
    material: TransformContext,
) -> None:
    """Name what keeps its output channels; what makes none that could go only where it keeps its whole shape."""
    for name, shapes in before.items():
        if after[name] == shapes or (name not in no_makers and after[name][0][0] == shapes[0][0]):
            material.skipped.setdefault(name, _why_kept(shapes[0][0], knobs))
        else:
            material.skipped.pop(name, None)


def kept_layers(network: nn.Module) -> list[nn.Module]:
    """Return the layers whose outputs must stay: a module may name such layers of its own in `kept`."""
    return [module.get_submodule(name) for module in network.modules() for name in getattr(module, "kept", ())]


def _why_kept(channels: int, knobs: Knobs) -> str:
    return f"all {channels} channels stay: tied to the output, or what is left of them is no multiple of " + str(
        knobs.get("multiple", MULTIPLE)
    )


def _groups(
    graph: ChannelGraph, order: Sequence[str], knobs: Knobs, material: TransformContext, stay: Mapping[str, str]
) -> list[_Group]:
    """Return the groups that can lose channels, in the order in which their first layers run."""
    network = graph.network
    importance = _importance(network, knobs, material)
    fallback = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    names: dict[object, str] = {module: name for name, module in weighted(network).items()}
    kept = {id(layer) for layer in (network.get_submodule(order[-1]), *kept_layers(network))}
    material.skipped |= stay
    found, seen = [], set()
    for name in order:
        if name in seen or id(network.get_submodule(name)) in kept:
            continue
        try:
            group = graph.group(name)
            makers = [names[dep.target.module] for dep, _ in group if graph.makes(dep) and dep.target.module in names]
            seen |= set(makers)
            if any(id(dep.target.module) in kept for dep, _ in group if graph.makes(dep)):
                continue
            touched = [names[dep.target.module] for dep, _ in group if dep.target.module in names]
            if holding := next((n for n in touched if n in stay), ""):
                material.skipped |= {n: f"goes with {holding}: {stay[holding]}" for n in makers if n not in stay}
            elif _is_split_over_blocks(group, graph.graph):
                material.skipped |= dict.fromkeys(makers, "a layer with groups has only some of its channels")
            else:
                scores = importance(group)
                scores = fallback(group) if scores is None else scores  # no batch normalisation in it
                blocks = math.lcm(graph.coupled(name), *(_blocks(dep.target.module) for dep, _ in group))
                if len(scores) % blocks == 0:
                    position = min(order.index(maker) for maker in makers if maker in order)
                    scores = scores.view(blocks, -1).mean(0).cpu()
                    found.append((position, _Group(name, makers, scores, blocks)))
        except Exception as error:  # whatever the graph cannot follow in a network of the user: this group stays
            said = str(error).partition("\n")[0][:200]
            material.skipped[name] = f"its channels cannot be followed: {type(error).__name__}: {said}"
    return [group for _, group in sorted(found, key=lambda pair: pair[0])]


def _blocks(module: nn.Module) -> int:
    if isinstance(module, MATRIX_LAYERS[:3]) and module.groups not in (1, module.out_channels):
        return module.groups
    return module.num_groups if isinstance(module, nn.GroupNorm) else 1


def _is_split_over_blocks(group: Any, graph: Any) -> bool:
    """Tell whether a layer with blocks has only some of its channels in the group, as after a concatenation."""
    for dep, indices in group:
        module = dep.target.module
        if _blocks(module) > 1:
            into = isinstance(module, MATRIX_LAYERS[:3]) and graph.is_in_channel_pruning_fn(dep.handler)
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
