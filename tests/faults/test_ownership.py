"""Who owns a trial, on every engine: leases, takeovers, late results, clocks that jump, budgets shared by searches."""

import threading
import time
import uuid
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import text
from toy_study import CONFIG, let_leases_lapse, objectives, outcome, run, sample

from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.studies.study import Study


@pytest.fixture
def name() -> str:
    return f"toy-{uuid.uuid4().hex[:8]}"


def opened(database: str, name: str, lease_s: float = 30.0, seed: int = 0) -> Study:
    study = Study.create(database, name, CONFIG, objectives(), "out", lease_s)
    study.use(SAMPLERS["random"](Problem(seed, 20)))
    return study


def ask(study: Study, **keys: Any) -> Any:
    """Ask until there is a trial to run."""
    return next(asked for asked in iter(lambda: study.ask(sample, **keys), 0) if asked is not None)


def optuna_states(study: Study) -> list[str]:
    return [trial.state.name for trial in study._study.get_trials(deepcopy=False)]


def test_a_late_result_is_an_orphan_and_the_others_result_wins(database: str, name: str) -> None:
    first, second = opened(database, name), opened(database, name)
    run(first, 1)
    late = ask(first)
    let_leases_lapse(first)
    assert second.recover() == 1
    taken = second.ask(sample)
    assert taken == late, "under its own number"
    assert first.tell(late.number, outcome(late.candidate, accuracy=0.1)) is None
    assert second.tell(late.number, outcome(late.candidate, accuracy=0.2)) is not None
    assert second.models()[1]["accuracy"] == 0.2
    (orphan,) = second.orphans()
    assert (orphan["number"], orphan["attempt"]) == (late.number, 1)
    assert orphan["result"]["measurements"]["accuracy"]["value"] == 0.1
    assert set(optuna_states(second)) == {"COMPLETE"}


def test_a_late_result_comes_after_the_others(database: str, name: str) -> None:
    first, second = opened(database, name), opened(database, name)
    run(first, 1)
    late = ask(first)
    let_leases_lapse(first)
    second.recover()
    second.tell(ask(second).number, outcome(late.candidate, accuracy=0.2))
    assert first.tell(late.number, outcome(late.candidate, accuracy=0.1)) is None
    assert (second.models()[1]["accuracy"], len(second.orphans())) == (0.2, 1)


def test_a_result_counts_where_the_lease_lapsed_but_nobody_took_the_trial(database: str, name: str) -> None:
    first, second = opened(database, name), opened(database, name)
    run(first, 1)
    asked = ask(first)
    let_leases_lapse(first)
    second.recover()
    assert second.counts() == {"done": 1, "waiting": 1}
    assert first.tell(asked.number, outcome(asked.candidate)) is not None
    assert first.counts() == {"done": 2}
    assert second.orphans() == []


def test_a_runner_keeps_its_own_trials_when_its_lease_lapses(database: str, name: str) -> None:
    study = opened(database, name)
    run(study, 1)
    ask(study)
    let_leases_lapse(study)
    assert study.recover() == 0
    assert study.counts()["running"] == 1


def test_leases_are_renewed_while_the_search_is_busy(database: str, name: str) -> None:
    first, second = opened(database, name, lease_s=0.6), opened(database, name)
    run(first, 1)
    asked = ask(first)
    with first.runner.alive():
        for _ in range(4):
            threading.Event().wait(0.5)
            assert second.recover() == 0
    first.tell(asked.number, outcome(asked.candidate))
    assert first.rows()[1]["attempt"] == 1


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_jumps_in_a_process_moves_no_trial(
    database: str, name: str, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = opened(database, name), opened(database, name)
    run(first, 1)
    asked = ask(first)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600 * hours)
    first.runner.renew()
    assert second.recover() == 0
    assert first.tell(asked.number, outcome(asked.candidate)) is not None
    assert first.counts() == {"done": 2}


def test_two_processes_of_one_host_and_number_are_two_runners(
    database: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "container")
    monkeypatch.setattr("os.getpid", lambda: 1)
    first, second = opened(database, name), opened(database, name)
    run(first, 1)
    asked = ask(first)
    assert second.recover() == 0
    assert ask(second) != asked
    second.leave()
    assert first.tell(asked.number, outcome(asked.candidate)) is not None


def test_two_searches_do_not_exceed_a_budget(database: str, name: str) -> None:
    first, second = opened(database, name), opened(database, name, seed=1)
    run(first, 2)
    last = ask(first, budget=3)
    for _ in range(3):
        assert second.ask(sample, budget=3) is None
    first.tell(last.number, outcome(last.candidate))
    counts = first.counts()
    assert (counts["done"], counts["withdrawn"] + counts.get("duplicate", 0)) == (3, 3)
    assert "RUNNING" not in optuna_states(second)


def test_a_trial_that_a_dead_search_only_began_to_propose_runs_or_is_closed(database: str, name: str) -> None:
    dead, study = opened(database, name), opened(database, name)
    run(study, 1)
    with dead.runner.alive():
        dead._study.ask()
        assert study.recover() == 0, "another search lives, and may be proposing it"
        assert study.withdraw_abandoned(sample)
    let_leases_lapse(study)
    assert study.recover() == 1
    asked = ask(study)
    assert asked.number == 1
    study.tell(1, outcome(asked.candidate))
    dead._study.ask()
    study.recover()
    assert not study.withdraw_abandoned(sample)
    assert [row["state"] for row in study.rows()] in (["done", "done", "withdrawn"], ["done", "done", "duplicate"])
    assert "RUNNING" not in optuna_states(study)


def test_a_trial_stays_abandoned_only_as_long_as_a_lease(database: str, name: str) -> None:
    other, study = opened(database, name), opened(database, name, lease_s=0.2)
    run(study, 1)
    with other.runner.alive():
        study._study.ask()
        assert study.recover() == 0
        threading.Event().wait(0.3)
        assert study.recover() == 1


def test_both_may_finish_a_result_that_is_stored(database: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = opened(database, name), opened(database, name)
    run(first, 1)
    asked = ask(first)
    finish = first._finish

    def second_is_faster(trial: optuna.Trial, row: Any) -> None:
        second.recover()
        finish(trial, row)

    monkeypatch.setattr(first, "_finish", second_is_faster)
    first.tell(asked.number, outcome(asked.candidate))
    assert optuna_states(first) == ["COMPLETE"] * 2


def test_a_renewal_that_fails_is_tried_again(tmp_path: Path) -> None:
    study = opened(f"sqlite:///{tmp_path / 'studies.db'}", "toy", lease_s=0.3)
    run(study, 1)
    ask(study)

    with study.runner.alive():
        with study._storage.engine.begin() as connection:
            connection.execute(text("ALTER TABLE paredown_runners RENAME TO gone"))
        while not study.runner.trouble:
            threading.Event().wait(0.05)
        assert "paredown_runners" in study.runner.trouble
        with study._storage.engine.begin() as connection:
            connection.execute(text("ALTER TABLE gone RENAME TO paredown_runners"))
        while study.runner.trouble:
            threading.Event().wait(0.05)
    assert study.recover() == 0
