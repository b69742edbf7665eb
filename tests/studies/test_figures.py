"""What is drawn, read from the figures' data."""

import pytest

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.measurement import Measurement
from paredown.spaces.candidate import Candidate
from paredown.studies.figures import (
    curves_figure,
    front_figure,
    front_figure_3d,
    hypervolume_figure,
    importances_figure,
    parallel_figure,
)
from paredown.studies.front import Model

METRICS = [EVALUATORS[n].metric for n in ("accuracy", "size_bytes", "macs")]


def model(trial: int, accuracy: float, size: float, **steps: dict[str, str | int]) -> Model:
    values = {"accuracy": accuracy, "size_bytes": size, "macs": 2 * size}
    measured = {name: Measurement(name, value, 0.5 if name == "accuracy" else 0.0) for name, value in values.items()}
    return Model(trial, Candidate("mbconv", {"width": trial}, steps), measured, "x")


BASE, BEST, REST = model(0, 0.9, 100), model(1, 0.95, 50, quantization={"weights": "int8"}), model(2, 0.5, 70)


def test_the_front_has_three_traces_for_each_other_objective() -> None:
    figure = front_figure([BASE, BEST, REST], [BEST], BASE, METRICS)
    assert [t.name for t in figure.data] == ["other trials", "front", "baseline"] * 2
    assert [list(t.x) for t in figure.data] == [[70], [50], [100], [140], [100], [200]]
    assert [list(t.y) for t in figure.data[:3]] == [[0.5], [0.95], [0.9]]
    assert [t.visible for t in figure.data] == [True] * 3 + [False] * 3
    assert list(figure.data[1].error_y.array) == [0.5]
    second = figure.layout.updatemenus[0].buttons[1]
    assert second.args[0]["visible"] == [False] * 3 + [True] * 3


def test_three_objectives_in_space() -> None:
    figure = front_figure_3d([BASE, BEST, REST], [BEST], BASE, METRICS)
    assert [(t.x[0], t.y[0], t.z[0]) for t in figure.data] == [(70, 140, 0.5), (50, 100, 0.95), (100, 200, 0.9)]


def test_what_is_off_is_said_so() -> None:
    half = model(3, 0.9, 60, quantization={"weights": "fp16"})
    dimensions = parallel_figure([BASE, BEST, half], METRICS).data[0].dimensions
    weights = next(d for d in dimensions if d.label == "quantization<br>weights")
    assert list(weights.ticktext) == ["fp16", "int8", "off"]
    assert list(weights.values) == [2, 1, 0]


def test_choices_that_are_numbers_stand_in_their_order() -> None:
    models = [BASE, *(model(n, 0.9, 60, low_rank={"rank": n}) for n in (10, 9))]
    (ranks,) = [d for d in parallel_figure(models, METRICS).data[0].dimensions if d.label == "low_rank<br>rank"]
    assert list(ranks.ticktext) == ["9", "10", "off"]


def test_curves_begin_at_epoch_1_and_those_of_the_front_stand_out() -> None:
    figure = curves_figure({1: [(0, {"accuracy": 0.2}), (1, {"accuracy": 0.4})], 2: [(0, {"accuracy": 0.1})]}, {1})
    assert list(figure.data[0].x) == [1, 2]
    assert list(figure.data[0].y) == [0.2, 0.4]
    assert figure.data[0].line.color != figure.data[1].line.color


def test_curves_of_stopped_trials_are_dashed_and_end_in_a_cross() -> None:
    curves = {n: [(0, {"accuracy": 0.2}), (1, {"accuracy": 0.4})] for n in (1, 2)}
    whole, stopped = curves_figure(curves, {1}, {2}).data
    assert (whole.line.dash, whole.mode) == ("solid", "lines")
    assert (stopped.line.dash, stopped.mode, stopped.marker.symbol) == ("dash", "lines+markers", "x")
    assert stopped.marker.size[0] == 0 < stopped.marker.size[1]


def test_importances_are_sorted_by_their_sum() -> None:
    figure = importances_figure({"accuracy": {"a": 0.1, "b": 0.9}, "macs": {"a": 0.2, "c": 0.8}})
    assert list(figure.data[0].y) == ["a", "c", "b"]
    assert list(figure.data[1].x) == pytest.approx([0.2, 0.8, 0])


def test_hypervolume_is_drawn_as_steps() -> None:
    (trace,) = hypervolume_figure([(0, 0.1), (3, 0.4)]).data
    assert (list(trace.x), list(trace.y), trace.line.shape) == ([0, 3], [0.1, 0.4], "hv")
