"""Find the function that builds a user's network, call it, and load the weights."""

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
"""Maximum number of keys of a state dict that a message names."""
NOT_NEEDED = "num_batches_tracked"
"""Ending of the entries that count batches; old checkpoints may lack them, and nothing here depends on them."""


class NetworkRefused(SpaceError):
    """The network cannot be built."""


class WeightsRefused(SpaceError):
    """The weights file cannot be loaded or does not fit."""


def find_function(path: str, folder: Path) -> Callable[..., Any]:
    """Return the function that builds a network.

    Args:
        path: `package.module:function`, `timm:NAME` or `torchvision:NAME`.
        folder: Folder of the module; it is searched before all others.

    Raises:
        NetworkRefused: There is no such function.
    """
    try:
        found: Callable[..., Any] = from_hub(path) or import_callable(path, folder, "function")
    except (ImportRefused, HubRefused) as error:
        raise NetworkRefused(str(error)) from error
    if isinstance(found, nn.Module):
        raise NetworkRefused(f"{path} is a network; needed: a function or class that returns one")
    return found


def call_function(found: Callable[..., Any], path: str, channels: int, classes: int) -> nn.Module:
    """Return a copy of the network that a function returns: the user's module may keep and change its own.

    Args:
        found: A function that takes no arguments, or `channels` and `classes`.
        path: Name of the function in messages.
        channels: Number of input channels.
        classes: Number of classes.

    Raises:
        NetworkRefused: The function needs other arguments, fails, or returns no network.
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
    """Return the weights file at a path that may be relative to a folder.

    Raises:
        WeightsRefused: There is no such file.
    """
    file = folder / weights
    if not file.is_file():
        raise WeightsRefused(f"no file {file}")
    return file


def load_weights(network: nn.Module, file: Path, weights: str) -> None:
    """Load weights into a network, in place.

    Args:
        network: The network.
        file: A `.safetensors` file, or a state dict written by `torch.save`.
        weights: Name of the file in messages about weights that do not fit.

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
