"""Ray itself: strangers, dead workers, a second node, folders that are not shared, a cluster that is lost."""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray_trials
import toy_trials
import two_ray_nodes
from ray.tune.experiment import Trial

from paredown.search.drivers import ray_tune, shared_folder
from paredown.search.drivers.ray_access import check_cluster
from paredown.search.drivers.ray_process import START_S, waiting_for_workers
from paredown.search.drivers.ray_resources import not_offered, room
from paredown.search.drivers.ray_tune import LOG, RAY, RayOptions
from paredown.search.errors import ConfigError, SearchAborted
from paredown.search.listener import SILENT, ProgressListener
from paredown.search.run import SearchSummary, search
from paredown.search.study_file.sections import ResourcesSection

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run_toy(
    folder: Path, run: Any, address: str | None = None, listener: ProgressListener = SILENT, **keys: Any
) -> SearchSummary:
    setup = toy_trials.toy_setup(folder, **{"driver": "ray", "sampler": "random", **keys})
    url, options = f"sqlite:///{folder}/toy.db", {"address": address} if keys.get("driver", "ray") == "ray" else {}
    return search(setup, url, listener=listener, where="toy.yaml", run=run, driver_options=options)


class Told(ProgressListener):
    """Keeps what it is told, and does something when a trial starts or is about to be stored."""

    def __init__(self, started: Callable[[], Any] | None = None, epoch: Callable[[], Any] | None = None) -> None:
        self.remarks: list[str] = []
        self.given: list[str] = []
        self.epochs: list[tuple[int, int]] = []
        self._started, self._epoch = started, epoch

    def remark(self, text: str) -> None:
        self.remarks.append(text)

    def given_back(self, number: int, reason: str) -> None:
        self.given.append(reason)

    def started(self, trial: Any) -> None:
        if self._started is not None:
            self._started()

    def epoch(self, number: int, epoch: int, metrics: Any) -> None:
        self.epochs.append((number, epoch))
        if self._epoch is not None:
            self._epoch()


def test_strangers_are_refused_and_secrets_stay_where_they_belong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAREDOWN_STORAGE", ray_trials.DATABASE)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    before = dict(os.environ)
    summary = run_toy(tmp_path, ray_trials.looks_around, trials=1, resources={"cpu": 2})
    assert dict(os.environ) == before
    token = (tmp_path / "out" / "token").read_text()
    (tmp_path / "out" / "token").unlink()
    (row,) = summary.study.rows()
    facts = row["facts"]
    assert facts["clients"]["friend"].endswith("ran 7\n")
    for stranger in ("wrong", "none"):
        assert "InvalidAuthToken" in facts["clients"][stranger]
        assert "ran" not in facts["clients"][stranger].split()
    assert facts["token_length"] >= 32
    assert facts["token_in"] == facts["database_in"] == []
    assert facts["threads"] == 2
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or token.encode() not in file.read_bytes(), file


def test_there_is_room_for_what_each_machine_can_hold() -> None:
    machines = [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 3.0}]
    assert room(machines, {"CPU": 1.0}) == 7
    assert room(machines, {"CPU": 2.0}) == 3
    assert room(machines, {"CPU": 1.0, "GPU": 0.5}) == 2
    assert room([{"CPU": 0.3}], {"CPU": 0.1}) == 3
    assert not_offered(machines, {"CPU": 5.0}) == "no machine of the cluster offers CPU 5: trials wait until one does"


def test_a_free_worker_is_given_to_a_trial_only_where_its_own_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    one, two, running = (Trial("toy", stub=True) for _ in range(3))
    running.set_status(Trial.RUNNING)
    scheduler, controller = waiting_for_workers(), SimpleNamespace(get_live_trials=lambda: {one, two, running})
    for trial in (running, two, one):
        scheduler.on_trial_add(controller, trial)
        now += 1
    assert scheduler.choose_trial_to_run(controller) is None
    now += START_S
    assert scheduler.choose_trial_to_run(controller) is two
    two.set_status(Trial.RUNNING)
    assert scheduler.choose_trial_to_run(controller) is one


