"""What every driver owes: the same trials, every failure on record, resuming, an exact budget."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import toy_trials
from third_driver import IN_TURN

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.search.drivers.catalogue import DRIVERS
from paredown.search.errors import ConfigError
from paredown.search.run import SearchSummary, search
from paredown.search.schedulers.halving import Halving
from paredown.spaces.candidate import Candidate

FIRST, ALL = 7, 11
FINISHED = {"done", "stopped", "failed"}
HALVING = {"min_epochs": 1, "factor": 2, "brackets": 2}
EPOCHS = 9
NAMES = [*DRIVERS, IN_TURN.name]
BREAKS_EARLY = 1
"""A seed of random search with bad and good candidates among the first five."""

pytestmark = [pytest.mark.usefixtures("one_ray"), pytest.mark.timeout(400)]


@dataclass(frozen=True)
class Past:
    """What a study held after its first and after its second run."""

    first: list[dict[str, Any]]
    second: list[dict[str, Any]]
    summaries: tuple[SearchSummary, SearchSummary]
    digests: list[str]


def run_toy(folder: Path, run: Any, options: Mapping[str, Any] | None = None, **keys: Any) -> SearchSummary:
    setup = toy_trials.toy_setup(folder, **keys)
    return search(setup, f"sqlite:///{folder}/toy.db", where="toy.yaml", run=run, driver_options=options)


@pytest.fixture(scope="module", autouse=True)
def third_driver() -> Iterator[None]:
    DRIVERS[IN_TURN.name] = IN_TURN
    yield
    del DRIVERS[IN_TURN.name]


@pytest.fixture(scope="module")
def pasts(one_ray: None, third_driver: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Past]:
    pasts = {}
    for driver in NAMES:
        folder = tmp_path_factory.mktemp(driver)
        before = run_toy(folder, toy_trials.some_fail, driver=driver, trials=FIRST)
        first = before.study.rows()
        after = run_toy(folder, toy_trials.some_fail, driver=driver, trials=ALL)
        rows = after.study.rows()
        new = [r["candidate"] for r in rows if r["state"] != "duplicate"]
        digests = [Candidate.from_json(c).digest for c in new]
        pasts[driver] = Past(first, rows, (before, after), digests)
    return pasts


@pytest.mark.parametrize("driver", NAMES)
class TestDriver:
    def test_runs_the_baseline_first(self, pasts: dict[str, Past], driver: str, tmp_path: Path) -> None:
        first = pasts[driver].first[0]
        baseline = toy_trials.toy_setup(tmp_path).space.baseline
        assert (first["number"], first["state"]) == (0, "done")
        assert first["candidate"] == baseline.to_json()

    def test_spends_the_budget_exactly(self, pasts: dict[str, Past], driver: str) -> None:
        past = pasts[driver]
        for rows, trials in ((past.first, FIRST), (past.second, ALL)):
            assert sum(r["state"] in FINISHED for r in rows) == trials
        assert [o.reason for o in past.summaries] == [f"{FIRST} trials are done", f"{ALL} trials are done"]
        assert not any(o.interrupted for o in past.summaries)

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
        summary = run_toy(tmp_path, toy_trials.some_raise, driver=driver, trials=5, sampler="random", seed=BREAKS_EARLY)
        rows = summary.study.rows()
        broken = [r for r in rows if r["candidate"]["knobs"]["kernel"] == toy_trials.BAD]
        assert summary.reason == "5 trials are done"
        assert broken
        for row in rows:
            assert row["state"] == ("failed" if row in broken else "done")
            assert bool(row["reason"]) == (row in broken)


@pytest.mark.parametrize(
    ("driver", "options", "said"),
    [
        ("local", {"address": "a:1"}, "driver local: address='a:1': no such option; options of this driver: none"),
        (
            "ray",
            {"adress": "a:1"},
            "driver ray: adress='a:1': no such option; options of this driver: address, resources",
        ),
        ("ray", {"address": 7}, "driver ray: address=7: Input should be a valid string"),
        ("in_turn", {"every": "now"}, "driver in_turn: every='now': .*; options of this driver: every"),
    ],
)
def test_options_that_a_driver_does_not_have_are_refused(
    driver: str, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"toy.yaml: {said}"):
        run_toy(tmp_path, toy_trials.never, options, driver=driver)
    assert list(tmp_path.iterdir()) == []


def test_a_driver_is_told_its_options(tmp_path: Path) -> None:
    assert run_toy(tmp_path, toy_trials.good, {"every": 2}, driver="in_turn", trials=3).study.counts() == {"done": 3}


def test_a_driver_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"toy\.yaml: driver: 'slurm' does not exist; allowed: local, ray, in_turn"):
        run_toy(tmp_path, toy_trials.never, driver="slurm")


def test_every_driver_runs_the_same_candidates(pasts: dict[str, Past]) -> None:
    told = {
        driver: [(r["number"], r["state"], r["candidate"], r["reason"]) for r in past.second]
        for driver, past in pasts.items()
    }
    reference = told["local"]
    for driver, rows in told.items():
        assert rows == reference, driver


@dataclass(frozen=True)
class Halved:
    """What a study with early stopping held after its first and its second run, and its curves."""

    first: list[dict[str, Any]]
    second: list[dict[str, Any]]
    curves: dict[int, list[tuple[int, dict[str, float]]]]


@pytest.fixture(scope="module")
def halved(one_ray: None, third_driver: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Halved]:
    halved = {}
    for driver in NAMES:
        folder = tmp_path_factory.mktemp(f"halved-{driver}")
        keys: dict[str, Any] = {"driver": driver, "halving": HALVING, "training": {"epochs": EPOCHS}}
        first = run_toy(folder, toy_trials.judged, trials=FIRST, sampler="random", seed=3, **keys).study.rows()
        study = run_toy(folder, toy_trials.judged, trials=2 * ALL, sampler="random", seed=3, **keys).study
        halved[driver] = Halved(first, study.rows(), study.curves())
    return halved


@pytest.mark.parametrize("driver", NAMES)
class TestEarlyStopping:
    def test_stopped_trials_keep_curve_and_reason_and_count(self, halved: dict[str, Halved], driver: str) -> None:
        past = halved[driver]
        assert sum(r["state"] in FINISHED for r in past.first) == FIRST
        assert sum(r["state"] in FINISHED for r in past.second) == 2 * ALL
        states = {r["number"]: r["state"] for r in past.second}
        assert list(states.values()).count("stopped") > 3
        assert list(states.values()).count("done") > 1, "the baseline and another"
        for row in past.second:
            epochs = len(past.curves.get(row["number"], []))
            if row["state"] == "stopped":
                assert row["reason"].startswith(f"stopped at epoch {epochs} of {EPOCHS}: rank ")
                assert 1 <= epochs < EPOCHS
            elif row["state"] == "done":
                assert epochs == EPOCHS

    def test_judges_after_a_stop_as_if_there_had_been_none(self, halved: dict[str, Halved], driver: str) -> None:
        past = halved[driver]
        metrics = [EVALUATORS[name].metric for name in ("accuracy", "size_bytes")]
        uninterrupted = Halving(metrics, **HALVING)
        for row in past.second:
            reason = ""
            for epoch, metrics_then in past.curves.get(row["number"], []):
                assert not reason, "it ran on after it was stopped"
                losses = uninterrupted.losses(row["facts"]["untrained"] | metrics_then)
                reason = uninterrupted.judge(row["number"], epoch + 1, EPOCHS, losses, spared=row["number"] == 0)
            if row["state"] in FINISHED:
                assert row["reason"] == reason


def test_every_driver_stops_the_same_trials(halved: dict[str, Halved]) -> None:
    told = {
        driver: [(r["number"], r["state"], r["candidate"], r["reason"]) for r in past.second]
        for driver, past in halved.items()
    }
    for driver, rows in told.items():
        assert rows == told["local"], driver
