"""A study's plan, fitted to one network: its batch, its learning rate, its threads."""

from dataclasses import replace

from torch import nn

from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.evaluators.metrics.macs import MACS
from paredown.evaluators.training.workload import fitted, threads_for
from paredown.search.trial.plan import TrialPlan
from paredown.spaces.families.family import ImageShape


def fitted_plan(plan: TrialPlan, network: nn.Module, shape: ImageShape, images: int) -> TrialPlan:
    """Return the plan with what an untrained, uncompressed network decides.

    Networks that differ in compression alone train alike, so that one can take over what another has trained.

    Args:
        plan: Plan of the trials.
        network: The network.
        shape: Channels, height, width of one input.
        images: Number of training images.
    """
    macs = MACS.evaluate(EvaluationInput(network, shape)).value
    training = fitted(plan.training, macs, images)
    return replace(plan, training=training, threads=threads_for(macs, training.batch_size, plan.threads))
