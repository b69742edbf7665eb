"""What a search hands out, and when."""

import time
from pathlib import Path

import pytest
import toy_trials
from toy_study import let_leases_lapse

from paredown.search.budget import Budget
from paredown.search.listener import SILENT, ProgressListener
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.search.trial_queue import CUT_S, TIME_IS_UP, TrialQueue
from paredown.studies.result import PendingTrial, TrialResult
from paredown.studies.study import Study


def queue_of(folder: Path, budget: Budget, listener: ProgressListener = SILENT) -> tuple[TrialQueue, Study]:
    setup = toy_trials.toy_setup(folder)
    url = f"sqlite:///{folder / 'toy.db'}"
    study = Study.create(url, "toy", setup.stored, setup.plan.objectives, str(setup.plan.folder))
    study.use(SAMPLERS["random"](Problem(0, 20)))
    return TrialQueue(study, setup.space, budget, listener), study


class Notes(ProgressListener):
    """Keeps the remarks."""

    def __init__(self) -> None:
        self.remarks: list[str] = []
        self.ended: list[int] = []

    def remark(self, text: str) -> None:
        self.remarks.append(text)

    def given_back(self, number: int, reason: str) -> None:
        self.remarks.append(f"trial {number}: {reason}")

    def finished(self, number: int, result: TrialResult) -> None:
        self.ended.append(number)


def finish(of: TrialQueue, asked: PendingTrial | None) -> None:
    assert asked is not None
    of.tell(asked.number, toy_trials.good(asked.candidate, None, lambda epoch, metrics: ""))


def test_a_baseline_that_another_search_has_finished_is_found_between_its_trials(tmp_path: Path) -> None:
    one, study = queue_of(tmp_path, Budget(9))
    setup = toy_trials.toy_setup(tmp_path)
    joined = Study.open(f"sqlite:///{tmp_path / 'toy.db'}", "toy", lambda stored: setup.plan.objectives)
    joined.use(SAMPLERS["random"](Problem(1, 20)))
    other = TrialQueue(joined, setup.space, Budget(9), SILENT)
    assert other.baseline is None
    finish(one, one.next())
    assert study.counts() == {"done": 1}, "nothing runs at this moment"
    asked = other.next()
    assert asked is not None
    assert asked.number == 1
    assert other.baseline is not None, "the trial need not wait for it"


@pytest.mark.parametrize(("budget", "prepared"), [(9, 2), (2, 1)])
def test_while_the_baseline_runs_each_worker_gets_a_trial_that_waits_for_it(
    budget: int, prepared: int, tmp_path: Path
) -> None:
    trials, study = queue_of(tmp_path, Budget(budget))
    baseline = trials.next()
    for _ in range(3):
        trials.prepare(2)
    assert study.counts() == {"running": 1 + prepared}
    assert trials.next() is None
    assert not trials.stopped
    finish(trials, baseline)
    handed = [trials.next() for _ in range(prepared)]
    assert [asked.number for asked in handed if asked] == list(range(1, 1 + prepared))


def test_a_prepared_trial_is_the_next_one_and_counts(tmp_path: Path) -> None:
    trials, study = queue_of(tmp_path, Budget(3))
    finish(trials, trials.next())
    running = trials.next()
    trials.prepare(2)
    trials.prepare(2)
    assert study.counts() == {"done": 1, "running": 2}, "one is prepared at a time"
    assert running is not None
    assert trials.running == {running.number}
    finish(trials, running)
    prepared = trials.next()
    assert prepared is not None
    assert prepared.number == running.number + 1
    trials.prepare(2)
    assert study.counts() == {"done": 2, "running": 1}, "the budget leaves no fourth"
    finish(trials, prepared)
    assert trials.next() is None
    assert trials.stopped == "3 trials are done"


