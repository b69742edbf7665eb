"""Worker processes that die, hang or are stopped."""

import itertools
import sys
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import pytest
import toy_trials

from paredown.search.drivers.process_server import PRELOADED, worker_context
from paredown.search.errors import SearchAborted
from paredown.search.run import SearchSummary, search
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.search.schedulers.halving import Halving
from paredown.search.study_file.objectives import stored_objectives
from paredown.studies.result import UNTRAINED_KEY
from paredown.studies.study import Study


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/toy.db"


def run_toy(folder: Path, run: Any, **keys: Any) -> SearchSummary:
    setup = toy_trials.toy_setup(folder, sampler="random", **keys)
    return search(setup, url(folder), where="toy.yaml", run=run)


def stored(folder: Path) -> list[dict[str, Any]]:
    return Study.open(url(folder), "toy", stored_objectives).rows()


def early_bad_seed(folder: Path, within: int) -> int:
    """Return a seed of random search that draws one bad candidate, and a good one last."""
    import optuna

    space = toy_trials.toy_setup(folder).space
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for seed in itertools.count():
        study = optuna.create_study(sampler=SAMPLERS["random"](Problem(seed, 1)), directions=["maximize", "minimize"])
        drawn = [space.baseline, space.mildest(), *(space.sample(study.ask()) for _ in range(within - 2))]
        bad = [c.knobs["kernel"] == toy_trials.BAD for c in drawn[1:]]
        if sum(bad) == 1 and not bad[-1] and len({c.digest for c in drawn}) == within:
            return seed
    raise AssertionError


def say_what_is_loaded(loaded: "SimpleQueue[list[str]]") -> None:
    loaded.put([name for name in PRELOADED if name in sys.modules])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers start from nothing")
def test_a_worker_starts_with_all_loaded_that_a_trial_needs() -> None:
    context = worker_context()
    loaded: SimpleQueue[list[str]] = context.SimpleQueue()
    worker = context.Process(target=say_what_is_loaded, args=(loaded,))
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0
    assert loaded.get() == PRELOADED


@pytest.mark.parametrize(
    ("run", "keys", "reason", "cause"),
    [
        (toy_trials.some_exit, {}, "its process ended with exit code 3, 3 times", "killed"),
        (toy_trials.some_are_killed, {}, "its process was killed by SIGKILL; the machine may be out", "killed"),
        (toy_trials.some_hang, {"trial_timeout": 4}, "timeout: no end after 6 s; its process was killed", "timeout"),
        (toy_trials.some_eat_memory, {"trial_memory": "1GB"}, "out of memory: its process held 1,", "out_of_memory"),
    ],
    ids=["exits", "killed", "hangs", "eats"],
)
def test_a_lost_worker_costs_its_trial_only(
    run: Any, keys: dict[str, Any], reason: str, cause: str, tmp_path: Path
) -> None:
    summary = run_toy(tmp_path, run, trials=4, seed=early_bad_seed(tmp_path, 4), **keys)
    study = summary.study
    rows = study.rows()
    assert summary.reason == "4 trials are done"
    assert sorted(r["state"] for r in rows) == ["done", "done", "done", "failed"]
    (failed,) = (r for r in rows if r["state"] == "failed")
    assert failed["reason"].startswith(reason)
    assert failed["facts"] == {"cause": cause}
    assert rows[-1]["state"] == "done"


def test_a_stopped_search_is_finished_by_the_next_run(tmp_path: Path) -> None:
    summary = run_toy(tmp_path, toy_trials.stop_at_the_second, trials=4)
    study = summary.study
    assert summary.interrupted
    assert summary.reason == "stopped; the same command goes on"
    before = study.rows()
    assert [r["state"] for r in before] == ["done", "waiting"]

    summary = run_toy(tmp_path, toy_trials.good, trials=4)
    study = summary.study
    rows = study.rows()
    assert not summary.interrupted
    assert study.counts() == {"done": 4}
    assert [r["number"] for r in rows] == [0, 1, 2, 3]
    assert rows[1]["candidate"] == before[1]["candidate"]
    assert rows[1]["attempt"] == 2


