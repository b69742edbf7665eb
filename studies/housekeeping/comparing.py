"""Compares studies: counts, best values, fronts in one reference, and what differs in their configurations."""

from collections.abc import Mapping, Sequence
from typing import Any

from paredown.evaluators.metrics.measurement import Metric
from paredown.studies.front import Model, front, hypervolume
from paredown.studies.records import Records

OURS_ALONE = frozenset({"step_labels"})
"""Keys of a configuration that say nothing of what was searched."""
MISSING = None


def compare(studies: Sequence[Records]) -> dict[str, Any]:
    """Return what several studies hold, as plain data.

    The hypervolume spans the objectives that all studies share, in the order of the first one, and its reference is the
    first finished baseline. It is None where fewer than two are shared, or where no baseline has finished.
    """
    shared = [m for m in studies[0].optimised_metrics if all(m in other.optimised_metrics for other in studies)]
    read = [(study, study.models(), study.baseline()) for study in studies]
    of, reference = next(((study.name, baseline) for study, _, baseline in read if baseline), ("", None))
    return {
        "objectives": [metric.name for metric in shared],
        "reference": {"study": of, "trial": reference.trial} if reference else None,
        "studies": [_summary(study, models, baseline, shared, reference) for study, models, baseline in read],
        "differences": differing([study.config for study in studies]),
    }


def differing(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return each dotted key whose values are not all the same, with the value in each configuration; None: missing."""
    flat = [_flat({key: value for key, value in config.items() if key not in OURS_ALONE}) for config in configs]
    keys = sorted({key for one in flat for key in one})
    values = {key: [one.get(key, MISSING) for one in flat] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def _summary(
    study: Records, models: Sequence[Model], baseline: Model | None, shared: Sequence[Metric], reference: Model | None
) -> dict[str, Any]:
    feasible = [model for model in models if model.feasible]
    best = {m.name: min((model[m.name] for model in feasible), key=m.loss) for m in study.optimised_metrics if feasible}
    share = hypervolume(models, shared, reference) if reference is not None and len(shared) > 1 else None
    return {
        "study": study.name,
        "counts": study.counts(),
        "objectives": [metric.name for metric in study.optimised_metrics],
        "front": len(front(models, study.optimised_metrics)),
        "hypervolume": share,
        "baseline": {name: m.value for name, m in baseline.measurements.items()} if baseline else None,
        "best": best,
    }


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested keys as dotted ones; lists and empty mappings are values."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
