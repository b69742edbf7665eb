"""Features before the classifier, and a student that is led to those of its teacher."""

import time

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.tasks.task import Augmentation, Normalisation, Split
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.features import classifier_of, predict_with_features, watch
from paredown.evaluators.training.fit import TrainingPlan, fit
from paredown.evaluators.training.loss_terms import Hint, LossTerms, TeacherTargets, training_loss


class Pooled(nn.Module):
    """Its head is defined first and runs last; its features are the means of 3 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)
        self.stem = nn.Conv2d(1, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.stem(x)).mean((2, 3)))


def images(n: int = 6) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(n, 1, 8, 8)).astype(np.float32)


def test_features_are_the_input_of_the_layer_that_runs_last() -> None:
    model = Pooled().train()
    some = torch.from_numpy(images())
    assert classifier_of(model, some[:1]) is model.head
    assert model.training, "its mode is left alone"
    with watch(model, some[:1]) as watched:
        output = model(some)
        assert torch.equal(watched.features, torch.relu(model.stem(some)).mean((2, 3)))
        assert torch.equal(output, model.head(watched.features))
    assert not model.head._forward_pre_hooks


def test_maps_before_a_convolutional_classifier_are_averaged() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    logits, features = predict_with_features(model, images(), batch_size=4)
    assert features is not None
    with torch.inference_mode():
        some = torch.from_numpy(images())
        np.testing.assert_allclose(features, model[:2](some).mean((2, 3)).numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(logits, model(some).numpy(), rtol=1e-5, atol=1e-6)


def test_a_network_without_layers_has_logits_alone() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * x.mean((2, 3)).repeat(1, 2)

    assert predict_with_features(Scaled(), images())[1] is None
    with (
        pytest.raises(EvaluationError, match="neither a linear layer nor a convolution"),
        watch(Scaled(), torch.ones(1, 1, 2, 2)),
    ):
        pass


def test_a_hint_by_hand() -> None:
    features = torch.tensor([[3.0, 4.0], [0.0, 0.0]])  # mean square 25 / 4: scaled to [1.2, 1.6], [0, 0]
    model = nn.Sequential(nn.Linear(1, 1))
    with watch(model, torch.zeros(1, 1)) as watched:
        hint = Hint(features, 0.5, watched, 1, torch.Generator().manual_seed(0))
        hint.map.data.copy_(torch.tensor([[1.0], [1.0]]))
        model(torch.tensor([[1.0]]))
        assert hint(torch.tensor([0])).item() == pytest.approx(0.5 * (0.2**2 + 0.6**2) / 2)
        assert hint(torch.tensor([1])).item() == pytest.approx(0.5 * 1.0)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_only_a_weight_above_zero_adds_a_map(weight: float) -> None:
    lesson = TeacherTargets(
        np.zeros((6, 2), np.float32), lambda loss, a, b: loss, images().reshape(6, -1)[:, :5], weight
    )
    labels = torch.zeros(6, dtype=torch.int64)
    with training_loss(LossTerms(lesson), Pooled(), torch.from_numpy(images()), labels, 0.0, 0) as loss:
        assert [tuple(p.shape) for p in loss.parameters] == ([(5, 3)] if weight else [])


def _distance(model: nn.Module, data: TrainingData, target: NDArray[np.float32]) -> float:
    """Share of the target's variance that no linear map of the network's features explains."""
    features = predict_with_features(model, data.normalise(data.train.images))[1]
    assert features is not None
    explained = features @ np.linalg.lstsq(features, target, rcond=None)[0]
    return float(((target - explained) ** 2).mean() / (target**2).mean())


def test_hints_lead_the_features_to_the_teachers() -> None:
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (64, 1, 8, 8)).astype(np.uint8), np.arange(64) % 2)
    data = TrainingData(split, split, Normalisation((0.5,), (0.3,)), Augmentation())
    inputs = data.normalise(split.images).reshape(64, -1)
    target = np.tanh(inputs @ rng.normal(size=(64, 5)) / 8).astype(np.float32)

    def student(weight: float) -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 2))
        lesson = TeacherTargets(np.zeros((64, 2), np.float32), lambda loss, a, b: loss, target, weight)
        plan = TrainingPlan(batch_size=16, patience=30, accelerator="cpu")
        names = set(model.state_dict())
        deadline = time.monotonic() + 60
        fit(model, data, plan, epochs=30, learning_rate=0.01, deadline=deadline, terms=LossTerms(lesson))
        assert set(model.state_dict()) == names, "the map is thrown away"
        return model

    without, led = _distance(student(0.0), data, target), _distance(student(1.0), data, target)
    assert led < 0.5 * without
