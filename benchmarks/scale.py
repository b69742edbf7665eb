"""Seconds that each operation takes on a study of many finished trials, and whether the budgets are kept.

The default study is filled with networks drawn at random, through SQL and without training: their costs and accuracies
follow from their knobs. Each operation begins with a study that was just opened, as a command does; importing is not
counted. `_s` is wall time, `_cpu_s` the processor time of this process, which other programs on the machine disturb
less. The memory of the report is that of the command in a process of its own.

    .venv/bin/python benchmarks/scale.py --trials 1000,10000

Writes benchmarks/results/scale.json.
"""

import argparse
import hashlib
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models as optuna_tables
from sqlalchemy import insert

from paredown.search.api.study import open_study
from paredown.search.cli.show import show
from paredown.search.run import _costs, _prepare
from paredown.search.samplers.knobs import distributions
from paredown.search.study_file.schema import read_config
from paredown.search.study_file.setup import Setup, set_up
from paredown.spaces.candidate import Candidate
from paredown.studies.csv_export import write_csv
from paredown.studies.housekeeping.comparing import compare
from paredown.studies.housekeeping.copying import copy_study
from paredown.studies.housekeeping.deleting import delete_study
from paredown.studies.report import write_report
from paredown.studies.study import Study
from paredown.studies.tables import CurveRow, MeasurementRow, TrialRow

ROOT = Path(__file__).parents[1]
EPOCHS = 10
BUDGETS = {
    **{"open_s": 1.0, "recover_s": 1.0, "front_s": 1.0, "select_s": 1.0, "show_s": 1.0},
    **{"report_s": 15.0, "report_mb": 5.0, "report_memory_mb": 500.0, "first_ask_s": 3.0},
}
"""What may be used at 10,000 trials. Times are compared in processor time."""
BUDGETED = 10_000


def candidates(setup: Setup, count: int) -> Iterator[Candidate]:
    """Yield different candidates of the space, the baseline first."""
    seen: set[str] = set()
    number = -1
    while len(seen) < count:
        candidate = setup.space.baseline if number < 0 else setup.space.draw(number)
        number += 1
        if candidate.digest not in seen:
            seen.add(candidate.digest)
            yield candidate


def values(candidate: Candidate) -> dict[str, float]:
    """Return metrics that follow from the knobs of a candidate, larger networks being better by chance."""
    noise = int(hashlib.sha256(candidate.digest.encode()).hexdigest()[:6], 16) / 16**6
    knobs = candidate.knobs
    size = sum(float(value) for value in knobs.values() if isinstance(value, int | float))
    macs = 2e4 * (1 + size) * (1 + 4 * noise)
    accuracy = 1 - 0.2 / math.log10(macs) - 0.02 * noise
    bits = {"fp16": 2, "int8": 1}.get(str(candidate.steps.get("quantization", {}).get("weights")), 4)
    return {
        "accuracy": accuracy,
        "latency_ms": macs * 1e-6 * (1 + 0.2 * noise),
        "size_bytes": round(macs / 10 * bits),
        "macs": round(macs),
        "params": round(macs / 10),
    }


def fill(setup: Setup, url: str, count: int) -> None:
    """Make a study with that many finished trials, in our tables and in Optuna's."""
    study = Study.create(url, setup.config.study, setup.stored, setup.plan.objectives, str(setup.plan.folder))
    knobs, now = distributions(setup.space), datetime(2026, 1, 1)
    tables: dict[Any, list[dict[str, Any]]] = {
        optuna_tables.TrialModel: [],
        optuna_tables.TrialParamModel: [],
        optuna_tables.TrialValueModel: [],
        TrialRow: [],
        MeasurementRow: [],
        CurveRow: [],
    }
    in_optuna = study._study._study_id
    for number, candidate in enumerate(candidates(setup, count)):
        measured, trial_id = values(candidate), number + 1
        tables[optuna_tables.TrialModel].append(
            {
                "trial_id": trial_id,
                "number": number,
                "study_id": in_optuna,
                "state": "COMPLETE",
                "datetime_start": now,
                "datetime_complete": now,
            }
        )
        for name, value in setup.space.values(candidate).items():
            if name in knobs:
                tables[optuna_tables.TrialParamModel].append(
                    {
                        "trial_id": trial_id,
                        "param_name": name,
                        "param_value": knobs[name].to_internal_repr(value),
                        "distribution_json": distribution_to_json(knobs[name]),
                    }
                )
        for at, metric in enumerate(study.optimised_metrics):
            tables[optuna_tables.TrialValueModel].append(
                {"trial_id": trial_id, "objective": at, "value": measured[metric.name], "value_type": "FINITE"}
            )
        tables[TrialRow].append(
            {
                "id": trial_id,
                "study_id": study._id,
                "number": number,
                "digest": candidate.digest,
                "candidate": candidate.to_json(),
                "state": "done",
                "reason": "",
                "feasible": True,
                "artifact": f"trials/{candidate.digest}",
                "facts": {
                    "seconds": {"train": 12.0},
                    "untrained": measured,
                    "skipped": {},
                    "precision": "fp32: as asked",
                },
                "started_at": now,
                "finished_at": now,
            }
        )
        for name, value in measured.items():
            tables[MeasurementRow].append(
                {"trial_id": trial_id, "metric": name, "value": value, "spread": 0.01, "how": "measured", "device": ""}
            )
        for epoch in range(EPOCHS):
            share = measured["accuracy"] * (1 - 0.5 ** (epoch + 1))
            tables[CurveRow].append(
                {"trial_id": trial_id, "epoch": epoch, "metrics": {"loss": 1 - share, "accuracy": share}}
            )
    with study._storage.engine.begin() as connection:
        for table, rows in tables.items():
            connection.execute(insert(table), rows)
    study._storage.engine.dispose()


