"""Trials that break in every way; each fault befalls one candidate, whatever the order in which trials run."""

import contextlib
import ctypes
import math
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch
import toy_trials

from paredown.evaluators.metrics.measurement import Measurement
from paredown.studies.result import TrialResult


def _segfault() -> None:
    ctypes.string_at(0)


def _exit() -> NoReturn:
    os._exit(3)


def _eat_memory() -> None:
    held = b"x" * 700_000_000
    threading.Event().wait()
    del held


def _hang() -> None:
    """Hang in C, where Python cannot interrupt the thread."""
    ctypes.PyDLL(None).pause()  # a PyDLL keeps the lock of the interpreter


def _raise() -> NoReturn:
    raise ZeroDivisionError("a bug in a trial")


def _raise_what_cannot_cross() -> NoReturn:
    raise ValueError(threading.Lock())


def _lack_memory() -> None:
    torch.empty(10**16)


def _lack_device_memory() -> NoReturn:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def _lose_device() -> NoReturn:
    raise RuntimeError("CUDA error: device-side assert triggered")


ACTS: dict[str, Callable[[], None]] = {
    "segfault": _segfault,
    "exit": _exit,
    "memory": _eat_memory,
    "hang": _hang,
    "raises": _raise,
    "raises what cannot cross": _raise_what_cannot_cross,
    "no memory": _lack_memory,
    "no device memory": _lack_device_memory,
    "device lost": _lose_device,
}


def _with(name: str, value: Any) -> Callable[[TrialResult], Any]:
    return lambda result: replace(result, measurements={**result.measurements, name: Measurement(name, value)})


RETURNS: dict[str, Callable[[TrialResult], Any]] = {
    "nan": _with("accuracy", math.nan),
    "inf": _with("size_bytes", math.inf),
    "a value of None": _with("accuracy", None),
    "None": lambda result: None,
    "text": lambda result: "0.9",
    "facts that cannot cross": lambda result: replace(result, facts={"lock": threading.Lock()}),
}
EXPECTED = {
    "segfault": ("killed", "its process was killed by SIGSEGV, 3 times"),
    "exit": ("killed", "its process ended with exit code 3, 3 times"),
    "memory": ("out_of_memory", "out of memory: its process held "),
    "hang": ("timeout", "timeout: no end after 6 s; its process was killed"),
    "raises": ("exception", "ZeroDivisionError: a bug in a trial"),
    "raises what cannot cross": ("exception", "ValueError: <unlocked"),
    "no memory": ("out_of_memory", "RuntimeError: "),
    "no device memory": ("out_of_memory", "OutOfMemoryError: "),
    "device lost": ("device_lost", "RuntimeError: CUDA error"),
    "nan": ("non_finite", "accuracy is nan"),
    "inf": ("non_finite", "size_bytes is inf"),
    "a value of None": ("exception", "accuracy is None"),
    "None": ("exception", "the trial returned None in place of a result"),
    "text": ("exception", "the trial returned '0.9' in place of a result"),
    "facts that cannot cross": ("exception", "the facts cannot be stored as JSON"),
}
"""Cause, and the beginning of the reason, by fault."""


def each_breaks_otherwise(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> Any:
    """Each candidate after the baseline meets another fault, until all have been met."""
    done = toy_trials.good(candidate, plan, on_epoch)
    done = replace(done, facts={"pid": os.getpid()})
    if plan.baseline is None:
        return done
    fault = _fault_of(candidate.digest, plan.folder)
    if fault in ACTS:
        ACTS[fault]()
    return RETURNS[fault](done) if fault in RETURNS else done


def _fault_of(digest: str, folder: Path) -> str:
    """Return the fault that is this candidate's, also when it runs again; empty where all are taken."""
    for name in EXPECTED:
        mark = folder / f"fault-{name.replace(' ', '-')}"
        with contextlib.suppress(FileExistsError), mark.open("x") as file:
            file.write(f"{digest} {os.getpid()}")
            return name
        if mark.read_text().split(" ")[:1] == [digest]:
            return name
    return ""


def met(folder: Path) -> dict[str, tuple[str, int]]:
    """Return the digest of the candidate that met each fault, and the process in which it first did."""
    marks = {name: (folder / f"fault-{name.replace(' ', '-')}").read_text().split() for name in EXPECTED}
    return {name: (digest, int(pid)) for name, (digest, pid) in marks.items()}
