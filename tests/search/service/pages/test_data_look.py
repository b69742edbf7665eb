"""What the page New study says of the data before a study is submitted: whose data, and what is read for it."""

from pathlib import Path
from typing import Any

import pytest
from service_routes import ask
from zip_files import images, zipped

pytest.importorskip("dash")

from paredown.search.service.api.application import application
from paredown.search.service.pages.data_panel import Looks, described, upload_help
from paredown.search.service.service import Service
from paredown.search.service.sessions import COOKIE
from paredown.search.service.settings import Settings
from paredown.studies.access.tokens import Token

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(Settings(f"sqlite:///{tmp_path / 's.db'}", tmp_path / "out"))


def token(service: Service, owner: str = "alice", scope: str = "submit") -> Token:
    found = service.tokens.check(service.tokens.create("test", owner, [scope]))
    assert found is not None
    return found


def counted(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return the tasks for which a process is started, as they come."""
    asked: list[object] = []
    describe = service.describe_task

    def describe_and_count(owner: str, task: object, where: str) -> dict[str, Any]:
        asked.append(task)
        return describe(owner, task, where)

    monkeypatch.setattr(service, "describe_task", describe_and_count)
    return asked


def test_data_of_the_package_is_read_once_for_everyone(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, looks = counted(service, monkeypatch), Looks(service)
    for owner, scope in (("alice", "submit"), ("bob", "read")):
        content, can_ask = looks.shown(token(service, owner, scope), "digits", is_asked=False)
        assert not can_ask
        assert "1,078 train, 359 validation, 360 test" in str(content)
        assert "1 x 8 x 8" in str(content)
        assert str(content).count("data:image/png;base64,") == 40
    assert asked == ["digits"]
    refused, _ = looks.shown(token(service), {"digits": {"seed": "x"}}, is_asked=False)
    assert "task.digits.seed: Input should be a valid integer" in str(refused)


def test_other_data_is_read_when_someone_asks_who_may_submit(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, looks = counted(service, monkeypatch), Looks(service)
    content, can_ask = looks.shown(token(service), "image_folder:/etc", is_asked=False)
    assert can_ask
    assert "which may take minutes" in str(content)
    reading = token(service, scope="read")
    content, can_ask = looks.shown(reading, "image_folder:/etc", is_asked=False)
    assert not can_ask
    assert "a token with the scope submit" in str(content)
    assert "needed: submit" in str(looks.shown(reading, "image_folder:/etc", is_asked=True)[0])
    assert "names no task yet" in str(looks.shown(reading, None, is_asked=True)[0])
    assert asked == []
    said, _ = looks.shown(token(service), "image_folder:/etc", is_asked=True)
    assert "task.image_folder.path: this server has no data folder" in str(said)
    assert asked == ["image_folder:/etc"]


def test_a_data_set_is_shown_to_its_owner_with_its_images(service: Service) -> None:
    with service.datasets.place("alice", "flowers") as file:
        file.write_bytes(zipped(images()))
        service.datasets.add("alice", "flowers", file, "0" * 64)
    looks, named = Looks(service), {"image_folder": {"path": "dataset:flowers"}}
    shown = str(looks.shown(token(service, scope="read"), named, is_asked=False)[0])
    assert "12 train, 4 validation, 4 test" in shown
    picture = "/thumbnail/flowers?class=cat&number=3"
    assert picture in shown
    assert "no data set 'flowers'; yours: none; upload one first" in str(
        looks.shown(token(service, "bob"), named, is_asked=False)[0]
    )
    assert "no data set 'cows'; yours: flowers" in str(
        looks.shown(token(service), "image_folder:dataset:cows", is_asked=False)[0]
    )

    guarded, made = application(service), service.tokens.create("test", "alice", ["read"])
    own = f"{COOKIE}={service.sessions.open(made)}"
    other = f"{COOKIE}={service.sessions.open(service.tokens.create('test', 'bob', ['submit']))}"
    status, body = ask(guarded, "GET", picture, cookie=own)
    assert (status, body[:4]) == (200, b"\x89PNG")
    assert ask(guarded, "GET", picture)[0] == 401
    assert ask(guarded, "GET", picture, cookie=other)[0] == 404
    for wrong in ("class=cow&number=0", "class=cat&number=4", "class=../cat&number=0"):
        assert ask(guarded, "GET", f"/thumbnail/flowers?{wrong}", cookie=own)[0] == 404
    for wrong in ("number=0", "class=cat&number=-1"):
        assert ask(guarded, "GET", f"/thumbnail/flowers?{wrong}", cookie=own)[0] == 422


def test_many_classes_are_counted_and_the_first_are_listed() -> None:
    classes = [f"class {number}" for number in range(150)]
    found = {
        "classes": classes,
        "counts": {"train": dict.fromkeys(classes, 2)},
        "shape": [3, 8, 8],
        "values": "uint8, 0 to 255",
        "unused": {"is damaged": ["a.png", "b.png"]},
        "duplicates": {"test": ["c.png"]},
        "notes": ["the longer side is cut"],
        "pictures": {"class 0": ["data:,"]},
    }
    said = str(described(found))
    assert "300 train" in said
    assert "class 99" in said
    assert "class 100" not in said
    assert "The first 100 of 150 classes." in said
    assert "2 files are not used: is damaged." in said
    assert "1 of test are in train, too." in said
    assert "The longer side" in said


def test_the_help_names_the_server_that_the_browser_shows() -> None:
    assert "-T ../photos.zip https://host/paredown/v1/datasets/flowers" in str(upload_help("https://host/paredown"))
