"""Write the folder of an exported model: the files of its format, `manifest.json` and the card `README.md`.

It appears whole or not at all: it is written and verified beside its place, then takes it.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from paredown.evaluators.devices.costs import device_costs
from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.names import CARD_FILE, MANIFEST_FILE
from paredown.evaluators.metrics.accuracy import METRIC as ACCURACY
from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Measurement
from paredown.evaluators.metrics.test_accuracy import METRIC as TEST_ACCURACY
from paredown.evaluators.tasks.input_format import InputFormat
from paredown.evaluators.tasks.task import normalisation_at
from paredown.spaces.exits.network import MultiExit
from paredown.spaces.families.family import longer_side
from paredown.studies.device_models import with_costs
from paredown.studies.exporters.exporter import Exporter, ExportRequest, Manifest, Run
from paredown.studies.front import deltas, faster_on_paper_only
from paredown.studies.latency_remarks import Fp32Models, faster_in_fp32, is_noisy
from paredown.studies.model_folder.card import card
from paredown.studies.model_folder.parity import accuracy_on, check_parity


def write_model_folder(request: ExportRequest, exporter: Exporter, folder: Path) -> Measurement:
    """Export a model, verify its file against the network, and return its accuracy on the test images.

    Args:
        request: The model.
        exporter: The format.
        folder: Where it goes; a folder that is there already is replaced.

    Raises:
        ExportRefused: File and network disagree, the file cannot be run, or the format cannot hold the model.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as stage:
        fresh = Path(stage, "model")
        fresh.mkdir()
        extra = exporter.write(request, fresh)
        try:
            run = exporter.load(fresh / exporter.model_file)
            parity = check_parity(request, exporter, run)
            known = request.test_accuracy if exporter.is_trial_file else None
            test = known or accuracy_on(request, run, "test", TEST_ACCURACY.name)
        except EvaluationError as error:
            raise request.refusal(f"{exporter.model_file}: {error}") from error
        measured = {**_measured(request, exporter, fresh, run), TEST_ACCURACY.name: test}
        manifest = _manifest(request, exporter, parity, measured) | extra
        (fresh / CARD_FILE).write_text(card(manifest, exporter))
        files = (file for file in sorted(fresh.rglob("*")) if file.is_file())
        manifest["files"] = {str(file.relative_to(fresh)): _sha256(file) for file in files}
        (fresh / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n")
        if folder.exists():
            os.replace(folder, Path(stage, "old"))
        os.replace(fresh, folder)
    return test


def _measured(request: ExportRequest, exporter: Exporter, folder: Path, run: Run) -> Mapping[str, Measurement]:
    """Return what is known of the file: the trial's values, but for those that another device or file makes others."""
    trial = request.model.measurements
    measured = dict(trial)
    if not exporter.is_trial_file and ACCURACY.name in trial:
        measured[ACCURACY.name] = replace(
            accuracy_on(request, run, "validation", ACCURACY.name), device=exporter.model_file
        )
    if request.is_other_device:
        assert request.target is not None
        costs = device_costs(folder / exporter.model_file, request.model.candidate, request.target)
        measured = dict(with_costs(replace(request.model, measurements=measured), costs.measurements, ()).measurements)
    return measured


def _manifest(
    request: ExportRequest, exporter: Exporter, parity: dict[str, float], measured: Mapping[str, Measurement]
) -> Manifest:
    task, trial = request.task, request.model
    model = replace(trial, measurements=measured)
    baseline = request.baseline
    if request.is_other_device:  # the baseline was looked at on the study's device alone
        baseline = with_costs(baseline, {}, ())
    takes = InputFormat.of(task, request.shape)
    normalise, has_exits = normalisation_at(task, longer_side(request.shape)), isinstance(request.network, MultiExit)
    return {
        "format": 1,
        "exporter": exporter.name,
        "model_file": exporter.model_file,
        "study": request.study,
        "trial": model.trial,
        "candidate": model.candidate.to_json(),
        "digest": model.candidate.digest,
        "metrics": {name: _described(m) for name, m in measured.items()},
        "baseline": {
            "trial": baseline.trial,
            "metrics": {n: m.value for n, m in baseline.measurements.items()},
        },
        "deltas": deltas(model, baseline),
        "limits": {name: dict(limit) for name, limit in request.limits.items()},
        "slower_than_macs_suggest": faster_on_paper_only(model, baseline),
        "latency_noisy": is_noisy(model),
        "int8_slower_than_fp32": faster_in_fp32(model, Fp32Models(request.models)) is not None,
        "parity": parity,
        "skipped": {step: dict(layers) for step, layers in request.skipped.items()},
        "task": task.name,
        "classes": list(task.classes),
        "input": takes.model_dump(mode="json"),
        "preprocessing": {
            "mode": {1: "L", 3: "RGB"}.get(task.channels, f"{task.channels} channels"),
            "resolution": longer_side(request.shape),
            "resize": takes.resizing,
            "scale": takes.scaling,
            "mean": list(normalise.mean),
            "std": list(normalise.std),
            "layout": "n x c x h x w, float32" + (", one image at a time" if has_exits else ""),
        },
        "versions": {n: version(n) for n in ("paredown", "torch", *exporter.packages)},
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _described(measurement: Measurement) -> dict[str, Any]:
    known = known_metrics().get(measurement.metric)
    unit = known.unit if known else "1"
    return {k: v for k, v in measurement.to_json().items() if k != "metric"} | {"unit": unit}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
