"""Layer pruning: whole blocks that matter least are left out.

What can go are modules that give back a tensor of the shape that they are given: residual blocks, and in networks
without blocks single layers. The outermost count; a `Sequential` of several such blocks counts as its blocks. Each
one's importance is measured on calibration images: by how much the loss rises without it, or how far its output is
turned away from its input. Before training nothing can be measured: blocks spread evenly over the network stand for
those that will be chosen, so that costs can be estimated.

Source:
    Chen, Zhao, Shallowing Deep Networks: Layer-wise Pruning Based on Feature Representations, TPAMI 2019 (features);
    Elkerdawy et al., To Filter Prune, or to Layer Prune, That Is The Question, ACCV 2020, section 3 (one-shot
    ranking by importance);
    Men et al., ShortGPT: Layers in Large Language Models are More Redundant Than You Expect, 2024, equation 1
    (similarity of a block's input and output).
"""

import copy
import functools
import math
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paredown.spaces.compression.layers import excluded, weighted
from paredown.spaces.compression.step import Step, TransformContext
from paredown.spaces.compression.surgery import Calls, calls_of, replace
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.knob import Choice, Knobs, Range
from paredown.spaces.module_mode import evaluating

REMOVED = "removed"
"""Key of what was decided: the names of the blocks that were left out."""


def _leave_out(model: nn.Module, knobs: Knobs, material: TransformContext) -> nn.Module:
    LAYER_PRUNING.check(knobs)
    shallow = copy.deepcopy(model)
    if REMOVED not in material.decided:
        blocks = _removable(shallow, material)
        if not blocks:
            raise InfeasibleCandidate("layer_pruning: no block gives back the shape that it is given")
        count = max(1, round(len(blocks) * float(knobs["ratio"])))
        material.decided[REMOVED] = sorted(_least(shallow, blocks, count, str(knobs["criterion"]), material))
    for name in material.decided[REMOVED]:
        replace(shallow, shallow.get_submodule(name), nn.Identity())
    for name in weighted(shallow):
        material.skipped.setdefault(name, "stays: in no block that went")
    return shallow


def _removable(network: nn.Module, material: TransformContext) -> list[str]:
    """Return the blocks that can go, in the order in which they run; none lies in another one."""
    calls = calls_of(network, material.example)
    can_go = {c.name for c in calls if c.keeps_shape and c.module is not network and _has_matrix(c.module)}
    chosen = [c for c in calls if c.name in can_go and not _is_chain(c, can_go)]
    outermost = [c for c in chosen if not any(c.name.startswith(f"{other.name}.") for other in chosen)]
    blocks = []
    patterns = (*material.excluded, *material.pinned)
    for block in outermost:
        inside = [f"{block.name}.{name}".rstrip(".") for name in ("", *weighted(block.module))]
        if pattern := next((p for name in inside if (p := excluded(name, patterns))), ""):
            material.skipped[block.name] = f"the user keeps {pattern!r} as it is"
        elif reason := _why_needed(network, block, calls[0].outputs, material.example):
            material.skipped[block.name] = reason
        else:
            blocks.append(block.name)
    return blocks


def _has_matrix(block: nn.Module) -> bool:
    """Tell blocks and layers from activations and normalisations, which cost next to nothing."""
    return any(parameter.ndim > 1 for parameter in block.parameters())


def _is_chain(block: Calls, can_go: set[str]) -> bool:
    """Tell whether it is nothing but a sequence of blocks: of several or of one alone, each made of several layers."""
    if not isinstance(block.module, nn.Sequential):
        return False
    children = [f"{block.name}.{n}" for n, child in block.module.named_children() if any(child.children())]
    return sum(name in can_go for name in children) >= min(2, len(block.module))


def _why_needed(network: nn.Module, block: Calls, expected: list[tuple[int, ...] | None], example: Tensor) -> str:
    """Return why the network does not run without a block; nothing where it does."""
    gap = nn.Identity()
    replace(network, block.module, gap)
    try:
        shapes = calls_of(network, example)[0].outputs
    except Exception as error:  # the code around it may use anything of the block that an identity has not
        return f"the network does not run without it: {type(error).__name__}: {error}"
    finally:
        replace(network, gap, block.module)
    return "" if shapes == expected else f"without it the output is {shapes[0]} instead of {expected[0]}"


@torch.no_grad()
def _least(network: nn.Module, blocks: list[str], count: int, criterion: str, material: TransformContext) -> list[str]:
    """Return the names of the blocks that matter least."""
    if material.images is None or material.labels is None:
        return [blocks[(2 * i + 1) * len(blocks) // (2 * count)] for i in range(count)]
    with evaluating(network):
        if criterion == "loss":
            scores = [_loss_without(network, name, material.images, material.labels) for name in blocks]
        else:
            scores = _turns(network, blocks, material.images)
    order = sorted(range(len(blocks)), key=lambda i: (scores[i], i))
    return [blocks[i] for i in order[:count]]


def _loss_without(network: nn.Module, name: str, images: Tensor, labels: Tensor) -> float:
    block, gap = network.get_submodule(name), nn.Identity()
    replace(network, block, gap)
    loss = F.cross_entropy(network(images), labels).item()
    replace(network, gap, block)
    return loss if math.isfinite(loss) else math.inf


def _turns(network: nn.Module, blocks: list[str], images: Tensor) -> list[float]:
    """Return for each block 1 - the cosine of its input and its output, the mean over images and calls."""
    turns: dict[str, list[float]] = {name: [] for name in blocks}

    def watched(
        name: str, module: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor
    ) -> None:
        given = [*inputs, *named.values()][0]
        cosines = F.cosine_similarity(given.flatten(1), output.flatten(1), dim=1)
        turns[name].append(1 - cosines.mean().item())

    with ExitStack() as stack:
        for name in blocks:
            watch = functools.partial(watched, name)
            stack.enter_context(network.get_submodule(name).register_forward_hook(watch, with_kwargs=True))
        network(images)
    return [sum(turns[name]) / len(turns[name]) for name in blocks]


LAYER_PRUNING = Step(
    name="layer_pruning",
    short="layers",
    knobs={"ratio": Range(0.0, 0.75, 0.125), "criterion": Choice(("loss", "similarity"))},
    switch="ratio",
    off=0.0,
    transform=_leave_out,
    source="Elkerdawy et al., To Filter Prune, or to Layer Prune, ACCV 2020; Men et al., ShortGPT, 2024",
    shapes_known=False,
)
