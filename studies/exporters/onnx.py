"""Export as a folder: `model.onnx`, `model.packed`, `manifest.json`, `README.md`.

The file is the very one that the trial measured. Before it leaves, ONNX Runtime and PyTorch must agree on the
validation images.
"""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from paredown.evaluators.errors import PackingError
from paredown.evaluators.files.exit_runtime import BatchRuntime
from paredown.evaluators.files.names import CARD_FILE, MANIFEST_FILE, MODEL_FILE, PACKED_FILE
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.metrics.accuracy import share_correct
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.measurement import Measurement
from paredown.evaluators.packing.container import read
from paredown.evaluators.packing.summary import encoding_rows
from paredown.evaluators.tasks.task import normalisation_at, split_at
from paredown.evaluators.training.inference import predict
from paredown.spaces.compression.quantizing.awareness import rounded
from paredown.spaces.exits.network import MultiExit
from paredown.studies.errors import ExportRefused
from paredown.studies.exporters.exporter import Export, ExportRequest, Manifest
from paredown.studies.front import deltas, faster_on_paper_only


@dataclass(frozen=True)
class Tolerance:
    """How far the file may stray from the network.

    Attributes:
        error: Largest difference of a logit, as a share of the largest logit; None where only labels count.
        agreement: Least share of images with the same label.
        remedy: What to try where fewer agree, as the end of a message.
    """

    error: float | None
    agreement: float
    remedy: str = ""


OTHERWISE = (
    "; try, of quantization: aware=true with some epochs of fine-tuning, max_drop=1 (the worst layers go back to "
    "float32), calibration=percentile or entropy, activations=fp32, or weights=fp16"
)
"""What helps where a file of few bits strays from its network."""
TOLERANCES = {
    "fp32": Tolerance(1e-3, 0.999),
    "fp16": Tolerance(2e-2, 0.99),
    "bf16": Tolerance(5e-2, 0.98),  # 8 bits of mantissa to the 11 of float16
    "int8": Tolerance(None, 0.9, OTHERWISE),
    "mixed": Tolerance(None, 0.9, OTHERWISE),
}
"""By value of `quantization.weights`; `mixed` is compared with the network whose weights are as narrow."""


