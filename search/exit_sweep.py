"""Thresholds of a trained network with exits, tried without training: one network gives many points."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import moocore
import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.exit_runtime import BatchRuntime, ExitPlan
from paredown.evaluators.macs import exit_macs
from paredown.spaces.candidate import Candidate
from paredown.spaces.exits.network import MultiExit
from paredown.spaces.exits.rules import ExitRule
from paredown.spaces.families.family import ImageShape

MOST = 4
"""So many further thresholds of one network are kept."""
STEP, KNOB = "early_exit", "threshold"


def best_thresholds(
    rule: ExitRule,
    thresholds: Sequence[float],
    logits: Sequence[NDArray[np.float32]],
    labels: NDArray[np.int64],
    macs: Sequence[int],
) -> list[float]:
    """Return the thresholds beside the rule's own that none of all beats in accuracy and expected MACs.

    Args:
        rule: Of the trained network.
        thresholds: To try.
        logits: `n x classes` of each exit on the validation images.
        labels: Their classes, `n`.
        macs: Up to each exit.

    Returns:
        At most `MOST`, spread over the MACs; none of two that decide alike.
    """
    if rule.kind == "patience":
        return []
    points: dict[tuple[float, float], float] = {}
    for threshold in dict.fromkeys([rule.threshold, *thresholds]):
        exits = taken(replace(rule, threshold=threshold), logits)
        right = np.stack(logits).argmax(2)[exits, np.arange(len(labels))] == labels
        points.setdefault((1 - float(right.mean()), float(np.array(macs)[exits].mean())), threshold)
    costs = np.array(list(points))
    kept = sorted(
        (macs_, threshold)
        for ((_, macs_), threshold), best in zip(points.items(), moocore.is_nondominated(costs), strict=True)
        if best and threshold != rule.threshold
    )
    spread = np.linspace(0, len(kept) - 1, MOST).round().astype(int) if kept else np.array([], dtype=int)
    return [kept[i][1] for i in np.unique(spread)]


def taken(rule: ExitRule, logits: Sequence[NDArray[np.float32]]) -> NDArray[np.int64]:
    """Return the exit at which each image leaves, `n`, from `n x classes` logits of all exits."""
    plan = ExitPlan(rule.kind, rule.threshold, ())
    exits = np.full(len(logits[0]), len(logits) - 1)
    for exit_ in reversed(range(len(logits) - 1)):
        exits[plan.leaves(list(logits[: exit_ + 1]))] = exit_
    return exits


def exit_facts(model: MultiExit, file: Path, shape: ImageShape, images: NDArray[np.float32]) -> dict[str, Any]:
    """Return where a network's exits stand, the share of images and the MACs of each, the end last."""
    answers = BatchRuntime(file).run(images)
    rates = [round(rate, 4) for rate in answers.rates]
    return {"after": list(model.after), "rates": rates, "macs": exit_macs(model, shape)}


def with_threshold(candidate: Candidate, threshold: float) -> Candidate:
    """Return the candidate with another threshold."""
    steps = {name: dict(knobs) for name, knobs in candidate.steps.items()}
    steps[STEP][KNOB] = threshold
    return Candidate(candidate.family, candidate.knobs, steps)
