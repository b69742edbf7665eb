"""The objectives that the metrics and limits of a study file describe."""

from collections.abc import Mapping
from typing import Any

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.limit import BaselineLimit
from paredown.evaluators.metrics.measurement import Objective
from paredown.search.errors import ConfigError, check_name
from paredown.search.study_file.limits import read_limit, refusal


def read_objectives(names: list[str], limits: Mapping[str, Any], where: str) -> tuple[Objective, ...]:
    """Return an objective for each metric that spans the front, then one for each metric that is only limited.

    Args:
        names: Names of the metrics that span the front.
        limits: Metric to its worst acceptable value, as a number or as text such as `baseline - 2 pt`.
        where: How messages name the file.

    Raises:
        ConfigError: A metric does not exist, is named twice, or can never keep its limit.
    """
    for name in names:
        check_name(name, EVALUATORS, f"{where}: objectives")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{where}: objectives: {twice!r} is named twice; allowed: each metric once")
    read = {}
    for name, written in limits.items():
        check_name(name, EVALUATORS, f"{where}: limits")
        try:
            limit = read_limit(written)
        except ConfigError as error:
            raise ConfigError(f"{where}: limits.{name}: {error}") from None
        if limit is not None:
            if refused := refusal(limit, EVALUATORS[name].metric):
                raise ConfigError(f"{where}: limits.{name}: {refused}")
            read[name] = limit
    others = [name for name in read if name not in names]
    return tuple([*(_objective(n, True, read.get(n)) for n in names), *(_objective(n, False, read[n]) for n in others)])


def _objective(name: str, optimised: bool, limit: float | BaselineLimit | None) -> Objective:
    metric = EVALUATORS[name].metric
    if isinstance(limit, BaselineLimit):
        return Objective(metric, optimised, relative=limit)
    return Objective(metric, optimised, limit)


def stored_objectives(stored: Mapping[str, Any]) -> tuple[Objective, ...]:
    """Return the objectives that are stored with a study."""
    return read_objectives(stored["objectives"], stored["limits"], "stored study")
