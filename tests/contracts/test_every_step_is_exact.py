"""Over all structural steps: what is exactly redundant may go, and the output does not change.

What is dead may be removed, what is of rank r may be factorised, what is grouped may be grouped, what is zero may be
zeroed. All else is left alone and named. The networks are of the kinds that a step may take for something else.
"""

import copy
import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from odd_networks import ODD, SIDE
from torch import Tensor, nn

from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.layers import weighted
from paredown.spaces.compression.step import TransformContext
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.knob import Knobs

IMAGES = torch.randn(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def network(name: str) -> nn.Module:
    """Return the network with random values everywhere, also where training begins at zero or one."""
    torch.manual_seed(0)
    made = ODD[name]()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, 0, (2 * len(parameter) / parameter.numel()) ** 0.5)
            else:
                nn.init.uniform_(parameter, 0.5, 1)
    return made.eval()


def layers(made: nn.Module, *kinds: type[nn.Module]) -> Iterator[nn.Module]:
    """Yield the layers of these kinds whose weight is a parameter."""
    for module in made.modules():
        if isinstance(module, kinds) and "weight" in module._parameters:
            yield module


@torch.no_grad()
def make_of_rank_two(made: nn.Module) -> None:
    for layer in layers(made, *CONVOLUTIONS, nn.Linear):
        outputs, inputs, *kernel = layer.weight.shape
        core = torch.randn(2, 2, *kernel)
        left, right = torch.randn(outputs, 2), torch.randn(inputs, 2)
        layer.weight.copy_(torch.einsum("or,rs...,is->oi...", left, core, right) * 0.1)


