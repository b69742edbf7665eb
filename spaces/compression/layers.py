"""Which layers of a network a step may rewrite, and why the others stay as they are.

A step rewrites a layer only where it computes what the library's layer of its kind computes, nothing else in the
network looks at its weights, it is trained as the rest of the network is, and the user did not exclude it. Every
module and parameter that holds weights and is not rewritten is named with the reason.

Weights are what has two dimensions or more: biases, normalisations and scales a channel are none.
"""

import copy
import fnmatch
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize

from paredown.spaces.compression.step import TransformContext
from paredown.spaces.compression.surgery import calls_of, replace
from paredown.spaces.module_mode import evaluating

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
MatrixLayer = Convolution | nn.Linear
MATRIX_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Kinds of layer whose weight is `outputs x inputs x ...` and meets its input in one product."""
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
TOLERANCE = 1e-4
"""Outputs differ by less, as a share of the largest, where the same is computed in another order."""


def layers_to_replace(
    network: nn.Module, context: TransformContext, kinds: tuple[type[nn.Module], ...] = MATRIX_LAYERS
) -> dict[str, MatrixLayer]:
    """Return the layers that a step may put other layers in place of, by name, in the order of the network.

    Those whose attributes another module reads stay: each is tried behind a stand-in that has none of them.

    Args:
        network: Is not changed.
        context: Its `skipped` gets all else that holds weights, with the reason.
        kinds: Kinds of layers that the step treats.
    """
    found = layers_to_reweigh(network, context.skipped, (*context.excluded, *context.pinned), kinds)
    shared = shared_weights(network)
    for name, layer in found.items():
        for twin in _twins(name, layer, shared):
            context.skipped[name] = f"shares a parameter with {twin}"
            if (other := twin.rpartition(".")[0]) in context.skipped:
                context.skipped[other] = f"shares a parameter with {name}"
    found = {name: layer for name, layer in found.items() if name not in context.skipped}
    if not context.known:
        context.skipped |= _read_by_others(network, found, context.example)
    return {name: layer for name, layer in found.items() if name not in context.skipped}


def layers_to_reweigh(
    network: nn.Module,
    skipped: dict[str, str],
    patterns: Sequence[str] = (),
    kinds: tuple[type[nn.Module], ...] = MATRIX_LAYERS,
) -> dict[str, MatrixLayer]:
    """Return the layers whose weights a step may change in place, by name, in the order of the network.

    Of layers that share a weight the first one is returned.

    Args:
        network: Is not changed.
        skipped: Gets all else that holds weights, with the reason; what stands there already is left alone too.
        patterns: Names of layers that the user excludes, with `*`, `?` and `[...]`.
        kinds: Kinds of layers that the step treats.
    """
    found: dict[str, MatrixLayer] = {}
    for name, module in weighted(network).items():
        if name in skipped:
            continue
        if reason := _why_left(network, name, module, patterns, kinds):
            skipped[name] = reason
            continue
        layer: MatrixLayer = module  # type: ignore[assignment]  # of one of the kinds
        if twin := next((n for n, other in found.items() if other.weight is layer.weight), ""):
            skipped[name] = f"it shares its weight with {twin}, where it is treated"
        else:
            found[name] = layer
    return found


def weighted(network: nn.Module) -> dict[str, nn.Module | nn.Parameter]:
    """Return what holds weights, by name: modules, and the parameters that the network itself holds."""
    found: dict[str, nn.Module | nn.Parameter] = {}
    for name, module in network.named_modules():
        if isinstance(module, NORMS) or ".parametrizations." in f".{name}.":
            continue
        own = {n: p for n, p in module.named_parameters(recurse=False) if p.ndim > 1}
        if name and (own or parametrize.is_parametrized(module)):
            found[name] = module
        elif not name:
            found |= own
    return found


def why_own(layer: nn.Module) -> str:
    """Return why a layer computes something else than the library's layer of its kind; nothing where it does not."""
    kind, said = _kind(layer), type(layer).__name__
    if computes_weight(layer):
        return "its weight is computed from other parameters"
    for method in ("forward", "_conv_forward", "__call__", "_call_impl"):
        if method in vars(layer) or getattr(type(layer), method, None) is not getattr(kind, method, None):
            return f"has a forward of its own ({said})"
    if layer._forward_hooks or layer._forward_pre_hooks:
        return "has forward hooks"
    if any(True for _ in layer.children()) or set(layer._parameters) - set(_own_names(kind)):
        return f"holds more than the layer of its kind ({said})"
    if any(type(p) is not nn.Parameter for p in layer._parameters.values() if p is not None):
        return "its weight is a tensor of its own kind"
    return ""


def computes_weight(module: nn.Module) -> bool:
    """Return whether a weight or bias is no parameter but computed from others, as by `weight_norm`."""
    return parametrize.is_parametrized(module) or any(
        isinstance(vars(module).get(name), Tensor) for name in ("weight", "bias")
    )


