"""What each encoding of the packed file saves, on a network that was really trained.

One network of the family `mbconv` is trained on the digits and exported; its file is then rewritten in the ways that
compression leaves weights behind: float16, int8, 4-bit grids, zeros, coefficients of a transform. Each file is packed.

    .venv/bin/python benchmarks/packing.py

Writes benchmarks/results/packing.json.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from paredown.evaluators.device import this_device
from paredown.evaluators.files.names import MODEL_FILE
from paredown.evaluators.files.onnx_model import slimmed
from paredown.evaluators.packing.container import pack, read
from paredown.evaluators.packing.summary import encoding_rows
from paredown.evaluators.training.data import TrainingData
from paredown.search.study_file.schema import read_config
from paredown.search.study_file.setup import set_up
from paredown.search.trial.run_trial import run_trial
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.step import RewriteContext
from paredown.spaces.knob import Knobs

ROOT = Path(__file__).parents[1]
RESOLUTION = 16
KNOBS = {
    "scaling": "free",
    "depth": 1.0,
    "width": 2.0,
    "resolution": RESOLUTION,
    "kernel": 3,
    "expansion": 4,
    "squeeze_excite": False,
    "activation": "relu",
}
DCT = {"domain": "dct", "rule": "ratio", "amount": 0.5}
Array = NDArray[np.float32]


def edited(model: bytes, edit: Callable[[Array], Array]) -> bytes:
    """Return the model with the weights of its layers changed."""
    proto = onnx.load_from_string(model)
    for tensor in proto.graph.initializer:
        if len(tensor.dims) > 1 and tensor.data_type == onnx.TensorProto.FLOAT:
            weights = edit(onnx.numpy_helper.to_array(tensor))
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(weights), tensor.name))
    return bytes(proto.SerializeToString())


def pruned(share: float) -> Callable[[Array], Array]:
    """Zero a share of a layer's weights, the smallest."""
    return lambda w: np.where(np.abs(w) > np.quantile(np.abs(w), share), w, 0).astype(np.float32)


def gridded(weights: Array) -> Array:
    """Round to 15 levels, one scale a channel."""
    channels = weights.reshape(len(weights), -1)
    scales = np.maximum(np.abs(channels).max(1, keepdims=True), np.float32(1e-30)) / np.float32(7)
    return (np.rint(channels / scales) * scales).reshape(weights.shape).astype(np.float32)


def shared(weights: Array) -> Array:
    """Share 16 values a layer: the centres of sixteen parts of equally many weights."""
    parts = np.array_split(np.sort(weights.reshape(-1)), 16)
    centres = np.array([part.mean() for part in parts if len(part)], dtype=np.float32)
    return centres[np.abs(weights[..., None] - centres).argmin(-1)]


def main() -> None:
    """Train, pack, print and write."""
    with tempfile.TemporaryDirectory() as folder:
        setup = set_up(read_config(None, {}), "default study", Path(folder), Path(folder))
        result = run_trial(Candidate("mbconv", KNOBS), setup.plan)
        assert result.outcome == "done", result.reason
        trained = Path(folder, result.artifact, MODEL_FILE).read_bytes()
        data = TrainingData.of(setup.task, RESOLUTION)
    calibration = RewriteContext(
        data.normalise(data.train.images[:64]), data.train.labels[:64], target=this_device().target
    )

    def step(name: str, knobs: Knobs, model: bytes = trained) -> bytes:
        rewrite = STEPS[name].rewrite
        assert rewrite is not None
        return rewrite(model, knobs, calibration)

    variants = {
        "float32": trained,
        "float16": step("quantization", {"weights": "fp16"}),
        "int8": step("quantization", {"weights": "int8"}),
        "4-bit grid a channel": edited(trained, gridded),
        "16 shared values a layer": edited(trained, shared),
        "80 % zeros": edited(trained, pruned(0.8)),
        "98 % zeros": edited(trained, pruned(0.98)),
        "80 % zeros, 4-bit grid": edited(edited(trained, pruned(0.8)), gridded),
        "half the DCT": step("transform_sparsity", DCT),
        "half the DCT, float16": step("quantization", {"weights": "fp16"}, step("transform_sparsity", DCT)),
    }
    rows: list[dict[str, Any]] = []
    for name, model in variants.items():
        slim = slimmed(model)
        start = time.perf_counter()
        packed, uncompressed = pack(slim), pack(slim, "none")
        packing = (time.perf_counter() - start) / 2
        start = time.perf_counter()
        contents = read(packed)
        row = {"weights": name, "onnx_bytes": len(contents.model), "packed_bytes": len(packed)}
        row |= {"without_zlib": len(uncompressed), "parts": contents.parts, "encodings": encoding_rows(contents)}
        rows.append(row | {"pack_ms": round(1e3 * packing), "read_ms": round(1e3 * (time.perf_counter() - start))})
        print(name, json.dumps(rows[-1]))
    target = ROOT / "benchmarks/results/packing.json"
    target.write_text(json.dumps({"accuracy": result.measurements["accuracy"].value, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
