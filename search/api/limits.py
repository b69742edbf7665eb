"""Limits on metrics as people give them: `{"size_bytes": "60k"}`."""

from collections.abc import Mapping

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.limit import BaselineLimit
from paredown.evaluators.metrics.measurement import Metric, Objective
from paredown.evaluators.metrics.test_accuracy import METRIC as TEST_ACCURACY
from paredown.search.errors import ConfigError
from paredown.search.study_file.limits import read_limit, refusal
from paredown.studies.front import Model

Limits = Mapping[str, float | str]
"""Metric to its limit: a number, or text such as 60k or 0.5 x baseline."""


def limits_of(
    largest: Limits, smallest: Limits, baseline: Model | None, options: tuple[str, str] = ("max", "min")
) -> list[Objective]:
    """Return limits on metrics.

    Args:
        largest: Largest value allowed, by metric.
        smallest: Smallest value allowed, by metric.
        baseline: The study's reference, from which limits such as `0.5 x baseline` follow; None while there is none.
        options: How messages name the two.

    Raises:
        ConfigError: A metric does not exist or is no ground for a choice, a value is no limit, or a limit is on the
            metric's good side.
    """
    limits = [_limit(name, value, baseline, options, wants_higher=False) for name, value in largest.items()]
    limits += [_limit(name, value, baseline, options, wants_higher=True) for name, value in smallest.items()]
    return [limit for limit in limits if limit.is_limited]


def _limit(
    name: str, value: float | str, baseline: Model | None, options: tuple[str, str], *, wants_higher: bool
) -> Objective:
    given = f"{options[wants_higher]} {name}={value}"
    metrics = {known: metric for known, metric in known_metrics().items() if known != TEST_ACCURACY.name}
    if name == TEST_ACCURACY.name:
        raise ConfigError(f"{given}: no model is chosen by the test images; allowed: {', '.join(metrics)}")
    if name not in metrics:
        raise ConfigError(f"{given}: metric {name!r} does not exist; allowed: {', '.join(metrics)}")
    metric = metrics[name]
    if metric.higher_is_better != wants_higher:
        other = f"{options[not wants_higher]} {name}={value}"
        raise ConfigError(f"{given}: limits the good side of {name}; write {other}")
    try:
        limit = read_limit(value)
    except ConfigError as error:
        raise ConfigError(f"{given}: {error}") from None
    if limit is None:
        raise ConfigError(f"{given}: none is no limit here; leave it out")
    if not isinstance(limit, BaselineLimit):
        return Objective(metric, optimised=False, limit=_possible(limit, metric, given))
    if refused := refusal(limit, metric):
        raise ConfigError(f"{given}: {refused}")
    objective = Objective(metric, optimised=False, relative=limit).resolved(baseline.values if baseline else {})
    if objective.limit is None:
        lacks = "no baseline is known here" if baseline is None else f"the baseline has no {name}"
        raise ConfigError(f"{given}: {lacks}; allowed: a number")
    return objective


def _possible(limit: float, metric: Metric, given: str) -> float:
    if not metric.higher_is_better and limit <= 0:
        raise ConfigError(f"{given}: no model can meet {limit:g}; allowed: above 0")
    if limit > metric.highest:
        raise ConfigError(f"{given}: no model can meet {limit:g}; allowed: at most {metric.highest:g}")
    return limit
