"""Limits as the command line takes them: `size_bytes=60k`."""

from collections.abc import Sequence

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Objective
from paredown.search.errors import ConfigError
from paredown.search.study_file import quantity


def read_limits(most: Sequence[str], least: Sequence[str]) -> list[Objective]:
    """Return the limits that `--max` and `--min` name.

    Raises:
        ConfigError: A metric does not exist, a value is no number, or the option does not fit the metric.
    """
    limits = [_limit(text, "--max", wants_higher=False) for text in most]
    return limits + [_limit(text, "--min", wants_higher=True) for text in least]


def _limit(text: str, option: str, *, wants_higher: bool) -> Objective:
    name, sign, value = text.partition("=")
    if not sign:
        raise ConfigError(f"{option} {text}: write it as METRIC=VALUE, e.g. size_bytes=60k")
    metrics = known_metrics()
    if name not in metrics:
        raise ConfigError(f"{option} {text}: metric {name!r} does not exist; allowed: {', '.join(metrics)}")
    metric = metrics[name]
    if metric.higher_is_better != wants_higher:
        other = "--min" if metric.higher_is_better else "--max"
        raise ConfigError(f"{option} {text}: limits the good side of {name}; write {other} {text}")
    try:
        return Objective(metric, optimised=False, limit=quantity.number(value))
    except ConfigError as error:
        raise ConfigError(f"{option} {text}: {error}") from None
