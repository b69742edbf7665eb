"""What a network of 16-bit floating-point numbers runs as on a machine that computes in 32 bits.

Where ONNX Runtime has no kernels for float16, it converts such a file to float32 when it opens it, and few conversions
are left. Some of its fusions miss their patterns behind them, which is not followed here.

Source:
    ONNX Runtime 1.32, core/optimizer/insert_cast_transformer.cc.
"""

from dataclasses import replace

from paredown.evaluators.files.onnx_graph import Graph, Operator, Tensor

HALF, SINGLE = 16, 32


def in_single_precision(graph: Graph) -> Graph:
    """Return a graph that computes in 32 bits what it computed in 16, without conversions; the same where none does.

    Args:
        graph: The graph, without alternatives.
    """
    tensors, unknown = graph.tensors, Tensor()
    used = {name for operator in graph.operators for name in (*operator.inputs, *operator.outputs)}
    if not any(_is_half(tensors.get(name, unknown)) for name in used):
        return graph
    same, operators = dict[str, str](), list[Operator]()
    for operator in graph.operators:
        inputs = tuple(same.get(name, name) for name in operator.inputs)
        if operator.kind == "Cast" and all(
            tensors.get(name, unknown).is_float for name in (*inputs, *operator.outputs)
        ):
            same[operator.outputs[0]] = inputs[0]
        else:
            operators.append(operator._replace(inputs=inputs))
    wider = {name: replace(tensor, bits=SINGLE) if _is_half(tensor) else tensor for name, tensor in tensors.items()}
    return Graph(tuple(operators), wider, graph.inputs, tuple(same.get(name, name) for name in graph.outputs))


def _is_half(tensor: Tensor) -> bool:
    return tensor.is_float and tensor.bits == HALF
