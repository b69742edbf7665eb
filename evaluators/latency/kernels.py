"""Kernels of a network: operators that a runtime executes as one, such as a convolution with its activation.

They are found in the file as it is, by the rules by which ONNX Runtime fuses, so that finding them takes about a
millisecond and no runtime: an activation and an addition belong to the convolution or product that they follow.

Source:
    Zhang et al., nn-Meter, MobiSys 2021, section 4 (kernels as the unit of prediction).
"""

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.files.onnx_graph import Graph, Operator, Tensor

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "QLinearConv"})
PRODUCTS = frozenset({"Gemm", "MatMul", "QGemm", "QLinearMatMul"})
ACTIVATIONS = frozenset({"Relu", "Clip", "HardSwish", "Sigmoid", "HardSigmoid", "Tanh", "Elu", "LeakyRelu", "Gelu"})
GATES = frozenset({"Sigmoid", "HardSigmoid", "Tanh"})
VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
SHAPES = frozenset({"Shape", "Gather", "Slice", "Concat", "Constant", "Range", "Expand", "ConstantOfShape"})
IN_PLACE = ACTIVATIONS | {"Add", "Mul", "Sub", "Div", "Erf", "Sqrt", "Exp", "Softmax", "LayerNormalization"} | VIEWS
"""Operators that may write where they read."""
CLASSES = (
    *("convolution", "pointwise", "depthwise", "grouped", "linear", "product", "global_pool", "pool", "binary"),
    *("activation", "softmax", "normalisation", "reduction", "transpose", "view", "shape", "convert", "other"),
)
ACTIVATION_KINDS = ("none", "relu", "sigmoid", "gated", "hardswish", "other")
OF_CLASS = {
    **dict.fromkeys(VIEWS, "view"),
    **dict.fromkeys(SHAPES, "shape"),
    **dict.fromkeys(ACTIVATIONS | {"Erf", "Sqrt", "Exp", "QuickGelu"}, "activation"),
    **dict.fromkeys(("Add", "Mul", "Sub", "Div"), "binary"),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), "global_pool"),
    **dict.fromkeys(("AveragePool", "MaxPool"), "pool"),
    **dict.fromkeys(("LayerNormalization", "InstanceNormalization", "BatchNormalization"), "normalisation"),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax"), "reduction"),
    **dict.fromkeys(("Cast", "QuantizeLinear", "DequantizeLinear"), "convert"),
    **{"Softmax": "softmax", "Transpose": "transpose", "Split": "transpose"},
}


