"""The user's own network: a function that returns an `nn.Module`, and optionally its trained weights.

Workers on any machine build it from the knobs alone, so the knobs say where it is. A digest of the function's source
file and of the weights file is among them: other content is another candidate, and content that changes while a study
runs is refused. What the source file imports is not part of the digest.
"""

import copy
import functools
import hashlib
import inspect
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from paredown.spaces.errors import InfeasibleCandidate, SpaceError
from paredown.spaces.families.family import Family, ImageShape
from paredown.spaces.families.hubs import HUBS, HubRefused, from_hub, version
from paredown.spaces.importing import ImportRefused, import_callable
from paredown.spaces.knob import Choice, Knob, Knobs, Range

NAME = "imported"
LISTED = 5
"""So many keys of a state dict are named in a message."""
NOT_NEEDED = "num_batches_tracked"
"""Entries of this name count batches; checkpoints of old may lack them, and nothing depends on them here."""


class ModelRefused(SpaceError):
    """The user's network cannot be built or loaded; the message begins with the key: `model` or `weights`."""


def imported(function: str, folder: Path, weights: str = "") -> Family:
    """Return the family of one network of the user's.

    Args:
        function: `package.module:function`, importable from the folder. It takes no arguments, or `channels` and
            `classes`, and returns a network that maps `n x c x h x w` to `n x classes` logits. `timm:NAME` and
            `torchvision:NAME` are the networks of these libraries.
        folder: Also where a relative path of the weights starts.
        weights: A `.safetensors` file, or a state dict that `torch.save` wrote; empty where there are none.

    Raises:
        ModelRefused: Function or file cannot be found.
    """
    folder = folder.resolve()
    _function(function, folder)
    origin = {"function": function, "folder": str(folder), "weights": weights}
    return _family(origin | {"digest": _digest(function, folder, weights)})


def try_out(family: Family, knobs: Knobs, channels: int, classes: int, resolutions: Range) -> None:
    """Build the network once, so that what is wrong with it is known before anything is trained.

    Args:
        family: From `imported`.
        knobs: Of the reference network.
        channels: Of an input.
        classes: Of the task.
        resolutions: That the task allows; those that the network can take are named where it cannot take its own.

    Raises:
        ModelRefused: It cannot be built, its weights do not fit, or its output is not `n x classes`.
    """

    def refusal(side: int) -> str:
        try:
            family.build(knobs, (channels, side, side), classes)
        except InfeasibleCandidate as error:
            return str(error).removeprefix(f"{NAME}: ")
        return ""

    if said := refusal(family.resolution(knobs)):
        count = round((resolutions.high - resolutions.low) / resolutions.step) + 1
        sides = [int(resolutions.low + i * resolutions.step) for i in range(count)]
        fitting = ", ".join(str(side) for side in sides if not refusal(side))
        hint = f"; it takes images of {fitting} px: set space.knobs {NAME}.resolution to that" if fitting else ""
        raise ModelRefused(f"model: {said}{hint}")


def _family(origin: Mapping[str, str]) -> Family:
    return Family(
        name=NAME,
        knobs=functools.partial(_knobs, origin),
        baseline={},
        resolution=lambda knobs: int(knobs["resolution"]),
        build=_build,
        source="the user's own network, by import path",
    )


def _knobs(origin: Mapping[str, str], resolutions: Range) -> Mapping[str, Knob]:
    fixed: dict[str, Knob] = {name: Choice((value,)) for name, value in origin.items()}
    return {"resolution": Range(resolutions.low, resolutions.high, resolutions.step), **fixed}


def _build(knobs: Knobs, shape: ImageShape, classes: int) -> nn.Module:
    function, folder, weights = str(knobs["function"]), Path(str(knobs["folder"])), str(knobs["weights"])
    if not function:
        raise ModelRefused("model: the family imported needs one; write package.module:function")
    found = _function(function, folder)
    if _digest(function, folder, weights) != knobs["digest"]:
        raise ModelRefused(
            f"model: the source file of {function}{' or ' + weights if weights else ''} has changed since the study "
            "began; restore it or start a new study"
        )
    network = _called(found, function, shape[0], classes)
    if weights:
        _load(network, _state(_file(folder, weights)), weights)
    _check(network, function, shape, classes)
    return network


def _function(path: str, folder: Path) -> Callable[..., Any]:
    try:
        found: Callable[..., Any] = from_hub(path) or import_callable(path, folder, "function")
    except (ImportRefused, HubRefused) as error:
        raise ModelRefused(f"model: {error}") from error
    if isinstance(found, nn.Module):
        raise ModelRefused(f"model: {path} is a network; needed: a function or class that returns one")
    return found


