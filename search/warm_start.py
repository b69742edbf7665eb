"""What a study takes from earlier ones: their evaluated networks, and which of them it asks first."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from paredown.evaluators.build import COUNTED
from paredown.evaluators.metrics.measurement import broken_limits, resolved_objectives
from paredown.search.errors import ConfigError
from paredown.search.samplers.ranking import hypervolume_order
from paredown.search.samplers.sampler import Sister
from paredown.search.study_file.objectives import stored_objectives
from paredown.search.study_file.setup import Setup
from paredown.spaces.knob import Value
from paredown.studies.errors import DatabaseUnusable, StudyNotFound
from paredown.studies.front import Model, front, losses
from paredown.studies.study import Study

MIN_FIRST, MAX_FIRST = 3, 12
"""Minimum and maximum number of networks that are asked first; between them it is an eighth of the trials."""
MIN_NETWORKS = 3
"""Minimum number of networks of a sister from which a sampler learns."""


@dataclass(frozen=True)
class WarmStart:
    """What a study takes from earlier ones.

    Attributes:
        sisters: Their evaluated networks, for samplers that learn from them.
        first: Knobs of the networks that are asked first, after the baseline.
        stored: Where they come from, as plain data: name, moment of making and number of trials of each study, and
            how many of its networks there are, are used and are asked first.
        remarks: What the user should know.
    """

    sisters: Sequence[Sister] = ()
    first: Sequence[Mapping[str, Value]] = ()
    stored: Sequence[Mapping[str, Any]] = ()
    remarks: Sequence[str] = ()


COLD = WarmStart()
"""What a study has that starts from none."""


def read_warm_start(setup: Setup, url: str, begun: Study | None, where: str) -> WarmStart:
    """Return what the studies that `warm_start` names have for a study; nothing is stored.

    A study that goes on sees its sisters as they were when it began. A sister that is gone by then is left out.

    Args:
        setup: The search.
        url: Address of the database of all of them.
        begun: The study as it is stored; None for a new one.
        where: How messages name the study file.

    Raises:
        ConfigError: A new study names one that the database does not have.
    """
    names = setup.config.warm_start
    known = {one["study"]: one for one in (begun.config.get("warm_start", ()) if begun is not None else ())}
    most = math.ceil(max(MIN_FIRST, min(MAX_FIRST, setup.config.trials // 8)) / max(1, len(names)))
    found = [_read(setup, name, _opened(url, name, where, name in known), known.get(name), most) for name in names]
    return WarmStart(
        [sister for one in found for sister in one.sisters],
        [values for one in found for values in one.first],
        [stored for one in found for stored in one.stored],
        [remark for one in found for remark in one.remarks],
    )


def _opened(url: str, name: str, where: str, is_known: bool) -> Study | None:
    """Return a sister; None where it is gone, which is an error only of a study that has not begun with it."""
    try:
        return Study.open(url, name, stored_objectives)
    except (DatabaseUnusable, StudyNotFound) as error:
        if is_known:
            return None
        raise ConfigError(f"{where}: warm_start: {error}") from error


def _read(setup: Setup, name: str, study: Study | None, known: Mapping[str, Any] | None, most: int) -> WarmStart:
    """Return what one sister has for a study, as it was when the study began; `most` networks of it are asked first."""
    if known is not None and (study is None or study.made_at != known["made_at"]):
        gone = f"warm_start: study {name!r} is gone or was made anew; this study goes on without it"
        return WarmStart(stored=[known], remarks=[gone])
    assert study is not None, "only a sister that is known may be missing"
    last = math.inf if known is None else known["trials"]
    models = [model for model in study.models() if model.trial < last]
    shared = {model.trial: values for model in models if (values := _values_here(setup, model)) is not None}
    usable = [model for model in models if model.trial in shared]
    first = [shared[model.trial] for model in _first(setup, study, usable, most)]
    stored = {
        "study": name,
        "made_at": study.made_at,
        "trials": max((model.trial for model in models), default=-1) + 1,
        "networks": len(models),
        "used": len(usable),
        "asked_first": len(first),
    }
    remark = (
        f"warm_start: {len(usable)} of the {len(models)} networks of study {name!r} are networks of this space with "
        f"values of its objectives; {len(first)} of them are asked first"
    )
    sisters = [_sister(setup, usable, [shared[model.trial] for model in usable])] if len(usable) >= MIN_NETWORKS else []
    return WarmStart(sisters, first, [stored], [remark] if known is None else [])


def _values_here(setup: Setup, model: Model) -> dict[str, Value] | None:
    """Return the knobs of a sister's network in this study's space; None where it is not in it, or lacks a value."""
    space, theirs = setup.space, model.candidate
    needed = {*COUNTED, *(metric.name for metric in setup.plan.optimised_metrics)}
    if theirs.family not in space.families or not theirs.steps.keys() <= space.steps.keys():
        return None
    values = space.values(theirs)
    here = space.candidate(values)
    is_same = (here.family, here.knobs, here.steps) == (theirs.family, theirs.knobs, theirs.steps)
    return values if is_same and needed <= model.measurements.keys() else None


def _first(setup: Setup, study: Study, models: Sequence[Model], most: int) -> list[Model]:
    """Return networks of a sister's front inside this study's limits; the sister's baseline is the reference.

    They are those that bring most hypervolume, one after the other.
    """
    baseline, objectives, metrics = study.baseline(), setup.plan.objectives, setup.plan.optimised_metrics
    if baseline is not None:
        objectives = resolved_objectives(objectives, baseline.values)
    inside = [replace(model, feasible=True) for model in models if not broken_limits(objectives, model.values)]
    best = [model for model in front(inside, metrics) if model.candidate.digest != setup.space.baseline.digest]
    if not best:
        return []
    limits = {one.metric: one.metric.loss(one.limit) for one in objectives if one.limit is not None}
    worst = losses(inside, metrics).max(0)
    reference = np.array([limits.get(metric, most_lost) for metric, most_lost in zip(metrics, worst, strict=True)])
    return [best[at] for at in hypervolume_order(losses(best, metrics), reference, most)]


def _sister(setup: Setup, models: Sequence[Model], params: Sequence[Mapping[str, Value]]) -> Sister:
    costs = np.array([[model[name] for name in COUNTED] for model in models], dtype=np.float64)
    return Sister(params, losses(models, setup.plan.optimised_metrics), costs)
