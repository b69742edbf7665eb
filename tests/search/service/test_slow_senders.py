"""Connections that bring nothing are closed, and bodies that do not come are given up, without harm to others."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from zip_files import images, zipped

pytest.importorskip("fastapi")

import uvicorn

from paredown.search.service.api.application import api, application
from paredown.search.service.connection import Connection
from paredown.search.service.guard import Guard
from paredown.search.service.held_upload import KEY, uploaded
from paredown.search.service.service import Service
from paredown.search.service.settings import Settings

LIMIT_S = 0.3


class Impatient(Connection):
    headers_s = LIMIT_S


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """Serve from a thread, and yield port and token."""
    service = Service(Settings(f"sqlite:///{tmp_path / 's.db'}", tmp_path))
    guard = Guard(api(service), service.tokens, service.sessions, service.audit, ["localhost"], body_s=LIMIT_S)
    with serving(guard) as port:
        yield port, service.tokens.create("t", "alice", ["submit"])


@contextmanager
def serving(guarded: Any) -> Iterator[int]:
    """Serve an application from a thread, and yield its port."""
    server = uvicorn.Server(uvicorn.Config(guarded, http=Impatient, log_level="critical"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_a_connection_without_a_whole_request_is_closed(served: tuple[int, str], sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served[0]), timeout=60) as slow:
        slow.sendall(sent)
        assert slow.recv(100) == b""


def test_one_that_goes_silent_after_a_request_is_closed_too(served: tuple[int, str]) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served[0]), timeout=60) as kept:
        for _ in range(3):
            kept.sendall(request)
            answer = b""
            while b'{"status":"ok"}' not in answer:
                answer += kept.recv(10_000)
        kept.sendall(request[:-10])
        assert kept.recv(100) == b""


def test_a_body_that_does_not_come_is_given_up(served: tuple[int, str]) -> None:
    port, token = served
    head = f"POST /v1/studies HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: 9\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as slow:
        slow.sendall(head.encode())
        answer = b""
        while b"a body must come within 0.3 s" not in answer:
            part = slow.recv(10_000)
            assert part, answer
            answer += part
        assert answer.startswith(b"HTTP/1.1 408")


def test_an_answer_that_takes_longer_is_not_cut_off(served: tuple[int, str], tmp_path: Path) -> None:
    """The limit is for what a client sends: server-sent events of a study that waits have no end."""
    port, token = served
    service = Service(Settings(f"sqlite:///{tmp_path / 's.db'}", tmp_path))
    job = service.jobs.add("alice", "digits", {"study": "digits"}, str(tmp_path / "alice/digits"))
    head = f"GET /v1/studies/digits/progress HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as following:
        following.sendall(head.encode())
        answer = b""
        while b'"state": "queued"' not in answer:
            answer += following.recv(10_000)
        time.sleep(3 * LIMIT_S)
        service.jobs.stop(job, "cancel")
        while b'"state": "cancelled"' not in answer:
            part = following.recv(10_000)
            assert part, answer
            answer += part


def test_an_upload_that_hardly_comes_is_given_up_and_its_place_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paredown.search.service.held_upload.IDLE_S", LIMIT_S)
    service = Service(Settings(f"sqlite:///{tmp_path / 's.db'}", tmp_path / "out"))
    token, content = service.tokens.create("t", "alice", ["submit"]), zipped(images())
    head = f"PUT /v1/datasets/flowers HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    with serving(application(service)) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as slow:
            slow.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode())
            slow.settimeout(LIMIT_S / 10)
            answer = b""
            for byte in content:  # it would go on for minutes
                slow.sendall(bytes([byte]))
                try:
                    answer = slow.recv(10_000)
                    break
                except TimeoutError:
                    continue
            assert answer.startswith(b"HTTP/1.1 408"), answer
            slow.settimeout(60)
            while b"bytes of the zip file came within 0.3 s" not in answer:
                part = slow.recv(10_000)
                assert part, answer
                answer += part
            assert slow.recv(100) == b"", "the connection is closed, too"
        assert list((tmp_path / "out" / "alice" / ".datasets").glob(".*.zip")) == []
        with service.datasets.place("alice", "flowers"):
            pass  # nobody holds it any more


def test_the_time_that_an_upload_takes_to_write_does_not_count() -> None:
    async def received() -> dict[str, Any]:
        await asyncio.sleep(0)  # where a limit that has passed would end it
        return {"type": "http.request", "body": b"x" * 10, "more_body": bool(left.pop())}

    async def written() -> bytes:
        kept = b""
        async for part in uploaded({KEY: received}, 1000):
            await asyncio.sleep(LIMIT_S)
            kept += part
        return kept

    left = [False, True, True, True]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("paredown.search.service.held_upload.IDLE_S", LIMIT_S)
        assert asyncio.run(written()) == b"x" * 40
