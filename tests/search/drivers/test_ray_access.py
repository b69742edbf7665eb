"""What is refused before Ray does anything: clusters without a token or an answer, and resources that nobody has."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import toy_trials
from commands import Said

from paredown.search.drivers.catalogue import DRIVERS
from paredown.search.drivers.ray_access import check_cluster, ray_environment
from paredown.search.errors import ConfigError
from paredown.search.run import search
from paredown.search.study_file.schema import checked_config

NO_CLUSTER = "127.0.0.1:1"
STUDY = {"study": "toy", "task": "digits", "objectives": ["accuracy", "size_bytes"]}


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_a_cluster_without_a_token_is_refused_with_what_to_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    said = Said(capsys, "search", "--driver", "ray", "--ray-address", NO_CLUSTER)
    assert said.code == 2
    assert f"paredown: --ray-address {NO_CLUSTER}: a cluster is used with token authentication only" in said.err
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", str(tmp_path / "home" / ".ray" / "auth_token")):
        assert name in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["variable", "file", "default file"])
def test_a_token_is_found_wherever_ray_looks_for_it(
    place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / ("token" if place == "file" else "home/.ray/auth_token")
    if place == "variable":
        monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("t" * 64 + "\n")
    if place == "file":
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    with pytest.raises(ConfigError, match=f"^--ray-address {NO_CLUSTER}: the cluster cannot be reached: .*refused"):
        check_cluster(NO_CLUSTER)


@pytest.mark.parametrize("address", ["ray://head:10001", "head", ":6379", "head:port"])
def test_what_is_no_address_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    with pytest.raises(ConfigError, match="not an address; write it as HOST:PORT"):
        check_cluster(address)


def test_what_answers_but_is_no_cluster_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    monkeypatch.setattr("paredown.search.drivers.ray_access.CONNECT_S", 8.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(
            ConfigError, match=f"^--ray-address {address}: the cluster cannot be used: no answer within"
        ):
            check_cluster(address)


def test_ray_of_this_machine_gets_a_token_of_its_own_and_nothing_of_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PAREDOWN_STORAGE", "postgresql://me:s3cret@host/db")
    before = dict(os.environ)
    one, other = ray_environment(None), ray_environment(None)
    assert one["RAY_AUTH_MODE"] == "token"
    assert len(one["RAY_AUTH_TOKEN"]) >= 32
    assert one["RAY_AUTH_TOKEN"] != other["RAY_AUTH_TOKEN"]
    assert "s3cret" not in repr(one)
    assert dict(os.environ) == before
    assert "RAY_AUTH_TOKEN" not in ray_environment(NO_CLUSTER), "the token of a cluster is the user's"


@pytest.mark.parametrize(
    ("driver", "resources", "said"),
    [
        ("local", {"cpu": 2}, "toy.yaml: resources: the driver local reserves nothing for a trial; .*: ray"),
        ("ray", {"custom": {"jetson": 1}}, "toy.yaml: resources.custom: jetson: only a cluster"),
        ("ray", {"gpu": 99}, "toy.yaml: resources.gpu: 99 is more than this machine has; allowed: 0 to"),
    ],
)
def test_resources_that_a_driver_cannot_reserve_are_refused(
    driver: str, resources: dict[str, Any], said: str, tmp_path: Path
) -> None:
    setup = toy_trials.toy_setup(tmp_path, driver=driver, resources=resources)
    with pytest.raises(ConfigError, match=said):
        search(setup, f"sqlite:///{tmp_path}/toy.db", where="toy.yaml", run=toy_trials.never)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"cpu": 0}, "toy.yaml: resources.cpu: Input should be greater than 0"),
        ({"gpu": -1}, "toy.yaml: resources.gpu: Input should be greater than or equal to 0"),
        ({"custom": {"jetson": 0}}, "toy.yaml: resources.custom.jetson: Input should be greater than 0"),
        ({"memory": 1}, "toy.yaml: resources.memory: no such key; allowed: cpu, gpu, custom"),
    ],
)
def test_resources_of_a_study_file_are_checked(resources: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        checked_config(STUDY | {"resources": resources}, "toy.yaml", {})


def test_the_options_of_ray_follow_the_variable_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert DRIVERS["ray"].checked({}, "toy.yaml").model_dump()["address"] == "head:6379"
    assert DRIVERS["ray"].checked({"address": "other:6379"}, "toy.yaml").model_dump()["address"] == "other:6379"
