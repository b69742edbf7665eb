"""Keeps the files of a finished trial in the folder of its study."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from torch import nn

from paredown.evaluators.build import DECIDED, Compressed
from paredown.evaluators.files.names import TEACHER_FILE, WEIGHTS_FILE
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.features import predict_with_features
from paredown.spaces.candidate import Candidate


def save_weights(compressed: Compressed, folder: Path) -> None:
    """Write a network's weights, with what its steps decided, so that it can be built again."""
    # Copied, since the format refuses shared tensors, which a module that is used twice has.
    named = compressed.network.state_dict().items()
    state = {name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in named}
    save_file(state, folder / WEIGHTS_FILE, {DECIDED: json.dumps(compressed.decided)})


def save_teacher(network: nn.Module, data: TrainingData, folder: Path, keeps_features: bool) -> None:
    """Write a network's outputs for the training images, from which others learn."""
    logits, features = predict_with_features(network, data.inputs("train"))
    outputs = {"logits": logits} | ({"features": features} if keeps_features else {})
    save_arrays({name: array for name, array in outputs.items() if array is not None}, folder / TEACHER_FILE)


def keep(files: Path, study_folder: Path, candidate: Candidate) -> str:
    """Copy a trial's files atomically to the study's folder, under the candidate's digest.

    Returns:
        Path of the new folder, relative to the study's folder.
    """
    artifact = f"trials/{candidate.digest[:16]}"
    target = study_folder / artifact
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as stage:
        fresh = Path(stage, "files")
        shutil.copytree(files, fresh)
        if target.exists():  # left by a run that was killed before its result was stored
            os.replace(target, Path(stage, "old"))
        os.replace(fresh, target)
    return artifact
