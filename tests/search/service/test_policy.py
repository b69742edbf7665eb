"""What a submitted study may not say, and that all else is checked as on the command line."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from servers import STUDY

from paredown.search.errors import ConfigError
from paredown.search.service.submission import checked_submission
from paredown.search.study_file.schema import checked_config
from paredown.spaces.errors import ParedownError


def submitted(tmp_path: Path, changes: dict[str, Any], **settings: Any) -> dict[str, Any]:
    study = copy.deepcopy(STUDY) | changes
    request = {"text": json.dumps(study), "where": "s.yaml", "given": {}, "owner": "alice"}
    return checked_submission(request | {"allow": [], "data": None, "out": str(tmp_path / "out")} | settings)


def test_a_study_is_stored_as_it_was_written(tmp_path: Path) -> None:
    checked = submitted(tmp_path, {})
    assert checked["study"] == "digits"
    assert checked["folder"] == str(tmp_path / "out/alice/digits")
    assert checked["payload"]["training"] == STUDY["training"]
    assert checked_config(checked["payload"], "s", {}) == checked_config(STUDY, "s", {})
    assert list(tmp_path.iterdir()) == [], "a check leaves nothing behind"


CODE = {
    "task": {"python": "os:getcwd"},
    "task ": {"name": "python", "options": {"function": "os:getcwd"}},
    "model": "os:getcwd",
    "sampler": "os:getcwd",
    "distillation": {"teacher": "os:getcwd"},
    "model ": "timm:resnet18",
}


def test_a_warm_start_is_from_studies_of_the_same_owner(tmp_path: Path) -> None:
    one = submitted(tmp_path, {"warm_start": ["earlier", "bob.secret"]}, owner="ann")
    assert one["payload"]["warm_start"] == ["ann.earlier", "ann.bob.secret"]


@pytest.mark.parametrize("key", CODE)
def test_code_is_refused_unless_its_module_is_allowed(tmp_path: Path, key: str) -> None:
    change = {key.strip(): CODE[key]}
    with pytest.raises(ConfigError, match=r"is not allowed on this server; modules allowed: none"):
        submitted(tmp_path, change)
    with pytest.raises(ConfigError, match=r"modules allowed: osmosis, o, os\.path$"):
        submitted(tmp_path, change, allow=["osmosis", "o", "os.path"])


def test_code_of_an_allowed_module_is_reached(tmp_path: Path) -> None:
    with pytest.raises(ParedownError, match="getcwd") as refused:  # it is no task: it was imported and called
        submitted(tmp_path, {"task": {"python": "os:getcwd"}}, allow=["os"])
    assert "not allowed on this server" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"on_finish": "touch /tmp/owned"}, "on_finish: a server runs no shell commands"),
        ({"on_failure": "touch /tmp/owned"}, "on_failure: a server runs no shell commands"),
        ({"trials": 10**9}, r"trials: 1000000000 is not allowed; allowed: 1 to 100000"),
        ({"space": {"knobs": {"imported.function": "os:getcwd"}}}, "imported.function cannot be set"),
        ({"space": {"baseline": {"imported.weights": "/etc/passwd"}}}, "imported.weights cannot be set"),
        ({"task": {"image_folder": {"path": "photos"}}}, "this server has no data folder"),
        ({"device": "/etc/board.toml"}, "device: this server has no data folder"),
        ({"weights": "w.pt"}, "weights: this server has no data folder"),
        ({"study": "x" * 100}, "study: String should match pattern"),
        ({"epochs": 3}, "s.yaml: epochs: no such key"),
        ({"space": {"knobs": {"mbconv.widht": 1}}}, r"s.yaml: space.knobs: mbconv.widht"),
        ({"limits": {"macs": 10}}, "no candidate can meet 10"),
    ],
)
def test_what_is_not_allowed_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ParedownError, match=said):
        submitted(tmp_path, change)


OUTSIDE = ["../secret", "/etc", "photos/../../secret", "link", "a\0b", "x" * 5000, "~/secret/../../.."]


@pytest.mark.parametrize("path", OUTSIDE, ids=range(len(OUTSIDE)))
@pytest.mark.parametrize("form", ["shorthand", "options"])
def test_a_path_outside_the_data_folder_is_refused(tmp_path: Path, path: str, form: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "secret").mkdir()
    (data / "link").symlink_to(tmp_path / "secret")
    task = {"arrays": path} if form == "shorthand" else {"name": "arrays", "options": {"path": path}}
    with pytest.raises(ParedownError) as refused:
        submitted(tmp_path, {"task": task}, data=str(data))
    if not path.startswith(("x", "~")):  # these two lie inside, and are not there
        assert "is not in the server's data folder" in str(refused.value)


def test_a_path_inside_becomes_absolute_and_is_read(tmp_path: Path) -> None:
    with pytest.raises(ParedownError, match=str(tmp_path / "photos")):
        submitted(tmp_path, {"task": {"image_folder": {"path": "photos"}}}, data=str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "a: !!python/object/apply:os.system ['touch owned']",
        "a: &a [*a]",
        "a: &a [1, 2]\nb: [*a, *a]",
        "just words",
        "\0",
    ],
)
def test_what_is_no_study_is_refused(tmp_path: Path, text: str) -> None:
    request = {"where": "s.yaml", "given": {}, "owner": "a", "allow": [], "data": None, "out": str(tmp_path)}
    with pytest.raises(ParedownError, match=r"s\.yaml: "):
        checked_submission(request | {"text": text})
