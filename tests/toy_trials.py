"""Trials that cost nothing, for tests of what runs them: their values follow from the candidate's knobs.

Workers import this module by name; `tests/conftest.py` makes it importable there.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from paredown.evaluators.errors import TrialInterrupted
from paredown.evaluators.metrics.measurement import Measurement
from paredown.search.study_file.schema import StudyConfig
from paredown.search.study_file.setup import Setup, set_up
from paredown.studies.outputs import NEEDED
from paredown.studies.result import UNTRAINED_KEY, TrialResult, stopped_early

BAD = 5
"""The kernel whose candidates misbehave; the baseline's is another."""

KNOBS = {
    "mbconv.scaling": "free",
    "mbconv.depth": {"low": 1.0, "high": 2.0},
    "mbconv.width": {"low": 0.5, "high": 1.5},
    "mbconv.resolution": 8,
    "mbconv.kernel": [3, 5],
    "mbconv.expansion": [2, 4],
    "mbconv.squeeze_excite": [False, True],
    "quantization.weights": ["fp32", "fp16", "int8"],
    **dict.fromkeys(f"quantization.{knob}" for knob in ("activations", "calibration", "aware", "max_drop")),
}


def toy_setup(folder: Path, **keys: Any) -> Setup:
    """Return a search of the digits over a few cheap knobs."""
    study = {
        "study": "toy",
        "task": "digits",
        "objectives": ["accuracy", "size_bytes"],
        "space": {"knobs": KNOBS, "steps": ["quantization"]},
        "workers": 1,
        "trials": 6,
    }
    return set_up(StudyConfig.model_validate(study | keys), "toy.yaml", folder, folder / "out")


def write_arrays(file: Path, seed: int = 0) -> None:
    """Write a few images of two classes, for the task `arrays`."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for split, count in {"train": 40, "validation": 20, "test": 20}.items():
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 8, 8), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % 2
    np.savez(file, **arrays)


def values(candidate: Any) -> dict[str, float]:
    """Return what a toy trial measures."""
    knobs = candidate.knobs
    cost = knobs["depth"] * knobs["width"] ** 2 * knobs["expansion"] * (1.2 if knobs["kernel"] == 5 else 1.0)
    bytes_each = {"fp16": 2, "int8": 1}.get(candidate.steps.get("quantization", {}).get("weights"), 4)
    return {
        "accuracy": 1 - 0.3 / (1 + cost) - (0.01 if bytes_each == 1 else 0),
        "latency_ms": 0.01 * cost,
        "size_bytes": 1000.0 * cost * bytes_each,
        "macs": 5000.0 * cost,
        "params": 1000.0 * cost,
    }


def kept(plan: Any) -> str:
    """Leave the files of a finished trial, which all toy trials share, and return their folder."""
    artifact = "trials/toy"
    if plan is not None:
        folder = Path(plan.folder, artifact)
        folder.mkdir(parents=True, exist_ok=True)
        for name in NEEDED:
            (folder / name).touch()
    return artifact


def good(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Every trial is done."""
    on_epoch(0, {"accuracy": 0.5})
    measurements = {name: Measurement(name, value) for name, value in values(candidate).items()}
    return TrialResult("done", "", measurements, kept(plan), {}, ((0, {"accuracy": 0.5}),))


