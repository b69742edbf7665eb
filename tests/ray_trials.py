"""Trials that look at Ray from inside, or break it; workers import this module by name."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import toy_trials

from paredown.studies.result import TrialResult

DATABASE = "postgresql+psycopg://somebody:s3cret-of-the-database@db.invalid/studies"
CLIENT = """
import ray, sys
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print("ran", ray.get(ray.remote(num_cpus=0)(lambda: 7).remote()))
"""


def clients(address: str, folder: Path) -> dict[str, str]:
    """Return what clients of a cluster print: one with its token, one with another token, and one with none."""
    stranger = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    stranger |= {"HOME": str(folder)}  # nor is there a token in its home
    environments = {
        "friend": dict(os.environ),
        "wrong": stranger | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x" * 64},
        "none": stranger,
    }
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-c", CLIENT, address],
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for name, env in environments.items()
    }
    return {name: process.communicate(timeout=280)[0] for name, process in processes.items()}


def actor_pid() -> int:
    """Return the number of the process of Ray that keeps the one of this trial."""
    actor = multiprocessing.parent_process()
    assert actor is not None
    assert actor.pid is not None
    return actor.pid


def raylet_pid() -> int:
    """Return the number of the process of Ray that all of this machine's trials depend on."""
    return int(os.environ["RAY_RAYLET_PID"])


def option_of_ray(name: str) -> str:
    """Return an option with which Ray was started on this machine."""
    words = psutil.Process(raylet_pid()).cmdline()
    return next(word for word in words if word.startswith(f"--{name}=")).partition("=")[2]


def places_of(secret: str) -> list[str]:
    """Return the command lines and the files of Ray on this machine that hold a secret."""
    session = Path(option_of_ray("session_dir"))
    files = [*Path("/proc").glob("[0-9]*/cmdline"), *session.rglob("*")]
    found = []
    for file in files:
        try:
            if file.is_file() and not file.is_symlink() and secret.encode() in file.read_bytes():
                found.append(str(file))
        except OSError:
            continue  # a process that has ended, or a file that is gone
    return found


def looks_around(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Return a good result whose facts say who may use Ray, and where its token and the database's password stand."""
    token = os.environ["RAY_AUTH_TOKEN"]
    seen = pickle.dumps((candidate, plan)) + repr(dict(os.environ)).encode()
    facts = {
        "clients": clients(option_of_ray("gcs-address"), plan.folder),
        "token_length": len(token),
        "token_in": places_of(token),
        "database_in": [*(["job"] if b"s3cret" in seen else []), *places_of("s3cret-of-the-database")],
        "threads": plan.threads,
    }
    (plan.folder / "token").write_text(token)  # for the test, which deletes it
    return replace(toy_trials.good(candidate, plan, on_epoch), facts=facts)


def one_dies(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """One trial after the baseline kills Ray's actor; the others wait until trials have run on two nodes."""
    if plan.baseline is None:
        return toy_trials.good(candidate, plan, on_epoch)
    died = plan.folder / "died"
    if not died.exists():
        died.touch()
        os.kill(actor_pid(), signal.SIGKILL)
    (plan.folder / f"node-{raylet_pid()}").touch()
    until = time.monotonic() + 100
    while len(list(plan.folder.glob("node-*"))) < 2 and time.monotonic() < until:
        time.sleep(0.1)  # between two looks at what another process does
    return toy_trials.good(candidate, plan, on_epoch)


def node_is_lost(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """The first trial that comes to the second machine kills Ray there."""
    is_head = any(word.endswith(" --head") for word in psutil.Process(raylet_pid()).cmdline())
    if not is_head and plan.baseline is not None:
        (plan.folder / "lost").touch()
        os.kill(raylet_pid(), signal.SIGKILL)
        time.sleep(60)  # until Ray ends this process, which must not give a result
    until = time.monotonic() + 60
    while plan.baseline is not None and not (plan.folder / "lost").exists() and time.monotonic() < until:
        time.sleep(0.1)  # between two looks at what another process does
    return toy_trials.good(candidate, plan, on_epoch)


def waits_until_seen(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """A trial that ends only when somebody has seen its first epoch."""
    on_epoch(0, {"accuracy": 0.5})
    while not (plan.folder / "seen").exists():
        time.sleep(0.1)  # between two looks at what another process does
    return toy_trials.good(candidate, plan, on_epoch)


def takes_ray_away(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """The first trial after the baseline kills Ray on this machine."""
    if plan.baseline is not None:
        os.kill(raylet_pid(), signal.SIGKILL)
        time.sleep(60)  # until Ray ends this process, which must not give a result
    return toy_trials.good(candidate, plan, on_epoch)


def with_a_file(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Every trial leaves a file in the folder of its model."""
    result = toy_trials.good(candidate, plan, on_epoch)
    artifact = f"trials/{candidate.digest[:16]}"
    (plan.folder / artifact).mkdir(parents=True, exist_ok=True)
    for name in toy_trials.NEEDED:
        (plan.folder / artifact / name).write_bytes(b"as the worker wrote it")
    return replace(result, artifact=artifact)
