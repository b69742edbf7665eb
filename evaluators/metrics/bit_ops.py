"""Bit operations of one forward pass: multiply-accumulates times bits of the weights times bits of the activations.

They are counted in the exported file, which knows the width of each layer: 1,024 for a multiply-accumulate in float32,
64 in int8, 32 where the int8 weights lie on a grid of 4 bits. No runtime that is measured here computes in fewer than 8
bits, so the number says what the arithmetic could cost and not what it takes. Of a network with exits it is the number
up to the end, which no image exceeds.

Source:
    Baskin et al., UNIQ, ACM TOCS 2021, section 4.2 (BOPs, here without the term of the accumulator).
"""

from typing import TYPE_CHECKING

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

if TYPE_CHECKING:
    from paredown.evaluators.files.onnx_graph import Graph, Operator

# Layers that lose too much go back to float32 after training; the untrained network does not show which.
METRIC = Metric("bit_ops", "BOP", "counted", decimals=None, untrained_tolerance=0.05)


def _count(inputs: EvaluationInput) -> Measurement:
    from paredown.evaluators.files.onnx_graph import read_graph

    if inputs.file is None:
        raise EvaluationError("bit_ops: there is no exported file yet")
    return Measurement(METRIC.name, bit_operations(read_graph(inputs.file)))


def bit_operations(graph: "Graph") -> float:
    """Return the bit operations of a graph; of alternatives, those of the longest."""
    own = sum(_of_operator(graph, operator) for operator in graph.operators)
    return own + sum(max(map(bit_operations, o.branches)) for o in graph.operators if o.branches)


def _of_operator(graph: "Graph", operator: "Operator") -> float:
    from paredown.evaluators.latency.kernels import macs_of

    macs = macs_of(graph, operator)
    if not macs:
        return 0.0
    weight = graph.weight(operator)
    factors = [graph.tensors[name].bits for name in operator.inputs[: 1 if weight else 2]]
    return macs * factors[0] * (weight.grid_bits if weight else factors[-1])


BIT_OPS = Evaluator(METRIC, "file", _count, applies=lambda inputs: False)
