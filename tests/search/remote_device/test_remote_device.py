"""A device that is a node of a Ray cluster: it measures, one at a time, disappears and comes back."""

import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import device_cluster
import pytest
import toy_trials
from command_lines import command_lines
from filelock import FileLock

from paredown.evaluators.device import this_device
from paredown.evaluators.latency.block_networks import block_network
from paredown.evaluators.latency.sent_model import SentModel
from paredown.search.errors import ConfigError
from paredown.search.listener import SILENT, ProgressListener
from paredown.search.remote_device.connection import DeviceConnection, connected
from paredown.search.remote_device.measuring_process import AWAY, LATE, MEASURED, REFUSED, RemoteDevice
from paredown.search.run import SearchSummary, search

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TASK = "ray::ran_on"
"""How Ray names a process that runs a task of ours."""
SHORT_S = 15
"""Seconds in which a device answers whose process has still to start, and after which it is late."""


class DeviceCluster:
    """A cluster of two nodes, the second of which is the device."""

    def __init__(self, folder: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, device_cluster.__file__],
            env={**os.environ, "RAY_TMPDIR": folder, "TMPDIR": folder},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._said()
        self.measurement_lock = FileLock(Path(folder, "paredown-measurement.lock"))
        self.node, self._raylet = "", 0
        self.add()

    def add(self) -> None:
        node, raylet = self._said("add").split()
        self.node, self._raylet = node, int(raylet)

    def kill(self) -> None:
        assert self._said("kill") == "gone"

    def end(self) -> None:
        self._process.communicate(timeout=60)

    def measuring(self) -> int:
        """Return the number of tasks that run on the device now."""
        return sum(words[:1] == [TASK] for words in command_lines(self._raylet))

    def wait_until_measuring(self) -> None:
        until = time.monotonic() + 60
        while not self.measuring():
            assert time.monotonic() < until, "nothing was measured"
            time.sleep(0.05)

    def _said(self, asked: str = "") -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if asked:
            print(asked, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()


@pytest.fixture(scope="module")
def cluster() -> Iterator[DeviceCluster]:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        started = DeviceCluster(folder)
        yield started
        started.end()


class Told(ProgressListener):
    """Keeps how trials ended, and does something when one starts."""

    def __init__(self, started: Callable[[int], Any] = lambda number: None) -> None:
        self.ended: list[tuple[int, str]] = []
        self._started = started

    def started(self, trial: Any) -> None:
        self._started(trial.number)

    def finished(self, number: int, result: Any) -> None:
        self.ended.append((number, result.outcome))


def measured_study(
    folder: Path, address: str, trials: int, listener: ProgressListener = SILENT, **keys: Any
) -> SearchSummary:
    keys = {"measure_on": {"resource": "pi4", "timeout": 60, "retries": 1}} | keys
    objectives, training = ["accuracy", "latency_ms"], {"epochs": 1}
    setup = toy_trials.toy_setup(
        folder, trials=trials, sampler="random", objectives=objectives, training=training, **keys
    )
    options = {"address": address}
    return search(setup, f"sqlite:///{folder}/toy.db", listener=listener, where="toy.yaml", driver_options=options)


def test_a_device_measures_and_one_that_disappears_parks_what_it_measures_until_it_is_back(
    cluster: DeviceCluster, tmp_path: Path
) -> None:
    first = measured_study(tmp_path, cluster.address, 2, driver="ray")
    assert not first.interrupted
    assert first.study.counts() == {"done": 2}
    device, first_node = f"pi4 ({this_device()})", cluster.node
    rows = first.study.rows()
    assert [row["facts"]["measured_by"] for row in rows] == [first_node] * 2, "the head has another id"
    assert {m.measurements["latency_ms"].device for m in first.study.models()} == {device}
    assert rows[1]["facts"]["notes"]["latency_ms"].startswith("p90 ")

    def power_cut() -> None:
        cluster.wait_until_measuring()
        cluster.kill()

    cutter = threading.Thread(target=power_cut)
    told = Told(started=lambda number: cutter.start() if number == 2 else None)
    with cluster.measurement_lock:  # so that the device is in the midst of a measurement
        second = measured_study(tmp_path, cluster.address, 4, told)
        cutter.join()
    assert second.interrupted
    assert second.reason == (
        "4 trials are done; 2 trials wait for pi4 (no machine of the cluster offers pi4): the same command measures "
        "what is parked once it is back"
    )
    assert second.study.counts() == {"done": 2, "parked": 2}
    assert told.ended == [(2, "parked"), (3, "parked")]
    parked = second.study.rows()[2]
    assert parked["reason"] == "latency_ms: pi4 has still to measure it: no machine of the cluster offers pi4"
    assert [model.trial for model in second.study.models()] == [0, 1], "a value that is not known is not made up"

    cluster.add()
    told = Told(started=lambda number: pytest.fail(f"trial {number} was trained again"))
    third = measured_study(tmp_path, cluster.address, 4, told)
    assert not third.interrupted
    assert third.study.counts() == {"done": 4}
    assert told.ended == [(2, "done"), (3, "done")]
    assert cluster.node != first_node
    assert [row["facts"]["measured_by"] for row in third.study.rows()[2:]] == [cluster.node] * 2
    assert [model.trial for model in third.study.models()] == [0, 1, 2, 3]
    told_to_sampler = [trial.values[1] for trial in third.study._study.trials]
    assert told_to_sampler == [max(0.02, model["latency_ms"]) for model in third.study.models()]


def test_two_measurements_do_not_overlap(cluster: DeviceCluster) -> None:
    onnx, shape = block_network(5, "fp32")
    device, sent = RemoteDevice("pi4", cluster.address, 60, 0), SentModel(("latency_ms",), onnx, shape, 1, 1)
    with ExitStack() as stack:
        both = [stack.enter_context(connected(device)) for _ in range(2)]
        with cluster.measurement_lock:  # so that neither is over before the other one is asked for
            for one in both:
                one.send(sent)
            cluster.wait_until_measuring()
            until, most = time.monotonic() + 3, 0
            while time.monotonic() < until:
                most = max(most, cluster.measuring())
                time.sleep(0.05)
        assert most == 1
        assert [answer(one)[0] for one in both] == [MEASURED] * 2


def test_what_comes_too_late_or_cannot_run_is_said(cluster: DeviceCluster) -> None:
    onnx, shape = block_network(5, "fp32")
    sent = SentModel(("latency_ms",), onnx, shape, 1, 1)
    with connected(RemoteDevice("pi4", cluster.address, SHORT_S, 0)) as connection:
        assert connection.described == this_device()
        connection.send(replace(sent, onnx=b"no model"))
        kind, (reason, cause) = answer(connection)
        assert (kind, cause) == (REFUSED, "exception")
        assert "ONNX Runtime" in reason
        with cluster.measurement_lock:
            connection.send(sent)
            assert answer(connection) == (LATE, f"no answer within {SHORT_S} s")
            connection.send(sent)
            assert answer(connection) == (AWAY, f"no answer within {SHORT_S} s"), "the second one in a row"
        connection.send(sent)
        assert answer(connection)[0] == MEASURED


def test_a_baseline_that_is_not_measured_ends_the_search_and_the_next_one_goes_on(
    cluster: DeviceCluster, tmp_path: Path
) -> None:
    told, short = Told(), {"resource": "pi4", "timeout": SHORT_S, "retries": 0}
    with cluster.measurement_lock:
        first = measured_study(tmp_path, cluster.address, 2, told, measure_on=short)
    assert first.interrupted
    assert first.reason == (
        f"the baseline waits: latency_ms: pi4 has still to measure it: no answer within {SHORT_S} s; the same command "
        "goes on once the device is back"
    )
    assert first.study.counts() == {"parked": 1}, "nothing else can be compared"
    second = measured_study(tmp_path, cluster.address, 2)
    assert second.study.counts() == {"done": 2}
    assert second.study.rows()[0]["attempt"] == 1


def answer(connection: DeviceConnection) -> tuple[str, Any]:
    until = time.monotonic() + 60
    while (heard := connection.news()) is None:
        assert time.monotonic() < until, "no answer"
        time.sleep(0.05)
    return heard


def test_a_device_that_no_machine_is_ends_a_new_study_before_anything_is_stored(
    cluster: DeviceCluster, tmp_path: Path
) -> None:
    setup = toy_trials.toy_setup(tmp_path, measure_on={"resource": "pi5"})
    with pytest.raises(
        ConfigError, match=r"^toy\.yaml: measure_on\.resource: pi5: no machine of the cluster offers pi5$"
    ):
        search(setup, f"sqlite:///{tmp_path}/toy.db", where="toy.yaml", driver_options={"address": cluster.address})
    assert list(tmp_path.iterdir()) == []
