"""Starts a server: its ports, its first token, and a worker and Optuna's dashboard in processes beside it."""

import functools
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path

from paredown.search.errors import ConfigError
from paredown.search.service.child_process import start_child
from paredown.search.service.settings import Settings

RESTART_S = 2.0
"""Seconds after which a process beside the server that died is started again."""
STOP_S = 150.0
"""Seconds after which a process that was asked to end is killed."""
ADMINISTRATOR = "admin"


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return ip_address("127.0.0.1" if host == "localhost" else host.strip("[]")).is_loopback
    except ValueError:
        return False


def serve(
    settings: Settings,
    host: str,
    port: int,
    say: Callable[[str], None],
    token_file: Path | None = None,
    *,
    has_worker: bool = True,
    dashboard_port: int | None = None,
) -> None:
    """Serve until a signal asks for the end.

    Args:
        settings: What is served.
        host: Address to listen on.
        port: Port; 0 for a free one.
        say: Told the address, and the first token where there is no file for it.
        token_file: File for the first token.
        has_worker: Whether a worker runs beside the server.
        dashboard_port: Port of Optuna's dashboard; None for no dashboard, 0 for a free port.

    Raises:
        ConfigError: FastAPI or the dashboard is not installed, a port is in use, other machines could reach it without
            a token, or the dashboard would be served under a path.
        StudyError: The database cannot be used.
    """
    try:
        import uvicorn

        from paredown.search.service.api.application import application
        from paredown.search.service.connection import Connection
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in ("fastapi", "uvicorn", "starlette", "anyio"):
            raise
        raise ConfigError("FastAPI and uvicorn are not installed: pip install 'paredown[service]'") from None
    from paredown.search.service.service import Service

    service = Service(settings)
    has_token = service.tokens.any_valid()
    if not is_loopback(host) and not has_token:
        raise ConfigError(
            f"--host {host}: other machines could reach it, and there is no token yet; "
            "make one first: paredown token create NAME --scope admin"
        )
    with ExitStack() as stack:
        sockets = [stack.enter_context(_listening(host, port, "--port"))]
        dashboard = None
        if dashboard_port is not None:
            _check_dashboard(dashboard_port, settings)
            sockets.append(stack.enter_context(_listening(host, dashboard_port, "--dashboard-port")))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paredown-dashboard-")))
            dashboard = (_port(sockets[1]), folder / "socket")
        if not has_token:
            make = functools.partial(service.tokens.create, "first start", ADMINISTRATOR, ["admin"])
            _hand_over(make, token_file, say)
        shown = f"[{host}]" if ":" in host else host
        say(f"http://{shown}:{_port(sockets[0])}{settings.root_path}")
        if dashboard is not None:
            say(f"Optuna's dashboard: http://{shown}:{dashboard[0]}")
            stack.enter_context(_kept("the dashboard", ["dashboard", "--socket", str(dashboard[1])], settings.storage))
        if has_worker:
            stack.enter_context(_kept("the worker", ["worker"], settings.storage))
        config = uvicorn.Config(
            application(service, dashboard),
            http=Connection,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        uvicorn.Server(config).run(sockets=sockets)


def _check_dashboard(port: int, settings: Settings) -> None:
    if find_spec("optuna_dashboard") is None:
        raise ConfigError(
            f"--dashboard-port {port}: optuna-dashboard is not installed: pip install 'paredown[dashboard]'"
        )
    if settings.root_path:
        raise ConfigError(
            f"--dashboard-port {port}: Optuna's dashboard works at / alone, not below --root-path {settings.root_path}"
        )


def _port(opened: socket.socket) -> int:
    return int(opened.getsockname()[1])


@contextmanager
def _listening(host: str, port: int, option: str) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends an answer at once only where the protocol is named; otherwise it waits 40 ms for a receipt
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((host.strip("[]"), port))
            opened.listen()  # the address is shown before uvicorn accepts: connections wait until then
        except OSError as error:
            raise ConfigError(
                f"--host {host} {option} {port}: {error.strerror}; {option} 0 takes a free port"
            ) from error
        yield opened


def _hand_over(make: Callable[[], str], file: Path | None, say: Callable[[str], None]) -> None:
    """Make the first token and give it to whoever starts the server, once."""
    if file is None:
        say(f"admin token, shown once: {make()}")
        return
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(f"{make()}\n")
    except OSError as error:
        raise ConfigError(f"--token-file {file}: {error.strerror}") from error
    say(f"admin token, written to the file {file}")


@contextmanager
def _kept(what: str, arguments: list[str], storage: str) -> Iterator[None]:
    """Keep a command running beside this process; one that dies is started again.

    Args:
        what: How messages name it.
        arguments: Its arguments.
        storage: Address of the database, which it gets where others cannot read it.
    """
    ended = threading.Event()

    def keep() -> None:  # the thread lives as long as its children, as they need
        while not ended.is_set():
            child = start_child(arguments, {"PAREDOWN_STORAGE": storage})
            while child.poll() is None and not ended.wait(0.2):
                pass
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    child.kill()
            elif not ended.wait(RESTART_S):
                sys.stderr.write(f"paredown serve: {what} ended with {child.returncode} and is started again\n")

    thread = threading.Thread(target=keep, name=what)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
