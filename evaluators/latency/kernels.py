"""Kernels of a network: operators that a runtime executes as one, such as a convolution with its activation.

They are found in the file as it is, by the rules by which ONNX Runtime fuses, so that finding them takes about a
millisecond and no runtime: an activation and an addition belong to the convolution or product that they follow.

Source:
    Zhang et al., nn-Meter, MobiSys 2021, section 4 (kernels as the unit of prediction).
"""

import math
from collections import defaultdict
from dataclasses import dataclass

from paredown.evaluators.files.onnx_graph import Graph, Operator

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "QLinearConv"})
PRODUCTS = frozenset({"Gemm", "MatMul", "QGemm", "QLinearMatMul"})
ACTIVATIONS = frozenset({"Relu", "Clip", "HardSwish", "Sigmoid", "HardSigmoid", "Tanh", "Elu", "LeakyRelu", "Gelu"})
GATES = frozenset({"Sigmoid", "HardSigmoid", "Tanh"})
VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"})
IN_PLACE = ACTIVATIONS | {"Add", "Mul", "Sub", "Div", "Erf", "Sqrt", "Exp", "Softmax", "LayerNormalization"} | VIEWS
"""Operators that may write where they read."""


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
