"""The candidates that values of knobs describe, each made once: every proposal asks for the same thousands again."""

from functools import lru_cache
from typing import Any

from paredown.search.samplers.sampler import Params
from paredown.spaces.candidate import Candidate
from paredown.spaces.space import SearchSpace

Items = tuple[tuple[str, Any], ...]

MAX_KEPT = 100_000
"""Maximum number of candidates that are kept."""


class DescribedCandidates:
    """Candidates of a space by the knobs that describe them."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._candidate = lru_cache(MAX_KEPT)(self._make)
        self._values = lru_cache(MAX_KEPT)(lambda items: space.values(self._candidate(items)))

    def candidate(self, params: Params) -> Candidate:
        """Return the candidate that knobs describe."""
        return self._candidate(tuple(params.items()))

    def canonical(self, params: Params) -> Params:
        """Return the same knobs for all descriptions of one candidate."""
        return self._values(tuple(params.items()))

    def _make(self, items: Items) -> Candidate:
        return self._space.candidate(dict(items))
