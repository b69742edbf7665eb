"""Sparsity penalty: its proximal operators by hand, exact zeros in training, and that they stay."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from paredown.evaluators.tasks.task import Augmentation, Normalisation, Split
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan, fit
from paredown.evaluators.training.loss_terms import LossTerms
from paredown.spaces.compression.sparsity_penalty import SPARSITY_PENALTY
from paredown.spaces.compression.target import Target


def network() -> nn.Sequential:
    """A convolution with filters (3, -4), (0.3, 0.4) and (0, 0), a norm, and a linear layer with 2 and -0.25."""
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, -4.0], [0.3, 0.4], [0.0, 0.0]]).view(3, 2, 1, 1))
        model[2].weight.copy_(torch.tensor([[2.0, -0.25]]))
    return model


def shrunk(kind: str, strength: float, learning_rate: float) -> nn.Sequential:
    assert SPARSITY_PENALTY.proximal is not None
    model = network()
    SPARSITY_PENALTY.proximal(model, {"kind": kind, "strength": strength}, learning_rate)
    return model


def test_l1_takes_the_same_from_every_magnitude() -> None:
    model = shrunk("l1", 0.7, 0.5)  # 0.35
    assert model[0].weight.flatten().tolist() == pytest.approx([2.65, -3.65, 0, 0.05, 0, 0])
    assert model[2].weight.flatten().tolist() == pytest.approx([1.65, 0])
    assert [int((model[n].weight == 0).sum()) for n in (0, 2)] == [3, 1], "exactly zero"


def test_group_lasso_takes_the_same_from_every_filters_root_mean_square() -> None:
    model = shrunk("group_lasso", 1.0, 0.5)  # root mean squares 5 / sqrt(2), 0.5 / sqrt(2) < 0.5, 0
    left = 1 - 0.5 / (5 / 2**0.5)
    assert model[0].weight.flatten().tolist() == pytest.approx([3 * left, -4 * left, 0, 0, 0, 0])
    assert int((model[0].weight == 0).sum()) == 4, "exactly zero"
    assert model[2].weight.flatten().tolist() == [2, -0.25], "linear layers have no filters"


@pytest.mark.parametrize("kind", ["l1", "group_lasso"])
def test_biases_and_norms_are_left_alone(kind: str) -> None:
    torch.manual_seed(0)
    before = network().state_dict()
    torch.manual_seed(0)
    after = shrunk(kind, 1.0, 1.0).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed <= {"0.weight", "2.weight"}
    assert "0.weight" in changed


def test_zeros_stay_through_fine_tuning_and_others_move() -> None:
    assert SPARSITY_PENALTY.finetuning is not None
    model = network()
    with SPARSITY_PENALTY.finetuning(model, {"kind": "l1", "strength": 0.1}, Target()) as hold:
        for step in (0.5, 1.0):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(1.0)
            hold.after_step(step)
    assert model[0].weight.flatten().tolist() == pytest.approx([5, -2, 2.3, 2.4, 0, 0])
    assert model[2].weight.flatten().tolist() == [4, 1.75]


@pytest.mark.parametrize(("kind", "strength"), [("l1", 1.0), ("group_lasso", 1.0)])
def test_a_trained_network_has_exact_zeros_and_still_learns(kind: str, strength: float) -> None:
    """Only the first two of 8 inputs tell the classes apart."""
    assert SPARSITY_PENALTY.proximal is not None
    rng = np.random.default_rng(0)
    labels = np.arange(64) % 2
    images = rng.integers(0, 256, (64, 8, 1, 1)).astype(np.uint8)
    images[:, :2] = 255 * labels[:, None, None, None]
    split = Split(images, labels.astype(np.int64))
    data = TrainingData(split, split, Normalisation((0.5,), (0.5,)), Augmentation())
    zeros, accuracy = {}, {}
    for used in (0.0, strength):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(8, 16, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
        knobs = {"kind": kind, "strength": used}
        terms = LossTerms(proximals=[lambda m, rate, knobs=knobs: SPARSITY_PENALTY.proximal(m, knobs, rate)])
        seen: list[float] = []

        def watch(epoch: int, metrics: dict[str, float], seen: list[float] = seen) -> str:
            seen.append(metrics["accuracy"])
            return ""

        plan = TrainingPlan(batch_size=16, patience=40, accelerator="cpu")
        deadline = time.monotonic() + 60
        fit(model, data, plan, epochs=40, learning_rate=0.02, deadline=deadline, terms=terms, on_epoch=watch)
        weight = model[0].weight.flatten(1)
        zeros[used] = int((weight == 0).sum()) if kind == "l1" else int((weight == 0).all(1).sum())
        accuracy[used] = seen[-1]
    assert zeros[0.0] == 0
    assert zeros[strength] >= (64 if kind == "l1" else 2)
    assert accuracy[strength] == 1.0
