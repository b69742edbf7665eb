"""Names of layers that a study file excludes or keeps: a pattern that matches none is a mistake."""

import torch

from paredown.evaluators.build import build, input_shape
from paredown.evaluators.tasks.task import Task
from paredown.search.errors import ConfigError
from paredown.spaces.compression.layers import excluded, weighted
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.imported import NAME as IMPORTED
from paredown.spaces.space import SearchSpace

NAMED = 12
"""Layers that a message names."""


def check_patterns(space: SearchSpace, task: Task, where: str) -> None:
    """Refuse a pattern of `space.skip` or `space.keep` that matches no layer of the baseline or a smallest network.

    Raises:
        ConfigError: The message names the pattern and layers that there are.
    """
    if not (space.skip or space.keep):
        return
    names: dict[str, None] = {}
    for candidate in [space.baseline, *(candidate.uncompressed for candidate in space.smallest())]:
        try:
            with torch.device("cpu" if candidate.family == IMPORTED else "meta"):
                network = build(candidate, input_shape(candidate, task), len(task.classes))
        except InfeasibleCandidate:
            continue  # other candidates of its family may be possible
        names |= dict.fromkeys(weighted(network))
    for key, patterns in (("skip", space.skip), ("keep", space.keep)):
        for pattern in patterns:
            if not any(excluded(name, [pattern]) for name in names):
                more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
                layers = ", ".join(list(names)[:NAMED]) + more
                raise ConfigError(f"{where}: space.{key}: {pattern!r} matches no layer; layers: {layers}")
