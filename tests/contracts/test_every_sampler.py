"""What every sampler must do, on a study told by hand."""

import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from toy_study import KNOBS, open_study, outcome, sample

from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.proposing import ProposingSampler
from paredown.search.samplers.sampler import Problem
from paredown.spaces.candidate import Candidate
from paredown.studies.result import TrialResult
from paredown.studies.study import Study

DEAR = {"gp": 5}
"""Samplers that take long to ask are asked for so many networks at most."""
OURS = [name for name, make in SAMPLERS.items() if isinstance(make(Problem(0, 20)), ProposingSampler)]

SPACE: dict[str, BaseDistribution] = {
    "kind": CategoricalDistribution(["plain", "depthwise", "fused"]),
    "width": IntDistribution(8, 64, step=8),
    "depth": IntDistribution(1, 6),
    "rate": FloatDistribution(0.0, 0.9, step=0.1),
    "weight": FloatDistribution(1e-4, 1e-1, log=True),
}


Past = tuple[str, Path, list[Candidate]]


def few(name: str, count: int) -> int:
    return min(count, DEAR.get(name, count))


def propose(study: Study, count: int) -> list[Candidate]:
    """Run so many trials; every fifth fails, every seventh is rejected."""
    proposed: list[Candidate] = []
    while len(proposed) < count:
        asked = study.ask(sample)
        if asked is None:
            continue
        result = outcome(asked.candidate)
        if asked.number % 5 == 4:
            result = TrialResult("failed", "every fifth")
        elif asked.number % 7 == 6:
            result = TrialResult("rejected", "every seventh", result.measurements)
        study.tell(asked.number, result)
        proposed.append(asked.candidate)
    return proposed


def started(name: str, folder: Path, seed: int) -> Study:
    folder.mkdir(exist_ok=True)
    study = open_study(folder, limit=8000)
    study.use(SAMPLERS[name](Problem(seed, few(name, 30))))
    return study


def three_objectives(name: str, seed: int) -> optuna.Study:
    sampler = SAMPLERS[name](Problem(seed, few(name, 30), SPACE))
    return optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler)


def tell(study: optuna.Study, trial: optuna.Trial) -> None:
    """Tell three objectives; every ninth trial fails, and one above a limit on the second is rejected."""
    p = trial.params
    macs = float(p["width"] * p["depth"] * (3 if p["kind"] == "plain" else 1))
    if trial.number % 9 == 8:
        study.tell(trial, state=TrialState.FAIL)
        return
    trial.set_constraint("macs", macs / 600 - 1)
    if macs > 600:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, [1 - 10 / (10 + macs) - p["rate"] ** 2, macs, 1.0 - p["rate"] + p["weight"]])


def assert_in_space(params: dict[str, Any]) -> None:
    assert params.keys() == SPACE.keys()
    for knob, value in params.items():
        assert SPACE[knob]._contains(SPACE[knob].to_internal_repr(value))


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_guide_names_it(name: str) -> None:
    assert f"`{name}`" in (Path(__file__).parents[2] / "docs/samplers.md").read_text()


@pytest.fixture(scope="module", params=SAMPLERS)
def past(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Past:
    """A sampler's name, the folder of a study of it, and what it proposed there."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    return name, folder, propose(started(name, folder, 1), few(name, 30))


def test_the_same_seed_proposes_the_same(past: Past, tmp_path: Path) -> None:
    name, _, proposed = past
    same = propose(started(name, tmp_path / "same", 1), few(name, 16))
    other = propose(started(name, tmp_path / "other", 2), few(name, 6))
    assert same == proposed[: len(same)]
    assert other != proposed[: len(other)]


def test_stays_in_the_space_and_never_runs_a_network_twice(past: Past) -> None:
    _, _, proposed = past
    assert len({c.digest for c in proposed}) == len(proposed)
    for candidate in proposed:
        for knob, value in candidate.knobs.items():
            assert value in KNOBS[knob]


def test_goes_on_in_a_study_opened_again(past: Past, tmp_path: Path) -> None:
    name, folder, before = past
    shutil.copytree(folder, tmp_path / "copy")
    study = started(name, tmp_path / "copy", 5)
    after = propose(study, few(name, 8))
    assert not {c.digest for c in before} & {c.digest for c in after}
    assert {"done", "failed", "rejected"} <= set(study.counts())


@pytest.mark.parametrize("name", SAMPLERS)
def test_takes_three_objectives_and_all_kinds_of_knobs(name: str) -> None:
    study = three_objectives(name, 6)
    for _ in range(few(name, 30)):
        trial = study.ask(SPACE)
        assert_in_space(trial.params)
        tell(study, trial)
    assert study.best_trials


@pytest.mark.parametrize("name", SAMPLERS)
def test_two_trials_may_run_at_a_time(name: str) -> None:
    study = three_objectives(name, 7)
    running = [study.ask(SPACE)]
    for _ in range(3 if name in DEAR else 20):
        running.append(study.ask(SPACE))
        assert_in_space(running[-1].params)
        assert running[0].params != running[1].params
        tell(study, running.pop(0))


@pytest.mark.parametrize("name", OURS)
def test_ours_propose_no_network_twice_while_one_is_left(name: str) -> None:
    small: dict[str, BaseDistribution] = {"a": IntDistribution(0, 5), "b": CategoricalDistribution(["x", "y", "z"])}
    sampler = SAMPLERS[name](Problem(8, 18, small, canonical=lambda p: p if p["a"] else {"a": 0}))
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    networks, pending = [], None
    for _ in range(16):  # six values of a times three of b, but with a = 0 they are one network
        trial = study.ask(small)
        a, b = trial.params["a"], trial.params["b"]
        networks.append((a, b if a else ""))
        if pending is not None:
            study.tell(pending, [float(pending.params["a"]), float("xyz".index(pending.params["b"]))])
        pending = trial
    assert len(set(networks)) == 16


@pytest.mark.parametrize("name", OURS)
def test_ours_go_on_as_if_the_study_had_not_been_closed(name: str) -> None:
    whole, parts = three_objectives(name, 9), three_objectives(name, 9)
    for number in range(24):
        for study in (whole, parts):
            tell(study, study.ask(SPACE))
        if number % 6 == 5:
            parts.sampler = SAMPLERS[name](Problem(9, 30, SPACE))
    assert [t.params for t in whole.trials] == [t.params for t in parts.trials]
