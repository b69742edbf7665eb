"""The parts of pages that compute something: sliders, messages with their lines, parallel coordinates, addresses."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("dash")

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.search.service.pages.brushes import Axis, boxes, brushes_after, inside
from paredown.search.service.pages.elements import duration, moment
from paredown.search.service.pages.new_page import EXAMPLES
from paredown.search.service.pages.study_keys import key_named, keys, line_of, meaning
from paredown.search.service.pages.which_model import Stops
from paredown.search.study_file.json_schema import study_schema

SIZE, ACCURACY = known_metrics()["size_bytes"], known_metrics()["accuracy"]
TEXT = "study: x\ntask: digits\ntraining:\n  epochs: 3\n  patience: 2\nspace: {knobs: {mbconv.phi: 0}}\n"


def test_a_slider_of_a_cost_has_no_limit_on_the_right_and_of_accuracy_on_the_left() -> None:
    cost, share = Stops(SIZE, (10.0, 20.0, 40.0)), Stops(ACCURACY, (0.8, 0.9, 0.95))
    assert [cost.limit(stop) for stop in range(4)] == [10.0, 20.0, 40.0, None]
    assert [share.limit(stop) for stop in range(4)] == [None, 0.8, 0.9, 0.95]
    assert cost.limit(99) is None
    for stops in (cost, share):
        assert stops.limit(stops.open) is None
        for value in stops.values:
            assert stops.limit(stops.stop(repr(value))) == value, "an address keeps a limit"
        for nonsense in (None, "", "x", "nan?"):
            assert stops.stop(nonsense) == stops.open


@pytest.mark.parametrize(
    ("message", "key", "line"),
    [
        ("study file: training.epoch: no such key; allowed: epochs", "training.epoch", 3),
        ("study file: training.epochs: 0 is not allowed", "training.epochs", 4),
        ("study file: task: 'x' does not exist", "task", 2),
        ("study file: sapce: no such key", "sapce", None),
        ("study file: is no valid YAML: mapping values are not allowed here", "", None),
    ],
)
def test_a_message_is_put_where_its_key_stands(message: str, key: str, line: int | None) -> None:
    assert key_named(message) == key
    assert (line_of(TEXT, key) if key else None) == line


def test_keys_are_explained_in_the_words_of_the_schema() -> None:
    schema = study_schema()
    assert (
        meaning(schema, "study file: training.epochs: 0 is not allowed")
        == (schema["$defs"]["TrainingSection"]["properties"]["epochs"]["description"])
    )
    assert meaning(schema, "study file: nonsense.key: no") == ""
    shown = [component.children[0].children[0].children for component in keys(schema)]
    assert shown[:2] == ["study", "task"]
    assert len(shown) >= 15


def test_broken_text_has_no_lines() -> None:
    for text in ("a: [", "- x", "", "&a [*a]", "a" * 10_000):
        assert line_of(text, "a.b") is None


SIZES, KERNELS = [10.0, 20.0, 40.0], [0.0, 1.0, 2.0]
AXES = [Axis.of("size_bytes", SIZES), Axis.of("kernel", KERNELS, ["3", "5", "off"])]


def box(at: float, bottom: float, top: float, width: float = 0.4) -> dict[str, Any]:
    """Return a box as Plotly says it; whoever drags upwards begins at the bottom."""
    return {"type": "rect", "x0": at - width / 2, "x1": at + width / 2, "y0": bottom, "y1": top}


def kept(*drawn: dict[str, Any]) -> list[int] | None:
    brushes = brushes_after({"selections": list(drawn)}, [], AXES)
    assert brushes is not None
    return inside(brushes, AXES, [SIZES, KERNELS])


def test_a_box_keeps_a_range_of_the_axes_that_it_covers_or_of_the_nearest_one() -> None:
    assert kept() is None
    assert kept(box(0, -0.02, 0.5)) == [0, 1]
    assert kept(box(0.2, 0.5, -0.02, 0.1)) == [0, 1], "beside the axis, and drawn downwards"
    assert kept(box(0, -0.02, 0.1), box(0, 0.9, 1)) == [0, 2], "either range of an axis"
    assert kept(box(0, -0.02, 0.5), box(1, 0.4, 1)) == [1], "a range of each axis"
    assert kept(box(0.5, 0.3, 0.6, 2)) == [1], "both axes"
    assert kept(box(1, 0.1, 0.4)) is None, "no choice stands there"


def test_a_range_is_drawn_where_its_values_are_when_new_trials_have_moved_them() -> None:
    brushes = brushes_after({"selections": [box(0, 0, 0.5), box(1, 0.2, 1)]}, [], AXES)
    assert brushes == [
        {"axis": "size_bytes", "low": None, "high": 25.0},
        {"axis": "kernel", "low": "5", "high": "off"},
    ]
    more = [Axis.of("size_bytes", [5.0, *SIZES, 45.0]), Axis.of("kernel", [0, 3], ["3", "4", "5", "off"])]
    size, kernel = boxes(brushes, more)
    assert (size["y0"], size["y1"]) == (pytest.approx(-0.05), 0.5)
    assert (kernel["y0"], kernel["y1"]) == (0.5, 1.05)
    assert inside(brushes, more, [[5.0, 44.0, 6.0], [2.0, 2.0, 1.0]]) == [0], "a smaller one is in the range, too"
    assert boxes(brushes, more[:1]) == [size], "an axis that is not drawn any more"


def test_a_box_is_moved_and_other_events_change_nothing() -> None:
    before = brushes_after({"selections": [box(0, -0.02, 0.5)]}, [], AXES)
    assert before is not None
    moved = {"selections[0].x0": -0.14, "selections[0].x1": 0.14, "selections[0].y0": 0.5, "selections[0].y1": 1.1}
    assert brushes_after(moved, before, AXES) == [{"axis": "size_bytes", "low": 25.0, "high": None}]
    assert brushes_after({"selections[7].y0": 0.1}, before, AXES) is None
    assert brushes_after({"xaxis.range[0]": 1, "autosize": True}, before, AXES) is None
    assert brushes_after({"selections": []}, before, AXES) == []


def test_the_examples_are_those_of_the_repository() -> None:
    folder = Path(__file__).parents[4] / "examples"
    assert {"digits", "microcontroller", "image_folder"} <= set(EXAMPLES)
    assert {name: file.read_text() for name, file in EXAMPLES.items()} == {
        name: (folder / f"{name}.yaml").read_text() for name in EXAMPLES
    }


def test_times_read_as_people_say_them() -> None:
    assert [duration(s) for s in (None, 5, 65, 3700, 90_000)] == ["", "5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]
    assert moment(0.0) == "1970-01-01 00:00 UTC"
