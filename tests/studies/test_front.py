"""Fronts, hypervolume, deltas and selection, worked out by hand."""

import pytest

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.measurement import Measurement, Metric, Objective
from paredown.spaces.candidate import Candidate
from paredown.studies.choice import choose
from paredown.studies.errors import NothingFits
from paredown.studies.figures import parallel_figure
from paredown.studies.front import Model, deltas, faster_on_paper_only, front, hypervolume, hypervolume_history
from paredown.studies.latency_remarks import Fp32Models
from paredown.studies.selection import chosen_among
from paredown.studies.summary import front_summary

ACCURACY, SIZE, LATENCY = (EVALUATORS[n].metric for n in ("accuracy", "size_bytes", "latency_ms"))
METRICS = (ACCURACY, SIZE)
OBJECTIVES = (Objective(ACCURACY), Objective(SIZE))


def model(trial: int, accuracy: float, size: float, feasible: bool = True, **more: float) -> Model:
    values = {"accuracy": accuracy, "size_bytes": size} | more
    measured = {name: Measurement(name, value) for name, value in values.items()}
    return Model(trial, Candidate("mbconv", {"width": trial}), measured, f"trials/{trial}", feasible)


BASELINE = model(0, 0.9, 1000)
BETTER, SMALLER, WORSE = model(1, 0.95, 800), model(2, 0.8, 100), model(3, 0.7, 900)


def test_the_front_is_what_nothing_beats_best_first() -> None:
    assert front([BASELINE, SMALLER, WORSE, BETTER], METRICS) == [BETTER, SMALLER]
    assert front([BASELINE, BETTER, model(4, 0.99, 1, feasible=False)], METRICS) == [BETTER]
    assert front([], METRICS) == []
    assert front([model(7, 0.9, 10), model(5, 0.9, 10)], METRICS) == [model(5, 0.9, 10)]


def test_hypervolume_by_hand() -> None:
    # Errors 0.05 and 0.2, sizes 800/1100 and 100/1100: two overlapping boxes against (1, 1).
    first, second = (1 - 0.05) * (1 - 800 / 1100), (1 - 0.2) * (1 - 100 / 1100)
    overlap = (1 - 0.2) * (1 - 800 / 1100)
    assert hypervolume([BETTER, SMALLER, WORSE], METRICS, BASELINE) == pytest.approx(first + second - overlap)
    assert hypervolume([], METRICS, BASELINE) == 0.0
    history = hypervolume_history([BASELINE, BETTER, SMALLER, WORSE], METRICS, BASELINE)
    assert [trial for trial, _ in history] == [0, 1, 2, 3]
    assert history[0][1] < history[1][1] < history[2][1] == history[3][1]


def test_deltas_are_points_of_accuracy_and_shares_of_cost() -> None:
    assert deltas(SMALLER, BASELINE) == {"accuracy": pytest.approx(-0.1), "size_bytes": pytest.approx(-0.9)}


def test_deltas_without_a_share_or_a_metric_are_left_out() -> None:
    baseline = model(0, 0.9, 0, exit_rate=0.0, macs=0, params=7, of_old=1.0)
    changed = deltas(model(1, 0.9, 12, exit_rate=0.65, macs=0, latency_ms=1.0, of_old=2.0), baseline)
    assert changed == {"accuracy": 0.0, "exit_rate": 0.65, "macs": 0.0}


def test_what_can_rise_without_end_is_the_reciprocal_of_a_cost() -> None:
    speed = Metric("images_per_s", "1/s", "measured", higher_is_better=True)
    models = [
        model(n, a, 1, latency_ms=t, images_per_s=1000 / t) for n, a, t in ((0, 0.9, 2), (1, 0.95, 1), (2, 0.8, 0.1))
    ]
    by_speed, by_time = (hypervolume(models, (ACCURACY, metric), models[0]) for metric in (speed, LATENCY))
    assert by_speed == pytest.approx(by_time)
    assert by_speed > 0.5


@pytest.mark.parametrize(("macs", "latency", "flagged"), [(50, 2.0, True), (50, 1.0, False), (200, 2.0, False)])
def test_fewer_macs_without_speed_are_flagged(macs: float, latency: float, flagged: bool) -> None:
    baseline = model(0, 0.9, 1, macs=100, latency_ms=1.5)
    assert faster_on_paper_only(model(1, 0.9, 1, macs=macs, latency_ms=latency), baseline) == flagged


def test_select_takes_the_best_that_fits() -> None:
    models = [BASELINE, BETTER, SMALLER, WORSE, model(6, 1.0, 1, feasible=False)]
    assert choose(models, OBJECTIVES, []).model == BETTER
    assert choose(models, OBJECTIVES, [Objective(SIZE, limit=500)]).model == SMALLER
    tie = model(9, 0.95, 700)
    assert choose([*models, tie], OBJECTIVES, []).model == tie


def test_select_names_the_nearest_where_nothing_fits() -> None:
    with pytest.raises(NothingFits, match=r"nearest is trial 2: size_bytes 100 B is above the limit 50"):
        choose([BASELINE, SMALLER], OBJECTIVES, [Objective(SIZE, limit=50)])
    with pytest.raises(NothingFits, match="no model has latency_ms"):
        choose([BASELINE], OBJECTIVES, [Objective(LATENCY, limit=1)])
    with pytest.raises(NothingFits, match="trial 8 is no finished model"):
        chosen_among([BASELINE], [8])


def test_the_stable_json_has_what_scripts_read() -> None:
    document = front_summary("s", ["accuracy", "size_bytes"], BASELINE, [BETTER], "out", Fp32Models())
    assert list(document) == ["study", "objectives", "baseline", "models"]
    (only,) = document["models"]
    assert only["trial"] == 1
    assert only["metrics"] == {"accuracy": 0.95, "size_bytes": 800}
    assert only["deltas"]["size_bytes"] == pytest.approx(-0.2)
    assert only["artifact"] == "out/trials/1"


def test_parallel_axes_are_the_metrics_and_the_knobs_that_vary() -> None:
    labels = [d["label"] for d in parallel_figure([BETTER, SMALLER], METRICS).data[0].dimensions]
    assert labels == ["accuracy", "size_bytes", "mbconv<br>width"]


def test_latencies_below_the_floor_are_equal() -> None:
    metrics, small = (ACCURACY, LATENCY), model(1, 0.9, 1, latency_ms=0.014)
    large = model(2, 0.8, 1, latency_ms=0.008)
    baseline = model(0, 0.9, 1, latency_ms=1.0)
    assert front([small, large], metrics) == [small]
    assert LATENCY.compare(0.014, 0.008) == "same"
    assert LATENCY.compare(0.021, 0.008) == "worse"
    assert hypervolume([small], metrics, baseline) == hypervolume(
        [model(3, 0.9, 1, latency_ms=LATENCY.floor)], metrics, baseline
    )
    assert Objective(LATENCY, limit=0.01).violation(0.015) == 0
