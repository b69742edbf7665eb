"""What each width of weights costs in accuracy and bytes: digits at 16 x 16, a residual network and an mbconv.

Each network is trained once a seed in float32. Its file is then written at each setting of `quantization`, without and
with quantization-aware fine-tuning, and judged on the test images through ONNX Runtime. Bytes of weights are what their
bits and the scales of the channels take, as a packed file stores them. Processors without VNNI add pairs of products in
16 bits, which saturate at 8 bits of weights, so the accuracy without integer kernels is given beside.

    .venv/bin/python benchmarks/bits.py

Writes benchmarks/results/bits.json.
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from int8 import Block
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from paredown.evaluators.device import this_device
from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.tasks.catalogue import TASKS
from paredown.evaluators.tasks.task import Task, split_at
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan, fit
from paredown.evaluators.training.inference import predict, recalibrate
from paredown.spaces.compression.quantization import QUANTIZATION
from paredown.spaces.compression.step import RewriteContext
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Knobs, Value

ROOT = Path(__file__).parents[1]
SIDE, CLASSES = 16, 10
SHAPE = (1, SIDE, SIDE)
PLAN = TrainingPlan(learning_rate=6e-3, patience=100)


def resnet() -> nn.Module:
    """Return a residual network of three stages, 8 to 32 channels."""
    stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    blocks = Block(8, 8, 1), Block(8, 16, 2), Block(16, 32, 2)
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES))


def mbconv() -> nn.Module:
    """Return an mbconv with ReLU and squeeze-excite."""
    knobs: dict[str, Value] = {"scaling": "free", "depth": 1.0, "width": 1.0, "resolution": SIDE}
    knobs |= {"kernel": 3, "expansion": 4, "squeeze_excite": True, "activation": "relu"}
    return FAMILIES["mbconv"].build(knobs, SHAPE, CLASSES)


NETWORKS = {"resnet": resnet, "mbconv": mbconv}


def settings() -> dict[str, Knobs]:
    """Return the settings of the step by their names."""
    found: dict[str, Knobs] = {"fp16": {"weights": "fp16"}, "bf16": {"weights": "bf16"}, "int8": {"weights": "int8"}}
    found |= {f"int8 {method}": {"weights": "int8", "calibration": method} for method in ("percentile", "entropy")}
    for bits in (7, 6, 5, 4, 3, 2):
        found[f"{bits} bits"] = mixed(bits)
    found["4 bits, weights alone"] = mixed(4) | {"activations": "fp32"}
    found["3 bits, max_drop 1"] = mixed(3) | {"max_drop": 1.0}
    for bits in (8, 4, 3, 2):
        found[f"{bits} bits, aware"] = mixed(bits) | {"aware": True}
    return found


def mixed(bits: int) -> dict[str, Value]:
    """Return the knobs of one width for all layers."""
    return {"weights": "mixed", "early": bits, "middle": bits, "late": bits}


def weight_bytes(model: bytes) -> int:
    """Return what weights and scales take when each layer's integers are stored in as few bits as they need."""
    bits = 0
    for tensor in onnx.load_from_string(model).graph.initializer:
        values = numpy_helper.to_array(tensor) if tensor.data_type != onnx.TensorProto.BFLOAT16 else None
        if values is not None and values.dtype == np.int8 and values.ndim > 1:
            width = int(np.abs(values).max()).bit_length() + 1
        else:
            width = 16 if values is None else 8 * values.itemsize
        bits += int(np.prod(tensor.dims)) * width
    return bits // 8


def judged(model: bytes, data: TrainingData, task: Task) -> float:
    """Return the accuracy of the file on the test images."""
    return right(open_session(model), data, task)


def executed(model: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits of a file."""
    return logits(open_session(model), images)


def right(session: onnxruntime.InferenceSession, data: TrainingData, task: Task) -> float:
    """Return the share of the test images that a session names correctly."""
    split = split_at(task, "test", data.train.images.shape[-1])
    return float((logits(session, data.normalise(split.images)).argmax(1) == split.labels).mean())


def emulated(model: bytes, data: TrainingData, task: Task) -> float:
    """Return the same without integer kernels: what a processor gives whose integer sums cannot saturate."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return right(onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]), data, task)


def fine_tuned(network: nn.Module, data: TrainingData, knobs: Knobs, epochs: int) -> tuple[nn.Module, float]:
    """Return the network after quantization-aware fine-tuning, and the seconds it took."""
    tuned, begin = copy.deepcopy(network), time.perf_counter()
    assert QUANTIZATION.finetuning is not None
    with QUANTIZATION.finetuning(tuned, knobs, this_device().target) as hold:
        rate = PLAN.learning_rate / 2
        fit(tuned, data, PLAN, epochs=epochs, learning_rate=rate, deadline=time.monotonic() + 600, holds=[hold])
    recalibrate(tuned, data)
    return tuned, time.perf_counter() - begin


def run(name: str, seed: int, epochs: int, aware_epochs: int) -> dict[str, dict[str, float]]:
    """Return accuracy and bytes by setting, for one network and seed."""
    task = TASKS["digits"].load(TASKS["digits"].options(), ROOT)
    data = TrainingData.of(task, SIDE)
    torch.manual_seed(seed)
    network = NETWORKS[name]()
    fit(network, data, PLAN, epochs=epochs, learning_rate=PLAN.learning_rate, deadline=time.monotonic() + 600)
    recalibrate(network, data)
    split = split_at(task, "test", SIDE)
    accuracy = float((predict(network, data.normalise(split.images)).argmax(1).numpy() == split.labels).mean())
    model = export(network, SHAPE)
    found = {"fp32": {"accuracy": accuracy, "onnx_bytes": len(slimmed(model)), "weight_bytes": weight_bytes(model)}}
    for setting, knobs in settings().items():
        tuned, seconds = fine_tuned(network, data, knobs, aware_epochs) if knobs.get("aware") else (network, 0.0)
        count = QUANTIZATION.file_needs.calibration_images(knobs)
        every = max(1, len(data.train.images) // count)
        rows = slice(0, every * count, every)
        images, labels = data.normalise(data.train.images[rows]), data.train.labels[rows]
        calibration = RewriteContext(images, labels, target=this_device().target, run=executed)
        assert QUANTIZATION.rewrite is not None
        file = QUANTIZATION.rewrite(export(tuned, SHAPE), knobs, calibration)
        found[setting] = {
            "accuracy": judged(file, data, task),
            "emulated_accuracy": emulated(file, data, task),
            "onnx_bytes": len(slimmed(file)),
            "weight_bytes": weight_bytes(file),
            "reverted_layers": len(calibration.skipped),
            "finetune_s": round(seconds, 1),
        }
        print(name, seed, setting, found[setting], flush=True)
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--aware-epochs", type=int, default=6)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    document: dict[str, object] = {"epochs": options.epochs, "aware_epochs": options.aware_epochs}
    for name in NETWORKS:
        runs = [run(name, seed, options.epochs, options.aware_epochs) for seed in range(options.seeds)]
        document[name] = {
            setting: {key: [found[setting][key] for found in runs] for key in values}
            for setting, values in runs[0].items()
        }
        (options.out / "bits.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
