"""What a search leaves for those who did not watch: log, status, time left, the user's commands."""

import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy_trials
from commands import Said

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.search.api.run import run_study
from paredown.search.budget import Budget
from paredown.search.errors import SearchAborted
from paredown.search.listener import SILENT, ProgressListener, SearchStart
from paredown.search.monitoring.search_log import LOG_FILE
from paredown.search.monitoring.search_progress import SearchProgress
from paredown.search.monitoring.shell_hooks import run_hook
from paredown.search.monitoring.status import status_lines, study_status
from paredown.search.monitoring.status_file import is_alive, read_statuses
from paredown.search.run import search
from paredown.search.trial_queue import TrialQueue
from paredown.spaces.candidate import Candidate
from paredown.studies.errors import StudyError
from paredown.studies.result import PendingTrial, TrialResult
from paredown.studies.runner_process import RunnerProcess
from paredown.studies.study import Study

METRICS = [EVALUATORS[name].metric for name in ("accuracy", "size_bytes")]


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/toy.db"


class Looks(ProgressListener):
    """Looks at the status of the study from outside while trial 1 runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.seen: dict[str, Any] = {}
        self.lines: list[str] = []

    def epoch(self, number: int, epoch: int, metrics: Any) -> None:
        if number == 1:
            opened = Study.open(url(self._folder), "toy", lambda stored: ())
            self.seen = study_status(opened)
            self.lines = status_lines(self.seen)


def test_a_search_shows_what_it_does_while_it_runs_and_why_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("paredown.search.monitoring.status_file.EVERY_S", 0.0)
    looks = Looks(tmp_path)
    setup = toy_trials.toy_setup(tmp_path, trials=3, sampler="random")
    study = search(setup, url(tmp_path), run=toy_trials.good, listener=looks).study
    (seen,) = looks.seen["searches"]
    assert seen["alive"]
    assert (seen["pid"], seen["spent"], seen["trials"], seen["workers"]) == (os.getpid(), 1, 3, 1)
    assert [(one["trial"], one["epochs"]) for one in seen["running"]] == [(1, 1)]
    assert seen["seconds_left"] > 0
    assert looks.lines[0] == "toy: 1 done, 1 running"
    assert re.fullmatch(r"  process \d+ on \S+, seen \d+ s ago", looks.lines[1])
    assert re.fullmatch(r"    1 of 3 trials, 1 at a time, 0:\d\d a trial, 0:\d\d left", looks.lines[2])
    assert re.fullmatch(r"    trial 1: epoch 1, accuracy 0\.5000, since 0:\d\d", looks.lines[3])

    after = study_status(study)
    assert [(one["alive"], one["ended"]) for one in after["searches"]] == [(False, "3 trials are done")]
    assert status_lines(after)[1] == "  no search runs; the last one ended: 3 trials are done"
    log = (tmp_path / "out" / LOG_FILE).read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d \[\d+\] \S", line) for line in log)
    said = [line.partition("] ")[2] for line in log]
    assert said[0].startswith("search of toy by process ")
    assert said[1] == "trials start: 3 in all, 1 at a time; trials before: none"
    assert [line for line in said if " starts: mbconv" in line] == said[2:8:2]
    assert said[3].startswith("trial 0 done: accuracy 0.")
    assert said[-1] == "the search has ended: 3 trials are done"

    document = Said(capsys, "status", "--storage", url(tmp_path), "--json").document()
    assert [one["study"] for one in document["studies"]] == ["toy"]
    assert "no search runs" in Said(capsys, "status", "toy", "--storage", url(tmp_path)).out


def test_an_aborted_search_says_so_in_its_log(tmp_path: Path) -> None:
    setup = toy_trials.toy_setup(tmp_path, trials=3)
    with pytest.raises(SearchAborted):
        search(setup, url(tmp_path), run=toy_trials.all_but_the_baseline)
    said = (tmp_path / "out" / LOG_FILE).read_text().splitlines()
    assert said[-1].endswith("the search has ended: SearchAborted: the baseline (trial 0) failed: no disk")


def test_a_search_that_died_is_known_by_its_process(tmp_path: Path) -> None:
    here = RunnerProcess.here()
    assert here is not None
    status = {"process": here.to_json(), "updated_at": 0.0}
    assert is_alive(status), "silent, but its process is there"
    assert not is_alive({"process": replace(here, start=here.start - 1).to_json(), "updated_at": time.time()}), (
        "a later one"
    )
    assert not is_alive(status | {"ended": "done"})
    elsewhere = replace(here, place="a container of the same host name").to_json()
    assert not is_alive({"process": elsewhere, "updated_at": 0.0})
    assert is_alive({"process": elsewhere, "updated_at": time.time()})
    assert is_alive({"updated_at": time.time()}), "written by an older version"
    assert read_statuses(tmp_path) == []


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + seconds)


def ended(progress: SearchProgress, monkeypatch: pytest.MonkeyPatch, number: int, seconds: float) -> None:
    progress.started(PendingTrial(number, Candidate("mbconv", {})))
    pass_time(monkeypatch, seconds)
    progress.finished(number, TrialResult("done"))


def test_the_time_left_follows_the_latest_trials_of_all_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    pass_time(monkeypatch, 0)
    progress = SearchProgress()
    progress.search_started(SearchStart("s", METRICS, 20, None, (), {"done": 1}, 2))
    assert (progress.trials_left, progress.seconds_left) == (19, None)
    ended(progress, monkeypatch, 0, 100)
    assert progress.trial_s == pytest.approx(100), "all that is known is the baseline"
    for number in range(1, 5):
        ended(progress, monkeypatch, number, 10)
    assert progress.trials_left == 14
    assert progress.seconds_left == pytest.approx(10 * 14 / 2), "the baseline is larger than others"
    progress.started(PendingTrial(7, Candidate("mbconv", {})))
    pass_time(monkeypatch, 6)
    assert progress.seconds_left == pytest.approx((10 * 13 + 4) / 2)
    progress.finished(7, TrialResult("rejected"))
    progress.started(PendingTrial(8, Candidate("mbconv", {})))
    assert progress.seconds_left == pytest.approx((10 * 13 + 4) / 2), "a rejected trial is part of the next"


def test_another_search_of_the_study_does_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    pass_time(monkeypatch, 0)
    progress = SearchProgress()
    progress.search_started(SearchStart("s", METRICS, 21, None, (), {"done": 1}, 1))
    for number in range(1, 6):
        ended(progress, monkeypatch, number, 10)
    assert (progress.trials_left, progress.seconds_left) == (15, pytest.approx(150))
    progress.counted({"done": 10, "failed": 1, "running": 2})
    assert progress.trials_left == 10
    assert progress.seconds_left == pytest.approx(100 * 5 / 10), "half of what was finished since is not ours"


def test_the_time_left_follows_changes_but_not_one_long_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    pass_time(monkeypatch, 0)
    progress = SearchProgress()
    progress.search_started(SearchStart("s", METRICS, 100, None, (), {}, 1))
    for number in range(10):
        ended(progress, monkeypatch, number, 10)
    ended(progress, monkeypatch, 10, 10_000)
    assert progress.trial_s == pytest.approx(14, rel=0.1), "the machine was suspended: it counts as three trials"
    for number in range(11, 21):
        ended(progress, monkeypatch, number, 20)
    assert progress.trial_s == pytest.approx(20, rel=0.1), "trials became longer"


def test_trials_of_a_sampler_that_comes_back_to_known_networks_become_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    pass_time(monkeypatch, 0)
    left = {}
    for sampler in ("random", "cost_aware"):
        progress = SearchProgress()
        progress.search_started(SearchStart("s", METRICS, 40, None, (), {}, 1, sampler))
        for number in range(10):
            ended(progress, monkeypatch, number, 10)
        left[sampler] = progress.seconds_left
    assert left["random"] == pytest.approx(300)
    assert left["cost_aware"] == pytest.approx(300 * 2.5**-0.2)


def test_a_deadline_that_comes_first_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pass_time(monkeypatch, 0)
    progress = SearchProgress()
    progress.search_started(SearchStart("s", METRICS, 20, time.monotonic() + 45, (), {}, 1))
    assert progress.left == "20 trials, 0:45 to the deadline"
    progress.started(PendingTrial(0, Candidate("mbconv", {})))
    pass_time(monkeypatch, 2)
    progress.finished(0, TrialResult("done"))
    assert progress.left == "19 trials, 0:38 left"
    pass_time(monkeypatch, 30)
    assert (progress.left, progress.seconds_left) == ("19 trials, 0:13 to the deadline", pytest.approx(13))


def test_trials_that_were_asked_for_ahead_of_time_do_not_run() -> None:
    one = {"alive": True, "pid": 7, "host": "h", "silent_s": 1.0, "spent": 3, "trials": 12, "workers": 2}
    one |= {"trial_s": 13.0, "seconds_left": 19.0, "needed_s": 60.0, "deadline_s": 19.0, "supernet": ""}
    one["running"] = [{"trial": 3, "epochs": 4, "metrics": {"accuracy": 0.5}, "running_s": 23.0}]
    status = {"study": "evening", "counts": {"done": 3, "running": 2}, "searches": [one], "failures": [], "limits": {}}
    lines = status_lines(status)
    assert lines == [
        "evening: 3 done, 1 running, 1 prepared",
        "  process 7 on h, seen 1 s ago",
        "    3 of 12 trials, 2 at a time, 0:13 a trial, 0:19 to the deadline",
        "    trial 3: epoch 4, accuracy 0.5000, since 0:23",
    ]
    assert max(len(line) for line in lines) <= 80


TOLD = '{ echo "$PAREDOWN_STUDY|$PAREDOWN_REASON|$PAREDOWN_FOLDER"; } >> '


def test_commands_of_the_user_are_told_what_happened(tmp_path: Path) -> None:
    assert run_hook("on_finish", f"{TOLD} {tmp_path}/told", "toy", "all; is $done", tmp_path) == ""
    assert (tmp_path / "told").read_text() == f"toy|all; is $done|{tmp_path}\n"
    assert run_hook("on_failure", "exit 7", "toy", "", tmp_path) == "on_failure: the command ended with exit code 7"
    assert run_hook("on_finish", None, "toy", "", tmp_path) == ""


def test_they_run_when_a_search_has_ended_or_broke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = {
        "study": "toy",
        "task": "digits",
        "space": {"knobs": toy_trials.KNOBS, "steps": ["quantization"]},
        "on_finish": TOLD + "finished",
        "on_failure": TOLD + "failed",
    }
    folder = tmp_path / "paredown-out" / "toy"
    run_study(study, timeout=0.001, progress=False)  # over before a trial
    assert (tmp_path / "finished").read_text() == f"toy|the time is up|{folder}\n"
    with pytest.raises(StudyError):
        run_study(study | {"objectives": ["accuracy", "macs"]}, progress=False)
    assert (tmp_path / "failed").read_text().startswith("toy|study 'toy' exists with another objectives")


def test_failures_are_shown_with_their_cause_and_may_be_retried_by_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup = toy_trials.toy_setup(tmp_path, trials=3, sampler="random")
    study = Study.create(url(tmp_path), "toy", setup.stored, setup.plan.objectives, str(setup.plan.folder))
    queue = TrialQueue(study, setup.space, Budget(4), SILENT)
    for cause in ("", "timeout", "killed"):
        asked = queue.next()
        assert asked is not None
        if cause:
            queue.lose(asked.number, "it is gone", cause)  # type: ignore[arg-type]
        else:
            queue.tell(asked.number, toy_trials.good(asked.candidate, None, lambda epoch, metrics: ""))
    where = ("--storage", url(tmp_path))
    shown = Said(capsys, "show", "toy", *where).out
    assert "failed (timeout)" in shown
    assert "failed (killed)" in shown
    assert "  trial 1 failed (timeout): it is gone" in Said(capsys, "status", "toy", *where).out
    refused = Said(capsys, "retry", "toy", "--cause", "oom", *where)
    assert (refused.code, "allowed: exception, non_finite, timeout, out_of_memory" in refused.err) == (2, True)
    refused = Said(capsys, "retry", "toy", "--trial", "0", *where)
    assert (refused.code, "trials of 'toy' that did: 1, 2" in refused.err) == (2, True)
    assert Said(capsys, "retry", "toy", "--cause", "timeout", "--trial", "2", *where).out.startswith(
        "nothing to do: no trial"
    )
    assert Said(capsys, "retry", "toy", "--cause", "timeout", *where).out.startswith("1 failed trial is in line")
    assert [r["state"] for r in study.rows()] == ["done", "retried", "failed"]
