"""File against network where the network has exits: each image leaves on its own, perhaps at another exit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from exits import CLASSES, SHAPE, exported, images, multi_exit
from numpy.typing import NDArray

from paredown.evaluators.tasks.task import Split, Task
from paredown.spaces.candidate import Candidate
from paredown.spaces.exits.network import MultiExit
from paredown.spaces.knob import Range
from paredown.studies.errors import ExportRefused
from paredown.studies.exporters.exporter import ExportRequest
from paredown.studies.exporters.onnx import ONNX
from paredown.studies.front import Model
from paredown.studies.model_folder.parity import check_parity


def load(split: str, resolution: int) -> Split:
    """The patterns as grey pictures."""
    pixels = (images(200).numpy() * 40 + 128).clip(0, 255).astype(np.uint8)
    return Split(pixels, np.zeros(len(pixels), np.int64))


def request_of(network: MultiExit) -> ExportRequest:
    model = Model(7, Candidate("mbconv", {}), {}, "")
    task = Task("patterns", tuple("abcde"), 1, Range(16, 16, 1), load, "digest")
    assert len(task.classes) == CLASSES
    return ExportRequest("study", model, model, task, network, SHAPE, Path())


def compare(network: MultiExit, other: MultiExit, folder: Path) -> dict[str, float]:
    """Compare a network with the file of another one, image by image."""
    (folder / "model.onnx").write_bytes(exported(other))
    run = ONNX.load(folder / "model.onnx")

    def alone(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        assert len(batch) == 1, "a file with exits takes one image at a time"
        return run(batch)

    return check_parity(request_of(network), ONNX, alone)


def test_file_and_network_agree(tmp_path: Path) -> None:
    parity = compare(multi_exit(threshold=0.6), multi_exit(threshold=0.6), tmp_path)
    assert parity["images"] == 200
    assert parity["label_agreement"] == 1.0
    assert parity["max_abs_error"] < 1e-4


def test_an_image_that_leaves_elsewhere_is_compared_with_that_exit(tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match=r"trial 7: file and network agree on .* of 200 validation images"):
        compare(multi_exit(threshold=0.6), multi_exit(threshold=0.999), tmp_path)


@pytest.mark.parametrize("part", ["heads.0", "stages.2"])
def test_another_exit_or_end_is_refused(part: str, tmp_path: Path) -> None:
    other = multi_exit(threshold=0.6)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name.startswith(part):
                parameter += 0.05
    with pytest.raises(ExportRefused, match="trial 7: the file's logits differ from the network's by up to"):
        compare(multi_exit(threshold=0.6), other, tmp_path)
