"""A supernet on disk: weights, the optimizer's state and how far training is, in one file."""

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
"""What AdamW keeps of each parameter."""


@dataclass
class SupernetRecord:
    """How far the training of a supernet is.

    Attributes:
        epochs: Finished passes over the training images.
        seconds: Spent on them, over all runs.
        losses: Mean loss of the largest and of the smallest network in each epoch.
    """

    epochs: int = 0
    seconds: float = 0.0
    losses: list[tuple[float, float]] = field(default_factory=list)


def save(
    file: Path, tensors: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, record: SupernetRecord
) -> None:
    """Write the file in one step: whoever is killed leaves the old one or the new one."""
    stored = {f"{WEIGHT}/{name}": tensor for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        kept = optimizer.state.get(tensor, {})
        stored |= {f"{moment}/{name}": kept[moment] for moment in MOMENTS if moment in kept}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in stored.items()}
    fresh = file.with_suffix(".new")
    save_file(plain, fresh, {RECORD: json.dumps(asdict(record))})
    os.replace(fresh, file)


def load(
    file: Path, tensors: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer | None = None
) -> SupernetRecord:
    """Put what a file holds into the tensors and the optimizer, and return how far training was.

    Args:
        file: As `save` wrote it; where there is none, nothing is touched.
        tensors: By shared name.
        optimizer: Of these tensors; None where training does not go on.

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
            kept: dict[str, Tensor] = {m: stored.get_tensor(f"{m}/{name}") for m in MOMENTS if f"{m}/{name}" in known}
            if kept:
                state[tensor] = {m: v if m == "step" else v.to(tensor.device) for m, v in kept.items()}
        return SupernetRecord(**json.loads(stored.metadata()[RECORD]))
