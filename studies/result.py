"""The request and the result of a trial: plain data that crosses processes and networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from paredown.evaluators.metrics.measurement import Measurement
from paredown.spaces.candidate import Candidate
from paredown.spaces.knob import Value

Outcome = Literal["done", "rejected", "failed", "stopped", "parked"]
Curve = tuple[tuple[int, Mapping[str, float]], ...]
"""Metrics after each epoch."""

FINISHED = ("done", "stopped", "failed")
"""Outcomes of trials that were trained, at least in part, and have ended."""
PARKED: Literal["parked"] = "parked"
"""Outcome of a trial that was trained, and whose values are all known but those that another machine measures."""
TRAINED = (*FINISHED, PARKED)
"""Outcomes that count towards the budget."""
CAUSE = "cause"
"""Fact of a trial that failed or was rejected: the kind of what happened; see `Cause`."""
Cause = Literal[
    "exception", "non_finite", "timeout", "out_of_memory", "killed", "device_lost", "disk_full", "infeasible"
]
UNTRAINED_KEY = "untrained"
"""Key among the facts of a trial: its measurements before training, by metric."""
STOPPED_KEY = "paredown:stopped"
"""Key among the facts and Optuna's user attributes of a trial that was stopped early.

Its value is `{"share": share of its epochs that ran, "value": its first objective by then}`; samplers learn from it.
"""
MEASURED_BY = "measured_by"
"""Fact of a trial that was parked: the machine of the Ray cluster that measured it, or was to."""
RETRY_OF, RETRIED_AS = "retry_of", "retried_as"
"""Facts of a trial that runs a failed one once more: its number; and of the failed one: the number of the new trial."""
QUEUED_KEY = "paredown:queued"
"""Key among Optuna's user attributes of a trial that was queued by hand: `{"digest": ..., "retry_of": ...}`, the latter
where it runs a failed trial once more."""
DERIVED_KEY = "paredown:derived"
"""Key among Optuna's user attributes of a trial that was derived from another one: the id of its row."""


@dataclass(frozen=True)
class PendingTrial:
    """A trial to run.

    Attributes:
        number: Number in the study.
        candidate: Candidate to build.
    """

    number: int
    candidate: Candidate


@dataclass(frozen=True)
class Derived:
    """The result of a trained model under another setting, without training.

    Attributes:
        candidate: Candidate of the trial with the other setting.
        changed: Values of the knobs that differ, by their dotted names.
        measurements: Measurements by metric name.
        artifact: Folder of its files, relative to the study's folder.
        facts: Facts like those of a trial.
    """

    candidate: Candidate
    changed: Mapping[str, Value]
    measurements: Mapping[str, Measurement]
    artifact: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return {
            "candidate": self.candidate.to_json(),
            "changed": dict(self.changed),
            "measurements": {name: m.to_json() for name, m in self.measurements.items()},
            "artifact": self.artifact,
            "facts": dict(self.facts),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Derived":
        """Return the derived trial that `to_json` wrote."""
        measurements = {name: Measurement(**m) for name, m in data["measurements"].items()}
        candidate = Candidate.from_json(data["candidate"])
        return cls(candidate, data["changed"], measurements, data["artifact"], data["facts"])


@dataclass(frozen=True)
class TrialResult:
    """The result of a trial.

    Attributes:
        outcome: Outcome: done, rejected before training, stopped early, failed, or parked until a device measures it.
        reason: Why it is not done; empty where it is.
        measurements: Measurements by metric name.
        artifact: Folder of its files, relative to the study's folder.
        facts: Seconds of each stage, measurements before training, and notes.
        curve: Metrics after each epoch.
        derived: Results of the trained model under other settings; each becomes a trial of its own.
    """

    outcome: Outcome
    reason: str = ""
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    artifact: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    curve: Curve = ()
    derived: tuple[Derived, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "measurements": {name: m.to_json() for name, m in self.measurements.items()},
            "artifact": self.artifact,
            "facts": dict(self.facts),
            "curve": [[epoch, dict(metrics)] for epoch, metrics in self.curve],
            "derived": [derived.to_json() for derived in self.derived],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "TrialResult":
        """Return the result that `to_json` wrote."""
        return cls(
            outcome=data["outcome"],
            reason=data["reason"],
            measurements={name: Measurement(**m) for name, m in data["measurements"].items()},
            artifact=data["artifact"],
            facts=data["facts"],
            curve=tuple((epoch, metrics) for epoch, metrics in data["curve"]),
            derived=tuple(Derived.from_json(derived) for derived in data["derived"]),
        )


def stopped_early(
    reason: str,
    share: float,
    value: float,
    measurements: Mapping[str, Measurement],
    facts: Mapping[str, Any],
    curve: Sequence[tuple[int, Mapping[str, float]]],
) -> TrialResult:
    """Return the result of a trial that was judged and stopped early.

    Args:
        reason: Why it was stopped.
        share: Share of its epochs that ran.
        value: Value of its first objective by then.
        measurements: Measurements by then.
        facts: Seconds of each stage, and notes.
        curve: Metrics after each epoch.
    """
    stopped = {STOPPED_KEY: {"share": share, "value": value}}
    return TrialResult("stopped", reason, measurements, "", {**facts, **stopped}, tuple(curve))
