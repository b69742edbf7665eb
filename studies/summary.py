"""Builds the stable JSON that scripts read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paredown.studies.front import Model, deltas
from paredown.studies.latency_remarks import Fp32Models, latency_flags


def model_summary(model: Model, baseline: Model | None, folder: str, fp32_models: Fp32Models) -> dict[str, Any]:
    """Return a model as plain data: its metrics, their spreads, and its changes against the baseline.

    Args:
        model: The model.
        baseline: The reference network; None as long as it has not finished.
        folder: The study's folder.
        fp32_models: Those of the study.
    """
    return {
        "trial": model.trial,
        "candidate": model.candidate.to_json(),
        "metrics": {name: m.value for name, m in model.measurements.items()},
        "spreads": {name: m.spread for name, m in model.measurements.items() if m.spread},
        "deltas": deltas(model, baseline) if baseline else {},
        **latency_flags(model, baseline, fp32_models),
        "feasible": model.feasible,
        "artifact": str(Path(folder, model.artifact)),
    }


def front_summary(
    study: str,
    objectives: Sequence[str],
    baseline: Model | None,
    best: Sequence[Model],
    folder: str,
    fp32_models: Fp32Models,
) -> dict[str, Any]:
    """Return a front as plain data; the change of a share is a difference, any other a share of the baseline's.

    Args:
        study: Name of the study.
        objectives: Names of the metrics that span the front.
        baseline: The reference network; None as long as it has not finished.
        best: The front.
        folder: The study's folder.
        fp32_models: Those of the study.
    """
    return {
        "study": study,
        "objectives": list(objectives),
        "baseline": model_summary(baseline, baseline, folder, fp32_models) if baseline else None,
        "models": [model_summary(model, baseline, folder, fp32_models) for model in best],
    }
