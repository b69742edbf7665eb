"""What every driver owes: the same trials, every failure on record, resuming, an exact budget."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import toy_trials
from rich.console import Console

from paredown.search.drivers.catalogue import DRIVERS
from paredown.search.run import Outcome, search
from paredown.spaces.candidate import Candidate

FIRST, ALL = 7, 11
BREAKS_EARLY = 1
"""A seed of random search with bad and good candidates among the first five."""

pytestmark = pytest.mark.usefixtures("one_ray")


@dataclass(frozen=True)
class Past:
    """What a study held after its first and after its second run."""

    first: list[dict[str, Any]]
    second: list[dict[str, Any]]
    outcomes: tuple[Outcome, Outcome]
    digests: list[str]


def run_toy(folder: Path, run: Any, **keys: Any) -> tuple[Any, Outcome]:
    setup = toy_trials.toy_setup(folder, **keys)
    console = Console(file=io.StringIO())
    return search(setup, f"sqlite:///{folder}/toy.db", console, where="toy.yaml", run=run)


@pytest.fixture(scope="module")
def pasts(one_ray: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Past]:
    pasts = {}
    for driver in DRIVERS:
        folder = tmp_path_factory.mktemp(driver)
        study, before = run_toy(folder, toy_trials.some_fail, driver=driver, trials=FIRST)
        first = study.rows()
        study, after = run_toy(folder, toy_trials.some_fail, driver=driver, trials=ALL)
        rows = study.rows()
        new = [r["candidate"] for r in rows if r["state"] != "duplicate"]
        digests = [Candidate.from_json(c).digest for c in new]
        pasts[driver] = Past(first, rows, (before, after), digests)
    return pasts


@pytest.mark.parametrize("driver", DRIVERS)
class TestDriver:
    def test_runs_the_baseline_first(self, pasts: dict[str, Past], driver: str, tmp_path: Path) -> None:
        first = pasts[driver].first[0]
        baseline = toy_trials.toy_setup(tmp_path).space.baseline
        assert (first["number"], first["state"]) == (0, "done")
        assert first["candidate"] == baseline.to_json()

    def test_spends_the_budget_exactly(self, pasts: dict[str, Past], driver: str) -> None:
        past = pasts[driver]
        for rows, trials in ((past.first, FIRST), (past.second, ALL)):
            assert sum(r["state"] in {"done", "failed"} for r in rows) == trials
        assert [o.reason for o in past.outcomes] == [f"{FIRST} trials are done", f"{ALL} trials are done"]
        assert not any(o.interrupted for o in past.outcomes)

    def test_records_failures_and_goes_on(self, pasts: dict[str, Past], driver: str) -> None:
        rows = pasts[driver].second
        failed = [r for r in rows if r["state"] == "failed"]
        assert failed, "the toy space has candidates that fail"
        assert all(r["candidate"]["knobs"]["kernel"] == toy_trials.BAD for r in failed)
        assert {r["reason"] for r in failed} == {f"kernel {toy_trials.BAD} is not liked here"}
        assert any(r["state"] == "done" and r["number"] > failed[0]["number"] for r in rows)

    def test_goes_on_where_it_stopped(self, pasts: dict[str, Past], driver: str) -> None:
        past = pasts[driver]
        assert past.second[: len(past.first)] == past.first
        assert [r["number"] for r in past.second] == list(range(len(past.second)))
        assert len(set(past.digests)) == len(past.digests), "a candidate ran twice"

    def test_survives_trials_that_raise(self, driver: str, tmp_path: Path) -> None:
        study, outcome = run_toy(
            tmp_path, toy_trials.some_raise, driver=driver, trials=5, sampler="random", seed=BREAKS_EARLY
        )
        rows = study.rows()
        broken = [r for r in rows if r["candidate"]["knobs"]["kernel"] == toy_trials.BAD]
        assert outcome.reason == "5 trials are done"
        assert broken
        for row in rows:
            assert row["state"] == ("failed" if row in broken else "done")
            assert bool(row["reason"]) == (row in broken)


def test_every_driver_runs_the_same_candidates(pasts: dict[str, Past]) -> None:
    told = {
        driver: [(r["number"], r["state"], r["candidate"], r["reason"]) for r in past.second]
        for driver, past in pasts.items()
    }
    reference = told["local"]
    for driver, rows in told.items():
        assert rows == reference, driver
