"""Images that stay in a file: read, resized and normalised by the batch, with the same numbers as at once."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from paredown.evaluators.tasks import images as stored_images
from paredown.evaluators.tasks import normalisation
from paredown.evaluators.tasks.catalogue import TASKS
from paredown.evaluators.tasks.images import StoredImages, channel_statistics
from paredown.evaluators.tasks.normalisation import NormalisedImages
from paredown.evaluators.tasks.task import Task, normalisation_at, split_at
from paredown.evaluators.training import data as training_data
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.features import predict_with_features
from paredown.evaluators.training.fit import TrainingPlan, fit
from paredown.evaluators.training.inference import predict, recalibrate, score


def small_photos(root: Path) -> Task:
    """Return a task whose classes differ in brightness."""
    for split, count in (("train", 40), ("val", 24)):
        for label, name in enumerate(("dark", "bright")):
            (root / split / name).mkdir(parents=True, exist_ok=True)
            for at in range(count):
                rng = np.random.default_rng([label, at, count])
                pixels = rng.integers(0, 120, (24, 24, 3)) + 60 * label
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{at:02d}.png")
    loader = TASKS["image_folder"]
    return loader.load(loader.options.model_validate({"path": str(root)}), Path("/nowhere"))


@pytest.fixture
def by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take nothing for small."""
    monkeypatch.setattr(stored_images, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(normalisation, "NORMALISED_BYTES", 0)
    monkeypatch.setattr(training_data, "NORMALISED_BYTES", 0)
    monkeypatch.setattr(stored_images, "BATCH", 32)
    monkeypatch.setattr(stored_images, "MAPPED_BYTES", 1000)


@pytest.mark.parametrize("side", [24, 16])
@pytest.mark.usefixtures("by_batch")
def test_rows_are_those_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    stored = small_photos(tmp_path).load("train", side).images
    assert isinstance(stored, StoredImages)
    monkeypatch.setattr(stored_images, "IN_MEMORY_BYTES", 1 << 30)
    whole = small_photos(tmp_path).load("train", side).images
    assert isinstance(whole, np.ndarray)
    assert (stored.shape, stored.dtype, len(stored)) == (whole.shape, whole.dtype, 80)
    rows = np.random.default_rng(0).permutation(80)[:30]
    for chosen in (slice(None), slice(3, 70, 7), rows, slice(0, 1)):
        assert np.array_equal(stored[chosen], whole[chosen])
    for _ in range(2):  # computed, then read
        for found, expected in zip(channel_statistics(stored), channel_statistics(whole), strict=True):
            assert np.allclose(found, expected, rtol=1e-9)
    assert stored.statistics_file.is_file()


@pytest.mark.usefixtures("by_batch")
def test_training_and_evaluation_are_the_same_by_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = small_photos(tmp_path)
    in_file = TrainingData.of(task, 16)
    assert isinstance(in_file.inputs("validation"), NormalisedImages)
    lazily = _trained(in_file)
    whole = dataclasses.replace(
        in_file,
        train=dataclasses.replace(in_file.train, images=in_file.train.images[:]),
        validation=dataclasses.replace(in_file.validation, images=in_file.validation.images[:]),
    )
    for module in (normalisation, training_data):
        monkeypatch.setattr(module, "NORMALISED_BYTES", 1 << 30)
    assert isinstance(whole.inputs("validation"), np.ndarray)
    for name, tensor in _trained(whole).items():
        assert torch.equal(lazily[name], tensor), name


def _trained(data: TrainingData) -> dict[str, torch.Tensor]:
    """Return weights and answers of a network that went through all that looks at images."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    plan = TrainingPlan(epochs=2, batch_size=16, accelerator="cpu")
    fit(model, data, plan, epochs=2, learning_rate=1e-2, deadline=1e12)
    recalibrate(model, data)
    logits, features = predict_with_features(model, data.inputs("train"))
    accuracy, loss = score(model, data.validation, data.normalise)
    assert features is not None
    return dict(model.state_dict()) | {
        "logits": torch.from_numpy(logits),
        "features": torch.from_numpy(features),
        "predicted": predict(model, data.inputs("validation"), batch_size=7),
        "score": torch.tensor([accuracy, loss]),
    }


@pytest.mark.usefixtures("by_batch")
def test_normalised_rows_are_those_of_the_whole(tmp_path: Path) -> None:
    task = small_photos(tmp_path)
    images, normalise = split_at(task, "train", 24).images, normalisation_at(task, 24)
    inputs = normalise.inputs(images)
    assert isinstance(inputs, NormalisedImages)
    assert (len(inputs), inputs.shape) == (80, (80, 3, 24, 24))
    assert np.array_equal(inputs[5:20], normalise(images[:])[5:20])
