"""Limits on metrics as people give them: `{"size_bytes": "60k"}`."""

from collections.abc import Mapping

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Objective
from paredown.search.errors import ConfigError
from paredown.search.study_file import quantity

Limits = Mapping[str, float | str]
"""Metric to its limit, a number or such as 60k."""


def limits_of(largest: Limits, smallest: Limits, options: tuple[str, str] = ("max", "min")) -> list[Objective]:
    """Return limits on metrics.

    Args:
        largest: Largest value allowed, by metric.
        smallest: Smallest value allowed, by metric.
        options: How messages name the two.

    Raises:
        ConfigError: A metric does not exist, a value is no number, or a limit is on the metric's good side.
    """
    limits = [_limit(name, value, options, wants_higher=False) for name, value in largest.items()]
    return limits + [_limit(name, value, options, wants_higher=True) for name, value in smallest.items()]


def _limit(name: str, value: float | str, options: tuple[str, str], *, wants_higher: bool) -> Objective:
    given = f"{options[wants_higher]} {name}={value}"
    metrics = known_metrics()
    if name not in metrics:
        raise ConfigError(f"{given}: metric {name!r} does not exist; allowed: {', '.join(metrics)}")
    metric = metrics[name]
    if metric.higher_is_better != wants_higher:
        other = f"{options[not wants_higher]} {name}={value}"
        raise ConfigError(f"{given}: limits the good side of {name}; write {other}")
    try:
        return Objective(metric, optimised=False, limit=quantity.number(value))
    except ConfigError as error:
        raise ConfigError(f"{given}: {error}") from None