def test_a_baseline_that_was_stopped_runs_again_under_its_number(tmp_path: Path) -> None:
    summary = run_toy(tmp_path, toy_trials.stop_at_once, trials=2)
    study = summary.study
    assert summary.interrupted
    assert study.counts() == {"waiting": 1}
    study = run_toy(tmp_path, toy_trials.good, trials=2).study
    assert [(r["number"], r["state"]) for r in study.rows()] == [(0, "done"), (1, "done")]
    assert study.baseline() is not None


def test_too_many_failures_in_a_row_end_the_search(tmp_path: Path) -> None:
    with pytest.raises(SearchAborted, match=r"^3 trials in a row failed; the last one: not today$"):
        run_toy(tmp_path, toy_trials.only_the_baseline, trials=20, max_failures=3)
    left = [r["state"] for r in stored(tmp_path) if r["state"] not in ("duplicate", "waiting")]
    assert left == ["done", *["failed"] * 3]  # beside one that was prepared and is in line again


def test_a_failed_baseline_ends_the_search_and_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(SearchAborted, match=r"^the baseline \(trial 0\) failed: no disk$"):
        run_toy(tmp_path, toy_trials.all_but_the_baseline, trials=4)
    assert [r["state"] for r in stored(tmp_path)] == ["failed"]

    summary = run_toy(tmp_path, toy_trials.good, trials=4)
    study = summary.study
    rows = study.rows()
    assert summary.reason == "4 trials are done"
    assert [r["state"] for r in rows] == ["failed", "done", "done", "done"]
    assert rows[1]["candidate"] == rows[0]["candidate"]


def test_no_trial_starts_after_the_deadline(tmp_path: Path) -> None:
    summary = run_toy(tmp_path, toy_trials.never, trials=4, timeout=1e-6)
    study = summary.study
    assert summary.interrupted
    assert summary.reason == "the time is up"
    assert study.rows() == []


def test_two_workers_spend_the_budget_exactly(tmp_path: Path) -> None:
    study = run_toy(tmp_path, toy_trials.some_fail, trials=9, workers=2).study
    counts = study.counts()
    assert counts["done"] + counts.get("failed", 0) == 9
    assert "running" not in counts
    ran = [str(r["candidate"]) for r in study.rows() if r["state"] != "duplicate"]
    assert len(set(ran)) == len(ran)


def test_two_workers_are_judged_and_spend_the_budget_exactly(tmp_path: Path) -> None:
    halving, training = {"min_epochs": 1, "factor": 2}, {"epochs": 9}
    study = run_toy(tmp_path, toy_trials.judged, trials=14, workers=2, halving=halving, training=training).study
    counts, curves = study.counts(), study.curves()
    assert counts["done"] + counts["stopped"] == 14
    assert counts["stopped"] > 2
    for row in study.rows():
        if row["state"] == "stopped":
            assert row["reason"].startswith(f"stopped at epoch {len(curves[row['number']])} of 9: ")


def test_a_worker_that_dies_after_it_was_judged_is_forgotten(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"halving": {"min_epochs": 1, "factor": 2}, "training": {"epochs": 5}}
    summary = run_toy(tmp_path, toy_trials.some_are_killed_when_judged, trials=6, **keys)
    study = summary.study
    assert summary.reason == "6 trials are done"
    assert study.counts()["failed"]
    remembered = Halving([o.metric for o in study.objectives], **keys["halving"])
    curves = study.curves()
    for row in study.rows():
        number, reason = row["number"], ""
        for epoch, metrics in curves.get(number, []):
            losses = remembered.losses(row["facts"][UNTRAINED_KEY] | metrics)
            reason = remembered.judge(number, epoch + 1, 5, losses, spared=number == 0)
        if row["state"] in {"done", "stopped"}:
            assert row["reason"] == reason


@pytest.mark.parametrize("run", [toy_trials.beside_the_baseline, toy_trials.dies_once_beside])
def test_trials_begin_beside_the_baseline_and_get_it_when_it_is_done(run: Any, tmp_path: Path) -> None:
    study = run_toy(tmp_path, run, trials=5, workers=2).study
    baseline, *others = study.rows()
    assert study.counts()["done"] == 5
    assert any(row["facts"]["beside"] for row in others)
    reference = study.baseline()
    assert reference is not None
    assert reference.trial == baseline["number"] == 0
    assert {row["facts"]["latency_ms"] for row in others if row["state"] == "done"} == {reference["latency_ms"]}
