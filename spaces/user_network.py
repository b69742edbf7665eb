"""Find the function that builds a user's network, call it, and load the weights."""

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from paredown.spaces.checkpoint import WeightsRefused, read_checkpoint
from paredown.spaces.errors import SpaceError
from paredown.spaces.hubs import HubRefused, from_hub
from paredown.spaces.importing import ImportRefused, import_callable


class NetworkRefused(SpaceError):
    """The network cannot be built."""


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


def load_weights(network: nn.Module, file: Path, weights: str) -> tuple[str, ...]:
    """Load weights into a network, in place.

    Args:
        network: The network.
        file: A `.safetensors` file, or a state dict written by `torch.save`.
        weights: Name of the file in messages about weights that do not fit.

    Returns:
        What was done to the file's own names and numbers, in words.

    Raises:
        WeightsRefused: The file cannot be read, holds more than tensors, or does not fit.
    """
    checkpoint = read_checkpoint(network, file, weights)
    network.load_state_dict(dict(checkpoint.state), strict=False)
    return checkpoint.remarks
