"""Random networks of blocks, written as ONNX without PyTorch: a hundred times as fast as an export.

Their blocks are those of the product's families, and their files look like what the exporter and `quantization` write:
biases are folded, float16 comes from the same converter, and int8 has the same pairs of QuantizeLinear and
DequantizeLinear. All weights of a layer are alike, since no runtime's time depends on their values.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

OPSET, IR_VERSION = 17, 8
ACTIVATIONS = ("relu", "relu6", "silu", "hardswish")
BLOCKS = ("inverted", "inverted", "separable", "basic", "basic", "bottleneck", "plain", "grouped")
GATES = ("sigmoid", "hardsigmoid")
LARGEST_MACS = 300e6
SMALLEST_MACS = 2e5
UNIFORM = 0.3
"""Share of networks whose blocks are all alike; the others show more kinds of kernels in the same time."""
SCALE, ZERO = np.float32(0.05), np.uint8(128)


@dataclass
class NetworkWriter:
    """Writes one network.

    Attributes:
        is_int8: Whether weights and activations are quantised.
        nodes: Nodes so far.
        weights: Initializers so far.
        macs: Multiply-accumulates so far.
    """

    is_int8: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    macs: float = 0.0

    def node(self, kind: str, inputs: Sequence[str], **attributes: object) -> str:
        """Add a node and return its output."""
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: NDArray[Any] | np.generic) -> str:
        """Add an initializer and return its name."""
        self.weights.append(numpy_helper.from_array(np.asarray(values), f"weight_{len(self.weights)}"))
        return str(self.weights[-1].name)

    def pair(self, x: str) -> str:
        """Return a tensor in 8 bits and back, where the network is int8."""
        if not self.is_int8:
            return x
        ends = [self.constant(SCALE), self.constant(ZERO)]
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [x, *ends]), *ends])

    def layer(self, shape: tuple[int, ...]) -> list[str]:
        """Add weights, `outputs x ...`, and biases, and return their names."""
        outputs = shape[0]
        if not self.is_int8:
            return [self.constant(np.full(shape, 0.01, np.float32)), self.constant(np.full(outputs, 0.01, np.float32))]
        scales = np.full(outputs, 0.01, np.float32)
        weight: list[NDArray[Any]] = [np.full(shape, 3, np.int8), scales, np.zeros(outputs, np.int8)]
        bias: list[NDArray[Any]] = [np.full(outputs, 5, np.int32), scales * SCALE, np.zeros(outputs, np.int32)]
        return [
            self.node("DequantizeLinear", [self.constant(each) for each in values], axis=0) for values in (weight, bias)
        ]


@dataclass(frozen=True)
class Feature:
    """A tensor of a network.

    Attributes:
        name: Its name.
        channels: Its channels.
        side: Its height and width.
    """

    name: str
    channels: int
    side: int


def convolution(w: NetworkWriter, x: Feature, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> Feature:
    """Add a convolution with padding to the same size."""
    layer = w.layer((channels, x.channels // groups, kernel, kernel))
    pads = [(kernel - 1) // 2] * 4
    shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "dilations": [1, 1]}
    y = w.node("Conv", [x.name, *layer], pads=pads, group=groups, **shape)
    side = (x.side - 1) // stride + 1
    w.macs += side**2 * channels * x.channels // groups * kernel**2
    return Feature(y, channels, side)


def activated(w: NetworkWriter, x: Feature, kind: str) -> Feature:
    """Add an activation after a layer; `none` adds none."""
    name = x.name
    if kind in ("relu", "relu6") and not w.is_int8:  # int8 ranges end where these do, so they are dropped
        ends = [w.constant(np.float32(0)), w.constant(np.float32(6))]
        name = w.node("Relu", [name]) if kind == "relu" else w.node("Clip", [name, *ends])
    elif kind in GATES:
        name = _gate(w, w.pair(name), kind)
    elif kind == "hardswish" and not w.is_int8:
        name = w.node("HardSwish", [name])
    elif kind in ("silu", "hardswish"):
        name = w.pair(name)
        name = w.node("Mul", [name, w.pair(_gate(w, name, "sigmoid" if kind == "silu" else "hardsigmoid"))])
    return Feature(w.pair(name), x.channels, x.side)


def _gate(w: NetworkWriter, x: str, kind: str) -> str:
    return w.node("Sigmoid", [x]) if kind == "sigmoid" else w.node("HardSigmoid", [x], alpha=1 / 6, beta=0.5)


def squeeze_excited(w: NetworkWriter, x: Feature, squeezed: int, kind: str, gate: str) -> Feature:
    """Add squeeze-and-excitation."""
    means = Feature(w.pair(w.node("GlobalAveragePool", [x.name])), x.channels, 1)
    inner = activated(w, convolution(w, means, squeezed, 1), kind)
    gates = activated(w, convolution(w, inner, x.channels, 1), gate)
    return Feature(w.pair(w.node("Mul", [x.name, gates.name])), x.channels, x.side)


@dataclass(frozen=True)
class Style:
    """What the blocks of one network have in common.

    Attributes:
        block: Kind of block.
        activation: Activation.
        gate: Gate of squeeze-and-excitation; empty for none.
        kernel: Side of its kernels.
        expansion: Ratio of inner channels to outer ones.
        groups: Number of groups, where the block has groups.
    """

    block: str
    activation: str
    gate: str
    kernel: int
    expansion: float
    groups: int


def block(w: NetworkWriter, x: Feature, channels: int, stride: int, style: Style) -> Feature:
    """Add a block, with a shortcut where the shapes allow one or the block brings its own."""
    act, kernel, y = style.activation, style.kernel, x
    inner = max(4, round(channels * style.expansion))
    last = "none"
    if style.block in ("inverted", "separable"):
        inner = max(4, round(x.channels * style.expansion)) if style.block == "inverted" else x.channels
        if inner != x.channels:
            y = activated(w, convolution(w, y, inner, 1), act)
        y = activated(w, convolution(w, y, inner, kernel, stride, inner), act)
        if style.gate:
            y = squeeze_excited(w, y, max(2, inner // 4), act if style.gate == "sigmoid" else "relu", style.gate)
        last = act if style.block == "separable" else "none"
        y = convolution(w, y, channels, 1)
    elif style.block == "bottleneck":
        inner = max(4, channels // 4)
        y = activated(w, convolution(w, y, inner, 1), act)
        y = activated(w, convolution(w, y, inner, kernel, stride), act)
        y, last = convolution(w, y, channels, 1), act
    elif style.block == "basic":
        y = activated(w, convolution(w, y, channels, 3, stride), act)
        y, last = convolution(w, y, channels, 3), act
    else:
        groups = math.gcd(style.groups, math.gcd(x.channels, channels)) if style.block == "grouped" else 1
        y, last = convolution(w, y, channels, kernel, stride, groups), act
    return _joined(w, x, y, stride, style.block, last)


def _joined(w: NetworkWriter, x: Feature, y: Feature, stride: int, kind: str, last: str) -> Feature:
    fits = stride == 1 and x.channels == y.channels
    if kind in ("plain", "grouped", "separable") or (kind == "inverted" and not fits):
        return activated(w, y, last)
    body = w.pair(y.name)
    shortcut = x.name if fits else w.pair(convolution(w, x, y.channels, 1, stride).name)
    return activated(w, Feature(w.node("Add", [body, shortcut]), y.channels, y.side), last)


def block_network(seed: int, format_: str) -> tuple[bytes, tuple[int, int, int]]:
    """Return the network of a seed and the shape of its input.

    Args:
        seed: Draws all that is random; seeds whose networks are too large or too small are drawn again.
        format_: `fp32`, `fp16` or `int8`.
    """
    dice = random.Random(seed)
    while True:
        model, shape, macs = _network(dice, format_ == "int8")
        if SMALLEST_MACS <= macs <= LARGEST_MACS:
            break
    if format_ == "fp16":
        from paredown.evaluators.latency.random_networks import in_format

        model = in_format(model, format_, shape)
    return model, shape


def _network(dice: random.Random, is_int8: bool) -> tuple[bytes, tuple[int, int, int], float]:
    w = NetworkWriter(is_int8)
    image, side = dice.choice((1, 3)), dice.choice(range(8, 100, 4))
    multiple = dice.choice((1, 4, 8, 8, 16))
    is_uniform, style = dice.random() < UNIFORM, _style(dice)
    channels = _rounded(math.exp(dice.uniform(math.log(4), math.log(64))), multiple)
    x = Feature(w.pair("image"), image, side)
    x = activated(w, convolution(w, x, channels, 3, dice.choice((1, 2))), style.activation)
    for stage in range(dice.randint(2, 5)):
        channels = _rounded(channels * dice.uniform(1.0, 2.2), multiple)
        for at in range(dice.randint(1, 4)):
            stride = 2 if at == 0 and stage and x.side > 3 else 1
            x = block(w, x, channels, stride, style if is_uniform else _style(dice))
    if dice.random() < 0.5:
        x = activated(w, convolution(w, x, _rounded(channels * dice.uniform(1, 4), multiple), 1), style.activation)
    pooled = w.node("Flatten", [w.pair(w.node("GlobalAveragePool", [x.name]))], axis=1)
    classes = dice.choice((2, 10, 100))
    w.pair(w.node("Gemm", [w.pair(pooled), *w.layer((classes, x.channels))], transB=1))
    w.nodes[-1].output[0] = "logits"
    graph = helper.make_graph(
        w.nodes,
        "blocks",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ("batch", image, side, side))],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ("batch", classes))],
        w.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString()), (image, side, side), w.macs


def _style(dice: random.Random) -> Style:
    return Style(
        dice.choice(BLOCKS),
        dice.choice(ACTIVATIONS),
        dice.choice((*GATES, "", "", "")),
        dice.choice((3, 3, 5, 7)),
        dice.choice((1, 2, 3, 4, 6)),
        dice.choice((2, 4, 8)),
    )


def _rounded(channels: float, multiple: int) -> int:
    return max(multiple, round(channels / multiple) * multiple)
