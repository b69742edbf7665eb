"""A network that a user names: found, called, and given its weights."""

import copy
import inspect
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from paredown.spaces.errors import SpaceError
from paredown.spaces.hubs import HubRefused, from_hub
from paredown.spaces.importing import ImportRefused, import_callable

LISTED = 5
"""So many keys of a state dict are named in a message."""
NOT_NEEDED = "num_batches_tracked"
"""Entries of this name count batches; checkpoints of old may lack them, and nothing depends on them here."""


class NetworkRefused(SpaceError):
    """The network cannot be built."""


class WeightsRefused(SpaceError):
    """The file of its weights cannot be loaded or does not fit."""


def find_function(path: str, folder: Path) -> Callable[..., Any]:
    """Return what builds a network.

    Args:
        path: `package.module:function`, `timm:NAME` or `torchvision:NAME`.
        folder: Is searched before all others.

    Raises:
        NetworkRefused: There is none.
    """
    try:
        found: Callable[..., Any] = from_hub(path) or import_callable(path, folder, "function")
    except (ImportRefused, HubRefused) as error:
        raise NetworkRefused(str(error)) from error
    if isinstance(found, nn.Module):
        raise NetworkRefused(f"{path} is a network; needed: a function or class that returns one")
    return found


def call_function(found: Callable[..., Any], path: str, channels: int, classes: int) -> nn.Module:
    """Return a network of our own: what the function returns may belong to the user's module.

    Args:
        found: Takes no arguments, or `channels` and `classes`.
        path: How messages name it.
        channels: Of an input.
        classes: Of the output.

    Raises:
        NetworkRefused: It cannot be called like that, or returns no network.
    """
    parameters = inspect.signature(found).parameters
    named = {"channels": channels, "classes": classes}
    needed = {
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    if needed - named.keys():
        raise NetworkRefused(
            f"{path} needs {', '.join(sorted(needed - named.keys()))}; allowed: no arguments, or channels and classes"
        )
    try:
        network = found(**{name: value for name, value in named.items() if name in parameters})
    except Exception as error:  # whatever the user's code raises is the user's to mend
        raise NetworkRefused(f"{path} raised {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise NetworkRefused(f"{path} returned {type(network).__name__}, no nn.Module")
    if next(network.parameters(), None) is None:
        raise NetworkRefused(f"{path} returned a network without parameters")
    try:
        return copy.deepcopy(network)
    except Exception as error:  # as above
        raise NetworkRefused(f"{path} returned a network that cannot be copied: {error}") from error


def weights_file(folder: Path, weights: str) -> Path:
    """Return the file of a path that may be relative to a folder.

    Raises:
        WeightsRefused: There is none.
    """
    file = folder / weights
    if not file.is_file():
        raise WeightsRefused(f"no file {file}")
    return file


def load_weights(network: nn.Module, file: Path, weights: str) -> None:
    """Give a network its weights.

    Args:
        network: Is changed.
        file: `.safetensors`, or a state dict that `torch.save` wrote.
        weights: How messages name the file where it does not fit.

    Raises:
        WeightsRefused: The file cannot be read, holds more than tensors, or does not fit.
    """
    state, own = _state(file), network.state_dict()
    missing = [name for name in own if name not in state and not name.endswith(NOT_NEEDED)]
    other = [
        f"{name} ({_sized(state[name])}, needed {_sized(own[name])})"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    problems = {"missing": missing, "unexpected": [n for n in state if n not in own], "of other shape": other}
    if said := [f"{what}: {_listed(names)}" for what, names in problems.items() if names]:
        raise WeightsRefused(f"{weights} does not fit the model; {'; '.join(said)}")
    network.load_state_dict(state, strict=False)


def _state(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            state: Any = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise WeightsRefused(f"{file} cannot be read: {error}") from error
    except pickle.UnpicklingError as error:  # its text is advice on how to load code all the same
        raise WeightsRefused(
            f"{file} is no state dict that loads with weights_only=True: it is damaged or holds more than "
            "tensors, such as a whole network; write it by torch.save(network.state_dict(), ...)"
        ) from error
    except Exception as error:  # torch.load: pickle's, zipfile's and its own errors share no root
        said = str(error).partition("\n")[0]
        raise WeightsRefused(f"{file} is no state dict that loads with weights_only=True: {said}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsRefused(f"{file} holds no state dict, a mapping from names to tensors")
    return dict(state)


def _sized(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