@dataclass(frozen=True)
class Kernel:
    """Operators that are executed as one.

    Attributes:
        operators: In their order; the first one gives the kernel its class.
        inputs: Tensors that it reads from other kernels.
        outputs: Tensors that others read.
    """

    operators: tuple[Operator, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def first(self) -> Operator:
        """The operator that gives the kernel its class."""
        return self.operators[0]


def kernels_of(graph: Graph) -> list[Kernel]:
    """Return the kernels of a graph, in the order in which they can run."""
    readers: dict[str, list[int]] = defaultdict(list)
    written = {name: at for at, operator in enumerate(graph.operators) for name in operator.outputs}
    for at, operator in enumerate(graph.operators):
        for name in operator.inputs:
            readers[name].append(at)
    taken: set[int] = set()
    groups: dict[int, list[int]] = {}
    for at, operator in enumerate(graph.operators):
        if at in taken:
            continue
        followers = _followers(graph, at, readers, written) if operator.kind in CONVOLUTIONS | PRODUCTS else []
        taken.update((at, *followers))
        groups[at] = [at, *followers]
    ordered = sorted(groups.values(), key=lambda group: group[-1])
    return [_kernel([graph.operators[at] for at in group], readers, group, graph) for group in ordered]


def _followers(graph: Graph, anchor: int, readers: dict[str, list[int]], written: dict[str, int]) -> list[int]:
    """Return the operators that a runtime fuses into a convolution or a product."""
    found: list[int] = []
    tensor, added, activated = graph.operators[anchor].outputs[0], False, False
    while tensor not in graph.outputs:
        next_ = readers[tensor]
        kinds = [graph.operators[at].kind for at in next_]
        gate = _gate(graph, tensor, next_)
        if len(next_) == 1 and kinds[0] in ACTIVATIONS and not activated:
            found, activated = [*found, next_[0]], True
        elif gate and not activated:
            found, activated = [*found, *gate], True
        elif len(next_) == 1 and kinds[0] == "Add" and not activated and not added:
            others = [name for name in graph.operators[next_[0]].inputs if name != tensor]
            if any(written.get(name, -1) > anchor for name in others):
                break  # the operator that comes last takes the addition
            found, added = [*found, next_[0]], bool(others)
        else:
            break
        tensor = graph.operators[found[-1]].outputs[0]
    return found


def _gate(graph: Graph, tensor: str, readers: list[int]) -> list[int]:
    """Return the two operators of `x * sigmoid(x)`; nothing where a tensor is not read so."""
    if len(readers) != 2:
        return []
    first, second = sorted(readers)
    gate, product = graph.operators[first], graph.operators[second]
    is_gate = gate.kind in GATES and product.kind == "Mul" and set(product.inputs) == {tensor, gate.outputs[0]}
    return [first, second] if is_gate else []


def _kernel(operators: list[Operator], readers: dict[str, list[int]], group: list[int], graph: Graph) -> Kernel:
    own = {name for operator in operators for name in operator.outputs}
    inputs = dict.fromkeys(name for operator in operators for name in operator.inputs if name not in own)
    outside = [name for o in operators for name in o.outputs if set(readers[name]) - set(group)]
    outputs = dict.fromkeys([*outside, *(name for name in graph.outputs if name in own), operators[-1].outputs[0]])
    return Kernel(tuple(operators), tuple(inputs), tuple(outputs))


def class_of(graph: Graph, operator: Operator) -> str:
    """Return the class of an operator."""
    if operator.kind in CONVOLUTIONS:
        weight, groups = graph.weight(operator), int(operator.attributes.get("group", 1))
        shape = weight.shape if weight else (1, 1, 1, 1)
        if groups > 1:
            return "depthwise" if shape[1] == 1 and shape[0] == groups else "grouped"
        return "pointwise" if math.prod(shape[2:]) == 1 else "convolution"
    if operator.kind in PRODUCTS:
        return "linear" if graph.weight(operator) else "product"
    return OF_CLASS.get(operator.kind, "other")


def macs_of(graph: Graph, operator: Operator) -> float:
    """Return the multiply-accumulates of an operator: of convolutions and products; others count as none."""
    output, weight = graph.tensors[operator.outputs[0]], graph.weight(operator)
    if operator.kind == "ConvTranspose" and weight:
        return float(graph.tensors[operator.inputs[0]].elements * math.prod(weight.shape[1:]))
    if operator.kind in CONVOLUTIONS and weight:
        return float(output.elements * math.prod(weight.shape[1:]))
    if operator.kind in PRODUCTS:
        first = weight if weight and operator.weight_at == 0 else graph.tensors[operator.inputs[0]]
        shape = first.shape or (1,)
        return float(output.elements * shape[-2 if operator.attributes.get("transA") and len(shape) > 1 else -1])
    return 0.0


FEATURES = (
    *(f"is_{name}" for name in CLASSES),
    *(f"activation_{name}" for name in ACTIVATION_KINDS),
    *("adds", "operators", "int8_in", "int8_out", "fp16", "int8_weights"),
    *("channels_in", "channels_out", "positions_in", "positions_out", "width_out", "kernel", "stride", "groups"),
    *("macs", "weight_bytes", "bytes_in", "bytes_out", "waste_in", "waste_out", "waste_width"),
    *("odd_in", "odd_out", "odd_in_4", "odd_out_4", "few_in", "few_out"),
    *("unrolled", "group_in", "group_out"),
    *("after_convolution", "before_convolution", "readers", "is_first"),
    *("network_weight_bytes", "network_largest_tensor"),
)
"""Names of a kernel's features; sizes are logarithms of base 2."""


def features(graph: Graph, kernels: list[Kernel]) -> NDArray[np.float64]:
    """Return what tells the time of each kernel: one row a kernel, one column for each name in `FEATURES`."""
    writers = {name: kernel for kernel in kernels for name in kernel.outputs}
    readers: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        for name in kernel.inputs:
            readers[name].append(kernel)
    weights = sum(graph.tensors[name].size_bytes for k in kernels for o in k.operators for name in o.constants)
    largest = max((graph.tensors[name].size_bytes for kernel in kernels for name in kernel.outputs), default=0)
    of_network = [_log(weights), _log(largest)]
    rows = []
    for kernel in kernels:
        after = writers.get(kernel.inputs[0]) if kernel.inputs else None
        before = [reader for name in kernel.outputs for reader in readers[name]]
        context = [
            float(after is not None and after.first.kind in CONVOLUTIONS),
            float(all(reader.first.kind in CONVOLUTIONS for reader in before) and bool(before)),
            float(len(before)),
            float(any(name in graph.inputs for name in kernel.inputs)),
        ]
        rows.append([*_own(graph, kernel), *context, *of_network])
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(FEATURES))


