"""Our samplers in Optuna's own suite for samplers, `optuna.testing.pytest_samplers`.

Left out is `SingleOnlySamplerTestCase`: it wants a sampler to refuse two objectives, which ours are made for.
Every case of `BasicSamplerTestCase`, `RelativeSamplerTestCase` and `MultiObjectiveSamplerTestCase` applies. Many
cases have fewer trials than a random start: each sampler is made for few trials, so that it is past its start soon.
"""

from collections.abc import Callable, Iterator

import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

from paredown.search.samplers.cost_aware import CostAwareSampler
from paredown.search.samplers.evolution import EvolutionSampler
from paredown.search.samplers.local_search import LocalSearchSampler
from paredown.search.samplers.polish import PolishedSampler
from paredown.search.samplers.reinforce import ReinforceSampler
from paredown.search.samplers.sampler import Problem

FEWEST = Problem(0, 8)
OURS: dict[str, Callable[[], BaseSampler]] = {
    "cost_aware": lambda: CostAwareSampler(FEWEST),
    "evolution": lambda: EvolutionSampler(FEWEST),
    "reinforce": lambda: ReinforceSampler(FEWEST),
    "local_search": lambda: LocalSearchSampler(FEWEST),
    "local_search_at_once": lambda: LocalSearchSampler(FEWEST, start=1),
    "polished_random": lambda: PolishedSampler(RandomSampler(0), FEWEST, 6),
    "polished": lambda: PolishedSampler(ReinforceSampler(FEWEST), FEWEST, 4),
    "without_a_problem": ReinforceSampler,
}
WITHOUT_RELATIVE = {"polished_random"}
"""Before its polish it is Optuna's random sampler, which proposes no knobs together."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A line a trial would be most of the time."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


class TestBasic(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture(params=OURS)
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return OURS[request.param]


class TestRelative(RelativeSamplerTestCase):
    @pytest.fixture(params=[name for name in OURS if name not in WITHOUT_RELATIVE])
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return OURS[request.param]
