"""How each of our samplers behaves, on problems whose answer is known."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import moocore
import numpy as np
import optuna
import pytest
import toy_trials
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState, create_trial

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.search.errors import ConfigError
from paredown.search.run import search
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.choosing import choose_sampler
from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.evolution import EvolutionSampler, population_size
from paredown.search.samplers.history import STOPPED_KEY, History, read_history
from paredown.search.samplers.local_search import LocalSearchSampler
from paredown.search.samplers.polish import PolishedSampler
from paredown.search.samplers.ranking import crowding_order, hypervolume_order, ranks
from paredown.search.samplers.reinforce import ReinforceSampler, trial_rewards
from paredown.search.samplers.sampler import Cost, Params, Problem

KNOBS: dict[str, BaseDistribution] = {f"x{i}": IntDistribution(0, 9) for i in range(8)}
METRICS = [EVALUATORS["accuracy"].metric, EVALUATORS["size_bytes"].metric]


def zdt1(params: Params) -> tuple[float, float]:
    """ZDT1 on a grid (Zitzler, Deb, Thiele 2000): both minimised."""
    x = np.array([params[name] / 9 for name in KNOBS])
    g = 1 + 9 * x[1:].mean()
    return float(x[0]), float(g * (1 - np.sqrt(x[0] / g)))


def run(sampler: BaseSampler, trials: int, objective: Callable[[Params], tuple[float, float]] = zdt1) -> optuna.Study:
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
    for _ in range(trials):
        trial = study.ask(KNOBS)
        study.tell(trial, list(objective(trial.params)))
    return study


def hypervolume(study: optuna.Study) -> float:
    return float(moocore.hypervolume(np.array([t.values for t in study.trials]), ref=[1.1, 10.0]))


def distance(a: Params, b: Params) -> int:
    return sum(a[name] != b[name] for name in a)


def past(study: optuna.Study, width: int, values: tuple[float, ...], **knobs: int) -> None:
    """Add a finished trial whose knobs are all `width`, but for some."""
    params = dict.fromkeys(KNOBS, width) | knobs
    study.add_trial(create_trial(params=params, distributions=KNOBS, values=values))


@pytest.mark.parametrize("name", ["evolution", "local_search"])
def test_beats_random_search_at_equal_budget(name: str) -> None:
    ours, random = (
        [hypervolume(run(SAMPLERS[n](Problem(seed, 150, KNOBS)), 150)) for seed in range(5)] for n in (name, "random")
    )
    assert np.mean(ours) > np.mean(random) + 0.5
    assert sum(a > b for a, b in zip(ours, random, strict=True)) >= 4


def test_evolution_forgets_the_old_ones() -> None:
    size = population_size(40)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=EvolutionSampler(Problem(0, 40, KNOBS)))
    past(study, 0, (0.0, 0.0))  # beats all others, but is the oldest
    for i in range(size):
        past(study, 9, (5.0 + i, 5.0 - i), x0=i % 10, x1=i // 10)
    alive = [t.params for t in study.trials[1:]]
    for _ in range(10):
        child = study.ask(KNOBS).params
        assert min(distance(child, parent) for parent in alive) == 1
        assert distance(child, study.trials[0].params) > 1


def test_evolution_changes_the_best_of_the_living() -> None:
    study = optuna.create_study(directions=["minimize"] * 2, sampler=EvolutionSampler(Problem(0, 32, KNOBS)))
    for i in range(8):  # four take part in a tournament of eight: the worst four never win
        past(study, i, (float(i), float(i)))
    children = [study.ask(KNOBS).params for _ in range(12)]
    parents = [min(range(8), key=lambda i: distance(c, dict.fromkeys(KNOBS, i))) for c in children]
    assert parents.count(0) >= 3
    assert max(parents) <= 4


def test_without_a_feasible_one_evolution_changes_what_breaks_least() -> None:
    study = optuna.create_study(directions=["minimize"] * 2, sampler=EvolutionSampler(Problem(0, 8, KNOBS)))
    for i in range(8):
        params = dict.fromkeys(KNOBS, i)
        study.add_trial(
            create_trial(state=TrialState.PRUNED, params=params, distributions=KNOBS, constraints={"c": i + 1})
        )
    children = [study.ask(KNOBS).params for _ in range(12)]
    assert all(min(distance(c, dict.fromkeys(KNOBS, i)) for i in range(5)) == 1 for c in children)


def test_reinforce_concentrates_on_the_best_value() -> None:
    knobs: dict[str, BaseDistribution] = {"kind": CategoricalDistribution(list("abcd"))} | KNOBS
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=ReinforceSampler(Problem(0, 150, knobs)))
    for _ in range(150):
        trial = study.ask(knobs)
        study.tell(trial, [0.9 if trial.params["kind"] == "c" else 0.6, 1.0])
    kinds = [t.params["kind"] for t in study.trials]
    assert kinds[:20].count("c") < 12
    assert kinds[-40:].count("c") > 32


def test_reinforce_rewards_accuracy_and_discounts_cost() -> None:
    history = History(
        losses=np.array([[-0.8, 100.0], [-0.8, 200.0], [-0.9, 100.0], [-0.9, 100.0]]),
        violations=[{}, {}, {}, {"size": 1.0}],
        finished=[({}, 0), ({}, 1), ({}, None), ({}, 2), ({}, 3)],
        signs=np.array([-1.0, 1.0]),
    )
    rewards = trial_rewards(history, {0: 0.8, 1: 100.0})
    assert rewards == pytest.approx([0.8, 0.8 * 2**-0.07, 0.45, 0.9, 0.45])


def test_reinforce_takes_objectives_that_are_not_positive() -> None:
    history = History(
        losses=np.array([[-3.0, 5.0], [0.0, 0.0], [4.0, -5.0]]),
        violations=[{}, {}, {}],
        finished=[({}, 0), ({}, 1), ({}, 2)],
        signs=np.array([1.0, 1.0]),
    )
    rewards = trial_rewards(history, {0: -3.0, 1: 5.0})
    assert np.isfinite(rewards).all()
    assert rewards[0] > rewards[1] > rewards[2]


def test_the_limit_of_a_known_cost_is_the_target() -> None:
    class Sizes:
        columns = (Cost("size_bytes", objective=1, limit=50.0),)

        def estimate(self, params: Sequence[Params]) -> np.ndarray:
            return np.ones((len(params), 1))

        count = estimate

    history = History(losses=np.array([[-0.8, 100.0]]), signs=np.array([-1.0, 1.0]))
    assert ReinforceSampler(Problem(0, 9, costs=Sizes()))._targets(history) == {0: 0.8, 1: 50.0}
    assert ReinforceSampler(Problem(0, 9))._targets(history) == {0: 0.8, 1: 100.0}


def test_local_search_visits_neighbours_of_the_front_after_its_start() -> None:
    study = run(LocalSearchSampler(Problem(0, 40, KNOBS), start=5), 40)
    for trial in study.trials[5:]:
        before = study.trials[: trial.number]
        rank = ranks(np.array([t.values for t in before]))
        members = [t.params for t, r in zip(before, rank, strict=True) if r == 0]
        assert min(distance(trial.params, member) for member in members) == 1


def test_local_search_prefers_members_little_explored() -> None:
    study = optuna.create_study(directions=["minimize"] * 2, sampler=LocalSearchSampler(Problem(0, 40, KNOBS), start=0))
    past(study, 0, (0.0, 1.0))
    past(study, 9, (1.0, 0.0))
    for i in range(1, 4):
        past(study, 0, (5.0, 5.0), x0=i)
    for _ in range(3):
        assert distance(study.ask(KNOBS).params, dict.fromkeys(KNOBS, 9)) == 1


def test_local_search_goes_elsewhere_when_all_neighbours_are_tried() -> None:
    knobs: dict[str, BaseDistribution] = {
        "a": CategoricalDistribution(list("xyz")),
        "b": CategoricalDistribution([0, 1]),
    }
    study = optuna.create_study(directions=["minimize"] * 2, sampler=LocalSearchSampler(Problem(0, 40, knobs), start=1))
    for _ in range(6):
        trial = study.ask(knobs)
        study.tell(trial, [float(trial.number), float(trial.number)])  # the first one stays the only member
    assert len({tuple(t.params.values()) for t in study.trials}) == 6


def test_polish_begins_at_the_right_trial() -> None:
    problem = Problem(0, 20, KNOBS)
    plain, polished = run(RandomSampler(3), 20), run(PolishedSampler(RandomSampler(3), problem, 6), 14)
    assert [t.params for t in polished.trials] == [t.params for t in plain.trials[:14]]
    # Opened again by another process; a rejected trial does not count, a stopped one does.
    again = PolishedSampler(RandomSampler(4), problem, 6)
    polished.sampler = again
    for _ in range(6):
        trial = polished.ask(KNOBS)
        rank = ranks(np.array([t.values for t in polished.trials if t.state == TrialState.COMPLETE]))
        done = [t for t in polished.trials if t.state == TrialState.COMPLETE]
        members = [t.params for t, r in zip(done, rank, strict=True) if r == 0]
        assert min(distance(trial.params, member) for member in members) == 1
        polished.tell(trial, list(zdt1(trial.params)))


def test_polish_counts_what_the_budget_counts() -> None:
    class Told(RandomSampler):
        told = 0

        def after_trial(self, *args: object) -> None:
            self.told += 1

    wrapped = Told(0)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=PolishedSampler(wrapped, Problem(0, 6, KNOBS), 2))
    past(study, 0, (0.0, 0.0))
    rejected, stopped, running = (study.ask(KNOBS) for _ in range(3))
    study.tell(rejected, state=TrialState.PRUNED)
    stopped.set_user_attr(STOPPED_KEY, {"share": 0.5, "value": 0.1})
    study.tell(stopped, state=TrialState.PRUNED)
    fourth = study.ask(KNOBS)  # done, stopped, running: three of four before the polish
    assert distance(fourth.params, dict.fromkeys(KNOBS, 0)) > 1
    fifth = study.ask(KNOBS)
    assert distance(fifth.params, dict.fromkeys(KNOBS, 0)) == 1
    for trial in (running, fourth, fifth):
        study.tell(trial, [1.0, 1.0])
    assert wrapped.told == 5


def test_ranks_and_crowding() -> None:
    losses = np.array([[0.0, 4.0], [1.0, 1.0], [1.2, 0.9], [4.0, 0.0], [5.0, 5.0], [1.0, 1.0]])
    assert ranks(losses).tolist()[:5] == [0, 0, 0, 0, 1]
    assert set(crowding_order(losses)[:2]) == {0, 3}
    assert crowding_order(losses)[-1] == 4


def test_the_order_by_hypervolume_begins_with_the_knee_and_leaves_out_what_adds_little() -> None:
    losses = np.array([[0.0, 4.0], [1.0, 1.0], [1.2, 0.9], [4.0, 0.0], [0.5, 1.5]])
    assert hypervolume_order(losses, np.array([5.0, 5.0]), 3) == [1, 4, 3]
    assert hypervolume_order(losses[:1], np.array([5.0, 5.0]), 3) == [0]


def test_history_keeps_the_order_of_all_finished_trials() -> None:
    study = run(RandomSampler(0), 3)
    study.tell(study.ask(KNOBS), state=TrialState.FAIL)
    study.tell(study.ask(KNOBS), [1.0, 1.0])
    study.ask(KNOBS)
    history = read_history(study, KnobDomain(KNOBS))
    assert [row for _, row in history.finished] == [0, 1, 2, None, 3]
    assert len(history.pending) == 1


def chosen(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> BaseSampler:
    (folder / "mine.py").write_text(
        "from optuna.samplers import RandomSampler\n"
        "def seeded(problem):\n    return RandomSampler(problem.seed)\n"
        "def nothing(problem):\n    return None\n"
        "class Own(RandomSampler):\n    pass\n"
        "class Lame(RandomSampler):\n"
        "    def sample_relative(self, study, trial, space):\n"
        "        if study.best_trials:\n            raise RuntimeError('one trial is enough')\n"
        "        return {}\n"
    )
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.syspath_prepend(folder)
    return choose_sampler(name, Problem(7, 20, KNOBS), METRICS, "study.yaml", folder)


@pytest.mark.parametrize(("name", "kind"), [("mine:seeded", "RandomSampler"), ("mine:Own", "Own")])
def test_a_sampler_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str) -> None:
    assert type(chosen(tmp_path, name, monkeypatch)).__name__ == kind


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine:nothing", "mine:nothing returned NoneType, which is no Optuna sampler; allowed: cost_aware"),
        ("mine:gone", "mine has no function or class 'gone'; allowed: cost_aware"),
        (
            "mine:Lame",
            r"mine:Lame does not support a study of 2 objectives \(accuracy, size_bytes\): .*one trial is enough",
        ),
        (
            "optuna.samplers:CmaEsSampler",
            r"CmaEsSampler does not support a study of 2 objectives .*; allowed: cost_aware, tpe, nsga2",
        ),
    ],
)
def test_a_sampler_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^study.yaml: sampler: .*{said}"):
        chosen(tmp_path, name, monkeypatch)


def test_a_search_with_a_polish(tmp_path: Path) -> None:
    setup = toy_trials.toy_setup(tmp_path, sampler="evolution", trials=12, local_search_trials=4)
    study = search(setup, f"sqlite:///{tmp_path}/s.db", where="toy", run=toy_trials.good).study
    assert study.counts()["done"] == 12
