"""The objectives that the metrics and limits of a study file describe."""

from collections.abc import Mapping
from typing import Any

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.measurement import Objective
from paredown.search.errors import ConfigError, check_name


def read_objectives(names: list[str], limits: Mapping[str, float], where: str) -> tuple[Objective, ...]:
    """Return an objective for each metric that spans the front, then one for each metric that is only limited.

    Args:
        names: Names of the metrics that span the front.
        limits: Metric to its worst acceptable value.
        where: How messages name the file.

    Raises:
        ConfigError: A metric does not exist, is named twice, or can never keep its limit.
    """
    for name in names:
        check_name(name, EVALUATORS, f"{where}: objectives")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{where}: objectives: {twice!r} is named twice; allowed: each metric once")
    for name, limit in limits.items():
        check_name(name, EVALUATORS, f"{where}: limits")
        metric = EVALUATORS[name].metric
        if not 0 < limit <= metric.highest:
            raise ConfigError(
                f"{where}: limits.{name}: no candidate can meet {limit:g}; allowed: above 0, at most {metric.highest:g}"
            )
    optimised = [Objective(EVALUATORS[n].metric, True, limits.get(n)) for n in names]
    others = [Objective(EVALUATORS[n].metric, False, limit) for n, limit in limits.items() if n not in names]
    return tuple(optimised + others)


def stored_objectives(stored: Mapping[str, Any]) -> tuple[Objective, ...]:
    """Return the objectives that are stored with a study."""
    return read_objectives(stored["objectives"], stored["limits"], "stored study")
