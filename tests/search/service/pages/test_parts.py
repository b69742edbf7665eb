"""The parts of pages that compute something: sliders, messages with their lines, parallel coordinates, addresses."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("dash")

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.search.service.pages.elements import duration, moment
from paredown.search.service.pages.new_page import EXAMPLES
from paredown.search.service.pages.parallel import selected_trials
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


def test_points_that_are_selected_name_their_trials() -> None:
    points: list[dict[str, Any]] = [{"customdata": 3}, {"customdata": 3}, {"x": 1}, {"customdata": 1}]
    assert selected_trials({"points": points}) == [1, 3]
    assert selected_trials(None) is None
    assert selected_trials({"points": []}) is None


def test_the_examples_are_those_of_the_repository() -> None:
    folder = Path(__file__).parents[4] / "examples"
    assert {"digits", "microcontroller", "image_folder"} <= set(EXAMPLES)
    assert {name: file.read_text() for name, file in EXAMPLES.items()} == {
        name: (folder / f"{name}.yaml").read_text() for name in EXAMPLES
    }


def test_times_read_as_people_say_them() -> None:
    assert [duration(s) for s in (None, 5, 65, 3700, 90_000)] == ["", "5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]
    assert moment(0.0) == "1970-01-01 00:00 UTC"
