"""Batch, rate and threads follow from the work of a step."""

from dataclasses import replace

import torch
from torch import nn

from paredown.evaluators.training.fit import TrainingPlan
from paredown.evaluators.training.optimizer import adamw
from paredown.evaluators.training.workload import allowed_threads, fitted, threads_for

FREE = TrainingPlan(epochs=10, learning_rate=6e-3, batch_from_network=True)
SMALL, LARGE, MANY, FEW = 0.5e6, 4e6, 5_000, 1_000


def test_a_small_network_takes_twice_the_batch_at_twice_the_rate() -> None:
    plan = fitted(FREE, SMALL, MANY)
    assert (plan.batch_size, plan.learning_rate, plan.batch_from_network) == (128, 12e-3, False)


def test_a_large_network_and_few_images_keep_the_usual_batch() -> None:
    usual = replace(FREE, batch_from_network=False)
    assert fitted(FREE, LARGE, MANY) == usual
    assert fitted(FREE, SMALL, FEW) == usual, "10 epochs of 1,000 images have 80 steps of 128"


def test_a_batch_that_the_user_named_stays() -> None:
    named = TrainingPlan(batch_size=32)
    assert fitted(named, SMALL, MANY) == named


def test_more_threads_take_part_only_where_there_is_work_for_them() -> None:
    assert threads_for(1e6, 64, at_most=8) == 1
    assert threads_for(130e6, 64, at_most=8) == 2
    assert threads_for(1e9, 64, at_most=8) == 8
    assert threads_for(1e9, 64, at_most=1) == 1


def test_the_users_number_of_threads_goes_before_the_share_of_the_cores() -> None:
    assert allowed_threads(8, 2, {}) == 4
    assert allowed_threads(1, 2, {}) == 1
    assert allowed_threads(8, 2, {"OMP_NUM_THREADS": "1"}) == 1
    assert allowed_threads(8, 2, {"OMP_NUM_THREADS": "6,2"}) == 6
    assert allowed_threads(8, 2, {"OMP_NUM_THREADS": "many"}) == 4


def test_the_fused_optimizer_steps_as_the_plain_one() -> None:
    torch.manual_seed(0)
    mine, plain = nn.Linear(8, 4), nn.Linear(8, 4)
    plain.load_state_dict(mine.state_dict())
    optimizers = [adamw(mine.parameters(), 0.01), torch.optim.AdamW(plain.parameters(), weight_decay=0.01)]
    assert optimizers[0].param_groups[0]["fused"]
    for images in torch.randn(5, 16, 8):
        for network, optimizer in zip((mine, plain), optimizers, strict=True):
            optimizer.zero_grad()
            network(images).square().mean().backward()
            optimizer.step()
    assert torch.allclose(mine.weight, plain.weight, atol=1e-6)


def test_parameters_that_no_fused_kernel_takes_are_still_trained() -> None:
    odd = nn.Parameter(torch.ones(3, dtype=torch.complex64))
    optimizer = adamw([odd], 0.0)
    odd.abs().sum().backward()
    optimizer.step()
    assert not torch.equal(odd.detach(), torch.ones(3, dtype=torch.complex64))
