"""Study files as text: a key that is set, the data set that is named, and a stored study that is submitted again."""

from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("dash")

from paredown.search.errors import ConfigError
from paredown.search.service.dataset_places import DOCUMENT_FILE, datasets_folder, images_folder
from paredown.search.service.pages.candidate_text import knob_lines, read_knobs
from paredown.search.service.pages.study_text import dataset_named, kind_of, study_text, top_level, with_key
from paredown.search.service.service import Service
from paredown.search.service.settings import Settings
from paredown.spaces.candidate import Candidate

TEXT = """# first
study: a
task: digits   # of scikit-learn
warm_start:
  - x
  - y   # why

# about training
training:
  epochs: 3
on_finish: |
  first
  second
trials: 4"""


@pytest.mark.parametrize("key", ["task", "warm_start", "training", "on_finish", "trials", "space"])
def test_a_key_is_set_and_all_else_stays(key: str) -> None:
    value = {"image_folder": {"path": "dataset:flowers"}} if key == "task" else ["b", "123"]
    changed = with_key(TEXT, key, value)
    assert yaml.safe_load(changed) == yaml.safe_load(TEXT) | {key: value}
    assert "# first\nstudy: a\n" in changed
    assert "\n# about training\n" in changed


def test_an_empty_list_removes_a_key() -> None:
    assert yaml.safe_load(with_key(TEXT, "warm_start", [])).keys() == yaml.safe_load(TEXT).keys() - {"warm_start"}
    assert with_key("study: a\n", "warm_start", []) == "study: a\n"
    assert yaml.safe_load(with_key('{"study": "a", "warm_start": ["b"]}', "warm_start", [])) == {"study": "a"}


def test_a_key_is_set_in_json_and_in_an_empty_text() -> None:
    assert yaml.safe_load(with_key('{"study": "a"}', "warm_start", ["b"])) == {"study": "a", "warm_start": ["b"]}
    assert with_key("", "warm_start", ["b"]) == "warm_start: [b]\n"


@pytest.mark.parametrize("text", ["- a", "a: [", "a: &x 1\nb: *x", "words", "[" * 100000])
def test_a_text_that_is_no_study_file_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="the text"):
        with_key(text, "task", ["x"])
    with pytest.raises(ConfigError, match="the text"):
        top_level(text)


@pytest.mark.parametrize(
    ("task", "kind", "dataset"),
    [
        ("digits", "digits", None),
        ("image_folder:dataset:x", "image_folder", "x"),
        ({"image_folder": "dataset:y"}, "image_folder", "y"),
        ({"image_folder": {"path": "dataset:z", "flip": True}}, "image_folder", "z"),
        ({"name": "image_folder", "options": {"path": "dataset:w"}}, "image_folder", "w"),
        ({"name": "image_folder", "shorthand": "dataset:v"}, "image_folder", "v"),
        ({"arrays": "dataset:x"}, "arrays", None),
        ({"image_folder": None}, "image_folder", None),
        ({"image_folder": {"path": ["dataset:x"]}}, "image_folder", None),
        ({1: 2}, "", None),
        (None, "", None),
        ([], "", None),
        ({}, "", None),
    ],
)
def test_a_task_is_read_in_each_of_its_ways(task: Any, kind: str, dataset: str | None) -> None:
    assert (kind_of(task), dataset_named(task)) == (kind, dataset)


def test_a_stored_study_reads_as_its_owner_can_submit_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    service = Service(Settings(f"sqlite:///{tmp_path / 's.db'}", out))
    folder = datasets_folder(out, "alice") / "flowers"
    folder.mkdir(parents=True)
    (folder / DOCUMENT_FILE).touch()
    task = {"name": "image_folder", "options": {"path": str(images_folder(folder).resolve()), "flip": False}}
    payload = {"study": "again", "task": task, "warm_start": ["alice.first", "alice.second"], "trials": 3}
    job = service.jobs.add("alice", "again", payload, str(out / "alice" / "again"))
    said = yaml.safe_load(study_text(service, job))
    assert said["warm_start"] == ["first", "second"]
    assert dataset_named(said["task"]) == "flowers"
    assert said["task"]["options"]["flip"] is False
    assert str(tmp_path) not in study_text(service, job), "the server's places are its own"
    assert job.payload == payload


def test_knobs_are_written_and_read_a_line_each() -> None:
    candidate = Candidate("mbconv", {"width": 0.5, "squeeze_excite": False}, {"quantization": {"weights": "int8"}})
    lines = knob_lines(candidate)
    assert read_knobs(f"\n{lines}\n\n") == {
        "family": "mbconv",
        "mbconv.width": "0.5",
        "mbconv.squeeze_excite": "False",
        "quantization.weights": "int8",
    }
    assert read_knobs(" mbconv.width = 0.5 ") == {"mbconv.width": "0.5"}
    for text, said in (
        ("width", "'width' is not of the form"),
        ("a=1\na=2", "a is named twice"),
        ("=1", "'=1' is not"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_knobs(text)
