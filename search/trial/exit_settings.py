"""Tries settings of a trained network's exits without training, so that one network gives several points."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import moocore
import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.files.exit_runtime import BatchRuntime, ExitPlan
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.evaluators.metrics.macs import exit_macs
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.early_exit import rule_of
from paredown.spaces.exits.network import MultiExit
from paredown.spaces.exits.rules import ExitRule
from paredown.spaces.knob import Knobs

MAX_SETTINGS = 4
"""Maximum number of further settings of one network that are kept."""
EXIT_STEP, SWEPT_KNOBS = "early_exit", ("threshold", "first_margin")
"""Name of the step, and those of its knobs that act without training."""


def best_settings(
    own: Knobs,
    swept: Mapping[str, Sequence[float]],
    logits: Sequence[NDArray[np.float32]],
    labels: NDArray[np.int64],
    macs: Sequence[int],
) -> list[dict[str, float]]:
    """Return the settings, beside the step's own, that are non-dominated in accuracy and expected MACs.

    Args:
        own: Knobs of the step.
        swept: Values to try for each knob, in all combinations; knobs that the step does not use are ignored.
        logits: Logits of each exit on the validation images, `n x classes`.
        labels: Classes of these images, `n`.
        macs: MACs up to each exit.

    Returns:
        The changed knobs of at most `MAX_SETTINGS` settings, spread over the MACs; of settings with equal results, the
        first alone.
    """
    if own["rule"] == "patience":
        return []
    asked = {name: values for name, values in swept.items() if name in own}
    combined = [dict(zip(asked, values, strict=True)) for values in itertools.product(*asked.values())]
    points: dict[tuple[float, float], dict[str, float]] = {}
    for setting in ({}, *combined):
        exits = taken(rule_of({**own, **setting}), logits)
        right = np.stack(logits).argmax(2)[exits, np.arange(len(labels))] == labels
        points.setdefault((1 - float(right.mean()), float(np.array(macs)[exits].mean())), setting)
    unbeaten = moocore.is_nondominated(np.array(list(points)))
    best = [point for point, is_best in zip(points, unbeaten, strict=True) if is_best and points[point]]
    settings = [points[point] for point in sorted(best, key=lambda point: point[1])]
    spread = (
        np.linspace(0, len(settings) - 1, MAX_SETTINGS).round().astype(int) if settings else np.array([], dtype=int)
    )
    return [settings[i] for i in np.unique(spread)]


def taken(rule: ExitRule, logits: Sequence[NDArray[np.float32]]) -> NDArray[np.int64]:
    """Return the exit at which each image leaves, `n`, from `n x classes` logits of all exits."""
    plan = ExitPlan(rule.kind, rule.thresholds, ())
    exits = np.full(len(logits[0]), len(logits) - 1)
    for exit_ in reversed(range(len(logits) - 1)):
        exits[plan.leaves(list(logits[: exit_ + 1]))] = exit_
    return exits


def exit_facts(model: MultiExit, inputs: EvaluationInput) -> dict[str, Any]:
    """Return the places of a network's exits, and the share of images and the MACs of each exit, the end last."""
    assert inputs.file is not None, "it has been written"
    assert inputs.images is not None, "it has been measured"
    answers = BatchRuntime(inputs.file, exact=inputs.exact).run(inputs.images)
    rates = [round(rate, 4) for rate in answers.rates]
    return {"after": list(model.after), "rates": rates, "macs": exit_macs(model, inputs.shape)}


def with_setting(candidate: Candidate, setting: Knobs) -> Candidate:
    """Return the candidate with some of the step's knobs changed."""
    return replace(candidate, steps={**candidate.steps, EXIT_STEP: {**candidate.steps[EXIT_STEP], **setting}})
