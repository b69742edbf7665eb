"""A node that a runtime executes."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from paredown.evaluators.files.onnx_graph import Operator


class RuntimeNode(NamedTuple):
    """A node that the runtime executes.

    Attributes:
        kind: ONNX Runtime's name of it.
        operators: Operators of the file that it computes; none for one that only moves numbers.
        inputs: Tensors that it reads, without constants.
        outputs: Tensors that it writes.
        activation: Activation that is fused into it.
        adds: Whether a sum is fused into it.
        blocked: Whether it runs on blocks of channels.
        channels_last: Whether it runs on integers whose channels are last.
        is_float: Whether it only moves numbers, and does so on floating-point ones between two conversions.
    """

    kind: str
    operators: tuple[Operator, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    activation: str = ""
    adds: bool = False
    blocked: bool = False
    channels_last: bool = False
    is_float: bool = False

    @property
    def first(self) -> Operator:
        """Operator that its shape comes from."""
        return self.operators[0]


def readers_of(nodes: Iterable[RuntimeNode]) -> dict[str, list[RuntimeNode]]:
    """Return the nodes that read each tensor."""
    readers: dict[str, list[RuntimeNode]] = defaultdict(list)
    for node in nodes:
        for name in node.inputs:
            readers[name].append(node)
    return readers


def split_hardswish(nodes: Sequence[RuntimeNode]) -> list[RuntimeNode]:
    """Return the nodes with each HardSwish as its gate and a product, which is what runs of it."""
    found = []
    for node in nodes:
        if node.kind == "HardSwish":
            found.append(RuntimeNode("HardSigmoid", node.operators, node.inputs, node.inputs))
            node = RuntimeNode("Mul", node.operators, node.inputs * 2, node.outputs)
        found.append(node)
    return found
