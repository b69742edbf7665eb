"""A file of weights, read and made to fit a network: other prefixes and number types, but no other numbers."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from paredown.spaces.errors import SpaceError

LISTED = 5
"""Names that a message lists."""
NOT_NEEDED = "num_batches_tracked"
"""Entries of this name count batches; checkpoints of old may lack them, and nothing depends on them here."""
PREFIXES = ("module.", "_orig_mod.", "model.")
"""Written before every name by DataParallel and averaged models, by torch.compile, and by Lightning."""
COUNTERS = ("n_averaged",)
"""Entries beside the network's own in the state of an averaged model."""
CONVERTED = (torch.float16, torch.bfloat16, torch.float64)
"""Types of numbers that are taken as float32."""


class WeightsRefused(SpaceError):
    """The file of its weights cannot be loaded or does not fit."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights that fit a network.

    Attributes:
        state: Name in the network to its tensor.
        remarks: What was done to the file's own names and numbers, in words.
    """

    state: Mapping[str, Tensor]
    remarks: tuple[str, ...]


def read_checkpoint(network: nn.Module, file: Path, weights: str) -> Checkpoint:
    """Return the weights of a file for a network, which is not changed.

    Args:
        network: The network.
        file: A `.safetensors` file, or a state dict written by `torch.save`.
        weights: Name of the file in messages about weights that do not fit.

    Raises:
        WeightsRefused: The file cannot be read, holds more than tensors or no weights, or does not fit.
    """
    own = network.state_dict()
    state, remarks = _without_prefixes(_state(file), own)
    missing = [name for name in own if name not in state and not name.endswith(NOT_NEEDED)]
    other = [
        f"{name} ({_sized(state[name])}, needed {_sized(own[name])})"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    problems = {"missing": missing, "unexpected": [n for n in state if n not in own], "of other shape": other}
    if said := [f"{what}: {_listed(names)}" for what, names in problems.items() if names]:
        raise WeightsRefused(f"{weights} does not fit the model; {'; '.join(said)}")
    floats = {name: tensor for name, tensor in state.items() if own[name].is_floating_point()}
    if codes := [f"{n} ({_kind(t)})" for n, t in floats.items() if t.dtype not in (torch.float32, *CONVERTED)]:
        raise WeightsRefused(
            f"{weights} holds no floating-point weights in {_listed(codes)}: codes of a quantised network, or complex "
            "numbers, are no weights; save the float32 network"
        )
    if wrong := [name for name, tensor in floats.items() if not tensor.isfinite().all()]:
        raise WeightsRefused(f"{weights} holds NaN or infinite numbers in {_listed(wrong)}")
    if kinds := sorted({_kind(t) for t in floats.values() if t.dtype in CONVERTED}):
        remarks += (f"{' and '.join(kinds)} numbers are taken as float32",)
    return Checkpoint({name: tensor.to(own[name].dtype) for name, tensor in state.items()}, remarks)


def _without_prefixes(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the state without what stands before every name and not in the network."""
    removed = ""
    while not own.keys() & state.keys():
        names = [name for name in state if name not in COUNTERS]
        prefix = next((p for p in PREFIXES if names and all(name.startswith(p) for name in names)), "")
        if not prefix:
            break
        removed += prefix
        state = {name.removeprefix(prefix): state[name] for name in names}
    return state, (f"the prefix {removed!r} of every name is left out",) if removed else ()


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
    if not _is_state(state):
        inner = [str(key) for key, value in state.items() if _is_state(value)] if isinstance(state, Mapping) else []
        way = (
            f"; it is a training checkpoint with weights under {' and '.join(map(repr, inner))}: write them by "
            f"torch.save(torch.load({file.name!r}, weights_only=True)[{inner[-1]!r}], ...)"
            if inner
            else ""
        )
        raise WeightsRefused(f"{file} holds no state dict, a mapping from names to tensors{way}")
    return dict(state)


def _is_state(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(v, Tensor) for v in value.values())


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _sized(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
