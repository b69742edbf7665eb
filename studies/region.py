"""The region of interest: what a study accepts, and which of its limits binds where nothing is accepted yet."""

from collections.abc import Sequence
from typing import Any

from paredown.evaluators.metrics.measurement import Metric, Objective, broken_limits, violations
from paredown.studies.front import Model

MAX_NEAREST = 10
"""Maximum number of models that are shown in place of a front, where no model keeps the limits."""
DEVICE = "device"
"""What binds where the study's device runs none of the models."""


def limit_texts(objectives: Sequence[Objective]) -> list[str]:
    """Return how each limit reads, such as `accuracy >= 0.969 (baseline - 2 pt)`."""
    return [objective.limit_text for objective in objectives if objective.is_limited]


def limits_summary(objectives: Sequence[Objective]) -> dict[str, dict[str, Any]]:
    """Return the limits as plain data, by metric: the value, None while it is open, and the text of both."""
    return {o.metric.name: {"value": o.limit, "text": o.limit_text} for o in objectives if o.is_limited}


def nearest(models: Sequence[Model], objectives: Sequence[Objective]) -> list[Model]:
    """Return models in order of their worst violation, the least first; of equal ones, the earlier trial first.

    Those that the study's device cannot run come last.
    """

    def rank(model: Model) -> tuple[bool, float, int]:
        return bool(model.refusal), worst_violation(model, objectives)[1], model.trial

    return sorted(models, key=rank)[:MAX_NEAREST]


def worst_violation(model: Model, objectives: Sequence[Objective]) -> tuple[str, float]:
    """Return the metric whose limit a model breaks most, and by what share of the limit; 0 where it keeps all."""
    found = violations(objectives, model.values)
    name = max(found, key=lambda metric: found[metric], default="")
    return name, max(0.0, found.get(name, 0.0))


def binding(models: Sequence[Model], objectives: Sequence[Objective]) -> str:
    """Return the metric whose limit keeps every model out: the one that the nearest model breaks most.

    It is empty where a model keeps all limits, and where there is no model; `device` where the device of the study runs
    none of them.
    """
    if not models or any(model.feasible for model in models):
        return ""
    first = nearest(models, objectives)[0]
    return DEVICE if first.refusal else worst_violation(first, objectives)[0]


def binding_text(models: Sequence[Model], objectives: Sequence[Objective]) -> str:
    """Return in words which limit keeps every model out; an empty text where none does."""
    if not (name := binding(models, objectives)):
        return ""
    first = nearest(models, objectives)[0]
    if name == DEVICE:
        counted = "does not run the one model" if len(models) == 1 else f"runs none of {len(models)} models"
        return f"the device of the study {counted}; the nearest is trial {first.trial}: {first.refusal}"
    limit = next(o for o in objectives if o.metric.name == name)
    broken = "; ".join(broken_limits(tuple(objectives), first.values)) or f"{name} was not measured"
    counted = "the one model does not keep" if len(models) == 1 else f"none of {len(models)} models keeps"
    return (
        f"{counted} the limits of the study, of which {limit.limit_text} binds; the nearest is trial {first.trial}: "
        f"{broken}"
    )


def spread_text(best: Sequence[Model], metrics: Sequence[Metric]) -> str:
    """Return from where to where a front reaches, such as `accuracy 0.9694 to 0.9916`."""
    ends = [(metric, [model[metric.name] for model in best]) for metric in metrics] if best else []
    return ", ".join(f"{metric.name} {metric.format(min(v))} to {metric.format(max(v))}" for metric, v in ends)
