"""Networks of other libraries by name: `timm:NAME` and `torchvision:NAME`, with random weights."""

import difflib
import importlib
from collections.abc import Callable
from types import ModuleType

from torch import nn

from paredown.spaces.errors import SpaceError

COLOURS = 3
"""Number of input channels of the networks of torchvision."""
NEAR = 5
"""Maximum number of names that a message suggests in place of an unknown one."""


class HubRefused(SpaceError):
    """The library is not installed or has no such network."""


def from_hub(path: str) -> Callable[[int, int], nn.Module] | None:
    """Return the function that builds a network from `channels` and `classes`; None where the path names no hub.

    Args:
        path: `timm:NAME`, `torchvision:NAME`, or anything else.

    Raises:
        HubRefused: The library is not installed, or has no network of that name.
    """
    hub, _, name = path.partition(":")
    if hub not in HUBS:
        return None
    return HUBS[hub](_library(hub), name)


def version(path: str) -> str:
    """Return the version of the library that a path names, since another version may build another network."""
    return str(_library(path.partition(":")[0]).__version__)


def _library(hub: str) -> ModuleType:
    try:
        return importlib.import_module(hub)
    except ImportError as error:
        raise HubRefused(f"{hub} is not installed: pip install 'paredown[{hub}]' ({error})") from error
    except Exception as error:  # a torchvision of another torch fails as it registers its operators
        raise HubRefused(f"{hub} does not load beside this PyTorch: {type(error).__name__}: {error}") from error


def _known(hub: str, name: str, names: list[str]) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, NEAR, 0.5) or names[:NEAR]
        raise HubRefused(f"{hub} has no network {name!r}; it has {len(names)}, for instance {', '.join(near)}")


def _timm(library: ModuleType, name: str) -> Callable[[int, int], nn.Module]:
    _known("timm", name, library.list_models())

    def build(channels: int, classes: int) -> nn.Module:
        network: nn.Module = library.create_model(name, pretrained=False, in_chans=channels, num_classes=classes)
        return network

    return build


def _torchvision(library: ModuleType, name: str) -> Callable[[int, int], nn.Module]:
    _known("torchvision", name, library.models.list_models(module=library.models))

    def build(channels: int, classes: int) -> nn.Module:
        network: nn.Module = library.models.get_model(name, weights=None, num_classes=classes)
        if channels != COLOURS:
            _read(network, channels)
        return network

    return build


def _read(network: nn.Module, channels: int) -> None:
    """Replace the first convolution by one with another number of input channels."""
    name, first = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    parent, _, own = name.rpartition(".")
    fresh = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]  # a pair, held as a tuple of any length
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        first.dilation,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    setattr(network.get_submodule(parent), own, fresh)


HUBS: dict[str, Callable[[ModuleType, str], Callable[[int, int], nn.Module]]] = {
    "timm": _timm,
    "torchvision": _torchvision,
}
"""Finds the function that builds a network, by the word before the colon."""