def _called(found: Callable[..., Any], path: str, channels: int, classes: int) -> nn.Module:
    """Return a network of our own: what the function returns may belong to the user's module."""
    parameters = inspect.signature(found).parameters
    named = {"channels": channels, "classes": classes}
    needed = {
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    if needed - named.keys():
        raise ModelRefused(
            f"model: {path} needs {', '.join(sorted(needed - named.keys()))}; allowed: no arguments, or channels and "
            "classes"
        )
    try:
        network = found(**{name: value for name, value in named.items() if name in parameters})
    except Exception as error:  # whatever the user's code raises is the user's to mend
        raise ModelRefused(f"model: {path} raised {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ModelRefused(f"model: {path} returned {type(network).__name__}, no nn.Module")
    if next(network.parameters(), None) is None:
        raise ModelRefused(f"model: {path} returned a network without parameters")
    try:
        return copy.deepcopy(network)
    except Exception as error:  # as above
        raise ModelRefused(f"model: {path} returned a network that cannot be copied: {error}") from error


def _check(network: nn.Module, path: str, shape: ImageShape, classes: int) -> None:
    """Refuse a network that does not map images to classes; two images, so that none takes the batch for more."""
    given = " x ".join(map(str, shape))
    modes = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad():
            output = network.eval()(torch.zeros(2, *shape))
    except Exception as error:  # as above
        said = str(error).partition("\n")[0][:200]
        raise InfeasibleCandidate(
            f"{NAME}: {path} cannot take {given} images: {type(error).__name__}: {said}"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
    if not isinstance(output, Tensor) or output.shape != (2, classes):
        is_tensor = isinstance(output, Tensor)
        returned = " x ".join(["n", *map(str, output.shape[1:])]) if is_tensor else type(output).__name__
        raise InfeasibleCandidate(
            f"{NAME}: {path} returns {returned} for n x {given} images; needed: n x {classes}, a logit a class"
        )


def _file(folder: Path, weights: str) -> Path:
    file = folder / weights
    if not file.is_file():
        raise ModelRefused(f"weights: no file {file}")
    return file


def _state(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            state: Any = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise ModelRefused(f"weights: {file} cannot be read: {error}") from error
    except pickle.UnpicklingError as error:  # its text is advice on how to load code all the same
        raise ModelRefused(
            f"weights: {file} is no state dict that loads with weights_only=True: it is damaged or holds more than "
            "tensors, such as a whole network; write it by torch.save(network.state_dict(), ...)"
        ) from error
    except Exception as error:  # torch.load: pickle's, zipfile's and its own errors share no root
        said = str(error).partition("\n")[0]
        raise ModelRefused(f"weights: {file} is no state dict that loads with weights_only=True: {said}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelRefused(f"weights: {file} holds no state dict, a mapping from names to tensors")
    return dict(state)


def _load(network: nn.Module, state: dict[str, Tensor], weights: str) -> None:
    own = network.state_dict()
    missing = [name for name in own if name not in state and not name.endswith(NOT_NEEDED)]
    other = [
        f"{name} ({_sized(state[name])}, needed {_sized(own[name])})"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    problems = {"missing": missing, "unexpected": [n for n in state if n not in own], "of other shape": other}
    if said := [f"{what}: {_listed(names)}" for what, names in problems.items() if names]:
        raise ModelRefused(f"weights: {weights} does not fit the model; {'; '.join(said)}")
    network.load_state_dict(state, strict=False)


def _sized(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _digest(function: str, folder: Path, weights: str) -> str:
    module, _, _ = function.partition(":")
    origin = version(function) if module in HUBS else ""
    files = [Path(file)] if not origin and (file := getattr(sys.modules[module], "__file__", None)) else []
    files += [_file(folder, weights)] if weights else []
    stats = [(file, file.stat()) for file in files]
    return _content(origin, tuple((str(file), s.st_mtime_ns, s.st_size) for file, s in stats))


@functools.lru_cache(maxsize=64)
def _content(origin: str, files: tuple[tuple[str, int, int], ...]) -> str:
    """Return the digest of a library's version and of files; their times and sizes say when to read them again."""
    parts = [origin.encode(), *(hashlib.sha256(Path(name).read_bytes()).digest() for name, _, _ in files)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


IMPORTED = _family({"function": "", "folder": "", "weights": "", "digest": ""})
"""For the catalogue: builds what the knobs name; `imported` gives the family of one network."""
