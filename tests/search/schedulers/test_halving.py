"""Successive halving over several objectives, on cases small enough to work out by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_trials
from toy_study import open_study, outcome, run, sample

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.search.schedulers.halving import Halving, epsilon_net, epsilon_net_order
from paredown.search.schedulers.resumed import resume
from paredown.studies.result import UNTRAINED_KEY, TrialResult, stopped_early

METRICS = [EVALUATORS[name].metric for name in ("accuracy", "size_bytes")]
EPOCHS = 27


def judged(halving: Halving, epoch: int, *losses: tuple[float, float], first_number: int = 0) -> list[bool]:
    """Return which trials go on when they come to a rung one after the other."""
    return [not halving.judge(first_number + n, epoch, EPOCHS, loss) for n, loss in enumerate(losses)]


def random_losses(count: int, seed: int = 0) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in np.random.default_rng(seed).random((count, 2))]


class TestRungs:
    @pytest.mark.parametrize(
        ("first", "factor", "epochs", "rungs"),
        [
            (1, 3, 27, [1, 3, 9]),
            (1, 3, 28, [1, 3, 9, 27]),
            (2, 2, 10, [2, 4, 8]),
            (5, 3, 5, []),
            (5, 3, 6, [5]),
            (1, 2, 1, []),
        ],
    )
    def test_grow_by_the_factor_and_lie_below_the_epochs(
        self, first: int, factor: int, epochs: int, rungs: list[int]
    ) -> None:
        assert Halving(METRICS, first, factor).rungs(0, epochs) == rungs

    def test_each_bracket_begins_one_rung_later(self) -> None:
        halving = Halving(METRICS, 1, 3, brackets=3)
        assert [halving.rungs(n, EPOCHS) for n in range(4)] == [[1, 3, 9], [3, 9], [9], [1, 3, 9]]

    def test_trials_are_judged_at_rungs_alone(self) -> None:
        halving = Halving(METRICS, 3, 3)
        for epoch in (1, 2, 3, 4, 9):
            judged(halving, epoch, (0.0, 0.0), (0.0, 1.0), (0.0, 2.0))
        worse = [epoch for epoch in range(1, EPOCHS + 1) if halving.judge(9, epoch, EPOCHS, (1.0, 3.0))]
        assert worse == [3, 9]

    def test_a_trial_that_is_to_run_shorter_is_not_judged_at_its_end(self) -> None:
        halving = Halving(METRICS, 3, 3)
        judged(halving, 9, (0.0, 0.0), (0.0, 1.0), (0.0, 2.0))
        assert halving.judge(9, 9, 10, (1.0, 3.0))
        assert not halving.judge(9, 9, 9, (1.0, 3.0))


class TestJudging:
    def test_the_first_trials_go_on_while_there_are_fewer_than_the_factor(self) -> None:
        worse_and_worse = [(float(n), float(n)) for n in range(5)]
        assert judged(Halving(METRICS, 1, 3), 1, *worse_and_worse) == [True, True, False, False, False]
        assert judged(Halving(METRICS, 1, 2), 1, *worse_and_worse) == [True, False, False, False, False]

    def test_a_trial_that_is_among_the_best_share_goes_on(self) -> None:
        # Of 3 one is kept, of 4 to 6 two: each trial beats all before it until the last, which is second of 5.
        losses = [(4.0, 4.0), (3.0, 3.0), (2.0, 2.0), (0.0, 0.0), (1.0, 1.0)]
        assert judged(Halving(METRICS, 1, 3), 1, *losses) == [True] * 5

    def test_the_share_is_rounded_up(self) -> None:
        best_to_worst = [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]
        for others, goes_on in ((3, True), (2, False)):
            halving = Halving(METRICS, 1, 3)
            judged(halving, 1, best_to_worst[0], *[(5.0, 5.0)] * (others - 1), first_number=1)
            # Second of 4: ceil(4 / 3) = 2 go on; second of 3: one does.
            assert (not halving.judge(0, 1, EPOCHS, best_to_worst[1])) == goes_on

    def test_rank_comes_before_spread(self) -> None:
        halving = Halving(METRICS, 1, 3)
        judged(halving, 1, (0.0, 10.0), (5.0, 5.0), (6.0, 6.0))
        # The first rank is {(0, 10), (5, 5)}; what lies far from both but is dominated must not go on.
        reason = halving.judge(3, 1, EPOCHS, (100.0, 100.0))
        assert reason == "stopped at epoch 1 of 27: rank 3, place 4 of 4 that reached this rung; the best 2 go on"

    def test_a_trial_of_the_first_rank_is_stopped_where_its_neighbours_stand_for_it(self) -> None:
        halving = Halving(METRICS, 1, 2)
        judged(halving, 1, (0.0, 10.0), (10.0, 0.0))
        # Of 3 two are kept: the best in the first objective and the one farthest from it.
        reason = halving.judge(2, 1, EPOCHS, (0.1, 9.9))
        assert reason == "stopped at epoch 1 of 27: rank 1, place 3 of 3 that reached this rung; the best 2 go on"
        # Of 4 still two: (5, 5) is nearer to both ends than they are to each other, but not the nearest of all.
        reason = halving.judge(3, 1, EPOCHS, (5.0, 5.0))
        assert reason == "stopped at epoch 1 of 27: rank 1, place 3 of 4 that reached this rung; the best 2 go on"

    def test_of_equal_trials_the_later_ones_come_last(self) -> None:
        assert judged(Halving(METRICS, 1, 2), 1, *[(1.0, 1.0)] * 5) == [True, False, False, False, False]

    def test_a_spared_trial_goes_on_but_others_are_compared_with_it(self) -> None:
        halving = Halving(METRICS, 1, 2)
        judged(halving, 1, (0.0, 0.0), (1.0, 1.0))
        assert halving.judge(9, 1, EPOCHS, (9.0, 9.0), spared=True) == ""
        assert halving.judge(2, 1, EPOCHS, (8.0, 8.0)).endswith("place 3 of 4 that reached this rung; the best 2 go on")

    def test_a_trial_of_unknown_cost_is_not_judged_nor_compared_with(self) -> None:
        halving = Halving(METRICS, 1, 2)
        assert halving.losses({"accuracy": 0.9}) is None
        assert halving.losses({"accuracy": float("nan"), "size_bytes": 1.0}) is None
        assert halving.losses({"accuracy": 0.9, "size_bytes": 8.0, "loss": 3.0}) == [-0.9, 8.0]
        assert halving.judge(0, 1, EPOCHS, None) == ""
        assert halving.judge(1, 1, EPOCHS, (5.0, 5.0)) == ""  # alone at its rung
        assert halving.judge(2, 1, EPOCHS, (6.0, 6.0)) != ""

    def test_brackets_and_rungs_do_not_see_each_other(self) -> None:
        halving = Halving(METRICS, 1, 2, brackets=2)
        for number in (0, 2, 4):
            halving.judge(number, 2, EPOCHS, (0.0, float(number)))
        assert halving.judge(6, 2, EPOCHS, (1.0, 9.0)) != ""
        assert halving.judge(1, 2, EPOCHS, (1.0, 9.0)) == ""
        assert halving.judge(6, 4, EPOCHS, (1.0, 9.0)) == ""

    def test_a_forgotten_trial_counts_no_longer(self) -> None:
        halving = Halving(METRICS, 1, 2)
        judged(halving, 1, (0.0, 0.0))
        halving.forget(0)
        assert halving.judge(1, 1, EPOCHS, (1.0, 1.0)) == ""

    def test_the_order_of_arrival_does_not_matter_to_those_recorded(self) -> None:
        losses = random_losses(20)
        forth, back = Halving(METRICS, 1, 3), Halving(METRICS, 1, 3)
        for n in range(20):
            forth.record(n, 1, EPOCHS, losses[n])
            back.record(19 - n, 1, EPOCHS, losses[19 - n])
        for probe in random_losses(20, seed=1):
            assert forth.judge(99, 1, EPOCHS, probe) == back.judge(99, 1, EPOCHS, probe)


class TestOrder:
    def test_an_epsilon_net_takes_the_farthest_next(self) -> None:
        points = np.array([[0.0, 1.0], [0.1, 0.9], [0.5, 0.5], [1.0, 0.0]])
        # (0, 1) is best in the first objective, (1, 0) farthest from it, (0.5, 0.5) from both.
        assert epsilon_net(points) == [0, 3, 2, 1]

    def test_an_epsilon_net_begins_with_the_best_of_the_first_then_the_second_objective(self) -> None:
        assert epsilon_net(np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 1.0]]))[0] == 2

    def test_equal_points_come_last(self) -> None:
        assert epsilon_net(np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])) == [0, 2, 1, 3]

    def test_units_do_not_matter(self) -> None:
        points = np.array([(a, b) for a, b in random_losses(30)])
        assert epsilon_net_order(points) == epsilon_net_order(points * [1.0, 1e6] + [5.0, -3.0])

    def test_an_objective_that_is_the_same_for_all_does_not_matter(self) -> None:
        assert epsilon_net_order(np.array([[1.0, 7.0], [0.0, 7.0], [2.0, 7.0]])) == ([1, 0, 2], [1, 0, 2])

    def test_ranks_follow_each_other(self) -> None:
        points = np.array([[2.0, 2.0], [0.0, 3.0], [3.0, 0.0], [1.0, 1.0], [4.0, 4.0]])
        order, ranks = epsilon_net_order(points)
        assert ranks == [1, 0, 0, 0, 2]
        assert sorted(order[:3]) == [1, 2, 3]
        assert order[3:] == [0, 4]


def test_a_good_share_is_stopped_and_the_front_is_kept() -> None:
    """A sanity check at size: of 100 trials whose accuracy shows early, about 1 in 3 passes each rung."""
    losses = random_losses(100)
    halving, passed = Halving(METRICS, 1, 3), []
    for n, loss in enumerate(losses):
        if all(not halving.judge(n, rung, EPOCHS, loss) for rung in (1, 3, 9)):
            passed.append(n)
    assert 4 <= len(passed) <= 25
    best = {n for n in range(100) if epsilon_net_order(np.array(losses))[1][n] == 0}
    assert len(best & set(passed)) >= len(best) / 2


class TestResume:
    """Studies told by hand, with the plan of the toy trials: 9 epochs, rungs at 2 and 6."""

    def setup_method(self) -> None:
        self.new = lambda: Halving(METRICS, 2, 3)

    def told(self, folder: Path, count: int, *, before: bool = True) -> tuple[Halving, Any]:
        """Run so many trials, every third of them failing after its first rung; return scheduler and study."""
        halving, study = self.new(), open_study(folder)
        while sum(study.counts().values()) < count:
            asked = study.ask(sample)
            if asked is None:
                continue
            full = outcome(asked.candidate)
            size = {"size_bytes": full.measurements["size_bytes"].value * (0.9 if before else 1.0)}
            curve: list[tuple[int, dict[str, float]]] = []
            facts = {UNTRAINED_KEY: size} if before else {}
            reason = ""
            for epoch in range(9):
                curve.append((epoch, {"accuracy": full.measurements["accuracy"].value * (epoch + 1) / 10}))
                losses = halving.losses(size | curve[-1][1])
                if reason := halving.judge(asked.number, epoch + 1, 9, losses, spared=asked.number == 0):
                    break
                if epoch == 4 and asked.number % 3 == 2:
                    break
            if reason:
                result = stopped_early(reason, len(curve) / 9, curve[-1][1]["accuracy"], {}, facts, curve)
            elif len(curve) < 9:
                result = TrialResult("failed", "diverged", {}, "", facts, tuple(curve))
            else:
                result = TrialResult("done", "", full.measurements, "trials/x", facts, tuple(curve))
            study.tell(asked.number, result)
        return halving, study

    def assert_same(self, one: Halving, other: Halving) -> None:
        assert one._rungs == other._rungs
        for losses in random_losses(30, seed=5):
            probe = (-losses[0], 5000 * losses[1])
            for epoch in (2, 6):
                assert one.judge(999, epoch, 9, probe) == other.judge(999, epoch, 9, probe)

    def test_equals_what_was_not_stopped(self, tmp_path: Path) -> None:
        uninterrupted, study = self.told(tmp_path, 25)
        assert {"done", "failed", "stopped"} <= set(study.counts())
        plan = toy_trials.toy_setup(tmp_path, training={"epochs": 9}).plan
        self.assert_same(uninterrupted, resume(self.new(), study, plan))

    def test_trials_that_measured_no_cost_before_stand_with_the_one_at_their_end(self, tmp_path: Path) -> None:
        study = open_study(tmp_path)
        run(study, 3)  # these kept no accuracy in their curves: there is nothing to compare
        asked = study.ask(sample)
        assert asked is not None
        accuracies: list[tuple[int, dict[str, float]]] = [(epoch, {"accuracy": 0.5}) for epoch in range(9)]
        done = outcome(asked.candidate)
        study.tell(asked.number, TrialResult("done", "", done.measurements, "x", {}, tuple(accuracies)))
        plan = toy_trials.toy_setup(tmp_path, training={"epochs": 9}).plan
        resumed = resume(self.new(), study, plan)
        expected = self.new()
        for epoch in (2, 6):
            expected.record(asked.number, epoch, 9, (-0.5, done.measurements["size_bytes"].value))
        self.assert_same(expected, resumed)


class TestLimits:
    """The baseline loses 0.5 after one epoch and 0.1 at its end; a trial may end 0.05 worse."""

    def halving(self) -> Halving:
        halving = Halving(METRICS, 1, 2, slack=lambda: {"accuracy": 0.05})
        assert not halving.judge(0, 1, EPOCHS, (-0.5, 100.0), spared=True)
        return halving

    def test_a_trial_outside_comes_after_all_inside_whatever_it_costs(self) -> None:
        halving = self.halving()
        judged(halving, 1, (-0.46, 90.0), first_number=1)
        assert "outside the limits, place 3 of 3" in halving.judge(2, 1, EPOCHS, (-0.3, 1.0))
        free = Halving(METRICS, 1, 2)
        judged(free, 1, (-0.5, 100.0), (-0.46, 90.0))
        assert not free.judge(2, 1, EPOCHS, (-0.3, 1.0)), "without limits it is the cheapest"

    def test_the_nearest_of_those_outside_comes_first(self) -> None:
        halving = self.halving()
        assert "place 2 of 2" in halving.judge(1, 1, EPOCHS, (-0.2, 1.0))
        assert not halving.judge(2, 1, EPOCHS, (-0.4, 1.0))

    def test_rungs_that_the_baseline_did_not_reach_have_no_limit(self) -> None:
        halving = self.halving()
        judged(halving, 2, (-0.5, 100.0), (-0.46, 90.0))
        assert not halving.judge(2, 2, EPOCHS, (-0.3, 1.0))

    def test_a_resumed_one_judges_alike(self, tmp_path: Path) -> None:
        study = open_study(tmp_path)
        first = study.ask(sample)
        assert first is not None
        measured = outcome(first.candidate, accuracy=0.9, size_bytes=1000)
        study.tell(first.number, replace(measured, curve=((0, {"accuracy": 0.5}),)))
        setup = toy_trials.toy_setup(tmp_path)
        halving = resume(Halving(METRICS, 1, 2, slack=lambda: {"accuracy": 0.05}), study, setup.plan)
        assert halving._excess(np.array([[-0.44, 1.0], [-0.46, 1.0]]), 1) == pytest.approx([0.01, -0.01])