def test_a_lost_ray_parks_the_study_which_goes_on_later(tmp_path: Path) -> None:
    summary = run_toy(tmp_path, ray_trials.takes_ray_away, trials=4)
    assert summary.interrupted
    assert summary.reason.startswith("Ray was lost (its process ended; ")
    assert summary.reason.endswith("the same command goes on once Ray can be used again")
    assert (tmp_path / "out" / LOG).read_text()
    assert summary.study.counts() == {"done": 1, "waiting": 1}
    after = run_toy(tmp_path, toy_trials.good, trials=4, driver="local")
    assert after.study.counts() == {"done": 4}
    assert [row["number"] for row in after.study.rows()] == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[str]:
    """Start a cluster of two nodes with a token, and set the token for this process."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        environment = {**os.environ, "RAY_TMPDIR": folder}  # so that no other Ray takes it for its own
        cluster = subprocess.Popen(
            [sys.executable, two_ray_nodes.__file__],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert cluster.stdin is not None
        assert cluster.stdout is not None
        yield cluster.stdout.readline().strip()
        cluster.communicate(timeout=60)


def test_a_cluster_of_two_nodes_is_used_whole_and_a_dead_workers_trial_runs_again(
    two_nodes: str, tmp_path: Path
) -> None:
    told = Told()
    study = run_toy(tmp_path, ray_trials.one_dies, two_nodes, told, trials=6, workers=2).study
    rows = study.rows()
    assert (tmp_path / "out" / "died").exists()
    assert study.counts() == {"done": 6}
    assert [row["number"] for row in rows] == list(range(6))
    assert len({row["facts"]["node"] for row in rows}) == 2
    assert told.given == ["its Ray worker died (ray.log says why); it runs again"]


def test_epochs_are_told_while_their_trial_runs(two_nodes: str, tmp_path: Path) -> None:
    told = Told(epoch=(tmp_path / "out" / "seen").touch)
    study = run_toy(tmp_path, ray_trials.waits_until_seen, two_nodes, told, trials=2).study
    assert study.counts() == {"done": 2}
    assert told.epochs == [(0, 0), (0, 0), (1, 0), (1, 0)]


def test_auto_is_the_room_of_the_cluster_and_not_of_this_machine(two_nodes: str) -> None:
    def room(**resources: Any) -> int:
        return RAY.room(RayOptions(address=two_nodes, resources=ResourcesSection(**resources)))

    assert room(cpu=0.1) == 20
    assert room(cpu=0.1, custom={"board": 1}) == 3
    assert room(custom={"jetson": 1}) == 1


def test_a_wrong_token_is_refused_before_anything_is_stored(
    two_nodes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x" * 64)
    with pytest.raises(ConfigError, match=f"^--ray-address {two_nodes}: the cluster does not take the token"):
        run_toy(tmp_path, toy_trials.never, two_nodes)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    check_cluster(two_nodes)


def test_a_folder_that_a_worker_does_not_see_ends_the_search(two_nodes: str, tmp_path: Path) -> None:
    def hide() -> None:
        for marker in (tmp_path / "out").glob(".shared-*"):
            marker.unlink()

    with pytest.raises(SearchAborted, match=rf"^the Ray worker on \S+ does not see the study's folder {tmp_path}/out"):
        run_toy(tmp_path, toy_trials.never, two_nodes, Told(started=hide), trials=3)


def test_files_that_arrive_otherwise_fail_their_trial(
    two_nodes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived: list[Mapping[str, Mapping[str, str]]] = []

    def cut_off(folder: Path, written: Mapping[str, Mapping[str, str]]) -> list[str]:
        """Damage the files of the second trial between what its worker wrote and what the search finds."""
        arrived.append(written)
        for artifact in written if len(arrived) == 2 else ():
            (folder / artifact / "model.onnx").write_bytes(b"cut off")
        return shared_folder.differing(folder, written)

    monkeypatch.setattr(shared_folder, "SETTLE_S", 0.5)
    monkeypatch.setattr(ray_tune, "differing", cut_off)
    rows = run_toy(tmp_path, ray_trials.with_a_file, two_nodes, trials=2).study.rows()
    assert [row["state"] for row in rows] == ["done", "failed"]
    assert rows[1]["reason"].startswith(f"its files are not in {tmp_path}/out as its worker wrote them: trials/")


def test_resources_that_no_node_offers_are_remarked_upon(two_nodes: str, tmp_path: Path) -> None:
    class Stops(Told):
        def remark(self, text: str) -> None:
            super().remark(text)
            if "offers" in text:
                raise KeyboardInterrupt

    told, resources = Stops(), {"custom": {"jetson": 1}}
    summary = run_toy(tmp_path, toy_trials.never, two_nodes, told, resources=resources)
    assert summary.interrupted
    assert told.remarks[-1] == "no machine of the cluster offers CPU 1, jetson 1: trials wait until one does"


def test_a_machine_that_is_lost_costs_no_trial(two_nodes: str, tmp_path: Path) -> None:
    """It is the last test of this cluster, which has one machine afterwards."""
    told = Told()
    study = run_toy(tmp_path, ray_trials.node_is_lost, two_nodes, told, trials=6, workers=2).study
    assert (tmp_path / "out" / "lost").exists()
    assert study.counts() == {"done": 6}
    assert [row["number"] for row in study.rows()] == list(range(6))
    assert told.given == ["its Ray worker died (ray.log says why); it runs again"]
