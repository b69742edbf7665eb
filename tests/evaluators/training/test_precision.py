"""Precision of training: what it sets, that it is restored, and what it says of devices without it."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from paredown.evaluators.tasks.task import Augmentation, Normalisation, Split
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan, fit
from paredown.evaluators.training.inference import score
from paredown.evaluators.training.precision import Precision, arithmetic, effect

CPU = torch.device("cpu")


class Watching(nn.Module):
    """Notes the type of what its convolution gives."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.classifier = nn.Linear(4 * 36, 2)
        self.seen: set[torch.dtype] = set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.classifier(self.features(x))
        if self.training:
            self.seen.add(output.dtype)
        return output


def data() -> TrainingData:
    rng = np.random.default_rng(0)
    labels = np.arange(64) % 2
    images = (rng.integers(0, 60, (64, 1, 8, 8)) + 150 * labels[:, None, None, None]).astype(np.uint8)
    split = Split(images, labels.astype(np.int64))
    return TrainingData(split, split, Normalisation((0.4,), (0.3,)), Augmentation())


def trained(precision: Precision) -> Watching:
    torch.manual_seed(0)
    model = Watching()
    plan = TrainingPlan(batch_size=16, accelerator="cpu", precision=precision)
    fit(model, data(), plan, epochs=5, learning_rate=0.01, deadline=time.monotonic() + 60)
    return model


def test_bf16_computes_in_bfloat16_with_float32_weights() -> None:
    model = trained("bf16")
    assert model.seen == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
    assert score(model, data().validation, data().normalise)[0] == 1.0
    assert effect("bf16", CPU) == "autocast to bf16, float32 master weights"


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_what_a_device_does_not_have_changes_nothing_and_is_said(precision: Precision) -> None:
    model, plain = trained(precision), trained("fp32")
    assert model.seen == {torch.float32}
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    assert effect(precision, CPU).startswith("no effect on this device (cpu): ")
    assert effect("fp32", CPU) == "float32"


def settings() -> tuple[str, str]:
    return torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision


@pytest.mark.parametrize(("precision", "single"), [("fp32", "ieee"), ("tf32", "tf32"), ("bf16", "ieee")])
def test_settings_of_the_process_are_restored_also_after_an_error(precision: Precision, single: str) -> None:
    seen = []

    def fail() -> None:
        # Only settings are touched, so this shows on a machine without CUDA what one with it would do.
        with arithmetic(precision, torch.device("cuda", 0)):
            seen.append(settings())
            raise KeyError

    before = settings()
    with pytest.raises(KeyError):
        fail()
    assert seen == [(single, single)]
    assert settings() == before
    with arithmetic(precision, CPU):
        assert settings() == before, "the CPU has neither"


def test_loss_scaling_is_for_float16_on_cuda_alone() -> None:
    for precision in ("fp32", "tf32", "fp16", "bf16"):
        with arithmetic(precision, CPU) as passes:
            assert not passes.scaler.is_enabled()