def is_frozen(network: nn.Module, module: nn.Module | nn.Parameter) -> bool:
    """Return whether a module is kept from training while others of the network are trained."""
    own = [module] if isinstance(module, nn.Parameter) else [p for p in module.parameters() if p.ndim > 1]
    return not any(p.requires_grad for p in own) and any(p.requires_grad for p in network.parameters())


def excluded(name: str, patterns: Sequence[str]) -> str:
    """Return the pattern that a name, or the name of what contains it, matches; nothing where none does."""
    parts = name.split(".")
    names = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return next((p for p in patterns if any(fnmatch.fnmatchcase(n, p) for n in names)), "")


def shared_weights(network: nn.Module) -> dict[int, list[str]]:
    """Return the names of each parameter that several modules hold, by its identity."""
    names: dict[int, list[str]] = {}
    for prefix, module in network.named_modules():  # each module once, however often it is used
        for name, parameter in module._parameters.items():
            if parameter is not None:
                names.setdefault(id(parameter), []).append(f"{prefix}.{name}".lstrip("."))
    return {key: places for key, places in names.items() if len(places) > 1}


def _why_left(
    network: nn.Module,
    name: str,
    module: nn.Module | nn.Parameter,
    patterns: Sequence[str],
    kinds: tuple[type[nn.Module], ...],
) -> str:
    if pattern := excluded(name, patterns):
        return f"the user keeps {pattern!r} as it is"
    if isinstance(module, nn.Parameter):
        return "a parameter of its own, in no layer"
    if not isinstance(module, kinds):
        return f"is a {type(module).__name__}: only {_listed(kinds)} are treated"
    if reason := why_own(module):
        return reason
    if is_frozen(network, module):
        return "is frozen: its parameters are not trained"
    return ""


def _twins(name: str, layer: nn.Module, shared: Mapping[int, Sequence[str]]) -> list[str]:
    """Return the other places in the network that hold a parameter of the layer."""
    return [
        place
        for own, parameter in layer._parameters.items()
        for place in shared.get(id(parameter), ())
        if place != f"{name}.{own}"
    ]


def _read_by_others(network: nn.Module, layers: Mapping[str, nn.Module], example: Tensor) -> dict[str, str]:
    """Return the layers that do not run in evaluation, and those whose attributes other modules read."""
    if not layers:
        return {}
    example = example.to(next(iter(layers.values())).weight)  # type: ignore[arg-type]  # its device and type
    ran = {call.module for call in calls_of(network, example)}
    found = {name: "does not run in evaluation" for name, layer in layers.items() if layer not in ran}
    tried = {name: layer for name, layer in layers.items() if name not in found}
    for some in _suspects(network, tried, example):
        found[some] = "another module reads its weights"
    for name in list(found):
        if found[name] == "does not run in evaluation" and _suspects(network, {name: layers[name]}, example):
            found[name] = "another module reads its weights"
    return found


def _suspects(network: nn.Module, layers: Mapping[str, nn.Module], example: Tensor) -> list[str]:
    """Return those layers behind whose stand-in the network does not run as before."""
    names = list(layers)
    if not names or _runs_without(network, names, example):
        return []
    if len(names) == 1:
        return names
    halves = names[: len(names) // 2], names[len(names) // 2 :]
    return [name for half in halves for name in _suspects(network, {n: layers[n] for n in half}, example)]


class _StandIn(nn.Module):
    """Runs a layer and shows nothing of it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.inner = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return y


@torch.no_grad()
def _runs_without(network: nn.Module, names: Sequence[str], example: Tensor) -> bool:
    tried = copy.deepcopy(network)
    with evaluating(network):
        expected = network(example)
    for name in names:
        layer = tried.get_submodule(name)
        replace(tried, layer, _StandIn(layer))
    try:
        return same(tried.eval()(example), expected)
    except Exception:  # whatever code of the user raises where it finds another module than its own
        return False


def same(actual: object, expected: object) -> bool:
    """Return whether two outputs of a network are equal but for rounding."""
    if not isinstance(actual, Tensor) or not isinstance(expected, Tensor):
        return type(actual) is type(expected)
    if actual.shape != expected.shape or actual.is_meta:
        return actual.shape == expected.shape
    scale = expected.abs().max() if expected.numel() else expected.new_zeros(())
    return bool(torch.allclose(actual, expected, rtol=0, atol=TOLERANCE * float(scale) + 1e-12, equal_nan=True))


def _kind(module: nn.Module) -> type[nn.Module] | None:
    """Return the library's class that a module is of, its nearest one; None where there is none."""
    for kind in type(module).__mro__:
        if kind.__module__.startswith("torch.nn.modules.") and kind is not nn.Module:
            return kind
    return None


def _own_names(kind: type[nn.Module] | None) -> Iterator[str]:
    yield from ("weight", "bias") if kind is not None else ()


def _listed(kinds: tuple[type[nn.Module], ...]) -> str:
    return ", ".join(kind.__name__ for kind in kinds)
