"""Small networks in int8 ONNX, as `quantization` writes them, for tests of files for microcontrollers."""

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from paredown.evaluators.build import apply_structural_steps, build
from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.step import RewriteContext
from paredown.spaces.compression.target import Target
from paredown.spaces.families.family import ImageShape
from paredown.spaces.knob import Knobs

INT8: Knobs = {"weights": "int8", "activations": "uint8", "calibration": "minmax", "aware": False, "max_drop": 0.0}
RESNET8: Knobs = {
    **{"block": "basic", "blocks": 1, "widths": "equal", "width": 1.0},
    **{"shortcut": "projected", "activation": "relu", "resolution": 32},
}
"""The network of MLPerf Tiny's image classification: three stages of 16, 32 and 64 channels, one block each."""


def images(shape: ImageShape, count: int = 16, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def int8_file(network: nn.Module, shape: ImageShape, knobs: Knobs = INT8, bits: int = 8) -> bytes:
    """Return the int8 ONNX file of a network, calibrated on random images."""
    given = images(shape, 64, 1)
    context = RewriteContext(given, np.arange(len(given)) % 2, target=Target(bits))
    rewrite = STEPS["quantization"].rewrite
    assert rewrite is not None
    return slimmed(rewrite(export(network.eval(), shape), knobs, context))


@functools.cache
def _family_file(family: str, knobs: tuple[tuple[str, object], ...], shape: ImageShape, steps: str) -> bytes:
    torch.manual_seed(0)
    named = {"low_rank": {"ratio": 0.5, "rule": "ratio", "kernel": "spatial"}}
    candidate = Candidate(family, dict(knobs), {name: named[name] for name in steps.split()})  # type: ignore[arg-type]
    network = build(candidate, shape, 10)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return int8_file(apply_structural_steps(network, candidate, shape).network, shape)


def family_file(family: str, knobs: Knobs, shape: ImageShape = (3, 32, 32), steps: str = "") -> bytes:
    """Return the int8 ONNX file of a network of a family with 10 classes and normalisations as after training."""
    return _family_file(family, tuple(knobs.items()), shape, steps)


def large_sums(classifies: bool = False) -> bytes:
    """Return a pointwise convolution of 32 channels whose weights are all 1, which is 127 as an integer.

    Args:
        classifies: Whether it yields logits instead: the mean of each of its 16 channels, whose weights are half as
            large but for the first, and 7 more but for the first.
    """
    one = helper.make_tensor_value_info
    constants = {
        **{"scale": np.float32(1 / 255), "zero": np.uint8(0), "weights": np.full((16, 32, 1, 1), 127, np.int8)},
        **{"weight_scale": np.float32(1 / 127), "weight_zero": np.int8(0), "out_scale": np.float32(32 / 200)},
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["given"]),
        helper.make_node("DequantizeLinear", ["given", "scale", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["weights", "weight_scale", "weight_zero"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["sums"]),
        helper.make_node("QuantizeLinear", ["sums", "out_scale", "zero"], ["made"]),
        helper.make_node("DequantizeLinear", ["made", "out_scale", "zero"], ["out"]),
    ]
    entry, end = (one(n, TensorProto.FLOAT, (1, c, 4, 4)) for n, c in (("image", 32), ("out", 16)))
    if classifies:
        constants["weights"][1:] = 63
        constants["added"] = np.float32([0, *[7] * 15])
        nodes.append(helper.make_node("ReduceMean", ["out"], ["means"], axes=[2, 3], keepdims=0))
        nodes.append(helper.make_node("Add", ["means", "added"], ["logits"]))
        end = one("logits", TensorProto.FLOAT, (1, 16))
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "sums", [entry], [end], weights)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
