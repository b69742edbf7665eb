"""What is read of the nodes that a runtime executes: their class and their sizes, one row of numbers a node.

Source:
    Zhang et al., nn-Meter, MobiSys 2021, section 4 (kernels as the unit of prediction).
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.files.onnx_graph import Graph, Tensor
from paredown.evaluators.latency.blocked_nodes import convolution_kind
from paredown.evaluators.latency.instructions import Instructions
from paredown.evaluators.latency.kernels import macs_of
from paredown.evaluators.latency.runtime_node import RuntimeNode

Array = NDArray[np.float64]
CONVOLUTIONS = frozenset({"Conv", "FusedConv", "ConvTranspose", "QLinearConv"})
PRODUCTS = frozenset({"Gemm", "MatMul", "FusedMatMul", "QGemm", "QLinearMatMul"})
CLASSES = (
    *("convolution", "pointwise", "depthwise", "grouped"),
    *("symmetric_convolution", "symmetric_pointwise", "symmetric_depthwise"),
    *("blocked_convolution", "blocked_pointwise", "blocked_depthwise", "blocked_grouped"),
    *("direct_pointwise", "direct"),
    *(
        "linear",
        "product",
        "global_pool",
        "blocked_global_pool",
        "pool",
        "add",
        "multiply",
        "broadcast",
        "activation",
        "gelu",
        "softmax",
    ),
    *(
        "bias_gelu",
        "layer_normalisation",
        "normalisation",
        "reduction",
        "transpose",
        "gather",
        "split",
        "view",
        "shape",
        "reorder_in",
        "reorder_out",
    ),
    *("quantize", "dequantize", "division", "erf", "sigmoid", "hardsigmoid", "other"),
)
OF_KIND = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"), "view"),
    **dict.fromkeys(("Shape", "Range", "Expand", "ConstantOfShape"), "shape"),
    **dict.fromkeys(("Relu", "Clip", "Tanh", "Elu", "LeakyRelu", "Sqrt", "Exp"), "activation"),
    **{"QuickGelu": "gelu", "BiasGelu": "bias_gelu", "LayerNormalization": "layer_normalisation"},
    **dict.fromkeys(("Sigmoid", "QLinearSigmoid"), "sigmoid"),
    **{"Add": "add", "QLinearAdd": "add", "Sub": "add", "Mul": "multiply", "QLinearMul": "multiply"},
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "QLinearGlobalAveragePool"), "global_pool"),
    **dict.fromkeys(("AveragePool", "MaxPool", "QLinearAveragePool"), "pool"),
    **dict.fromkeys(("InstanceNormalization", "BatchNormalization"), "normalisation"),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax"), "reduction"),
    **dict.fromkeys(("Split", "Slice", "Concat", "QLinearConcat"), "split"),
    **{"Softmax": "softmax", "QLinearSoftmax": "softmax", "Transpose": "transpose", "Gather": "gather"},
    **{"ReorderInput": "reorder_in", "ReorderOutput": "reorder_out", "Div": "division", "Erf": "erf"},
    **{"QuantizeLinear": "quantize", "DequantizeLinear": "dequantize", "HardSigmoid": "hardsigmoid"},
}
ACTIVATIONS = ("", "Relu", "Clip", "Sigmoid", "HardSwish", "other")
AT_CLASS = {name: at for at, name in enumerate(CLASSES)}


def class_of(graph: Graph, node: RuntimeNode, instructions: Instructions) -> str:
    """Return the class of a node."""
    if node.kind in CONVOLUTIONS:
        weight, groups = graph.weight(node.first), int(node.first.attributes.get("group", 1))
        shape = weight.shape if weight else (1, 1, 1, 1)
        is_single = math.prod(shape[2:]) == 1
        name = "pointwise" if is_single else "convolution"
        if groups > 1:
            name = "depthwise" if shape[1] == 1 and shape[0] == groups else "grouped"
        if not node.blocked:
            is_in_place = node.kind == "QLinearConv" and is_symmetric(shape, groups, instructions.symmetric_multiple)
            return f"symmetric_{name}" if is_in_place else name
        if convolution_kind(graph, node.first, instructions.vector) == "direct":
            return "direct_pointwise" if is_single else "direct"
        return f"blocked_{name}"
    if node.kind in PRODUCTS:
        return "linear" if graph.weight(node.first) else "product"
    if node.kind in ("Concat", "Gather", "Slice", "Unsqueeze", "Squeeze") and node.outputs:
        tensor = graph.tensors[node.outputs[0]]
        if tensor.elements < 8:
            return "shape"
    name = OF_KIND.get(node.kind, "other")
    if name not in ("add", "multiply"):
        return "blocked_global_pool" if name == "global_pool" and node.blocked else name
    shapes = {graph.tensors[n].shape for n in (*node.inputs, *node.outputs)}
    return "broadcast" if len(shapes) > 1 or node.first.constants else name


def is_symmetric(shape: Sequence[int], groups: int, multiple: int) -> bool:
    """Return whether a convolution of integers reads its input in place and writes integers at once.

    The others copy it into rows, multiply them group by group, and turn sums into integers afterwards. Weights have
    zero points of 0, as those of `paredown.spaces.compression.quantization` do.

    Args:
        shape: Shape of its weights.
        groups: Its groups.
        multiple: What its outputs must be a multiple of, by the instructions.
    """
    outputs, inputs = shape[:2]
    if groups > 1:
        return inputs == 1 and outputs == groups and groups % 16 == 0
    return outputs >= 16 and inputs % 4 == 0 and outputs % multiple == 0


MEASURES = (
    *("class", "activation", "adds", "is_int8", "is_half", "is_last", "inputs", "outputs"),
    *("rows", "columns", "depth", "groups", "window", "side", "stride"),
    *("height", "width", "channels_in", "channels_out", "elements_in", "elements_out", "smaller_in"),
    *("weights", "is_first", "sources", "run", "recoded"),
    *("network_weight_bytes", "network_largest_bytes", "network_nodes"),
)
"""What is read of each node, sizes in elements; `rows x depth` times `depth x columns` in each group is its product."""
AT = {name: at for at, name in enumerate(MEASURES)}
UNKNOWN = Tensor()
OF_NETWORK = 3
"""Columns at the end that all nodes of a network share."""


def measures(graph: Graph, nodes: Sequence[RuntimeNode], instructions: Instructions) -> Array:
    """Return what is read of each node: one row a node, one column for each name in `MEASURES`.

    Args:
        graph: The graph.
        nodes: What runs of it.
        instructions: Those of the processor.
    """
    read, entries = np.zeros((len(nodes), len(MEASURES))), frozenset(graph.inputs)
    if nodes:
        read[:, :-OF_NETWORK] = [_measured(graph, node, entries, instructions) for node in nodes]
    size = np.where(read[:, AT["is_int8"]] > 0, 1, 4)
    read[:, AT["network_weight_bytes"]] = (read[:, AT["weights"]] * size).sum()
    read[:, AT["network_largest_bytes"]] = (read[:, AT["elements_out"]] * size).max(initial=0)
    read[:, AT["network_nodes"]] = len(nodes)
    return read


def _measured(graph: Graph, node: RuntimeNode, entries: frozenset[str], instructions: Instructions) -> list[float]:
    tensors, first = graph.tensors, node.operators[0] if node.operators else None
    inputs = [tensors.get(name, UNKNOWN) for name in node.inputs]
    outputs = [tensors.get(name, UNKNOWN) for name in node.outputs]
    before, after = inputs[0] if inputs else UNKNOWN, outputs[0] if outputs else UNKNOWN
    name = class_of(graph, node, instructions)
    weight = graph.weight(first) if first else None
    channels_in, channels_out = _channels(before), _channels(after)
    rows, columns, depth, groups, window, side, stride = 0, 0, 0, 1, 1, 1, 1
    height, width = (after.shape[-2], after.shape[-1]) if len(after.shape) > 3 else (1, max(1, after.elements))
    if first and weight and node.kind in CONVOLUTIONS:
        groups = int(first.attributes.get("group", 1))
        window, side = math.prod(weight.shape[2:]), weight.shape[-1]
        stride = int((first.attributes.get("strides") or [1])[-1])
        rows, columns, depth = height * width, weight.shape[0] // groups, weight.shape[1] * window
    elif first and node.kind in PRODUCTS:
        columns = after.shape[-1] if after.shape else 1
        depth = round(macs_of(graph, first) / max(1, after.elements))
        if weight:
            rows = after.elements // max(1, columns)
        else:
            rows = after.shape[-2] if len(after.shape) > 1 else 1
            groups = max(1, after.elements // max(1, rows * columns))
    elif first and node.kind in ("MaxPool", "AveragePool"):
        sides = first.attributes.get("kernel_shape") or [1]
        window, side = math.prod(sides), int(sides[-1])
        stride = int((first.attributes.get("strides") or [1])[-1])
    block = instructions.vector if node.blocked else 0
    elements_in = [_elements(t, block if node.kind != "Conv" else 0) for t in inputs]
    elements_out = [_elements(t, block) for t in outputs]
    activation = node.activation if node.activation in ACTIVATIONS else "other"
    integer = not node.is_float and any(t.bits == 8 and not t.is_float for t in (*inputs[:1], *outputs[:1]))
    return [
        *(AT_CLASS[name], ACTIVATIONS.index(activation), node.adds, integer, before.bits == 16, node.channels_last),
        *(len(inputs), len(outputs), rows, columns, depth, groups, window, side, stride),
        *(height, width, channels_in, channels_out, sum(elements_in)),
        *(sum(elements_out) or after.elements, min(elements_in, default=0)),
        sum([tensors[n].elements for n in first.constants]) if first and name != "shape" else 0,
        *(not entries.isdisjoint(node.inputs), len(node.operators), _run(node, before, after)),
        sum(t.elements for t in inputs if t.grid != after.grid) if node.kind == "QLinearConcat" else 0,
    ]


def _elements(tensor: Tensor, block: int) -> int:
    """Return how many numbers a tensor takes: on blocks of channels, the last one is whole; 0 for none."""
    if not block:
        return tensor.elements
    channels = _channels(tensor)
    return tensor.elements // channels * math.ceil(channels / block) * block


def _run(node: RuntimeNode, before: Tensor, after: Tensor) -> int:
    """Return how many elements a node moves at once; 0 for one that computes."""
    if node.kind == "Transpose":
        order = list(node.first.attributes.get("perm", ())) if node.operators else [0, 2, 3, 1]
        if len(before.shape) != len(order):
            return 1
        order = [axis for axis in order if before.shape[axis] > 1]  # one channel, or one position, stays where it is
        kept = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(order[::-1], sorted(order)[::-1], strict=True))
        return math.prod(before.shape[axis] for axis, _ in kept)
    if node.kind in ("Gather", "Split", "Slice", "Concat", "QLinearConcat") and node.operators:
        axis = int(node.first.attributes.get("axis", 1))
        axis = axis % max(1, len(before.shape))
        if node.kind == "QLinearConcat" and len(before.shape) == 4:  # channels are last
            return before.shape[1]
        shape = before.shape if node.kind == "Gather" else after.shape
        return math.prod(shape[axis + (node.kind == "Gather") :])
    return 0


def _channels(tensor: Tensor) -> int:
    if len(tensor.shape) < 2:
        return max(1, tensor.elements)
    return max(1, tensor.shape[1] if len(tensor.shape) == 4 else tensor.shape[-1])