def export_onnx(shipment: ExportRequest, folder: Path) -> Measurement:
    """Verify a model and write its folder; see `Export`.

    Raises:
        ExportRefused: The file and the network disagree, or the file cannot be read.
    """
    parity = _parity(shipment)
    test = shipment.test_accuracy or _test_accuracy(shipment)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as stage:
        fresh = Path(stage, "model")
        fresh.mkdir()
        shutil.copyfile(shipment.file, fresh / MODEL_FILE)
        manifest = _manifest(shipment, parity, test) | _packed(shipment, fresh)
        (fresh / CARD_FILE).write_text(_card(manifest))
        manifest["files"] = {file.name: _sha256(file) for file in sorted(fresh.iterdir())}
        (fresh / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n")
        if folder.exists():
            os.replace(folder, Path(stage, "old"))
        os.replace(fresh, folder)
    return test


def _parity(shipment: ExportRequest) -> dict[str, float]:
    resolution = shipment.shape[1]
    images = normalisation_at(shipment.task, resolution)(split_at(shipment.task, "validation", resolution).images)
    actual = logits(open_session(shipment.file), images)
    knobs = shipment.model.candidate.steps.get("quantization", {"weights": "fp32"})
    precision = str(knobs["weights"])
    tolerance = TOLERANCES[precision]
    network = shipment.network
    expected = predict(network, images).numpy()
    if precision == "mixed":
        # Few bits change what a network answers, and rightly so: the trial measured it. Layers may have gone back to
        # float32, all of them at worst, so the file is between the two networks.
        narrow = rounded(network, knobs, torch.from_numpy(images[:1]))
        answers = predict(narrow, images).numpy()
        if _agreement(answers, actual) > _agreement(expected, actual):
            network, expected = narrow, answers
    alike = _same_exit(network, shipment.file, images)
    error, agreement = float(np.abs(expected - actual)[alike].max(initial=0.0)), _agreement(expected, actual)
    where = f"trial {shipment.model.trial}"
    if not np.isfinite(actual).all():
        raise ExportRefused(f"{where}: the file's output is not finite")
    if tolerance.error is not None and error > tolerance.error * max(1.0, float(np.abs(expected).max())):
        raise ExportRefused(
            f"{where}: the file's logits differ from the network's by up to {error:g}; "
            f"allowed for {precision}: {tolerance.error:g} of the largest logit"
        )
    if agreement < tolerance.agreement:
        raise ExportRefused(
            f"{where}: file and network agree on {agreement:.1%} of {len(images)} validation images; "
            f"needed for {precision}: {tolerance.agreement:.1%}{tolerance.remedy}"
        )
    return {"max_abs_error": error, "label_agreement": agreement, "images": len(images)}


def _agreement(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> float:
    return float((expected.argmax(1) == actual.argmax(1)).mean())


def _same_exit(network: nn.Module, file: Path, images: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which images leave at the same exit in file and network: rounding may decide at the threshold."""
    if not isinstance(network, MultiExit):
        return np.ones(len(images), dtype=np.bool_)
    with torch.inference_mode():
        parts = [network.taken(network.all_logits(x)).numpy() for x in torch.from_numpy(images).split(256)]  # type: ignore[no-untyped-call]
    return np.asarray(np.concatenate(parts) == BatchRuntime(file).run(images).taken)


def _test_accuracy(shipment: ExportRequest) -> Measurement:
    resolution = shipment.shape[1]
    split = split_at(shipment.task, "test", resolution)
    images = normalisation_at(shipment.task, resolution)(split.images)
    return share_correct(logits(open_session(shipment.file), images), split.labels, "test_accuracy")


def _manifest(shipment: ExportRequest, parity: dict[str, float], test: Measurement) -> Manifest:
    model, baseline, task = shipment.model, shipment.baseline, shipment.task
    normalise, has_exits = normalisation_at(task, shipment.shape[1]), isinstance(shipment.network, MultiExit)
    measured = {**model.measurements, "test_accuracy": test}
    return {
        "format": 1,
        "study": shipment.study,
        "trial": model.trial,
        "candidate": model.candidate.to_json(),
        "digest": model.candidate.digest,
        "metrics": {name: _described(m) for name, m in measured.items()},
        "baseline": {
            "trial": baseline.trial,
            "metrics": {n: m.value for n, m in baseline.measurements.items()},
        },
        "deltas": deltas(model, baseline),
        "slower_than_macs_suggest": faster_on_paper_only(model, baseline),
        "parity": parity,
        "skipped": {step: dict(layers) for step, layers in shipment.skipped.items()},
        "task": task.name,
        "classes": list(task.classes),
        "preprocessing": {
            "mode": "L" if task.channels == 1 else "RGB",
            "resolution": shipment.shape[1],
            "resize": "crop to the central square, then bilinear",
            "scale": "divide by 255, subtract mean, divide by std",
            "mean": list(normalise.mean),
            "std": list(normalise.std),
            "layout": "n x c x h x w, float32" + (", one image at a time" if has_exits else ""),
        },
        "versions": {n: version(n) for n in ("paredown", "torch", "onnx", "onnxruntime")},
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _packed(shipment: ExportRequest, folder: Path) -> Manifest:
    """Copy the packed file and say what is in it; nothing for a trial of before there were packed files."""
    file = shipment.file.with_name(PACKED_FILE)
    if not file.is_file():
        return {}
    packed = file.read_bytes()
    try:
        contents = read(packed)
    except PackingError as error:
        raise ExportRefused(f"trial {shipment.model.trial}: {file}: {error}") from error
    if contents.model != shipment.file.read_bytes():
        raise ExportRefused(f"trial {shipment.model.trial}: {file} does not hold {shipment.file.name}")
    (folder / PACKED_FILE).write_bytes(packed)
    return {"packed": {"bytes": len(packed), "parts": contents.parts, "encodings": encoding_rows(contents)}}


def _packed_lines(packed: dict[str, Any]) -> list[str]:
    parts = ", ".join(f"{name} {size}" for name, size in packed["parts"].items())
    return [
        "",
        "## Packed file",
        "",
        f"`{PACKED_FILE}` holds the same model in {packed['bytes']} bytes ({parts}): "
        "`paredown unpack . -o model.onnx` restores it, without PyTorch.",
        "",
        "| encoding | tensors | bytes dense | bytes, before compression |",
        "|---|---:|---:|---:|",
        *(f"| {r['encoding']} | {r['tensors']} | {r['dense_bytes']} | {r['bytes']} |" for r in packed["encodings"]),
    ]


def _described(measurement: Measurement) -> dict[str, Any]:
    known = EVALUATORS.get(measurement.metric)
    unit = known.metric.unit if known else "1"
    return {k: v for k, v in measurement.to_json().items() if k != "metric"} | {"unit": unit}


def _card(manifest: Manifest) -> str:
    lines = [
        f"# {manifest['study']}, trial {manifest['trial']}",
        "",
        f"An image classifier with {len(manifest['classes'])} classes, found by Paredown "
        f"{manifest['versions']['paredown']} and exported as ONNX.",
        "",
        "| metric | this model | baseline | change |",
        "|---|---:|---:|---:|",
    ]
    for name, metric in manifest["metrics"].items():
        spread = f" ± {metric['spread']:.3g}" if metric["spread"] else ""
        reference = manifest["baseline"]["metrics"].get(name)
        change = manifest["deltas"].get(name)
        shown = "" if change is None else f"{change:+.4f}" if name.endswith("accuracy") else f"{change:+.1%}"
        unit = "" if metric["unit"] == "1" else f" {metric['unit']}"
        lines.append(
            f"| {name} ({metric['how']}) | {metric['value']:.6g}{spread}{unit} "
            f"| {'' if reference is None else f'{reference:.6g}'} | {shown} |"
        )
    if manifest["slower_than_macs_suggest"]:
        lines += ["", "**Note:** it needs fewer MACs than the baseline, but is not measurably faster on this device."]
    device = manifest["metrics"].get("latency_ms", {}).get("device", "")
    parity, preprocessing = manifest["parity"], manifest["preprocessing"]
    packed = _packed_lines(manifest["packed"]) if "packed" in manifest else []
    lines += [
        "",
        "± is half of the 95 % confidence interval. `accuracy` is on the validation images that guided the search, "
        "`test_accuracy` on images it never saw.",
        f"Latency: batch 1 on {device}." if device else "",
        "",
        "## Use",
        "",
        "```",
        "paredown predict . image.png",
        "```",
        "",
        f"Input `image`: {preprocessing['layout']}, {preprocessing['mode']}, {preprocessing['resolution']} x "
        f"{preprocessing['resolution']} pixels ({preprocessing['resize']}; {preprocessing['scale']}; mean "
        f"{preprocessing['mean']}, std {preprocessing['std']}). Output `logits`, one a class: "
        f"{', '.join(manifest['classes'][:20])}{', ...' if len(manifest['classes']) > 20 else ''}.",
        *packed,
        "",
        "## Origin",
        "",
        f"ONNX Runtime and PyTorch agree on {parity['label_agreement']:.2%} of {parity['images']} validation images; "
        f"largest difference of a logit {parity['max_abs_error']:.3g}.",
        "",
        "```json",
        json.dumps(manifest["candidate"], indent=2),
        "```",
        "",
        *_left_alone(manifest["skipped"]),
    ]
    return "\n".join(lines)


def _left_alone(skipped: dict[str, dict[str, str]]) -> list[str]:
    """Return the reasons why steps left layers alone, each with the layers it holds for."""
    if not skipped:
        return []
    lines = ["Layers that a step left alone (each one is named in `manifest.json`):", ""]
    for step, layers in skipped.items():
        for reason in dict.fromkeys(layers.values()):
            names = [name for name, said in layers.items() if said == reason]
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            lines.append(f"- {step}: {', '.join(f'`{name}`' for name in names[:3])}{more}: {reason}")
    return [*lines, ""]


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


ONNX: Export = export_onnx
