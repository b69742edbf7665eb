"""A user's teacher: any network that classifies the task's images, run once per study and resolution.

Its outputs for the training images are stored in the study's folder, in a file named by the digest of network and data,
so that workers share them. The file is replaced atomically: two workers that compute it at once write the same content.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.tasks.task import Task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.features import predict_with_features
from paredown.spaces.checkpoint import WeightsRefused
from paredown.spaces.user_network import (
    NetworkRefused,
    call_function,
    find_function,
    load_weights,
    weights_file,
)


class TeacherRefused(EvaluationError):
    """A teacher cannot be built or does not fit the task; the message begins with the key in the study file."""


@dataclass(frozen=True)
class TeacherSpec:
    """The specification from which any process can build a teacher.

    Attributes:
        function: `package.module:function`, called without arguments or with `channels` and `classes`; or `timm:NAME`,
            `torchvision:NAME`.
        folder: Folder that is searched for the module, and in which relative paths of the weights start.
        weights: A safetensors file, or a state dict that torch wrote; empty for the weights that the function sets.
        resolution: Side of its input, in pixels; 0 for the student's.
        digest: Digest of its structure and weights; empty before it is first built.
    """

    function: str
    folder: Path
    weights: str = ""
    resolution: int = 0
    digest: str = ""


def build_teacher(spec: TeacherSpec, task: Task) -> nn.Module:
    """Return the teacher, in evaluation mode.

    Raises:
        TeacherRefused: The teacher cannot be built, or it does not match its digest.
    """
    try:
        function = find_function(spec.function, spec.folder)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # random weights are the same in every worker
            network = call_function(function, spec.function, task.channels, len(task.classes))
        if spec.weights:
            load_weights(network, weights_file(spec.folder, spec.weights), spec.weights)
    except NetworkRefused as error:
        raise TeacherRefused(f"distillation.teacher: {error}") from error
    except WeightsRefused as error:
        raise TeacherRefused(f"distillation.weights: {error}") from error
    if spec.digest and network_digest(network) != spec.digest:
        raise TeacherRefused(f"distillation.teacher: {spec.function} or its weights have changed since the study began")
    return network.eval()


def network_digest(network: nn.Module) -> str:
    """Return the SHA-256 of a network's structure and weights."""
    digest = hashlib.sha256(repr(network).encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_teacher(network: nn.Module, spec: TeacherSpec, task: Task, sides: Iterable[int]) -> None:
    """Check a teacher by running it once at each side of its input.

    Raises:
        TeacherRefused: The teacher cannot run, or its output is not `n x classes` of the task.
    """
    for side in sides:
        shape, classes = (2, *task.input_shape(side)), len(task.classes)
        try:
            with torch.inference_mode():
                output = network(torch.zeros(shape))
        except Exception as error:  # the user's network may raise anything; the user can fix it
            raise TeacherRefused(
                f"distillation.teacher: {spec.function} cannot take {' x '.join(map(str, shape))} images: "
                f"{type(error).__name__}: {error}; distillation.resolution names the side that it takes"
            ) from error
        if not isinstance(output, Tensor) or output.shape != (2, classes):
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise TeacherRefused(
                f"distillation.teacher: {spec.function} gives {got} for 2 images; needed: (2, {classes}), logits of "
                f"the {classes} classes of task {task.name}"
            )


def teacher_outputs(
    spec: TeacherSpec, task: Task, resolution: int, folder: Path, device: torch.device
) -> dict[str, NDArray[np.float32]]:
    """Return the teacher's outputs for the training images: `logits`, `n x classes`, and `features`, `n x width`.

    Args:
        spec: The teacher.
        task: The data.
        resolution: Side of the student's input.
        folder: Folder of the study, in which the outputs are stored.
        device: Device on which the teacher runs.

    Raises:
        TeacherRefused: The teacher can no longer be built.
    """
    side = spec.resolution or resolution
    name = hashlib.sha256(f"{spec.digest} {task.digest}".encode()).hexdigest()[:16]
    file = folder / "teachers" / f"{name}-{side}.safetensors"
    if not file.exists():
        data = TrainingData.of(task, side)
        network = build_teacher(spec, task).to(device)
        logits, features = predict_with_features(network, data.inputs("train"))
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=file.parent) as stage:
            save_file({"logits": logits} | ({} if features is None else {"features": features}), Path(stage, "file"))
            os.replace(Path(stage, "file"), file)
    return load_file(file)
