"""Small tables of evaluated networks, and their specs."""

import json
from pathlib import Path
from typing import Any

import yaml

from paredown.search.bench.table import TableLandscape, read_table

SPEC: dict[str, Any] = {
    "knobs": {"a": {"type": "choice", "values": [0, 1]}, "b": {"type": "choice", "values": [0, 1]}},
    "objectives": {
        "accuracy": {"direction": "maximise", "reference": 50},
        "cost": {"direction": "minimise", "known": True, "reference": 5},
    },
    "known": {"params": {}},
}
ROWS: list[dict[str, Any]] = [
    {"a": 0, "b": 0, "accuracy": 60.0, "cost": 1.0, "params": 10},
    {"a": 0, "b": 1, "accuracy": 80.0, "cost": 2.0, "params": 20},
    {"a": 1, "b": 0, "accuracy": 70.0, "cost": 3.0, "params": 30},
    {"a": 1, "b": 1, "accuracy": 90.0, "cost": 4.0, "params": 40},
]
"""The front is all but the third; reference (50, 5): 1 x 10 + 2 x 30 + 1 x 40 = 110."""


CONDITIONAL = [
    {"family": "plain", "depth": 1, "heads": None, "accuracy": 60.0, "cost": 1.0},
    {"family": "plain", "depth": 2, "heads": None, "accuracy": 70.0, "cost": 2.0},
    {"family": "mixed", "depth": None, "heads": 1, "accuracy": 65.0, "cost": 1.0},
    {"family": "mixed", "depth": None, "heads": 8, "accuracy": 90.0, "cost": 4.0},
]


def conditional_spec(optional: bool = True) -> dict[str, Any]:
    ranged = {"type": "int", "optional": optional}
    knobs = {"family": {"type": "choice"}, "depth": ranged, "heads": ranged}
    return {"knobs": knobs, "objectives": SPEC["objectives"]}


def unknown_objectives() -> dict[str, Any]:
    return {name: {k: v for k, v in one.items() if k != "known"} for name, one in SPEC["objectives"].items()}


def write_json(file: Path, rows: Any) -> None:
    file.write_text(json.dumps(rows))


def read(folder: Path, rows: Any = ROWS, spec: Any = SPEC) -> TableLandscape:
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    write_json(folder / "table.json", rows)
    return read_table(folder / "table.json", folder / "spec.yaml")
