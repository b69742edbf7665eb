"""Trials that cost nothing but time, for benchmarks of what runs them; their values follow from the candidate.

Workers import this module by name.
"""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paredown.evaluators.metrics.measurement import Measurement
from paredown.search.study_file.schema import StudyConfig
from paredown.search.study_file.setup import Setup, set_up
from paredown.studies.outputs import NEEDED
from paredown.studies.result import TrialResult

KNOBS = {
    "mbconv.scaling": "free",
    "mbconv.depth": {"low": 1.0, "high": 3.0},
    "mbconv.width": {"low": 0.5, "high": 2.0},
    "mbconv.resolution": [8, 12, 16],
    "mbconv.kernel": [3, 5],
    "mbconv.expansion": [2, 4],
    **dict.fromkeys(f"quantization.{knob}" for knob in ("activations", "calibration", "aware", "max_drop")),
}
ARTIFACT = "trials/priced"
SECONDS = "PRICED_TRIAL_S"
"""Name in the environment: seconds that a trial takes."""


def setup(folder: Path, **keys: Any) -> Setup:
    """Return a search of the digits with networks of some thousand kinds."""
    study = {
        "study": "priced",
        "task": "digits",
        "objectives": ["accuracy", "size_bytes"],
        "space": {"knobs": KNOBS, "steps": ["quantization"]},
        "sampler": "random",
    }
    return set_up(StudyConfig.model_validate(study | keys), "benchmark", folder, folder / "out")


def result(candidate: Any, plan: Any, facts: dict[str, Any]) -> TrialResult:
    """Leave the files of a finished trial, which all share and a search looks for, and return what it comes to."""
    folder = Path(plan.folder, ARTIFACT)
    folder.mkdir(parents=True, exist_ok=True)
    for name in NEEDED:
        (folder / name).touch()
    share = int(hashlib.sha256(candidate.digest.encode()).hexdigest()[:8], 16) / 16**8
    values = {"accuracy": share, "size_bytes": 1e4 * (1 + share**2), "latency_ms": 1.0, "macs": 1.0, "params": 1.0}
    return TrialResult("done", "", {n: Measurement(n, v) for n, v in values.items()}, ARTIFACT, facts)


def sleeping(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Take the time that the environment names, at rest, and say when that was."""
    began = time.time()
    time.sleep(float(os.environ[SECONDS]))
    on_epoch(0, {"accuracy": 0.5})
    return result(candidate, plan, {"began": began, "ended": time.time(), "pid": os.getpid()})


def computing(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Take that time on a core, and say when that was."""
    began, used = time.time(), time.process_time()
    while time.process_time() - used < float(os.environ[SECONDS]):
        sum(range(1000))
    on_epoch(0, {"accuracy": 0.5})
    return result(candidate, plan, {"began": began, "ended": time.time(), "pid": os.getpid()})


KINDS = {"sleeping": sleeping, "computing": computing}