def test_a_prepared_trial_that_is_too_late_runs_in_the_next_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials, study = queue_of(tmp_path, Budget(9, deadline=time.monotonic() + 3600))
    finish(trials, trials.next())
    running = trials.next()
    trials.prepare(2)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 7200)
    finish(trials, running)
    assert trials.next() is None
    assert trials.stopped == TIME_IS_UP
    study.leave()
    assert study.counts() == {"done": 2, "waiting": 1}
    again, study = queue_of(tmp_path, Budget(9))
    asked = again.next()
    assert asked is not None
    assert asked.number == 2


def test_a_late_result_is_remarked_and_the_search_goes_on(tmp_path: Path) -> None:
    notes = Notes()
    late, first = queue_of(tmp_path, Budget(3), notes)
    finish(late, late.next())
    asked = late.next()
    let_leases_lapse(first)
    other, _ = queue_of(tmp_path, Budget(3))
    assert other.next() == asked
    finish(late, asked)
    assert notes.ended == [0]
    assert notes.remarks == ["trial 1: another search took it over; this result is kept, but does not count"]
    finish(other, asked)
    finish(late, late.next())
    assert late.next() is None
    assert late.stopped == "3 trials are done"
    assert first.counts()["done"] == 3
    assert [orphan["number"] for orphan in first.orphans()] == [1]


def test_a_search_waits_for_the_last_trials_of_another_one(tmp_path: Path) -> None:
    notes = Notes()
    first, _ = queue_of(tmp_path, Budget(2))
    finish(first, first.next())
    asked = first.next()
    second, _ = queue_of(tmp_path, Budget(2), notes)
    assert second.next() is None
    assert second.next() is None
    assert not second.stopped
    assert notes.remarks == ["waiting for the last trials of another search of this study: 1"]
    finish(first, asked)
    assert second.next() is None
    assert second.stopped == "2 trials are done"


def test_a_baseline_whose_process_died_is_asked_for_again_before_what_is_prepared(tmp_path: Path) -> None:
    trials, study = queue_of(tmp_path, Budget(9))
    baseline = trials.next()
    assert baseline is not None
    for _ in range(2):
        trials.prepare(2)
    trials.retry(baseline.number, "killed")
    assert trials.next() == baseline
    assert trials.next() is None, "the others wait for it"
    finish(trials, baseline)
    assert trials.next() is not None
    assert study.baseline() is not None


def test_at_the_deadline_running_trials_get_a_moment_and_are_then_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    trials, study = queue_of(tmp_path, Budget(9, deadline=now + 3600))
    finish(trials, trials.next())
    running = trials.next()
    assert running is not None
    assert 0 < (trials.seconds_left or 0) <= 3600
    for later_s, must in ((0, False), (3601, False), (3600 + CUT_S + 1, True)):
        monkeypatch.setattr(time, "monotonic", lambda later_s=later_s: now + later_s)
        assert trials.must_cut is must
    assert trials.next() is None
    assert not trials.stopped, "one still runs"
    trials.cut(running.number)
    assert trials.next() is None
    assert trials.stopped == TIME_IS_UP
    study.leave()
    assert study.counts() == {"done": 1, "waiting": 1}


def test_trials_start_beside_the_baseline_where_the_driver_lets_them_wait(tmp_path: Path) -> None:
    trials, study = queue_of(tmp_path, Budget(9))
    baseline, other = trials.next(beside=True), trials.next(beside=True)
    assert baseline is not None
    assert other is not None
    assert (trials.is_baseline(baseline.number), trials.is_baseline(other.number)) == (True, False)
    trials.tell(other.number, TrialResult("failed", "this one alone"))
    assert not trials.stopped, "the baseline still runs"
    trials.prepare(1)
    trials.retry(baseline.number, "killed")
    assert trials.next(beside=True) == baseline, "before what is prepared, although others run"
    assert study.counts() == {"running": 2, "failed": 1}
    finish(trials, baseline)
    assert trials.baseline is not None


def test_no_trial_starts_beside_a_baseline_of_another_search(tmp_path: Path) -> None:
    trials, _ = queue_of(tmp_path, Budget(9))
    assert trials.next(beside=True) is not None
    others, _ = queue_of(tmp_path, Budget(9))
    assert others.next(beside=True) is None
