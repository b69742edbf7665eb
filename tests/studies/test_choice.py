import pytest

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Measurement, Objective
from paredown.search.api.limits import limits_of
from paredown.search.errors import ConfigError
from paredown.spaces.candidate import Candidate
from paredown.studies.choice import choose
from paredown.studies.errors import NothingFits
from paredown.studies.front import Model

METRICS = known_metrics()
OBJECTIVES = [Objective(METRICS["accuracy"]), Objective(METRICS["size_bytes"])]


def model(trial, accuracy, size, feasible=True, **more):
    values = {"accuracy": accuracy, "size_bytes": size, **more}
    return Model(
        trial, Candidate("mbconv", {"width": trial}), {n: Measurement(n, v) for n, v in values.items()}, "", feasible
    )


def limit(metric, value):
    return Objective(METRICS[metric], False, value)


MODELS = [model(0, 0.99, 100e3), model(1, 0.98, 40e3), model(2, 0.97, 20e3), model(3, 0.90, 10e3)]


def test_the_best_in_the_first_objective_that_keeps_the_limit_is_chosen():
    choice = choose(MODELS, OBJECTIVES, [limit("size_bytes", 50e3)])
    assert (choice.model.trial, choice.next_best.trial, choice.fitting, choice.considered) == (1, 2, 3, 4)


def test_the_limit_that_keeps_a_better_model_out_is_named_with_what_it_would_take():
    (binding,) = choose(MODELS, OBJECTIVES, [limit("size_bytes", 50e3)]).binding
    assert (binding.limit.metric.name, binding.model.trial, binding.excess) == ("size_bytes", 0, pytest.approx(1.0))


def test_a_limit_that_keeps_out_nothing_better_does_not_bind():
    assert choose(MODELS, OBJECTIVES, [limit("accuracy", 0.95)]).binding == ()


def test_the_knee_is_near_the_best_of_both():
    assert choose(MODELS, OBJECTIVES, [], "knee").model.trial == 2


@pytest.mark.parametrize(("weights", "trial"), [({"accuracy": 1}, 0), ({"size_bytes": 1}, 3)])
def test_weights_decide_what_counts(weights, trial):
    assert choose(MODELS, OBJECTIVES, [], "weights", weights).model.trial == trial


def test_where_nothing_fits_the_nearest_is_named_with_what_it_breaks():
    with pytest.raises(
        NothingFits, match=r"none of 4 models keeps the limits; the nearest is trial 3: size_bytes 10000 B"
    ):
        choose(MODELS, OBJECTIVES, [limit("size_bytes", 5e3)])


def test_a_model_without_the_limited_metric_does_not_keep_the_limit():
    models = [model(0, 0.99, 1e3), model(1, 0.95, 2e3, macs=5.0)]
    assert choose(models, OBJECTIVES, [limit("macs", 10)]).model.trial == 1


def test_infeasible_models_are_ignored():
    with pytest.raises(NothingFits, match="no finished model"):
        choose([model(0, 0.9, 1e3, feasible=False)], OBJECTIVES, [])


@pytest.mark.parametrize("given", ["none", "0", "-1"])
def test_what_limits_nothing_or_everything_is_refused(given):
    with pytest.raises(ConfigError, match=f"max latency_ms={given}: "):
        limits_of({"latency_ms": given}, {}, None)
