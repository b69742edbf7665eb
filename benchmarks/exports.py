"""Does a file for a microcontroller compute what the trial's ONNX file computes, and what does it need?

For a network of each family, trained on the digits and quantised to int8: TensorFlow Lite Micro against LiteRT's
reference kernels and against ONNX Runtime on test images, in steps of the output's int8 grid; arena, file, and the
cycles that Vela predicts for Ethos-U55-128. Last, the reference network of MLPerf Tiny's image classification with
random weights, whose arena and cycles are known: 55,984 B, of them 49,152 for tensors, and 201,747 cycles.

    .venv/bin/python benchmarks/exports.py [NETWORK ...]

Writes benchmarks/results/exports.json; takes about 8 minutes on two cores and needs the extra mcu.
"""

import json
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from paredown.evaluators.files.names import MODEL_FILE
from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.litert.comparison import compare
from paredown.evaluators.litert.conversion import tflite_model
from paredown.evaluators.litert.integer_graph import NoIntegerFile
from paredown.evaluators.litert.vela import run_vela
from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.evaluators.tasks.task import normalisation_at, split_at
from paredown.search.one_network.compress import compress_model
from paredown.spaces.compression.quantization import QUANTIZATION
from paredown.spaces.compression.step import RewriteContext
from paredown.spaces.errors import ParedownError
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Knobs

RESULTS = Path(__file__).with_name("results") / "exports.json"
NETWORKS = ("resnet20", "mbconv", "macro", "mobilenet", "efficientnet", "vit")
"""Networks that are trained: families by their reference network."""
RESNET8 = "resnet8 of MLPerf Tiny"
RESNET8_KNOBS: Knobs = {
    **{"block": "basic", "blocks": 1, "widths": "equal", "width": 1.0},
    **{"shortcut": "projected", "activation": "relu", "resolution": 32},
}
INT8: Knobs = {"weights": "int8", "activations": "uint8", "calibration": "minmax"}
TRAINING = {"epochs": 20, "max_seconds": 90}
IMAGES = 100
"""Number of test images that are compared."""


def measured(onnx: bytes, images: NDArray[np.float32]) -> dict[str, Any]:
    """Return what is known of the file for a microcontroller that an int8 ONNX file becomes."""
    try:
        model = tflite_model(onnx)
    except NoIntegerFile as error:
        return {"refused": str(error)}
    row = asdict(compare(onnx, model, images)) | {"file_bytes": len(model), "onnx_bytes": len(onnx)}
    return row | {"npu": asdict(run_vela(model))}


def trained(name: str, folder: Path) -> tuple[bytes, NDArray[np.float32]]:
    """Train a network on the digits and quantise it; return its int8 ONNX file and normalised test images."""
    compression = compress_model(name, "digits", {"quantization": INT8}, folder / name, training=TRAINING)
    manifest = json.loads((compression.folder / "manifest.json").read_text())
    task, side = load_task(TaskSpec("digits", "{}", Path())), manifest["preprocessing"]["resolution"]
    images = normalisation_at(task, side)(split_at(task, "test", side).images[:IMAGES])
    return (compression.folder / MODEL_FILE).read_bytes(), images


def reference() -> tuple[bytes, NDArray[np.float32]]:
    """Return MLPerf Tiny's ResNet-8 in int8 with random weights and images."""
    torch.manual_seed(0)
    shape = (3, 32, 32)
    network = FAMILIES["resnet"].build(RESNET8_KNOBS, shape, 10).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)  # type: ignore[arg-type]
    images = np.random.default_rng(0).normal(size=(IMAGES, *shape)).astype(np.float32)
    assert QUANTIZATION.rewrite is not None
    context = RewriteContext(images, np.zeros(IMAGES, np.int64))
    return slimmed(QUANTIZATION.rewrite(export(network, shape), INT8, context)), images


def main() -> None:
    """Measure every network and write the results."""
    rows = json.loads(RESULTS.read_text())["networks"] if RESULTS.is_file() else {}
    packages = ("tflite_micro", "ai-edge-litert", "ethos-u-vela", "onnxruntime")
    versions = {package: version(package) for package in packages}
    for name in sys.argv[1:] or (*NETWORKS, RESNET8):
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows[name] = measured(*(reference() if name == RESNET8 else trained(name, Path(folder))))
            except ParedownError as error:
                rows[name] = {"refused": str(error)}
        print(name, json.dumps(rows[name]), flush=True)
        RESULTS.write_text(json.dumps({"versions": versions, "images": IMAGES, "networks": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
