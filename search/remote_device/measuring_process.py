"""The process that lets a device of a Ray cluster measure models; it answers the process of the search through a pipe.

The device is a machine that declares a resource of its own. A task of Ray that takes this resource runs there, one at a
time, and calls the code that measures on any machine. A process of its own, as for trials: where a cluster is lost, Ray
ends the process that uses it.
"""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from paredown.evaluators.latency.sent_model import SentModel, described_here, measured_here
from paredown.search.drivers.ray_access import enter

DESCRIBED, MEASURED, REFUSED, LATE, AWAY, BACK = "described", "measured", "refused", "late", "away", "back"
"""What the process says: what the device is; measurements; both with the machine that made them; why a model
cannot be measured, and the kind of failure; why a model was not measured in time; why none can be; that the device is
back."""
POLL_S = 0.5
"""Seconds between two looks at whether the device is there and whether the search has something to measure."""
NOTICED_S = 20.0
"""Seconds within which Ray notices that a machine is gone whose process has died."""
MAX_LATE = 2
"""Number of models in a row without an answer in time after which a device is taken for away."""


@dataclass(frozen=True)
class RemoteDevice:
    """A machine of a Ray cluster that measures.

    Attributes:
        resource: Resource that it alone declares.
        address: Address of the cluster.
        timeout_s: Seconds in which a measurement has to end.
        retries: Number of further attempts.
        threads: Threads that execute one model.
        batch_size: Images of one run.
    """

    resource: str
    address: str
    timeout_s: float
    retries: int
    threads: int = 1
    batch_size: int = 1

    @property
    def absence(self) -> str:
        """What is said where no machine declares the resource."""
        return f"no machine of the cluster offers {self.resource}"


def serve(pipe: "Connection[Any, Any]", device: RemoteDevice, environment: Mapping[str, str]) -> None:
    """Describe the device, then measure what the search sends, until the search closes the pipe.

    Args:
        pipe: To the process of the search.
        device: The device.
        environment: Environment of this process, with the token of the cluster.
    """
    enter(environment, Path(os.devnull))
    with contextlib.suppress(BrokenPipeError, EOFError, ConnectionResetError):  # the search has ended
        import ray

        try:
            ray.init(address=device.address, log_to_driver=False, logging_level="ERROR")
        except Exception as error:
            pipe.send((AWAY, f"its cluster cannot be used: {error}"))
            return
        try:
            _Bench(pipe, device).serve()
        finally:
            ray.shutdown()


def ran_on(function: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
    """Return what a function returns, and the machine of the cluster that it ran on."""
    import ray

    return function(*arguments), ray.get_runtime_context().get_node_id()


class _Late(Exception):
    """An attempt has not ended in time."""


class _Away(Exception):
    """The device is not in the cluster."""


class _Died(Exception):
    """The process of an attempt died while the device stayed in the cluster."""


class _Bench:
    """Runs one function after the other on the device."""

    def __init__(self, pipe: "Connection[Any, Any]", device: RemoteDevice) -> None:
        self._pipe, self._device = pipe, device
        self._late = 0
        self._left: frozenset[str] | None = None

    def serve(self) -> None:
        self._answer(DESCRIBED, described_here, self._device.threads, self._device.batch_size)
        while True:
            if self._pipe.poll(POLL_S):
                sent: SentModel = self._pipe.recv()
                self._answer(MEASURED, measured_here, sent)
            elif self._left is not None and (now := self._machines()) and now != self._left:
                self._left, self._late = None, 0
                self._pipe.send((BACK, ""))

    def _answer(self, kind: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Run a function on the device, and tell the search what came of it."""
        from ray.exceptions import RayTaskError

        try:
            found = self._ran(function, *arguments)
        except RayTaskError as error:
            self._pipe.send((REFUSED, (str(error.cause or error), "exception")))
        except _Died as error:
            self._pipe.send((REFUSED, (str(error), "killed")))
        except _Late as error:
            self._late += 1
            if self._late < MAX_LATE and kind == MEASURED:
                self._pipe.send((LATE, str(error)))
            else:
                self._leave(str(error))
        except _Away as error:
            self._leave(str(error))
        else:
            self._late = 0
            self._pipe.send((kind, found))

    def _leave(self, reason: str) -> None:
        """Take the device for away until its resource is declared anew, such as by the same machine after a restart."""
        self._left = self._machines()
        self._pipe.send((AWAY, reason))

    def _ran(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function returns on the device, after some attempts.

        Raises:
            _Away: The device is not there.
            _Late: No attempt ended in time.
            _Died: The process died at the last attempt.
            RayTaskError: The function raised an error.
        """
        attempts = 1 + self._device.retries
        for attempt in range(1, attempts + 1):
            try:
                return self._attempt(function, *arguments)
            except (_Late, _Died) as error:
                if attempt == attempts:
                    raise type(error)(f"{error}, {attempts} times" if attempts > 1 else str(error)) from error
        raise AssertionError("there is at least one attempt")

    def _attempt(self, function: Callable[..., Any], *arguments: Any) -> Any:
        import ray
        from ray.exceptions import RayError, RayTaskError

        device = self._device
        if not self._machines():
            raise _Away(device.absence)
        task = ray.remote(num_cpus=0, resources={device.resource: 1}, max_retries=0)(ran_on)
        result, end = task.remote(function, *arguments), time.monotonic() + device.timeout_s
        while not ray.wait([result], timeout=POLL_S)[0]:
            is_late = time.monotonic() > end
            if is_late or not self._machines():
                ray.cancel(result, force=True)
                raise _Late(f"no answer within {device.timeout_s:g} s") if is_late else _Away(device.absence)
            if self._pipe.poll(0):  # it sends nothing while it waits for an answer
                raise EOFError("the search has ended")
        try:
            return ray.get(result)
        except RayTaskError:
            raise
        except RayError as error:
            until = time.monotonic() + NOTICED_S
            while self._machines() and time.monotonic() < until:
                time.sleep(POLL_S)
            raise _Died("its process there died") if self._machines() else _Away(device.absence) from error

    def _machines(self) -> frozenset[str]:
        """Return the machines that declare the resource now."""
        import ray

        resource = self._device.resource
        return frozenset(
            node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get(resource, 0) >= 1
        )
