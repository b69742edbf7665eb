"""Serves Optuna's dashboard over studies of a database, to this machine alone or at a Unix socket."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from paredown.search.dashboard.artifacts import FolderArtifacts
from paredown.search.dashboard.guard import Application, Guard
from paredown.search.dashboard.storage import ReviewStorage
from paredown.search.errors import ConfigError
from paredown.studies.database import open_storage
from paredown.studies.database_to_read import open_to_read
from paredown.studies.errors import StudyNotFound

HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""Names by which a browser on this machine, or at the other end of a tunnel, may call the dashboard."""


class Server(ThreadingMixIn, WSGIServer):
    """Answers each request in a thread of its own; requests that still run do not keep it from ending."""

    daemon_threads = True


class ServerV6(Server):
    """The same on the loopback address of IPv6."""

    address_family = socket.AF_INET6


class SocketServer(Server):
    """The same at a Unix socket, which its owner alone reaches."""

    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        """Make the socket."""
        place = Path(str(self.server_address))
        if place.is_socket():  # of one that was killed
            place.unlink()
        self.socket.bind(str(place))
        place.chmod(0o600)
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Return a connection, and an address for it, which none has at a Unix socket."""
        return self.socket.accept()[0], ("localhost", 0)


class QuietRequests(WSGIRequestHandler):
    """Reads requests and logs none of them."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Drop a line of the log."""


def loopback(host: str) -> str:
    """Return the address of this machine that a host stands for.

    Raises:
        ConfigError: Other machines could reach it.
    """
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise ConfigError(
            f"--host {host}: allowed: 127.0.0.1, localhost, ::1; the dashboard asks nobody for a password, so that "
            "everyone who can reach it would see the studies; from another machine, open a tunnel: "
            "ssh -L 8080:127.0.0.1:8080 USER@THIS_MACHINE"
        )
    return str(address)


def application(storage: ReviewStorage, *, can_write_notes: bool) -> Application:
    """Return the dashboard behind its guard, as a WSGI application.

    Raises:
        ConfigError: Optuna's dashboard is not installed.
    """
    try:
        import optuna_dashboard

        from paredown.search.dashboard.study_page import StudyPages
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in ("optuna_dashboard", "bottle"):
            raise
        raise ConfigError("optuna-dashboard is not installed: pip install 'paredown[dashboard]'") from None
    dashboard: Application = optuna_dashboard.wsgi(storage, artifact_store=FolderArtifacts(storage.folder))
    return Guard(StudyPages(dashboard, storage), HOSTS, can_write_notes=can_write_notes)


@contextmanager
def serving(
    url: str, study: str | None = None, host: str = "127.0.0.1", port: int = 0, *, can_write_notes: bool = False
) -> Iterator[tuple[Server, str]]:
    """Open a database and a port, and yield the server, which is not started yet, and the address to open.

    Args:
        url: Address of the database.
        study: Study that the address leads to; None for the list of studies.
        host: Address of this machine.
        port: Port; 0 for a free one.
        can_write_notes: Whether notes may be changed.

    Raises:
        ConfigError: The host is no address of this machine alone, or the port is in use.
        StudyError: There is no such database or study.
    """
    address = loopback(host)
    storage = ReviewStorage(open_to_read(url), open_storage(url, must_exist=True) if can_write_notes else None)
    try:
        page = "/dashboard" if study is None else f"/dashboard/studies/{_study_id(storage, study)}"
        served = application(storage, can_write_notes=can_write_notes)
        with _listening(address, port, served) as server:
            shown = f"[{address}]" if ":" in address else address
            yield server, f"http://{shown}:{server.server_port}{page}"
    finally:
        storage.close()


@contextmanager
def serving_at(url: str, place: Path) -> Iterator[Server]:
    """Open a database, and yield a server at a Unix socket, which is not started yet.

    Args:
        url: Address of the database.
        place: The socket, which is made.

    Raises:
        ConfigError: The socket cannot be made.
        StudyError: There is no such database.
    """
    storage = ReviewStorage(open_to_read(url))
    try:
        served = application(storage, can_write_notes=False)
        try:
            server = SocketServer(str(place), QuietRequests)  # type: ignore[arg-type]
        except OSError as error:
            raise ConfigError(f"--socket {place}: {error.strerror or error}") from error
        with server:
            server.set_app(served)
            yield server
    finally:
        storage.close()


def _listening(address: str, port: int, served: Application) -> Server:
    try:
        server = make_server(address, port, served, ServerV6 if ":" in address else Server, QuietRequests)
    except OSError as error:
        raise ConfigError(f"--port {port}: {error.strerror}; --port 0 takes a free one") from error
    return server


def _study_id(storage: ReviewStorage, name: str) -> int:
    try:
        return storage.get_study_id_from_name(name)
    except KeyError:
        names = ", ".join(study.study_name for study in storage.get_all_studies())
        raise StudyNotFound(f"no study {name!r} in this database; studies there: {names or 'none'}") from None
