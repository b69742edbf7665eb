"""What convolutions of integers do, counted by hand from ONNX Runtime's QLinearConv."""

import pytest

from paredown.evaluators.files.onnx_graph import read_graph
from paredown.evaluators.latency.block_networks import Feature, NetworkWriter, convolution
from paredown.evaluators.latency.instructions import AVX2, AVX512, AVX_VNNI, Instructions
from paredown.evaluators.latency.node_counts import counts_of
from paredown.evaluators.latency.node_features import CLASSES, measures
from paredown.evaluators.latency.runtime_nodes import runtime_nodes


def counted(
    channels_in: int,
    channels_out: int,
    kernel: int,
    groups: int,
    side: int,
    stride: int = 1,
    instructions: Instructions = AVX512,
) -> dict[str, float]:
    """Return the counts of the one convolution of a network, and its class."""
    import onnx
    from onnx import helper

    w = NetworkWriter(is_int8=True)
    x = convolution(w, Feature(w.pair("image"), channels_in, side), channels_out, kernel, stride, groups)
    w.pair(x.name)
    w.nodes[-1].output[0] = "out"
    entry = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, (1, channels_in, side, side))
    shape = (1, channels_out, x.side, x.side)
    end = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, shape)
    model = helper.make_model(helper.make_graph(w.nodes, "one", [entry], [end], w.weights))
    graph = read_graph(model.SerializeToString())
    nodes = runtime_nodes(graph, instructions)
    at = next(place for place, node in enumerate(nodes) if node.kind == "QLinearConv")
    counts = counts_of(measures(graph, nodes, instructions), instructions)
    return {name: values[at] for name, values in counts.items()}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((16, 32, 1, 1), "symmetric_pointwise"),
        ((16, 8, 1, 1), "pointwise"),  # fewer outputs than one vector
        ((18, 32, 1, 1), "pointwise"),  # inputs are read in fours
        ((16, 18, 1, 1), "pointwise"),  # outputs are written in fours
        ((16, 32, 3, 1), "symmetric_convolution"),
        ((3, 32, 3, 1), "convolution"),
        ((32, 32, 3, 32), "symmetric_depthwise"),
        ((24, 24, 3, 24), "depthwise"),  # not a multiple of 16
        ((32, 32, 3, 2), "grouped"),
    ],
)
def test_which_kernel_a_convolution_of_integers_takes(shape: tuple[int, int, int, int], expected: str) -> None:
    assert CLASSES[int(counted(*shape, side=12)["class"])] == expected


def test_a_symmetric_convolution_copies_nothing() -> None:
    counts = counted(16, 32, 3, 1, side=12)
    assert counts["unrolled"] == counts["copies"] == counts["packed"] == 0
    assert counts["pointers"] == 144 * 9
    assert counts["tasks"] == 5  # 144 positions in parts of 30
    assert counts["products"] == 5  # 32 outputs are two vectors of the four that one step computes
    # 36 steps deep, 24 times six positions with two vectors on two units
    assert counts["steps"] == 36 * 24 * 6


def test_a_symmetric_convolution_by_avx2_computes_rows_and_vectors_in_pairs() -> None:
    counts = counted(16, 32, 3, 1, side=12, instructions=AVX2)
    # 36 steps deep, 36 times four positions, and twice the two vectors of 8 outputs that one step computes
    assert counts["steps"] == 36 * 36 * 2 * 4
    assert counts["products"] == counts["tasks"] * 2
    # With VNNI it is six rows at a time, on two units
    assert counted(16, 32, 3, 1, side=12, instructions=AVX_VNNI)["steps"] == 36 * 24 * 2 * 6
    # 5 x 5 positions are six times four and one, which takes as long as two; 24 outputs as long as 32
    assert counted(16, 24, 1, 1, side=5, instructions=AVX2)["steps"] == 4 * 2 * (6 * 4 + 2)


def test_avx2_writes_the_outputs_of_a_symmetric_convolution_in_eights() -> None:
    names = [CLASSES[int(counted(16, 20, 1, 1, 12, instructions=one)["class"])] for one in (AVX512, AVX2)]
    assert names == ["symmetric_pointwise", "pointwise"]


def test_groups_copy_each_position_of_the_window_and_multiply_group_by_group() -> None:
    counts = counted(8, 8, 3, 2, side=12)
    assert counts["unrolled"] == 144 * 36 * 2
    assert counts["packed"] == 144 * 36 * 2
    assert counts["windows"] == 144 * 3 * 2  # rows of windows
    assert counts["copies"] == pytest.approx(144 * 9 * 2 * counts["inside"])
    assert counts["pointers"] == 0
    assert counts["tasks"] == 1  # 144 x 4 x 36 multiply-accumulates are less than one task
    assert counts["products"] == 2


def test_pointwise_convolutions_with_a_stride_are_copied_and_others_are_not() -> None:
    assert counted(18, 8, 1, 1, side=12)["unrolled"] == 0
    assert counted(18, 8, 1, 1, side=12, stride=2)["unrolled"] == 36 * 18