def _own(graph: Graph, kernel: Kernel) -> list[float]:
    first, kinds = kernel.first, [o.kind for o in kernel.operators[1:]]
    name, weight = class_of(graph, first), graph.weight(first)
    inputs = [graph.tensors[n] for n in kernel.inputs]
    outputs = [graph.tensors[n] for n in kernel.outputs]
    before, after = inputs[0] if inputs else Tensor(), outputs[-1] if outputs else Tensor()
    channels_in, channels_out = _channels(before, name), _channels(after, name)
    size = weight.shape[2:] if weight and first.kind in CONVOLUTIONS else ()
    activation = _activation(kinds if first.kind in CONVOLUTIONS | PRODUCTS else [first.kind])
    width = after.shape[-1] if len(after.shape) > 3 else 1
    groups = int(first.attributes.get("group", 1))
    integers = [float(t.bits == 8 and not t.is_float) for t in (before, after)]
    return [
        *(float(name == known) for known in CLASSES),
        *(float(activation == known) for known in ACTIVATION_KINDS),
        *(float("Add" in kinds and len(inputs) > 1), float(len(kernel.operators)), *integers),
        *(float(before.bits == 16), float(weight is not None and weight.bits == 8 and not before.is_float)),
        *(_log(channels_in), _log(channels_out)),
        *(_log(before.elements / channels_in), _log(after.elements / channels_out), _log(width)),
        *(float(size[-1]) if size else 1.0, float((first.attributes.get("strides") or [1])[-1])),
        _log(groups),
        _log(sum(macs_of(graph, operator) for operator in kernel.operators)),
        *(_log(sum(_bytes(graph.tensors[n], before) for o in kernel.operators for n in o.constants)),),
        *(_log(sum(_bytes(t, before) for t in tensors)) for tensors in (inputs, outputs)),
        *(_log(-(-n // 16) * 16 / n) for n in (channels_in, channels_out, width)),
        *(float(n % 16 != 0) for n in (channels_in, channels_out)),
        *(float(n % 4 != 0) for n in (channels_in, channels_out)),
        *(float(n < 16) for n in (channels_in, channels_out)),
        _log(after.elements / channels_out * channels_in * math.prod(size)),
        *(_log(n / groups) for n in (channels_in, channels_out)),
    ]


def _channels(tensor: Tensor, name: str) -> int:
    if len(tensor.shape) < 2:
        return max(1, tensor.elements)
    return max(1, tensor.shape[1] if len(tensor.shape) == 4 and name != "product" else tensor.shape[-1])


def _activation(kinds: list[str]) -> str:
    if set(kinds) & GATES:
        return "gated" if "Mul" in kinds else "sigmoid"
    if {"Relu", "Clip"} & set(kinds):
        return "relu"
    if "HardSwish" in kinds:
        return "hardswish"
    return "other" if ACTIVATIONS & set(kinds) else "none"


def _bytes(tensor: Tensor, beside: Tensor) -> int:
    """Return the bytes of a tensor at 1 byte for an integer and 4 for any other number, in which float16 is computed.

    Constants beside a floating-point tensor are unpacked when the model is loaded.
    """
    return tensor.elements * (1 if tensor.bits == 8 and not beside.is_float else 4)


def _log(value: float) -> float:
    return math.log2(max(value, 0) + 1)