def alike(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Every trial is done and comes to the same."""
    measurements = {name: Measurement(name, 0.5) for name in values(candidate)}
    return TrialResult("done", "", measurements, kept(plan))


def judged(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Every trial learns for all its epochs unless it is stopped."""
    final, epochs, curve = values(candidate), plan.epochs(candidate), []
    costs = {name: value for name, value in final.items() if name != "accuracy"}
    known = {name: Measurement(name, value) for name, value in costs.items()}
    for epoch in range(epochs):
        accuracy = final["accuracy"] * (1 - 0.5 ** (epoch + 1))
        curve.append((epoch, {"accuracy": accuracy}))
        if reason := on_epoch(epoch, {"accuracy": accuracy, "size_bytes": costs["size_bytes"]}):
            return stopped_early(reason, (epoch + 1) / epochs, accuracy, known, {UNTRAINED_KEY: costs}, curve)
    measurements = {name: Measurement(name, value) for name, value in final.items()}
    return TrialResult("done", "", measurements, kept(plan), {UNTRAINED_KEY: costs}, tuple(curve))


def some_fail(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Trials of the bad kernel fail with a reason."""
    if candidate.knobs["kernel"] == BAD:
        return TrialResult("failed", f"kernel {BAD} is not liked here")
    return good(candidate, plan, on_epoch)


def some_raise(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Trials of the bad kernel raise what nobody expects."""
    if candidate.knobs["kernel"] == BAD:
        raise ZeroDivisionError("a bug in a trial")
    return good(candidate, plan, on_epoch)


def some_exit(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Trials of the bad kernel end their process."""
    if candidate.knobs["kernel"] == BAD:
        os._exit(3)
    return good(candidate, plan, on_epoch)


def some_are_killed(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Trials of the bad kernel are killed, as for want of memory."""
    if candidate.knobs["kernel"] == BAD:
        os.kill(os.getpid(), signal.SIGKILL)
    return good(candidate, plan, on_epoch)


def some_are_killed_when_judged(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Trials of the bad kernel are killed when they have been judged."""
    if candidate.knobs["kernel"] == BAD:
        on_epoch(0, {"accuracy": 0.9, "size_bytes": 1.0})
        os.kill(os.getpid(), signal.SIGKILL)
    return judged(candidate, plan, on_epoch)


def some_eat_memory(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Trials of the bad kernel hold a gigabyte, and wait for what comes of it."""
    if candidate.knobs["kernel"] == BAD:
        held = b"x" * 1_000_000_000
        threading.Event().wait()
        del held
    return good(candidate, plan, on_epoch)


def some_hang(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Trials of the bad kernel never end."""
    if candidate.knobs["kernel"] == BAD:
        threading.Event().wait()
    return good(candidate, plan, on_epoch)


def only_the_baseline(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """All but the baseline fail."""
    return good(candidate, plan, on_epoch) if plan.baseline is None else TrialResult("failed", "not today")


def all_but_the_baseline(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """The baseline fails."""
    return TrialResult("failed", "no disk") if plan.baseline is None else good(candidate, plan, on_epoch)


def all_but_the_baseline_are_interrupted(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Trials after the baseline find that the search ends."""
    if plan.baseline is not None:
        raise TrialInterrupted("the search ends")
    return good(candidate, plan, on_epoch)


def all_but_the_baseline_hang(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Trials after the baseline never end."""
    if plan.baseline is not None:
        threading.Event().wait()
    return good(candidate, plan, on_epoch)


def stop_the_search() -> None:
    """Ask the process of the search to stop."""
    search = multiprocessing.parent_process()
    assert search is not None
    assert search.pid is not None
    os.kill(search.pid, signal.SIGTERM)


def stop_at_the_second(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """The first trial after the baseline asks the search's process to stop, and never ends."""
    if plan.baseline is not None:
        stop_the_search()
        threading.Event().wait()
    return good(candidate, plan, on_epoch)


def stop_at_once(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Also the baseline asks to stop, and never ends."""
    stop_the_search()
    threading.Event().wait()
    return good(candidate, plan, on_epoch)


def never(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """No trial may start."""
    raise AssertionError(f"a trial was started: {candidate}")


def tells_device(candidate: Any, plan: Any, on_epoch: Any) -> TrialResult:
    """Return a good result whose facts name the device that its files are made for."""
    done = good(candidate, plan, on_epoch)
    return replace(done, facts={**done.facts, "device": str(plan.device)})


def beside_the_baseline(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """The baseline runs until another trial has begun, which then waits for it."""
    begun = plan.folder / "another-has-begun"
    if plan.is_baseline:
        deadline = time.monotonic() + 60
        while not begun.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return good(candidate, plan, on_epoch)
    plan.folder.mkdir(parents=True, exist_ok=True)
    begun.touch()
    began_beside, plan = plan.awaits_baseline, plan.with_baseline()
    result = good(candidate, plan, on_epoch)
    return replace(result, facts={"beside": began_beside, "latency_ms": plan.baseline.latency_ms})


def dies_once_beside(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """The baseline's process dies while another trial waits for it; the second attempt ends."""
    again = plan.folder / "second-attempt"
    if plan.is_baseline and not again.exists():
        while not (plan.folder / "another-has-begun").exists():
            time.sleep(0.05)
        again.touch()
        os._exit(3)
    return beside_the_baseline(candidate, plan, on_epoch)
