"""Writes all trials of a study as comma-separated values."""

import csv
import json
from typing import Any, TextIO

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Measurement
from paredown.spaces.candidate import Candidate
from paredown.studies.front import Model, deltas, front
from paredown.studies.latency_remarks import FLAGS, Fp32Models, latency_flags
from paredown.studies.records import Records
from paredown.studies.trial_table import trials


def write_csv(study: Records, file: TextIO) -> int:
    """Write a line for each trial of every state, and return their number.

    Each knob has a column of its own; each metric one for its value, its spread and its change against the baseline, as
    in the documents of `--json`. What does not apply to a trial is empty. Times are in UTC.

    Args:
        study: The study.
        file: Text file, opened with `newline=""`.
    """
    rows, baseline = trials(study), study.baseline()
    models = study.models()
    best = {model.trial for model in front(models, study.optimised_metrics)}
    fp32_models = Fp32Models(models)
    flags = {model.trial: latency_flags(model, baseline, fp32_models) for model in models}
    lines = [_line(row, baseline, row["number"] in best) | flags.get(row["number"], dict[str, bool]()) for row in rows]
    order = {name: at for at, name in enumerate([*(m.name for m in study.optimised_metrics), *known_metrics()])}
    metrics = sorted({name for row in rows for name in row["metrics"]}, key=lambda name: (order.get(name, 99), name))
    knobs = sorted({name for row in rows for name in _knobs(row["candidate"])})
    head = [
        *("trial", "parent", "state", "cause", "reason", "feasible", "on_front", *FLAGS),
        *("broken_limits", "family", *knobs),
        *(f"{name}{part}" for name in metrics for part in ("", "_spread", "_delta")),
        *("started_at", "finished_at", "train_seconds", "seconds", "attempt", "deaths"),
        *("retry_of", "retried_as", "artifact", "candidate"),
    ]
    writer = csv.DictWriter(file, head, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return len(lines)


def _line(row: dict[str, Any], baseline: Model | None, on_front: bool) -> dict[str, Any]:
    """Return the cells of a trial by column; None is written as an empty cell."""
    candidate, facts = Candidate.from_json(row["candidate"]), row["facts"]
    measured = {name: Measurement(name, value, row["spreads"][name]) for name, value in row["metrics"].items()}
    model = Model(row["number"], candidate, measured, row["artifact"], bool(row["feasible"]))
    is_done, seconds = row["state"] == "done", facts.get("seconds", {})
    cells = {name: row[name] for name in ("parent", "state", "cause", "reason", "feasible", "attempt", "deaths")}
    cells |= {name: facts.get(name) for name in ("retry_of", "retried_as")}
    cells |= {"trial": row["number"], "artifact": row["artifact"], "family": candidate.family} | _knobs(
        row["candidate"]
    )
    if is_done:
        cells |= {"on_front": on_front}
    cells["broken_limits"] = "; ".join(broken["text"] for broken in row["broken_limits"])
    cells |= {name: m.value for name, m in measured.items()}
    cells |= {f"{name}_spread": m.spread for name, m in measured.items()}
    cells |= {f"{name}_delta": change for name, change in (deltas(model, baseline) if baseline else {}).items()}
    cells |= {name: row[name] and row[name].isoformat(timespec="seconds") for name in ("started_at", "finished_at")}
    cells |= {"train_seconds": seconds.get("train"), "seconds": sum(seconds.values()) if seconds else None}
    return cells | {"candidate": json.dumps(row["candidate"])}


def _knobs(candidate: dict[str, Any]) -> dict[str, Any]:
    """Return the value of each knob that counts, under its dotted name."""
    owners = {candidate["family"]: candidate["knobs"], **candidate["steps"]}
    return {f"{owner}.{knob}": value for owner, knobs in owners.items() for knob, value in knobs.items()}
