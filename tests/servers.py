"""Servers of the service in processes of their own, and studies for them that take seconds."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commands import ENVIRONMENT

from paredown.search.api.client import Client
from paredown.studies.access.tokens import Tokens
from paredown.studies.database import open_storage

PATIENCE_S = 240.0
"""Seconds after which what a test waits for is taken not to come."""
KNOBS = {"mbconv.phi": 0, "mbconv.depth": 1, "mbconv.width": {"low": 0.5, "high": 3.0}}
STUDY: dict[str, Any] = {
    "study": "digits",
    "task": "digits",
    "objectives": ["accuracy", "macs", "size_bytes"],
    "space": {"families": ["mbconv"], "steps": ["quantization"], "knobs": KNOBS},
    "training": {"epochs": 1, "finetune_epochs": 1, "batch_size": 256},
    "sampler": "random",
    "workers": 1,
    "trials": 2,
}


@dataclass
class Answer:
    """What a server answered.

    Attributes:
        status: Status code.
        headers: Headers by their names in small letters.
        text: The body.
    """

    status: int
    headers: dict[str, str]
    text: str

    def document(self) -> Any:
        """Return the JSON document."""
        return json.loads(self.text)


@dataclass
class Running:
    """A server that runs.

    Attributes:
        url: Its address.
        storage: Address of its database.
        process: Its process.
    """

    url: str
    storage: str
    process: "subprocess.Popen[str]"
    extra: dict[str, str] = field(default_factory=dict)

    def token(self, owner: str, scope: str, lifetime_s: float | None = None) -> str:
        """Make a token."""
        engine = open_storage(self.storage).engine
        try:
            return Tokens(engine).create("test", owner, [scope], lifetime_s)
        finally:
            engine.dispose()

    def client(self, owner: str = "alice", scope: str = "submit") -> Client:
        """Return a client with a new token."""
        return Client(self.url, self.token(owner, scope))

    def ask(self, path: str, token: str = "", method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        """Send a request, and return the answer whatever it is."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=sent)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return _answer(answer.status, answer)
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error)


def _answer(status: int, answer: Any) -> Answer:
    return Answer(status, {k.lower(): v for k, v in answer.headers.items()}, answer.read().decode(errors="replace"))


def start(*arguments: str, folder: Path, **environment: str) -> "subprocess.Popen[str]":
    """Start a command of the command line in a folder; what it says on standard error goes into `standard-error`."""
    with (folder / "standard-error").open("ab") as opened:
        return subprocess.Popen(
            [sys.executable, "-m", "paredown", *arguments],
            cwd=folder,
            env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
            stdout=subprocess.PIPE,
            stderr=opened,
            text=True,
        )


@contextmanager
def server(folder: Path, storage: str, *arguments: str) -> Iterator[Running]:
    """Start a server, and end it as Ctrl-C does; it gets the address of the database as a secret."""
    process = start("serve", "--port", "0", *arguments, folder=folder, PAREDOWN_STORAGE=storage)
    assert process.stdout is not None
    with process:
        try:
            lines = iter(process.stdout.readline, "")
            url = next(line.strip() for line in lines if line.startswith("http"))
            yield Running(url, storage, process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            assert process.wait(60) is not None


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < PATIENCE_S, what
        time.sleep(0.1)
