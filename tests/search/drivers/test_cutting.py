"""Running trials end with the search: at its deadline, and when it is asked to stop."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
import toy_trials
from torch import nn

from paredown.evaluators.errors import TrialInterrupted
from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan, fit
from paredown.search.drivers.catalogue import DRIVERS
from paredown.search.listener import ProgressListener
from paredown.search.run import search
from paredown.search.trial.run_trial import run_trial
from paredown.studies.result import PendingTrial
from paredown.studies.study import Study

pytestmark = [pytest.mark.usefixtures("one_ray"), pytest.mark.timeout(400)]


class Stops(ProgressListener):
    """Asks the search to stop when a given thing happens to trial 1, and keeps which trials were cut off."""

    def __init__(self, at: str) -> None:
        self._at = at
        self.cut_off: list[int] = []

    def started(self, trial: PendingTrial) -> None:
        if trial.number == 1 and self._at == "start":
            os.kill(os.getpid(), signal.SIGTERM)

    def given_back(self, number: int, reason: str) -> None:
        assert reason == "cut off because the search ends; it runs again"
        self.cut_off.append(number)
        if self._at == "end":
            os.kill(os.getpid(), signal.SIGTERM)


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/toy.db"


def test_training_ends_at_the_batch_at_which_it_is_cut_off() -> None:
    data, batches, epochs = TrainingData.of(load_task(TaskSpec("digits", "{}", Path())), 8), [], []

    def on_batch() -> None:
        batches.append(len(batches))
        if len(batches) == 4:
            raise TrialInterrupted("the search ends")

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    before = model[1].weight.detach().clone()
    with pytest.raises(TrialInterrupted):
        fit(
            model,
            data,
            TrainingPlan(accelerator="cpu", batch_size=32),
            epochs=2,
            learning_rate=1e-3,
            deadline=float("inf"),
            on_epoch=lambda epoch, metrics: epochs.append(epoch) or "",
            on_batch=on_batch,
        )
    assert len(batches) == 4
    assert not torch.equal(model[1].weight, before), "three batches were trained"
    assert epochs == []


def test_a_trial_whose_search_is_over_ends_before_its_first_epoch(tmp_path: Path) -> None:
    setup = toy_trials.toy_setup(tmp_path)

    def on_epoch(epoch: int, metrics: dict[str, float]) -> NoReturn:
        raise AssertionError("an epoch has ended")

    with pytest.raises(TrialInterrupted):
        run_trial(setup.space.baseline, replace(setup.plan, seconds_left=0.0), on_epoch)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    ("run", "at"),
    [(toy_trials.all_but_the_baseline_hang, "start"), (toy_trials.all_but_the_baseline_are_interrupted, "end")],
    ids=["by force", "by itself"],
)
def test_what_runs_when_the_search_stops_is_cut_off_and_runs_again(
    run: Any, at: str, driver: str, tmp_path: Path
) -> None:
    stops = Stops(at)
    setup = toy_trials.toy_setup(tmp_path, driver=driver, trials=3, sampler="random")
    cut = search(setup, url(tmp_path), run=run, listener=stops)
    assert (cut.reason, cut.interrupted) == ("stopped; the same command goes on", True)
    assert [r["state"] for r in cut.study.rows()] == ["done", "waiting"]
    assert stops.cut_off == [1]

    again = search(setup, url(tmp_path), run=toy_trials.good).study
    assert [(r["number"], r["state"]) for r in again.rows()] == [(0, "done"), (1, "done"), (2, "done")]


def test_a_search_that_waits_for_the_baseline_of_another_keeps_its_deadline(tmp_path: Path) -> None:
    other = toy_trials.toy_setup(tmp_path)
    study = Study.create(url(tmp_path), "toy", other.stored, other.plan.objectives, str(other.plan.folder))
    assert study.ask(other.space.sample) is not None
    setup = toy_trials.toy_setup(tmp_path, timeout=2)
    waited = search(setup, url(tmp_path), run=toy_trials.never)
    assert (waited.reason, waited.interrupted) == ("the time is up", True)
