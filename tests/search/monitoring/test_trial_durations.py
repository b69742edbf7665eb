"""How long the trials to come will take, by those that have ended."""

import pytest

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.search.monitoring.trial_durations import SHRINKING, TRAINED_SHARE, TrialDuration, TrialDurations
from paredown.search.schedulers.halving import Halving
from paredown.studies.result import TrialResult

METRICS = [EVALUATORS[name].metric for name in ("accuracy", "size_bytes")]
SAMPLERS = ("random", "cost_aware", "nsga2")


def of_ten(sampler: str, training_s: float, seconds: float, *, is_reused: bool) -> TrialDurations:
    """Return durations of ten trials after the large first ones."""
    facts = {"seconds": {"train": training_s, "export": 1.0}} | ({"trained_before": "0a1b"} if is_reused else {})
    durations = TrialDurations(sampler)
    for number in range(3, 13):
        durations.add(number, TrialDuration.of(TrialResult("done", facts=facts), seconds))
    return durations


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_trained_networks_will_be_found_in_the_cache(sampler: str) -> None:
    """None was so far; with a sampler that comes back to known networks some will be, with another one none."""
    durations = of_ten(sampler, 8.0, 10.0, is_reused=False)
    assert durations.trial_s == pytest.approx(10)
    later = durations.later_trial_s(1.0)
    assert later is not None
    if sampler in TRAINED_SHARE:
        assert 2 + 8 * TRAINED_SHARE[sampler] < later < 10
    else:
        assert later == pytest.approx(10)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_training_is_expected_where_none_was_seen(sampler: str) -> None:
    assert of_ten(sampler, 0.004, 2.0, is_reused=True).later_trial_s(1.0) == pytest.approx(2)


def test_all_but_the_training_shrinks_with_a_sampler_that_goes_to_small_networks() -> None:
    left = {sampler: of_ten(sampler, 0.0, 2.0, is_reused=True).later_trial_s(4.0) for sampler in SAMPLERS}
    assert left == {"random": 2, "nsga2": 2, "cost_aware": pytest.approx(2 * 4 ** -SHRINKING["cost_aware"])}


def test_halving_stops_more_trials_than_were_stopped_so_far() -> None:
    """Five of ten were, since the first to reach a rung go on; in the end three of four are."""
    durations = TrialDurations("random", 0.75)
    for number in range(2, 12):
        is_stopped = number % 2 == 0
        durations.add(number, TrialDuration(4.0 if is_stopped else 12.0, 1.0, is_stopped=is_stopped))
    assert durations.trial_s == pytest.approx(8, rel=0.05)
    assert durations.later_trial_s(2.0) == pytest.approx(0.75 * 4 + 0.25 * 12)


def test_the_share_that_halving_stops_in_the_end() -> None:
    assert Halving(METRICS, min_epochs=1).stopped_share(3) == 0.75, "rungs after one epoch and after two"
    assert Halving(METRICS, min_epochs=3).stopped_share(3) == 0, "no rung before the end"
    two_brackets = Halving(METRICS, min_epochs=1, factor=3, brackets=2)
    assert two_brackets.stopped_share(9) == pytest.approx((8 / 9 + 2 / 3) / 2)
