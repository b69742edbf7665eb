"""Examples of what requests bring and answers hold, for the OpenAPI document."""

from typing import Any

STUDY_FILE = "study: digits\ntask: digits\nobjectives: [accuracy, latency_ms, size_bytes]\ntrials: 40\n"
MODEL: dict[str, Any] = {
    "trial": 3,
    "candidate": {
        "family": "mbconv",
        "knobs": {"kernel": 5, "width": 0.5},
        "steps": {"quantization": {"weights": "int8"}},
    },
    "metrics": {"accuracy": 0.9583, "latency_ms": 0.0412, "size_bytes": 15320.0},
    "spreads": {"accuracy": 0.0208, "latency_ms": 0.0013},
    "deltas": {"accuracy": -0.0056, "latency_ms": -0.42, "size_bytes": -0.71},
    "feasible": True,
    "artifact": "trials/0003",
}
FRONT: dict[str, Any] = {
    "study": "digits",
    "objectives": ["accuracy", "latency_ms", "size_bytes"],
    "baseline": None,
    "models": [MODEL],
    "limits": {},
    "binding": None,
}
SELECT: dict[str, Any] = {
    "study": "digits",
    "limits": {"size_bytes": 60000.0},
    "model": MODEL,
    "next_best": 7,
    "binding": [{"metric": "size_bytes", "trial": 9, "value": 64211.0, "excess": 0.07}],
}
PROGRESS = 'event: progress\ndata: {"study": "digits", "state": "running", "counts": {"done": 12}}\n\n'
STUDY: dict[str, Any] = {
    "study": "digits",
    "owner": "alice",
    "state": "running",
    "stop_requested": "",
    "position": None,
    "estimate": {"starts_in_s": 0.0, "ends_in_s": 412.5, "basis": "the mean time of its finished trials"},
    "needs": [],
    "priority": 0,
    "trials": 40,
    "counts": {"done": 12, "running": 2},
    "best": {"accuracy": 0.9861, "latency_ms": 0.0412, "size_bytes": 15320.0},
    "attempts": 0,
    "error": "",
    "created_at": 1790000000.0,
    "started_at": 1790000004.5,
    "finished_at": None,
}
TRIAL: dict[str, Any] = {
    "trial": 3,
    "parent": None,
    "state": "done",
    "reason": "",
    "cause": "",
    "feasible": True,
    "attempt": 1,
    "candidate": MODEL["candidate"],
    "metrics": MODEL["metrics"],
    "started_at": "2026-09-21T18:00:04",
    "finished_at": "2026-09-21T18:00:31",
}
DATASET: dict[str, Any] = {
    "dataset": "flowers",
    "owner": "alice",
    "created_at": 1790000000.0,
    "zip_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "files": 1200,
    "left_out": 2,
    "size_bytes": 18400000,
    "classes": ["daisy", "rose"],
    "thumbnails": {"daisy": 4, "rose": 4},
    "shape": [3, 96, 128],
    "values": "uint8, 0 to 255",
    "counts": {
        "train": {"daisy": 400, "rose": 400},
        "validation": {"daisy": 100, "rose": 100},
        "test": {"daisy": 100, "rose": 100},
    },
    "unused": {},
    "notes": [],
    "duplicates": {},
    "studies": ["flowers-small"],
}