def cpu(label: str) -> str:
    """Return the name of the processor time of an operation."""
    return f"{label.removesuffix('_s')}_cpu_s"


def quiet(command: Callable[[], None]) -> None:
    """Run a command without its output."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        command()


def memory_mb(arguments: list[str]) -> float:
    """Return the peak memory of a command in a process of its own."""
    # Through a small process in between: a child begins with the peak of the process that started it.
    command = [sys.executable, "-m", "paredown", *arguments]
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    ran = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    return round(int(ran.stdout) / 1024)


def missed(found: dict[str, float]) -> list[str]:
    """Return in words which budgets were exceeded."""
    used = {name: found[cpu(name) if name.endswith("_s") else name] for name in BUDGETS}
    return [f"{name}: {used[name]} is above {most}" for name, most in BUDGETS.items() if used[name] > most]


def measured(setup: Setup, url: str, folder: Path) -> dict[str, float]:
    """Return the seconds of each operation."""
    name, found = setup.config.study, {}

    def timed(label: str, operation: Callable[[], Any]) -> Any:
        begin, used = time.perf_counter(), time.process_time()
        result = operation()
        found[label] = round(time.perf_counter() - begin, 3)
        found[cpu(label)] = round(time.process_time() - used, 3)
        print(f"  {label}: {found[label]} s ({found[cpu(label)]} s of processor time)", flush=True)
        return result

    timed("open_s", lambda: open_study(name, storage=url))
    stored = open_study(name, storage=url).stored
    timed("recover_s", stored.recover)
    timed("counts_s", stored.counts)
    opened = open_study(name, storage=url)
    timed("front_s", opened.front)
    opened = open_study(name, storage=url)
    timed("select_s", lambda: opened.select(max={"size_bytes": "100k"}))
    timed("show_s", lambda: quiet(lambda: show(name, storage=url)))
    timed("show_sorted_s", lambda: quiet(lambda: show(name, sort="accuracy", storage=url)))
    timed("csv_s", lambda: write_csv(open_study(name, storage=url).stored, StringIO()))
    report = folder / "report.html"
    timed("report_s", lambda: write_report(open_study(name, storage=url).stored, report))
    found["report_mb"] = round(report.stat().st_size / 1e6, 2)
    found["report_memory_mb"] = memory_mb(["report", name, "--storage", url, "--out", str(report)])
    timed("copy_s", lambda: copy_study(url, name, "copy", url, folder / "copy"))
    both = [open_study(one, storage=url).stored for one in (name, "copy")]
    timed("compare_s", lambda: compare(both))
    timed("delete_s", lambda: delete_study(url, "copy", artifacts=True, keep_models=False, confirmed=lambda _: True))
    study = Study.create(url, name, setup.stored, setup.plan.objectives, str(setup.plan.folder))
    timed("prepare_s", lambda: _prepare(study, setup, _costs(setup, study), "benchmark"))
    asked = timed("first_ask_s", lambda: study.ask(setup.space.sample))
    again = timed("second_ask_s", lambda: study.ask(setup.space.sample))
    assert asked is None or again is None or asked.number < again.number
    study.leave()
    found["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", default="1000,10000")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    options = parser.parse_args()
    document: dict[str, Any] = {"load_average": os.getloadavg()[0], "cores": os.cpu_count()}
    for count in map(int, options.trials.split(",")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            setup = set_up(read_config(None, {"trials": 2 * count}), "benchmark", folder, folder / "out")
            url = f"sqlite:///{folder / 'studies.db'}"
            print(f"{count} trials", flush=True)
            fill(setup, url, count)
            document[str(count)] = measured(setup, url, folder)
            document[str(count)]["database_mb"] = round((folder / "studies.db").stat().st_size / 1e6, 1)
            if count == BUDGETED:
                document["missed_budgets"] = missed(document[str(count)])
                print("budgets:", "; ".join(document["missed_budgets"]) or "all kept")
    (options.out / "scale.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
