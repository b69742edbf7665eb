"""What the service costs a search that runs, and how long its clients wait: fifty of them poll a study of many trials.

A study of 10,000 trials (as in `scale.py`) gains a trial each second, as one that runs does. Fifty clients, each with a
token of its own, ask once a second for its state, all studies, trials, the front, a choice or the log. At the same time
a worker runs a small study of real trials; minutes with and without clients alternate, and its trials a minute are
compared pair by pair. The clients share the machine with server and worker.

    .venv/bin/python benchmarks/service.py [--clients 50] [--trials 10000] [--pairs 4] [--window-s 60]

Writes benchmarks/results/service.json.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from scale import candidates, fill, values
from sqlalchemy import Engine, func, insert, select

from paredown.search.api.client import Client
from paredown.search.study_file.schema import read_config
from paredown.search.study_file.setup import Setup, set_up
from paredown.studies.access.tokens import Tokens
from paredown.studies.database import open_storage
from paredown.studies.tables import JobRow, MeasurementRow, StudyRow, TrialRow

ROOT = Path(__file__).parents[1]
OWNER, STUDY = "alice", "big"
SMALL: dict[str, Any] = {
    "study": "small",
    "task": "digits",
    "objectives": ["accuracy", "macs", "size_bytes"],
    "space": {"families": ["mbconv"], "steps": ["quantization"], "knobs": {"mbconv.phi": 0, "mbconv.depth": 1}},
    "training": {"epochs": 1, "finetune_epochs": 1, "batch_size": 256},
    "sampler": "random",
    "workers": 1,
    "trials": 50_000,
}
"""The study whose trials are counted."""
ROUTES = {
    "/v1/studies/{study}": 6,
    "/v1/studies": 3,
    "/v1/studies/{study}/trials?limit=100&offset={offset}&sort={sort}&order=desc": 4,
    "/v1/studies/{study}/front": 3,
    "/v1/studies/{study}/select?max=size_bytes={size}k": 3,
    "/v1/studies/{study}/log?offset=0": 1,
}
"""What clients ask for, with how often of twenty times."""
BUDGETS = {"p99_ms": 300.0, "trials_lost_share": 0.10, "server_pss_mb": 400.0, "first_page_s": 1.5}
SETTLE_S = 5.0
"""Seconds at the beginning of each window that are not counted."""


def polled(url: str, tokens: list[str], interval_s: float, stop: Any, told: Any) -> None:
    """Poll as many clients do, in a process of their own; send route, seconds and status of each request."""
    taken: list[tuple[str, float, int]] = []
    threads = [threading.Thread(target=_client, args=(url, one, interval_s, stop, taken)) for one in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.send(taken)


def _client(url: str, token: str, interval_s: float, stop: Any, taken: list[tuple[str, float, int]]) -> None:
    draw, address = random.Random(token), urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
    stop.wait(draw.random() * interval_s)
    while not stop.is_set():
        (route,) = draw.choices(list(ROUTES), list(ROUTES.values()))
        given = {"offset": draw.randrange(0, 9000, 100), "size": draw.randrange(20, 400), "study": STUDY}
        path = route.format(**given, sort=draw.choice(["number", "accuracy", "latency_ms"]))
        begun = time.perf_counter()
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException):
            connection.close()
            status = 0
        took = time.perf_counter() - begun
        taken.append((route.partition("?")[0], took, status))
        stop.wait(max(0.0, interval_s - took))


def grow(engine: Engine, setup: Setup, count: int, stop: threading.Event) -> None:
    """Add a finished trial to the large study each second."""
    new = iter(candidates(setup, count + 100_000))
    for _ in range(count):
        next(new)
    number = count
    while not stop.wait(1.0):
        candidate, now = next(new), datetime.now()
        with engine.begin() as connection:
            which = select(StudyRow.id).where(StudyRow.name == f"{OWNER}.{STUDY}")
            row = {"study_id": connection.scalar(which), "number": number, "digest": candidate.digest, "state": "done"}
            row |= {"candidate": candidate.to_json(), "reason": "", "feasible": True, "artifact": "trials/x"}
            row |= {"facts": {"seconds": {"train": 1.0}}, "started_at": now, "finished_at": now}
            trial = connection.scalar(insert(TrialRow).values(row).returning(TrialRow.id))
            measured = {"trial_id": trial, "spread": 0.01, "how": "measured", "device": ""}
            rows = [{**measured, "metric": name, "value": value} for name, value in values(candidate).items()]
            connection.execute(insert(MeasurementRow), rows)
        number += 1


def done(engine: Engine, name: str) -> int:
    """Return the number of finished trials of a study."""
    query = select(func.count()).select_from(TrialRow).join(StudyRow).where(StudyRow.name == name)
    with engine.connect() as connection:
        return connection.scalar(query.where(TrialRow.state.in_(("done", "rejected", "stopped", "failed")))) or 0


@contextmanager
def served(folder: Path, storage: str) -> Iterator[tuple["subprocess.Popen[str]", str, float]]:
    """Start the service; yield its process, its address, and the seconds that it took to say it."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "paredown", "serve", "--port", "0", "--token-file", "token"]
    process = subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PAREDOWN_STORAGE": storage}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        url = next(line.strip() for line in process.stdout if line.startswith("http"))
        yield process, url, time.perf_counter() - begun
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def first_page(url: str, token: str) -> dict[str, float]:
    """Return the seconds in which a page and all that it names is loaded, after signing in; empty without pages."""
    address = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)

    def ask(method: str, path: str, body: str = "", **headers: str) -> tuple[http.client.HTTPResponse, str]:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer, answer.read().decode(errors="replace")

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer, _ = ask("POST", "/sign-in", urllib.parse.urlencode({"token": token}), **form)
    if answer.status != 303:
        return {}
    cookie = {"Cookie": (answer.getheader("set-cookie") or "").partition(";")[0]}
    begun = time.perf_counter()
    _, page = ask("GET", "/", **cookie, Accept="text/html")
    html_s, size = time.perf_counter() - begun, len(page)
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', page):
        size += len(ask("GET", path, **cookie)[1])
    return {
        "html_s": round(html_s, 3),
        "first_page_s": round(time.perf_counter() - begun, 3),
        "first_page_mb": round(size / 1e6, 2),
    }


