"""The dashboard looks at a study again and again while searches write to its database."""

import json
import threading
import urllib.request
from pathlib import Path

import pytest
from toy_searches import check, opened, started, wait_for

from paredown.search.dashboard.server import serving

pytest.importorskip("optuna_dashboard")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_search_on_sqlite_is_not_disturbed(tmp_path: Path) -> None:
    database, looks, troubles = f"sqlite:///{tmp_path / 'studies.db'}", [], []
    ended = threading.Event()

    def look(address: str) -> None:
        while not ended.is_set():
            try:
                with urllib.request.urlopen(f"{address}/api/studies/1", timeout=60) as response:
                    looks.append(len(json.load(response)["trials"]))
            except OSError as error:
                troubles.append(error)

    keys = {"trials": 10, "study": "toy"}
    with started(tmp_path, database, **keys) as one, started(tmp_path, database, **keys) as other:
        study = opened(database, "toy")
        with serving(database) as (server, address):
            threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})]
            threads += [threading.Thread(target=look, args=(address.removesuffix("/dashboard"),)) for _ in range(2)]
            for thread in threads:
                thread.start()
            try:
                one.join(120)
                other.join(120)
                seen = len(looks)
                wait_for(lambda: len(looks) > seen)
            finally:
                ended.set()
                for thread in threads[1:]:
                    thread.join()
                server.shutdown()
                threads[0].join()
        assert (one.exitcode, other.exitcode) == (0, 0)
    check(study, 10)
    assert troubles == []
    assert looks[-1] == len(study.rows())
