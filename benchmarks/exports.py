"""Does a file for a microcontroller compute what the trial's ONNX file computes, and what does it need?

For a network of each family, trained on the digits and quantised to int8: TensorFlow Lite Micro against LiteRT's
reference kernels and against ONNX Runtime on test images, in steps of the output's int8 grid; arena, file, and the
cycles that Vela predicts for Ethos-U55-128. Each operator alone, given the same integers (`operator_steps.py`); and
ONNX Runtime against itself where one pixel is one step larger, which says how far a network spreads one step. With
random weights: the reference network of MLPerf Tiny's image classification, whose arena and cycles are known (55,984 B,
of them 49,152 for tensors, and 201,747 cycles), and a MobileNet with V3's activations and gates.

    .venv/bin/python benchmarks/exports.py [NETWORK ...]

Writes benchmarks/results/exports.json; takes about 10 minutes on two cores and needs the extra mcu.
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
from operator_steps import operator_steps
from torch import nn

from paredown.evaluators.files.names import MODEL_FILE
from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.litert.comparison import compare
from paredown.evaluators.litert.conversion import tflite_model
from paredown.evaluators.litert.integer_graph import NoIntegerFile
from paredown.evaluators.litert.signature import Signature
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
RESNET8: Knobs = {
    **{"block": "basic", "blocks": 1, "widths": "equal", "width": 1.0},
    **{"shortcut": "projected", "activation": "relu", "resolution": 32},
}
HARD_SWISH: Knobs = {
    **{"stem": "small", "depth": 0.5, "width": 0.5, "kernel": 3, "expansion": 4},
    **{"squeeze_excite": True, "activation": "hardswish", "resolution": 32},
}
RANDOM: dict[str, tuple[str, Knobs]] = {
    "resnet8 of MLPerf Tiny": ("resnet", RESNET8),
    "mobilenet with hard swish and gates": ("mobilenet", HARD_SWISH),
}
"""Networks with random weights: family and knobs."""
INT8: Knobs = {"weights": "int8", "activations": "uint8", "calibration": "minmax"}
TRAINING = {"epochs": 20, "max_seconds": 90}
IMAGES = 100
"""Number of test images that are compared."""
OPERATOR_IMAGES = 10
"""Number of test images on which single operators are compared."""


def measured(onnx: bytes, images: NDArray[np.float32]) -> dict[str, Any]:
    """Return what is known of the file for a microcontroller that an int8 ONNX file becomes."""
    try:
        model = tflite_model(onnx)
    except NoIntegerFile as error:
        return {"refused": str(error)}
    row = asdict(compare(onnx, model, images)) | {"file_bytes": len(model), "onnx_bytes": len(onnx)}
    row |= {"npu": asdict(run_vela(model)), "one_step": spread_of_one_step(onnx, Signature.of(model), images)}
    return row | {"operators": operator_steps(onnx, images[:OPERATOR_IMAGES])}


def spread_of_one_step(onnx: bytes, signature: Signature, images: NDArray[np.float32]) -> dict[str, float]:
    """Return by how many steps the outputs of ONNX Runtime differ where the middle pixel is one step larger."""
    moved, middle = images.copy(), images.shape[2] // 2
    moved[:, 0, middle, middle] += signature.given.scale
    session = open_session(onnx, exact=True)
    steps = np.abs(logits(session, moved) - logits(session, images)) / signature.made.scale
    return {"largest": int(np.rint(steps.max())), "mean": float(np.rint(steps).mean())}


def trained(name: str, folder: Path) -> tuple[bytes, NDArray[np.float32]]:
    """Train a network on the digits and quantise it; return its int8 ONNX file and normalised test images."""
    compression = compress_model(name, "digits", {"quantization": INT8}, folder / name, training=TRAINING)
    manifest = json.loads((compression.folder / "manifest.json").read_text())
    task, side = load_task(TaskSpec("digits", "{}", Path())), manifest["preprocessing"]["resolution"]
    images = normalisation_at(task, side)(split_at(task, "test", side).images[:IMAGES])
    return (compression.folder / MODEL_FILE).read_bytes(), images


def random(family: str, knobs: Knobs) -> tuple[bytes, NDArray[np.float32]]:
    """Return the int8 file of a network with random weights, and random images."""
    torch.manual_seed(0)
    shape = (3, 32, 32)
    network = FAMILIES[family].build(knobs, shape, 10).eval()
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
    for name in sys.argv[1:] or (*NETWORKS, *RANDOM):
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows[name] = measured(*(random(*RANDOM[name]) if name in RANDOM else trained(name, Path(folder))))
            except ParedownError as error:
                rows[name] = {"refused": str(error)}
        print(name, json.dumps(rows[name]), flush=True)
        RESULTS.write_text(json.dumps({"versions": versions, "images": IMAGES, "networks": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