def percentile_ms(taken: list[float], share: float) -> float:
    """Return the time below which a share of the requests stays."""
    return round(1000 * sorted(taken)[min(len(taken) - 1, int(share * len(taken)))], 1)


def measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return what is measured."""
    storage = f"sqlite:///{folder / 'studies.db'}"
    given = {"trials": 2 * options.trials, "study": f"{OWNER}.{STUDY}"}
    setup = set_up(read_config(None, given), "benchmark", folder, folder / "paredown-out" / OWNER / STUDY)
    fill(setup, storage, options.trials)
    engine = open_storage(storage).engine
    job = {"owner": OWNER, "study": STUDY, "payload": {"trials": 2 * options.trials}, "state": "running"}
    job |= {"folder": str(setup.plan.folder), "request_digest": "", "created_at": time.time(), "lease_until": 1e12}
    with engine.begin() as connection:
        connection.execute(insert(JobRow).values(job))
    tokens = [Tokens(engine).create(f"client {n}", OWNER, ["read"]) for n in range(options.clients)]
    found: dict[str, Any] = {}
    with served(folder, storage) as (process, url, start_s):
        server = psutil.Process(process.pid)
        found["start_s"] = round(start_s, 2)
        found |= first_page(url, tokens[0])
        submitter = Client(url, Tokens(engine).create("submitter", "bob", ["submit"]))
        small = submitter.submit(SMALL)
        while done(engine, "bob.small") < 5:
            time.sleep(0.5)
        growing = threading.Event()
        grower = threading.Thread(target=grow, args=(engine, setup, options.trials, growing))
        grower.start()
        windows: list[tuple[bool, float]] = []
        taken: list[tuple[str, float, int]] = []
        cpu: dict[bool, list[float]] = defaultdict(list)
        for number in range(2 * options.pairs):
            is_loaded = (number + number // 2) % 2 == 1  # without, with, with, without: a drift counts for neither
            rate, used, answers = window(engine, url, tokens if is_loaded else [], server, options)
            windows.append((is_loaded, rate))
            cpu[is_loaded].append(used)
            taken += answers
            print(f"  {'with' if is_loaded else 'without'} clients: {rate:.1f} trials a minute", flush=True)
        growing.set()
        grower.join()
        found["server_pss_mb"] = round(server.memory_full_info().pss / 2**20)
        found["server_rss_mb"] = round(server.memory_info().rss / 2**20)
        found["torch_in_server"] = any("torch" in Path(one.path).name for one in server.memory_maps())
        small.cancel()
    engine.dispose()
    pairs = [sorted(pair) for pair in (windows[i : i + 2] for i in range(0, len(windows), 2))]
    lost = [1 - loaded / free for (_, free), (_, loaded) in pairs]
    found["trials_per_minute"] = {
        "without": [round(pair[0][1], 1) for pair in pairs],
        "with": [round(pair[1][1], 1) for pair in pairs],
    }
    found["trials_lost_share"] = round(statistics.median(lost), 3)
    found["server_cpu_share"] = {
        "without": round(statistics.mean(cpu[False]), 3),
        "with": round(statistics.mean(cpu[True]), 3),
    }
    return found | latencies(taken, options)


def window(
    engine: Engine, url: str, tokens: list[str], server: psutil.Process, options: argparse.Namespace
) -> tuple[float, float, list[tuple[str, float, int]]]:
    """Return the trials a minute of a window, the server's share of a core, and the requests of its clients."""
    context = multiprocessing.get_context("spawn")
    stop, (here, there) = context.Event(), context.Pipe()
    clients = context.Process(target=polled, args=(url, tokens, options.interval_s, stop, there))
    clients.start()
    time.sleep(SETTLE_S)
    before, begun, used = done(engine, "bob.small"), time.monotonic(), sum(server.cpu_times()[:2])
    time.sleep(options.window_s)
    elapsed = time.monotonic() - begun
    rate = 60 * (done(engine, "bob.small") - before) / elapsed
    share = (sum(server.cpu_times()[:2]) - used) / elapsed
    stop.set()
    answers = here.recv()
    clients.join()
    return rate, share, answers


