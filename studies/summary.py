"""Builds the stable JSON that scripts read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paredown.studies.front import Model, deltas, faster_on_paper_only
from paredown.studies.latency_remarks import has_moved, is_at_floor


def model_summary(model: Model, baseline: Model | None, folder: str) -> dict[str, Any]:
    """Return a model as plain data: its metrics, their spreads, and its changes against the baseline."""
    return {
        "trial": model.trial,
        "candidate": model.candidate.to_json(),
        "metrics": {name: m.value for name, m in model.measurements.items()},
        "spreads": {name: m.spread for name, m in model.measurements.items() if m.spread},
        "deltas": deltas(model, baseline) if baseline else {},
        "slower_than_macs_suggest": bool(baseline and faster_on_paper_only(model, baseline)),
        "latency_at_floor": is_at_floor(model),
        "latency_moved": has_moved(model),
        "feasible": model.feasible,
        "artifact": str(Path(folder, model.artifact)),
    }


def front_summary(
    study: str, objectives: Sequence[str], baseline: Model | None, models: Sequence[Model], folder: str
) -> dict[str, Any]:
    """Return a front as plain data; the change of a share is a difference, any other a share of the baseline's."""
    return {
        "study": study,
        "objectives": list(objectives),
        "baseline": model_summary(baseline, baseline, folder) if baseline else None,
        "models": [model_summary(model, baseline, folder) for model in models],
    }
