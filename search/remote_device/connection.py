"""The process of a search that reaches a remote device, as the search sees it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any

from paredown.evaluators.device import Device
from paredown.evaluators.latency.sent_model import SentModel
from paredown.search.drivers.process_server import main_module_hidden, worker_context
from paredown.search.drivers.ray_access import CONNECT_S, ray_environment
from paredown.search.remote_device.measuring_process import AWAY, DESCRIBED, REFUSED, RemoteDevice, serve

LEAVE_S = 10.0
"""Seconds in which the process has to end by itself."""
LOST = "the connection to its cluster is lost"


class DeviceConnection:
    """The way to a device.

    Attributes:
        device: The device.
        described: What it is; None where it was away at the start, or cannot measure.
        trouble: Why; empty where it can.
        is_fit: Whether it can measure once it is there.
    """

    def __init__(self, pipe: "Connection[Any, Any]", device: RemoteDevice) -> None:
        self.device, self._pipe, self._is_open = device, pipe, True
        self.described: Device | None = None
        self.trouble, self.is_fit = "", True
        kind, content = self._first()
        if kind == DESCRIBED:
            (described, theirs), _ = content
            if theirs == version("paredown"):
                self.described = described
            else:
                self.is_fit, self.trouble = False, f"it has Paredown {theirs}, this machine {version('paredown')}"
        elif kind == REFUSED:
            self.is_fit, self.trouble = False, content[0]
        else:
            self.trouble = content

    def remarks(self, begun_on: Device) -> list[str]:
        """Return what a user must know of the device.

        Args:
            begun_on: The device that the files of the study are made for.
        """
        name, found = self.device.resource, []
        if self.trouble:
            found.append(f"{name} measures nothing now ({self.trouble}); trials are parked until it is back")
        elif self.described is not None and self.described != begun_on:
            found.append(
                f"it began on {begun_on}; {name} is {self.described}. Files are still made for the first device"
            )
        return found

    def send(self, sent: SentModel) -> None:
        """Let the device measure a model, where it measures none."""
        with suppress(BrokenPipeError, ConnectionResetError):  # the process has died, which is heard next
            self._pipe.send(sent)

    def news(self) -> tuple[str, Any] | None:
        """Return what was heard since the last call, its kind and content; None for nothing."""
        if not self._is_open:
            return None
        try:
            heard: tuple[str, Any] | None = self._pipe.recv() if self._pipe.poll(0) else None
            return heard
        except (EOFError, ConnectionResetError):
            self._is_open = False
            return AWAY, LOST

    def _first(self) -> tuple[str, Any]:
        wait_s = CONNECT_S + self.device.timeout_s * (1 + self.device.retries)
        until = time.monotonic() + wait_s
        while time.monotonic() < until:
            if self._pipe.poll(1.0) and (heard := self.news()) is not None:
                return heard
        return AWAY, f"no answer within {wait_s:g} s"


@contextmanager
def connected(device: RemoteDevice) -> Iterator[DeviceConnection]:
    """Keep a process that reaches a device."""
    context = worker_context()
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, device, ray_environment(device.address)), daemon=True)
    with main_module_hidden():
        process.start()
    theirs.close()
    try:
        yield DeviceConnection(ours, device)
    finally:
        ours.close()
        process.join(LEAVE_S)
        process.kill()
        process.join()
