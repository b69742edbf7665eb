"""The work of one training step, and what it decides: the size of a batch and the number of threads.

Both follow from counts alone, never from a clock, so that the same study trains the same networks on any machine.
"""

import os
from collections.abc import Mapping
from dataclasses import replace

from paredown.evaluators.training.fit import TrainingPlan

LARGER_BATCH = 2
"""Factor of the batch, and of the learning rate with it, where steps are small."""
SMALL_STEP_MACS = 1e8
"""MACs of a forward pass up to which a step of the usual batch is small: calls and not arithmetic take its time."""
LEAST_STEPS = 200
"""Least number of steps of the whole training with the larger batch: with 90 it cost half a point on the digits."""
THREAD_MACS = 4e9
"""MACs of a forward pass over a batch that keep one thread busy; with less, threads wait for each other."""


def fitted(plan: TrainingPlan, macs: float, images: int) -> TrainingPlan:
    """Return the plan with the batch and the learning rate of a network, where the plan leaves them to the network.

    The rate is that of the plan's batch, and grows as the batch does.

    Args:
        plan: Plan of the trials.
        macs: MACs of one image in the network before compression.
        images: Number of training images.

    Source:
        Goyal et al., Accurate, Large Minibatch SGD, 2017, section 2.1 (linear scaling of the rate).
    """
    if not plan.batch_from_network:
        return plan
    plan = replace(plan, batch_from_network=False)
    batch = LARGER_BATCH * plan.batch_size
    if macs * plan.batch_size > SMALL_STEP_MACS or plan.epochs * images < LEAST_STEPS * batch:
        return plan
    return replace(plan, batch_size=batch, learning_rate=LARGER_BATCH * plan.learning_rate)


def threads_for(macs: float, batch: int, at_most: int) -> int:
    """Return the number of threads that train a network.

    Args:
        macs: MACs of one image in the network before compression.
        batch: Number of images in a batch.
        at_most: Number of threads that a trial may use.
    """
    return max(1, min(at_most, int(macs * batch / THREAD_MACS)))


def allowed_threads(cores: int, workers: int, environment: Mapping[str, str] = os.environ) -> int:
    """Return how many threads each worker may use: its share of the cores, or what OMP_NUM_THREADS says."""
    asked = environment.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(asked) if asked.isdecimal() and int(asked) else max(1, cores // workers)
