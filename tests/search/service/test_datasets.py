"""Data sets over HTTP: uploaded, looked at, learned, deleted; one owner's are no other's."""

import io
import secrets
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image
from servers import STUDY, Running, server
from zip_files import images, picture, zipped

pytest.importorskip("fastapi")

from paredown.search.api.client import Client, ServerRefused
from paredown.search.errors import ConfigError
from paredown.search.service.dataset_unpacking import unpacked

pytestmark = pytest.mark.timeout(400)
LIMIT = 3_000_000
KNOBS = STUDY["space"]["knobs"] | {"mbconv.resolution": 16}
ON_FLOWERS = STUDY | {
    "task": {"image_folder": {"path": "dataset:flowers", "flip": False}},
    "space": STUDY["space"] | {"knobs": KNOBS},
    "training": {"epochs": 1, "finetune_epochs": 1, "batch_size": 4},
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    storage = f"sqlite:///{folder / 'studies.db'}"
    with server(folder, storage, "--token-file", "t", "--upload-limit", "3MB") as found:
        yield found


@pytest.fixture
def owner() -> str:
    return f"alice-{secrets.token_hex(4)}"


@pytest.fixture
def client(running: Running, owner: str) -> Client:
    return running.client(owner)


def folder_of(running: Running, owner: str) -> Path:
    """Return the folder of an owner's data sets."""
    return Path(running.storage.removeprefix("sqlite:///")).parent / "paredown-out" / owner / ".datasets"


def put(running: Running, token: str, content: bytes, name: str = "flowers") -> tuple[int, str]:
    """Upload a zip file, with the patience of a client; return the status code and why it is refused."""
    try:
        with Client(running.url, token).answer("PUT", f"/v1/datasets/{name}", content) as answer:
            return answer.status, ""
    except ServerRefused as refused:
        return refused.status, str(refused)


@pytest.mark.slow
def test_a_folder_is_uploaded_looked_at_and_learned(
    running: Running, client: Client, owner: str, tmp_path: Path
) -> None:
    for name, content in images().items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(content)
    with pytest.raises(ServerRefused, match=r"task.image_folder.path: no data set 'flowers'; allowed: none; upload"):
        client.submit(ON_FLOWERS)
    uploaded = client.upload("flowers", tmp_path / "photos")
    assert uploaded["counts"] == {
        "train": {"cat": 6, "dog": 6},
        "validation": {"cat": 2, "dog": 2},
        "test": {"cat": 2, "dog": 2},
    }
    assert (uploaded["files"], uploaded["shape"], uploaded["classes"]) == (20, [1, 16, 16], ["cat", "dog"])
    assert client.datasets() == [uploaded]
    token = running.token(owner, "read")
    for name, number in (("cat", 0), ("dog", 3)):
        answer = running.ask(f"/v1/datasets/flowers/thumbnail?class={name}&number={number}", token)
        assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    with running.client(owner).answer("GET", "/v1/datasets/flowers/thumbnail?class=cat") as opened:
        assert Image.open(io.BytesIO(opened.read())).size == (24, 24), "enlarged to be seen"
    assert running.ask("/v1/datasets/flowers/thumbnail?class=cow", token).status == 404
    assert running.ask("/v1/datasets/flowers/thumbnail?class=cat&number=4", token).status == 404

    study = client.submit(ON_FLOWERS)
    with pytest.raises(ServerRefused, match="data set 'flowers' is the data of digits; delete these first") as refused:
        client.delete_dataset("flowers")
    assert refused.value.status == 409
    assert client.datasets()[0]["studies"] == ["digits"]
    assert study.wait(200) == "done", study.details()
    assert study.front()["models"]
    study.delete()
    client.delete_dataset("flowers")
    assert client.datasets() == []
    assert [path.name for path in folder_of(running, owner).iterdir()] == [".flowers.lock"]
    with pytest.raises(ServerRefused, match="no data set 'flowers'"):
        client.delete_dataset("flowers")


def huge() -> bytes:
    file = io.BytesIO()
    Image.new("1", (20_000, 5_000)).save(file, "PNG")
    return file.getvalue()


REFUSED = {
    "../../../../evil.png": (picture(1), "leads out of the folder"),
    "train/cat/fake.png": (b"<html>", "train/cat/fake.png: is no image that can be read"),
    "train/cat/script.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no image that can be read"),
    "train/cat/cut.png": (picture(5, 64)[:-100], "train/cat/cut.png is damaged"),
    "train/cat/huge.png": (huge(), "has 20000 x 5000 pixels; allowed: 50,000,000"),
    "val/cow/1.png": (picture(7), "val/cow is a class that train/ does not have"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_in_it_is_checked_and_messages_name_no_places_of_the_server(tmp_path: Path, name: str) -> None:
    content, said = REFUSED[name]
    file, folder = tmp_path / "upload.zip", tmp_path / "server" / "flowers"
    file.write_bytes(zipped(images() | {name: content}))
    folder.mkdir(parents=True)
    with pytest.raises(ConfigError) as refused:
        unpacked({"zip": str(file), "folder": str(folder), "max_bytes": 10**6})
    assert said in str(refused.value)
    assert str(tmp_path) not in str(refused.value)
    assert not list(tmp_path.rglob("evil.png"))


def test_a_refused_upload_leaves_nothing_behind(running: Running, owner: str) -> None:
    token = running.token(owner, "submit")
    status, detail = put(running, token, zipped({"train/cat/1.png": picture(1)}))
    assert (status, "train holds 1 class folders; at least 2 are needed" in detail) == (422, True), detail
    assert str(folder_of(running, owner).parent) not in detail
    assert running.ask("/v1/datasets", token).document() == {"datasets": [], "upload_limit_bytes": LIMIT}
    assert {file.suffix for file in folder_of(running, owner).iterdir()} == {".lock"}


def test_an_upload_is_limited_and_never_in_memory(running: Running, owner: str, tmp_path: Path) -> None:
    token = running.token(owner, "submit")
    assert put(running, token, bytes(LIMIT + 1))[0] == 413
    (tmp_path / "big.zip").write_bytes(bytes(LIMIT + 1))
    with pytest.raises(ServerRefused, match=r"big.zip: 3,000,001 bytes as a zip file; the server takes 3,000,000"):
        running.client(owner).upload("flowers", tmp_path / "big.zip")
    with pytest.raises(ServerRefused, match="absent: cannot be read: No such file"):
        running.client(owner).upload("flowers", tmp_path / "absent")
    noise = secrets.token_bytes(2_900_000)  # more than the guard lets through whole
    status, detail = put(running, token, zipped(images() | {"train/cat/noise.png": noise}))
    assert (status, "train/cat/noise.png: is no image" in detail) == (422, True)
    assert put(running, token, b"")[0] == 422
    process = psutil.Process(running.process.pid)
    assert "torch" not in " ".join(Path(one.path).name for one in process.memory_maps())


def test_a_name_is_taken_once_and_the_same_file_may_come_again(running: Running, owner: str) -> None:
    token = running.token(owner, "submit")
    content = zipped(images())
    assert put(running, token, content)[0] == 201
    assert put(running, token, content)[0] == 200
    status, detail = put(running, token, zipped(images() | {"train/cat/more.png": picture(250)}))
    assert (status, detail) == (409, "data set 'flowers' exists; delete it first, or name another one")
    (folder_of(running, owner) / "flowers/dataset.json").unlink()  # as a server that was killed leaves it
    assert running.ask("/v1/datasets", token).document()["datasets"] == []
    assert put(running, token, content)[0] == 201
    for name in ("..", "%2e%2e", "a.b", "a%2fb", "x" * 65, ".lock", "a%00", "%ff", "a%20b"):
        assert put(running, token, content, name)[0] in (404, 405, 422), name


def test_a_data_set_is_its_owners(running: Running, owner: str) -> None:
    alice, mallory, admin = (
        running.token(*one) for one in ((owner, "submit"), ("mallory", "submit"), ("root", "admin"))
    )
    assert put(running, alice, zipped(images()))[0] == 201
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/thumbnail?class=cat")):
        theirs = running.ask(f"/v1/datasets/flowers{path}", mallory, method)
        nowhere = running.ask(f"/v1/datasets/flowerz{path}", mallory, method)
        assert theirs.status == nowhere.status == 404
        assert theirs.text == nowhere.text.replace("flowerz", "flowers")
        assert running.ask(f"/v1/datasets/{owner}.flowers{path}", mallory, method).status == 404
    assert running.ask("/v1/datasets", mallory).document()["datasets"] == []
    assert running.ask(f"/v1/datasets/{owner}.flowers", admin).status == 200
    assert owner in {one["owner"] for one in running.ask("/v1/datasets", admin).document()["datasets"]}
    for text in ("dataset:flowers", f"dataset:../../{owner}/.datasets/flowers", f"dataset:{owner}.flowers"):
        task = {"image_folder": {"path": text}}
        with pytest.raises(ServerRefused, match="no data set"):
            Client(running.url, mallory).submit(ON_FLOWERS | {"task": task})
    read = running.token(owner, "read")
    assert put(running, read, zipped(images()), "other") == (403, "this token allows read; needed: submit")
    assert running.ask("/v1/datasets/flowers", read, "DELETE").status == 403
    quoted = urllib.parse.quote("../etc")
    assert running.ask(f"/v1/datasets/flowers/thumbnail?class={quoted}", alice).status == 404
