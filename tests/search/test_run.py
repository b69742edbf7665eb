"""A search from Python: in any thread, with a listener or without, on no console."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy_trials

from paredown.search.errors import SearchAborted
from paredown.search.listener import ProgressListener, SearchStart
from paredown.search.run import SearchSummary, search
from paredown.studies.result import PendingTrial, TrialResult


class Recorder(ProgressListener):
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def search_started(self, start: SearchStart) -> None:
        metrics = [metric.name for metric in start.metrics]
        self.told.append(("begins", start.study, metrics, start.trials, dict(start.counts), len(start.models)))

    def started(self, trial: PendingTrial) -> None:
        self.told.append(("starts", trial.number))

    def epoch(self, number: int, epoch: int, metrics: Any) -> None:
        self.told.append(("epoch", number, epoch, dict(metrics)))

    def finished(self, number: int, result: TrialResult) -> None:
        self.told.append((result.outcome, number))

    def search_ended(self) -> None:
        self.told.append(("ends",))


def run_toy(folder: Path, listener: ProgressListener, run: Callable[..., TrialResult], trials: int) -> SearchSummary:
    setup = toy_trials.toy_setup(folder, sampler="random", trials=trials)
    return search(setup, f"sqlite:///{folder}/toy.db", listener=listener, run=run)


def test_a_listener_is_told_in_order(tmp_path: Path) -> None:
    first, second = Recorder(), Recorder()
    run_toy(tmp_path, first, toy_trials.good, 1)
    run_toy(tmp_path, second, toy_trials.good, 2)
    metrics = ["accuracy", "size_bytes"]
    assert first.told == [
        ("begins", "toy", metrics, 1, {}, 0),
        ("starts", 0),
        ("epoch", 0, 0, {"accuracy": 0.5}),
        ("done", 0),
        ("ends",),
    ]
    assert second.told[:2] == [("begins", "toy", metrics, 2, {"done": 1}, 1), ("starts", 1)]
    assert second.told[-1] == ("ends",)


def test_a_listener_is_told_that_an_aborted_search_ends(tmp_path: Path) -> None:
    listener = Recorder()
    with pytest.raises(SearchAborted):
        run_toy(tmp_path, listener, toy_trials.all_but_the_baseline, 3)
    assert listener.told[-2:] == [("failed", 0), ("ends",)]


def test_a_search_in_a_thread_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    summaries: list[SearchSummary] = []
    setup = toy_trials.toy_setup(tmp_path, sampler="random", trials=2)

    def run() -> None:
        summaries.append(search(setup, f"sqlite:///{tmp_path}/toy.db", run=toy_trials.good))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    (summary,) = summaries
    assert (summary.reason, summary.interrupted) == ("2 trials are done", False)
    assert summary.study.counts()["done"] == 2
    assert 0 < summary.overhead_s < summary.wall_s
    assert capfd.readouterr() == ("", "")
