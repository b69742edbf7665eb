"""Random networks of the product's own families, with structural steps, in one of the number formats: what is profiled.

They are untrained: no runtime's time depends on the values of weights, as long as none is denormal and the grids of
integers differ as those of trained networks do.
"""

import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from paredown.spaces.families.family import ImageShape
from paredown.spaces.knob import Range

if TYPE_CHECKING:
    from torch import nn

LARGEST_PARAMETERS = 4_000_000
"""Parameters above which a network is left out: a search on a machine such as the profiled one finds smaller ones."""
LARGEST_MACS = 400e6
STEPS = ("channel_pruning", "grouped_convolution", "low_rank")
"""Steps that change shapes, and with them latency."""
MOST_OPERATORS = 400
FORMATS = {"fp32": 1, "int8": 3, "fp16": 1}
"""Number formats with how often each is drawn beside fp32."""
CLASSES = (2, 10, 100)
CALIBRATION_IMAGES = 2
OTHER_SIZES = 2
"""Other sizes of images that a network is profiled on; it takes a second to export, and milliseconds to change."""


SIDES = Range(8, 96, 4)
"""Sides of images in pixels."""


@dataclass(frozen=True)
class RandomNetwork:
    """A network to be profiled.

    Attributes:
        name: Family and seed; also that of its kin in other number formats and on other images.
        format: Number format.
        shape: Channels, height, width of one input.
        model: ONNX.
    """

    name: str
    format: str
    shape: ImageShape
    model: bytes

    @property
    def family(self) -> str:
        """Its family."""
        return self.name.rpartition("-")[0]


def random_networks(
    seed: int, formats: Sequence[str] = tuple(FORMATS), family: str | None = None
) -> list[RandomNetwork]:
    """Return the network of a seed in two number formats; none where it is too large, or its steps do not fit.

    Args:
        seed: Draws all that is random.
        formats: Number formats to draw from, fp32 among them.
        family: Its family; None to draw it too.
    """
    import torch

    from paredown.evaluators.build import apply_structural_steps, build
    from paredown.evaluators.files.onnx_graph import read_graph
    from paredown.evaluators.files.onnx_model import export, slimmed
    from paredown.evaluators.latency.kernels import macs_of
    from paredown.spaces.compression.catalogue import STEPS as KNOWN
    from paredown.spaces.errors import InfeasibleCandidate
    from paredown.spaces.families.catalogue import PUBLISHED
    from paredown.spaces.space import joint_space

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    dice = random.Random(seed)
    family = family or dice.choice(list(PUBLISHED))
    steps = dice.sample(STEPS, k=dice.choice((0, 0, 1, 1, 2)))
    own = {name: step for name, step in KNOWN.items() if name in steps}
    candidate = joint_space({family: PUBLISHED[family]}, own, SIDES, {}, {}).draw(seed)
    side = PUBLISHED[family].resolution(candidate.knobs)
    shape = (dice.choice((1, 3)), side, side)
    try:
        network = build(candidate, shape, dice.choice(CLASSES))
        if sum(p.numel() for p in network.parameters()) > LARGEST_PARAMETERS:
            return []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = apply_structural_steps(network, candidate, shape, values=False, owned=True).network.eval()
            _without_zeros(network)
            model = export(network, shape)
        graph = read_graph(model)
        if len(graph.operators) > MOST_OPERATORS or sum(macs_of(graph, o) for o in graph.operators) > LARGEST_MACS:
            return []
        others = [name for name in formats if name != "fp32"]
        drawn = dice.choices(others, [FORMATS[name] for name in others])[:1] if others else []
        return [
            RandomNetwork(f"{family}-{seed}", name, shape, slimmed(in_format(model, name, shape)))
            for name in ("fp32", *drawn)
        ]
    except InfeasibleCandidate:
        return []


def _without_zeros(network: "nn.Module") -> None:
    """Draw the weights that steps without values leave at zero: behind them all integers would lie on one grid.

    Where grids differ, as in trained networks, a concatenation converts each number instead of copying it.
    """
    from torch import nn

    for parameter in network.parameters():
        if parameter.dim() > 1 and not parameter.any():
            nn.init.kaiming_normal_(parameter)


def on_other_images(network: RandomNetwork, sizes: int = OTHER_SIZES) -> list[RandomNetwork]:
    """Return the network for images of other sizes, which takes milliseconds; without those that no runtime accepts.

    Args:
        network: What `random_networks` returned.
        sizes: Number of other sizes.
    """
    from paredown.evaluators.files.onnx_graph import read_graph
    from paredown.evaluators.latency.kernels import macs_of

    channels, own, _ = network.shape
    every = range(int(SIDES.low), int(SIDES.high) + 1, int(SIDES.step))
    proto, found = onnx.load_from_string(network.model), list[RandomNetwork]()
    for side in random.Random(f"{network.name} {own}").sample([n for n in every if n != own], sizes):
        resized = onnx.ModelProto()
        resized.CopyFrom(proto)
        for dimension in resized.graph.input[0].type.tensor_type.shape.dim[2:]:
            dimension.dim_value = side
        _resize_positions(resized.graph, own, side)
        other = replace(network, shape=(channels, side, side), model=bytes(resized.SerializeToString()))
        graph = read_graph(other.model)
        if sum(macs_of(graph, operator) for operator in graph.operators) <= LARGEST_MACS and _runs(other):
            found.append(other)
    return found


def _resize_positions(graph: onnx.GraphProto, own: int, side: int) -> None:
    """Give position embeddings, `patches x width`, as many rows as an image of another side has patches."""
    added = {name for node in graph.node if node.op_type == "Add" for name in node.input}
    added |= {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear" and node.output[0] in added}
    for constant in graph.initializer:
        if constant.name in added and len(constant.dims) == 2 and constant.dims[0] == _patches(graph, own):
            values = onnx.numpy_helper.to_array(constant)
            rows = np.resize(values, (_patches(graph, side), values.shape[1]))
            constant.CopyFrom(onnx.numpy_helper.from_array(rows, constant.name))


def _patches(graph: onnx.GraphProto, side: int) -> int:
    """Return how many patches the convolutions in front of a transformer make of an image; they have no others."""
    for sizes in ({a.name: a.ints for a in node.attribute} for node in graph.node if node.op_type == "Conv"):
        side = (side + sizes["pads"][0] + sizes["pads"][2] - sizes["kernel_shape"][0]) // sizes["strides"][0] + 1
    return max(0, side) ** 2


def _runs(network: RandomNetwork) -> bool:
    """Return whether the runtime can run a network: not one whose images are smaller than a patch."""
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException

    from paredown.evaluators.errors import EvaluationError
    from paredown.evaluators.metrics.latency_ms import runner

    try:
        runner(network.model, network.shape)()
    except (EvaluationError, Fail, RuntimeException):
        return False
    return True


def in_format(model: bytes, format_: str, shape: ImageShape) -> bytes:
    """Return a float32 model in a number format."""
    from paredown.evaluators.device import this_device
    from paredown.spaces.compression.quantization import QUANTIZATION
    from paredown.spaces.compression.step import RewriteContext

    if format_ == "fp32":
        return model
    assert QUANTIZATION.rewrite is not None, "it rewrites files"
    images = np.random.default_rng(0).normal(size=(CALIBRATION_IMAGES, *shape)).astype(np.float32)
    context = RewriteContext(images, np.zeros(len(images), np.int64), trained=False, target=this_device().target)
    return QUANTIZATION.rewrite(model, {"weights": format_, "activations": "uint8"}, context)
