"""Names that earlier versions gave to layers, so that weights and study files with these names still open.

A module whose layers had other names lists them in an attribute `earlier_names`: from the name that a layer had,
relative to the module, to the one that it has now; an empty one stands for the module itself.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def present_name(network: nn.Module, name: str) -> str:
    """Return the name that a layer or parameter has now; present names stay as they are.

    Args:
        network: The network as its family builds it, before any compression step replaces layers.
        name: A present or an earlier name. What follows the name of a layer stays as it is, such as a parameter or a
            low-rank factor.
    """
    found: list[str] = []
    module, rest = network, name.split(".")
    while rest:
        known: Mapping[str, str] = getattr(module, "earlier_names", {})
        parts = next((n for n in range(len(rest), 0, -1) if ".".join(rest[:n]) in known), 0)
        step = known[".".join(rest[:parts])] if parts else rest[0]
        try:
            module = module.get_submodule(step)
        except AttributeError:  # not a layer
            break
        found += [step] if step else []
        rest = rest[max(parts, 1) :]
    return ".".join([*found, *rest])


def present_state(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict under the present names of a network that is as it was built."""
    return {present_name(network, name): tensor for name, tensor in state.items()}


def present_names_in(network: nn.Module, data: Any) -> Any:
    """Return plain data in which every text that names a layer, also as a key, has its present name."""
    if isinstance(data, str):
        return present_name(network, data)
    if isinstance(data, dict):
        return {present_name(network, key): present_names_in(network, value) for key, value in data.items()}
    return [present_names_in(network, value) for value in data] if isinstance(data, list) else data