def latencies(taken: list[tuple[str, float, int]], options: argparse.Namespace) -> dict[str, Any]:
    """Return how long clients waited, by route and of all."""
    by_route: dict[str, list[float]] = defaultdict(list)
    for route, took, _ in taken:
        by_route[route].append(took)
    every = [took for _, took, _ in taken]
    loaded_s = options.pairs * (options.window_s + SETTLE_S)
    return {
        "requests": len(taken),
        "requests_per_s": round(len(taken) / loaded_s, 1),
        "statuses": dict(Counter(str(status) for _, _, status in taken)),
        "p50_ms": percentile_ms(every, 0.5),
        "p99_ms": percentile_ms(every, 0.99),
        "routes": {
            route: {"requests": len(one), "p50_ms": percentile_ms(one, 0.5), "p99_ms": percentile_ms(one, 0.99)}
            for route, one in sorted(by_route.items())
        },
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--interval-s", type=float, default=1.0)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--window-s", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    options = parser.parse_args()
    document: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average_before": os.getloadavg()[0],
        "cores": os.cpu_count(),
        "clients": options.clients,
        "interval_s": options.interval_s,
        "trials": options.trials,
        "window_s": options.window_s,
    }
    with tempfile.TemporaryDirectory() as name:
        document |= measured(options, Path(name))
    missed = [
        f"{name}: {document[name]} is above {most}" for name, most in BUDGETS.items() if document.get(name, 0) > most
    ]
    missed += ["the server has loaded PyTorch"] if document["torch_in_server"] else []
    missed += ["no pages"] if "first_page_s" not in document else []
    document["missed_budgets"] = missed
    (options.out / "service.json").write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