@torch.no_grad()
def make_of_two_groups(made: nn.Module) -> None:
    for layer in layers(made, nn.Conv2d):
        if layer.groups == 1:
            outputs, inputs = (size // 2 for size in layer.weight.shape[:2])
            layer.weight[:outputs, inputs:] = 0
            layer.weight[outputs:, :inputs] = 0


@torch.no_grad()
def make_points_of_kernels(made: nn.Module) -> None:
    for layer in layers(made, nn.Conv2d):
        alive = torch.zeros_like(layer.weight[:1, :1])
        alive[..., alive.shape[2] // 2, alive.shape[3] // 2] = 1
        layer.weight.mul_(alive)


@torch.no_grad()
def make_half_zero(made: nn.Module) -> None:
    for layer in layers(made, *CONVOLUTIONS, nn.Linear):
        layer.weight.flatten()[::2] = 0


@torch.no_grad()
def make_constant_filters(made: nn.Module) -> None:
    for layer in layers(made, *CONVOLUTIONS, nn.Linear):
        layer.weight.copy_(layer.weight.mean(tuple(range(1, layer.weight.ndim)), keepdim=True).expand_as(layer.weight))


CASES: dict[str, tuple[str, Knobs, Callable[[nn.Module], None]]] = {
    "ranks": ("low_rank", {"ratio": 0.5, "rule": "ratio", "kernel": "tucker2"}, make_of_rank_two),
    "groups": ("grouped_convolution", {"groups": 2}, make_of_two_groups),
    "stripes": ("stripe_pruning", {"ratio": 0.5, "axis": "stripe"}, make_points_of_kernels),
    "zeros": (
        "unstructured_pruning",
        {"ratio": 0.25, "scope": "layer", "pattern": "none", "schedule": "one_shot"},
        make_half_zero,
    ),
    "coefficients": (
        "transform_sparsity",
        {"domain": "dct", "rule": "ratio", "amount": 0.5},
        make_constant_filters,
    ),
}


WITH = {
    "first.0": ("first.1",),
    "middle.0": ("middle.1",),
    "last.0": ("last.1",),
    "fused middle.0": ("middle.1", "side.0", "side.1"),
    "scaledattention patch": ("out", "narrow"),
    "signal first": ("norm",),
}
"""Layer, in a network where it is named, to the others that make the same channels."""


def change(step: str, made: nn.Module, knobs: Knobs, context: TransformContext) -> tuple[float, nn.Module]:
    """Return by what share of the largest output a step changes it, and the changed network."""
    transform = STEPS[step].transform
    assert transform is not None
    with torch.no_grad():
        expected = made(IMAGES)
        changed = transform(made, knobs, context).eval()
        assert torch.equal(made(IMAGES), expected), "the given network is left alone"
        difference: Tensor = (changed(IMAGES) - expected).abs().max() / expected.abs().max()
    return float(difference), changed


def same(before: nn.Module | nn.Parameter, after: nn.Module | nn.Parameter) -> bool:
    if isinstance(before, nn.Parameter) or isinstance(after, nn.Parameter):
        return isinstance(before, Tensor) and isinstance(after, Tensor) and torch.equal(before, after)
    ours, theirs = before.state_dict(), after.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[key].shape == theirs[key].shape and torch.equal(ours[key], theirs[key]) for key in ours
    )


def unnamed(made: nn.Module, changed: nn.Module, context: TransformContext) -> list[str]:
    """Return what holds weights, is as it was, and is not named with a reason."""
    after = dict(itertools.chain(changed.named_modules(), changed.named_parameters()))
    return [n for n, held in weighted(made).items() if n in after and same(held, after[n]) and n not in context.skipped]


def check_refusal(error: Exception, step: str, made: nn.Module, context: TransformContext) -> None:
    """A step that can do nothing says so, and names all that holds weights."""
    assert str(error).startswith(f"{step}: ")
    assert set(weighted(made)) <= set(context.skipped)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("case", CASES)
def test_what_is_exactly_redundant_goes_without_a_trace(case: str, name: str) -> None:
    step, knobs, prepare = CASES[case]
    made, context = network(name), TransformContext(torch.zeros(1, 1, SIDE, SIDE))
    prepare(made)
    try:
        difference, changed = change(step, made, knobs, context)
    except InfeasibleCandidate as error:
        check_refusal(error, step, made, context)
        return
    assert difference < 1e-4
    untouched = unnamed(made, changed, context)
    assert step in ("unstructured_pruning", "transform_sparsity", "stripe_pruning") or not untouched, untouched


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_dead_channels_go_without_a_trace_or_stay_and_are_named(name: str, scope: str) -> None:
    knobs: Knobs = {"ratio": 0.5, "scope": scope, "importance": "l2", "multiple": 4}
    made, context = network(name), TransformContext(torch.zeros(1, 1, SIDE, SIDE))
    try:
        _, pruned = change("channel_pruning", made, knobs, context)
    except InfeasibleCandidate as error:
        check_refusal(error, "channel_pruning", made, context)
        return
    assert not unnamed(made, pruned, context)
    gone = context.decided["pruned"]
    assert gone
    for layer, channels in gone:  # the same channels, now dead in what produces them: not a trace may be left
        one = TransformContext(torch.zeros(1, 1, SIDE, SIDE), decided={"pruned": [[layer, channels]]})
        dead = copy.deepcopy(made)
        kill(dead, name, layer, channels)
        difference, _ = change("channel_pruning", dead, knobs, one)
        assert difference < 1e-4


@torch.no_grad()
def kill(made: nn.Module, name: str, layer: str, channels: list[int]) -> None:
    """Let all that makes a group of channels give zero there."""
    for module in (layer, *WITH.get(f"{name} {layer}", WITH.get(layer, ()))):
        for tensor in made.get_submodule(module).parameters():
            tensor[channels] = 0


STRONG: dict[str, Knobs] = {
    "layer_pruning": {"ratio": 0.5, "criterion": "similarity"},
    "channel_pruning": {"ratio": 0.5},
} | {step: knobs for step, knobs, _ in CASES.values()}


@pytest.mark.parametrize("name", ["tied", "frozen", "signal", "volume", "lstm", "cosine", "multihead", "encoder"])
@pytest.mark.parametrize("step", STRONG)
def test_ties_survive_and_frozen_weights_stay_frozen(step: str, name: str) -> None:
    made, context = network(name), TransformContext(torch.zeros(1, 1, SIDE, SIDE))
    try:
        _, changed = change(step, made, STRONG[step], context)
    except InfeasibleCandidate:
        assert name != "plain"
        return
    frozen = [n for n, p in made.named_parameters() if not p.requires_grad]
    for n, parameter in changed.named_parameters():
        assert parameter.requires_grad != any(n.startswith(f.rpartition(".")[0]) for f in frozen)
    if name == "tied" and step != "layer_pruning":
        assert changed.again.weight is changed.middle.weight  # type: ignore[union-attr]


def test_every_transform_is_looked_at() -> None:
    assert set(STRONG) == {name for name, step in STEPS.items() if step.transform is not None}
