"""Stores a supernet on disk: weights, the optimizer's state and the record of the training, in one file."""

import json
import os
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from paredown.evaluators.errors import EvaluationError

RECORD = "record"
WEIGHT = "weight"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""State that AdamW keeps for each parameter."""


@dataclass
class SupernetRecord:
    """The progress of the training of a supernet.

    Attributes:
        epochs: Number of finished passes over the training images.
        seconds: Seconds that they took, over all runs.
        losses: Mean loss of the largest and of the smallest network in each epoch.
    """

    epochs: int = 0
    seconds: float = 0.0
    losses: list[tuple[float, float]] = field(default_factory=list)


def save(
    file: Path, tensors: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, record: SupernetRecord
) -> None:
    """Write the file atomically: a process that is killed leaves the old file or the new one."""
    stored = {f"{WEIGHT}/{name}": tensor for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        moments = optimizer.state.get(tensor, {})
        stored |= {f"{moment}/{name}": moments[moment] for moment in MOMENTS if moment in moments}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in stored.items()}
    fresh = file.with_suffix(".new")
    save_file(plain, fresh, {RECORD: json.dumps(asdict(record))})
    os.replace(fresh, file)


def load(
    file: Path, tensors: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer | None = None
) -> SupernetRecord:
    """Load a file into the tensors and the optimizer, and return the progress of the training.

    Args:
        file: File that `save` wrote; where it does not exist, nothing changes.
        tensors: Tensors by shared name.
        optimizer: Optimizer of these tensors; None where training does not continue.

    Raises:
        EvaluationError: The file is damaged or holds other tensors.
    """
    if not file.exists():
        return SupernetRecord()
    try:
        return _read(file, tensors, {} if optimizer is None else optimizer.state)
    except SafetensorError as error:
        raise EvaluationError(f"{file} is damaged ({error}); delete it to train the supernet again") from error


def _read(file: Path, tensors: Mapping[str, nn.Parameter], state: MutableMapping[Any, Any]) -> SupernetRecord:
    with safe_open(file, framework="pt") as stored:
        known = set(stored.keys())
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(stored.get_tensor(f"{WEIGHT}/{name}"))
        for name, tensor in tensors.items():
            moments: dict[str, Tensor] = {
                m: stored.get_tensor(f"{m}/{name}") for m in MOMENTS if f"{m}/{name}" in known
            }
            if moments:
                state[tensor] = {m: v.to(tensor.device) for m, v in moments.items()}
        return SupernetRecord(**json.loads(stored.metadata()[RECORD]))
