"""What is read of an ONNX file: nodes in any order, and nodes that leave inputs and outputs out."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.onnx_graph import read_graph


def model(
    nodes: list[onnx.NodeProto], inputs: tuple[object, ...], constants: dict[str, tuple[int, ...]] | None = None
) -> bytes:
    """Return a model from `x` to `y`."""
    tensors = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in (constants or {}).items()]
    ends = (
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    graph = helper.make_graph(nodes, "graph", *ends, tensors)
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())


def chain() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["y"], kernel_shape=[1, 1]),
    ]


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 1, 0), (2, 0, 1)])
def test_nodes_in_another_order_are_the_same_network(order: tuple[int, ...]) -> None:
    shape, weights = ("n", 3, 9, 9), {"w": (8, 3, 3, 3), "v": (4, 8, 1, 1)}
    read = read_graph(model([chain()[at] for at in order], shape, weights), batch_size=2)
    straight = read_graph(model(chain(), shape, weights), batch_size=2)
    assert read.operators == straight.operators
    assert read.tensors == straight.tensors
    assert read.tensors["y"].shape == (2, 4, 4, 4)


def test_a_node_may_leave_an_input_and_an_output_out() -> None:
    lstm = helper.make_node("LSTM", ["x", "w", "r", "", "", "h"], ["", "y", ""], hidden_size=4)
    constants = {"w": (1, 16, 8), "r": (1, 16, 4), "h": (1, 5, 4)}
    (operator,) = read_graph(model([lstm], (3, 5, 8), constants)).operators
    assert (operator.kind, operator.inputs, operator.outputs) == ("LSTM", ("x",), ("y",))
    assert operator.constants == ("w", "r", "h")


def test_nodes_that_wait_for_each_other_are_refused() -> None:
    circle = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    with pytest.raises(EvaluationError, match="wait for each other"):
        read_graph(model([*circle, helper.make_node("Relu", ["b"], ["y"])], (1, 4)))
