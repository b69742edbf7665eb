"""Training on a set that a line separates."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from paredown.evaluators.errors import EvaluationError, TrialStopped
from paredown.evaluators.metrics.latency_ms import median_with_interval
from paredown.evaluators.tasks.task import Augmentation, Normalisation, Split
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan, fit
from paredown.evaluators.training.inference import recalibrate, score
from paredown.evaluators.training.loss_terms import LossTerms, TeacherTargets

PLAN = TrainingPlan(batch_size=16, patience=3, accelerator="cpu")


def data(flip: bool = False, crop: float = 0.0) -> TrainingData:
    rng = np.random.default_rng(0)
    labels = np.arange(64) % 2
    images = (rng.integers(0, 60, (64, 1, 8, 8)) + 150 * labels[:, None, None, None]).astype(np.uint8)
    split = Split(images, labels.astype(np.int64))
    return TrainingData(split, split, Normalisation((0.4,), (0.3,)), Augmentation(flip, crop))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))


def run(model: nn.Module, some: TrainingData, epochs: int = 5, **more: object) -> int:
    deadline = time.monotonic() + 60
    return fit(model, some, PLAN, epochs=epochs, learning_rate=0.01, deadline=deadline, **more)  # type: ignore[arg-type]


def test_learns_and_repeats_itself() -> None:
    first, second = network(), network()
    run(first, data(flip=True, crop=0.125))
    run(second, data(flip=True, crop=0.125))
    assert score(first, data().validation, data().normalise)[0] == 1.0
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_stops_where_nothing_is_gained() -> None:
    frozen = network()
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    frozen[4].bias.requires_grad_(True)
    frozen[4].bias.register_hook(torch.zeros_like)
    for norm in (m for m in frozen if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 0.0
    assert run(frozen, data(), epochs=20) == 1 + PLAN.patience


def test_keeps_the_best_epoch() -> None:
    seen: list[tuple[float, float]] = []

    def watch(epoch: int, metrics: dict[str, float]) -> str:
        seen.append((metrics["accuracy"], -metrics["validation_loss"]))
        return ""

    model = network()
    run(model, data(), on_epoch=watch)
    accuracy, loss = score(model, data().validation, data().normalise)
    assert (accuracy, -loss) == pytest.approx(max(seen))


def test_a_loss_that_is_not_finite_fails() -> None:
    model = network()
    with torch.no_grad():
        model[4].weight.fill_(float("nan"))
    with pytest.raises(EvaluationError, match="loss of epoch 0 is nan"):
        run(model, data())


def test_stops_where_it_is_told_to() -> None:
    with pytest.raises(TrialStopped, match=r"^no hope$"):
        run(network(), data(), on_epoch=lambda epoch, metrics: "no hope" if epoch == 1 else "")


def test_no_epoch_starts_after_the_deadline() -> None:
    assert fit(network(), data(), PLAN, epochs=9, learning_rate=0.01, deadline=time.monotonic()) == 1


def test_recalibration_finds_the_true_statistics() -> None:
    norm = nn.BatchNorm2d(1)
    norm.running_mean.fill_(99)  # type: ignore[union-attr]
    recalibrate(nn.Sequential(norm), data())
    images = data().normalise(data().train.images)
    assert norm.running_mean.item() == pytest.approx(images.mean(), abs=1e-4)  # type: ignore[union-attr]
    assert norm.running_var.item() == pytest.approx(images.var(ddof=1), rel=1e-3)  # type: ignore[union-attr]
    assert norm.momentum == 0.1


def test_median_and_its_interval_by_hand() -> None:
    values = np.arange(1.0, 101.0)  # ranks 50.5 -+ 9.8: the 41st and the 61st value
    assert median_with_interval(values[::-1]) == (50.5, (61 - 41) / 2)


def test_recalibration_sees_every_class_of_images_sorted_by_class() -> None:
    values = np.repeat(np.array([0, 255], dtype=np.uint8), 600)  # as a folder is read: class by class
    split = Split(np.broadcast_to(values[:, None, None, None], (1200, 1, 2, 2)), (values > 0).astype(np.int64))
    norm = nn.BatchNorm2d(1)
    recalibrate(nn.Sequential(norm), TrainingData(split, split, Normalisation((0.0,), (1.0,)), Augmentation()), 400)
    assert norm.running_mean.item() == pytest.approx(0.5, abs=0.1)  # type: ignore[union-attr]
    assert norm.running_var.item() == pytest.approx(0.25, abs=0.02)  # type: ignore[union-attr]


def test_recalibration_weighs_every_image_alike() -> None:
    images = np.random.default_rng(0).integers(0, 256, (260, 1, 1, 2), dtype=np.uint8)  # 256 and a rest of 4
    split = Split(images, np.zeros(260, dtype=np.int64))
    some = TrainingData(split, split, Normalisation((0.0,), (1.0,)), Augmentation())
    norm = nn.BatchNorm2d(1)
    recalibrate(nn.Sequential(norm), some)
    assert norm.running_mean.item() == pytest.approx(images.mean() / 255, abs=1e-5)  # type: ignore[union-attr]


def test_recalibration_changes_statistics_only() -> None:
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recalibrate(model, data())
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert not model.training


def test_a_teacher_joins_the_loss() -> None:
    calls: list[tuple[int, int]] = []

    def combined(loss: torch.Tensor, output: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        calls.append((len(output), len(teacher)))
        assert torch.equal(teacher[:, 0], teacher[:, 1])
        return (output - teacher).square().mean() + 0 * loss

    model = network()
    teacher = np.repeat(np.full((64, 1), 0.25, dtype=np.float32), 2, axis=1)
    run(model, data(), epochs=8, terms=LossTerms(TeacherTargets(teacher, combined)))
    assert calls == [(16, 16)] * len(calls)
    images = torch.from_numpy(data().normalise(data().train.images))
    assert (model.eval()(images) - 0.25).abs().mean() < 0.2  # it learned the teacher, not the labels


def test_epochs_are_numbered_from_the_first() -> None:
    seen: list[int] = []

    def watch(epoch: int, metrics: dict[str, float]) -> str:
        seen.append(epoch)
        return ""

    run(network(), data(), epochs=3, first_epoch=7, on_epoch=watch)
    assert seen[:1] == [7]
    assert seen == list(range(7, 7 + len(seen)))
