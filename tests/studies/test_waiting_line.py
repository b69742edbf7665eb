"""Candidates that are queued by hand: first in line, once, and never lost."""

from pathlib import Path

from toy_study import BASELINE, CONFIG, KNOBS, let_leases_lapse, objectives, open_study, outcome, run, sample

from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.spaces.candidate import Candidate
from paredown.studies.housekeeping.deleting import delete_study
from paredown.studies.result import RETRIED_AS, RETRY_OF, TrialResult
from paredown.studies.results import Place
from paredown.studies.study import Study
from paredown.studies.trial_table import page


def candidate(width: int, depth: int) -> Candidate:
    return Candidate("mbconv", dict(zip(KNOBS, (width, depth), strict=True)))


def put(study: Study, width: int, depth: int) -> Place:
    wanted = candidate(width, depth)
    return study.put_in_line(wanted, wanted.knobs)


def row(study: Study, number: int) -> dict[str, object]:
    return next(row for row in study.rows() if row["number"] == number)


def test_it_runs_next_and_before_what_the_sampler_proposes(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 3)
    placed = put(open_study(tmp_path), 2, 7)
    assert (placed.state, study.line()) == ("queued", [placed.number])
    asked = study.ask(sample)
    assert asked is not None
    assert (asked.number, asked.candidate) == (placed.number, candidate(2, 7))
    assert study.line() == []
    study.tell(asked.number, outcome(asked.candidate))
    assert study.models()[-1].candidate == candidate(2, 7)


def test_a_network_that_is_known_or_in_line_is_not_queued(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    assert put(study, 9, 9) == Place(0, "done"), "the baseline"
    first = put(study, 1, 2)
    assert put(open_study(tmp_path), 1, 2) == Place(first.number, "in line")
    assert len(study.line()) == 1
    asked = study.ask(sample)
    assert asked is not None
    assert put(study, 1, 2) == Place(first.number, "running")
    study.tell(asked.number, TrialResult("failed", "no disk"))
    assert put(study, 1, 2) == Place(first.number, "failed")


def test_both_engines_keep_the_line(database: str, tmp_path: Path) -> None:
    study = Study.create(database, "line", CONFIG, objectives(100.0), str(tmp_path))
    study.use(SAMPLERS["random"](Problem(0, 20)))
    run(study, 2)
    placed = put(study, 1, 2)
    assert study.line() == [placed.number]
    asked = study.ask(sample)
    assert asked is not None
    study.tell(asked.number, TrialResult("failed", "no disk"))
    (again,) = study.retry(lambda one: dict(one.knobs)).values()
    assert study.line() == [again]
    shown = page(study, 2, 1)
    assert [row["number"] for row in shown.rows] == [1, placed.number]
    assert [row["state"] for row in page(study, 9, state="infeasible").rows] == ["done", "done"]
    (broken,) = page(study, 1, best=study.optimised_metrics[1]).rows[0]["broken_limits"]
    assert (broken["metric"], broken["limit"]) == ("size_bytes", 100.0)
    study.leave()
    assert delete_study(database, "line", artifacts=False, keep_models=False, confirmed=lambda deletion: True)


def test_several_searches_share_the_line_and_none_runs_twice(tmp_path: Path) -> None:
    fleet = [open_study(tmp_path, seed) for seed in range(3)]
    run(fleet[0], 1)
    wanted = [candidate(width, depth) for width in range(3) for depth in range(4)]
    for one in wanted:
        fleet[1].put_in_line(one, one.knobs)
    ran = []
    for turn in range(len(wanted)):
        asked = fleet[turn % 3].ask(sample)
        assert asked is not None
        ran.append(asked.candidate)
    assert sorted(map(str, ran)) == sorted(map(str, wanted))
    assert fleet[2].line() == []


def test_a_baseline_that_takes_the_trial_does_not_lose_the_candidate(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    first = put(study, 4, 4)
    asked = study.ask(sample)
    assert asked is not None
    assert (asked.number, asked.candidate) == (first.number, BASELINE)
    study.tell(asked.number, outcome(asked.candidate))
    assert len(study.line()) == 1
    later = study.ask(sample)
    assert later is not None
    assert later.candidate == candidate(4, 4)


def test_the_end_of_a_budget_does_not_lose_the_candidate(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 2)
    put(study, 3, 8)
    assert study.ask(sample, budget=2) is None
    assert study.counts() == {"done": 2, "withdrawn": 1}
    asked = open_study(tmp_path).ask(sample, budget=3)
    assert asked is not None
    assert asked.candidate == candidate(3, 8)


def test_what_a_dead_search_took_from_the_line_runs_elsewhere(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    placed = put(study, 5, 1)
    study._study.ask()  # a search that is killed before the trial has a row
    let_leases_lapse(study)
    other = open_study(tmp_path)
    assert other.recover() == 1
    asked = other.ask(sample)
    assert asked is not None
    assert (asked.number, asked.candidate) == (placed.number, candidate(5, 1))


def test_a_failed_trial_and_its_repetition_name_each_other(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    asked = study.ask(sample)
    assert asked is not None
    study.tell(asked.number, TrialResult("failed", "no disk"))
    (new,) = study.retry(lambda one: dict(one.knobs)).values()
    assert row(study, asked.number)["facts"] == {RETRIED_AS: new}
    assert study.line() == [new]
    again = study.ask(sample)
    assert again is not None
    assert (again.number, again.candidate) == (new, asked.candidate)
    study.tell(new, outcome(again.candidate))
    assert row(study, new)["facts"] == {"seconds": {}, RETRY_OF: asked.number}
    assert study.counts() == {"done": 2, "retried": 1}


def test_a_repetition_that_is_displaced_is_named_by_its_new_number(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    asked = study.ask(sample)
    assert asked is not None
    study.tell(asked.number, TrialResult("failed", "no disk"))
    (first,) = study.retry(lambda one: dict(one.knobs)).values()
    assert study.ask(sample, budget=1) is None
    (second,) = study.line()
    assert second > first
    assert row(study, asked.number)["facts"] == {RETRIED_AS: second}
