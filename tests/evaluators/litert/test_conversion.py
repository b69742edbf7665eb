"""Files for microcontrollers compute what the int8 ONNX file computes: layer by layer, and whole networks."""

from itertools import pairwise

import numpy as np
import onnx
import pytest
import torch
from int8_models import INT8, RESNET8, family_file, images, int8_file
from operator_steps import operator_steps
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema
from torch import Tensor, nn

from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.litert.comparison import Comparison, compare
from paredown.evaluators.litert.conversion import tflite_model
from paredown.evaluators.litert.integer_graph import NoIntegerFile, read_integer_graph
from paredown.evaluators.litert.operators.catalogue import OPERATORS
from paredown.evaluators.litert.runtimes import run_micro
from paredown.evaluators.litert.signature import Signature
from paredown.evaluators.litert.tflite_file import ALIGNMENT
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.families.family import ImageShape
from paredown.spaces.knob import Knobs

SHAPE = (3, 9, 8)


class Branches(nn.Module):
    """Two branches that are joined by a function."""

    def __init__(self, join: str) -> None:
        super().__init__()
        self.join = join
        self.left, self.right = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.left(x), self.right(x)
        if self.join == "concat":
            return torch.cat((left, right), 1)
        if self.join == "slice":
            return torch.cat((left[:, :3], right[:, 3:]), 1)
        if self.join == "sub":
            return left - right
        return {"add": left + right, "mul": left * right}[self.join]


class Gate(nn.Module):
    """A squeeze-excite gate."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.first, self.gate = nn.Conv2d(3, 8, 1), gate

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        z: Tensor = y * self.gate(y.mean((2, 3), keepdim=True))
        return z


LAYERS: dict[str, nn.Module] = {
    "convolution": nn.Conv2d(3, 8, 3, padding=1),
    "convolution without padding": nn.Conv2d(3, 8, 3),
    "convolution at stride 2": nn.Conv2d(3, 8, 3, stride=2, padding=1),
    "convolution of 5 at stride 2": nn.Conv2d(3, 8, 5, stride=2, padding=2),
    "convolution at stride 3": nn.Conv2d(3, 8, 2, stride=3),
    "convolution of unequal sides": nn.Conv2d(3, 8, (1, 5), stride=(2, 1), padding=(0, 2)),
    "convolution that is dilated": nn.Conv2d(3, 8, 3, padding=2, dilation=2),
    "convolution with too much padding": nn.Conv2d(3, 8, 3, padding=3),
    "convolution without bias": nn.Conv2d(3, 8, 1, bias=False),
    "convolution in groups": nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 6, 3, groups=3, padding=1)),
    "convolution a channel": nn.Conv2d(3, 3, 3, groups=3, padding=1, stride=2),
    "convolution with two filters a channel": nn.Conv2d(3, 6, 3, groups=3, padding=1),
    "rectifier": nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1)),
    "rectifier to 6": nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU6(), nn.Conv2d(8, 8, 1)),
    "swish": nn.Sequential(nn.Conv2d(3, 8, 1), nn.SiLU()),
    "hard swish": nn.Sequential(nn.Conv2d(3, 8, 1), nn.Hardswish()),
    "gate": Gate(nn.Sequential(nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 1), nn.Sigmoid())),
    "hard gate": Gate(nn.Sequential(nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 1), nn.Hardsigmoid())),
    "maximum": nn.Sequential(nn.Conv2d(3, 8, 1), nn.MaxPool2d(2)),
    "maximum with padding": nn.Sequential(nn.Conv2d(3, 8, 1), nn.MaxPool2d(3, 2, 1)),
    "average": nn.Sequential(nn.Conv2d(3, 8, 1), nn.AvgPool2d(2)),
    "average that counts its padding": nn.Sequential(nn.Conv2d(3, 8, 1), nn.AvgPool2d(3, 1, 1)),
    "mean of four pixels": nn.Sequential(nn.Conv2d(3, 8, 3, stride=5), nn.AdaptiveAvgPool2d(1)),
    "mean of many pixels": nn.Sequential(nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d(1)),
    **{f"branches: {join}": Branches(join) for join in ("add", "mul", "concat", "slice")},
}


def classifier(layer: nn.Module) -> nn.Module:
    """Return a network of a layer, a flattening that depends on the order of axes, and a product."""
    torch.manual_seed(0)
    for module in layer.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    features = layer(torch.zeros(1, *SHAPE)).flatten(1).shape[1]
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(features, 6))


def compared(model: bytes, shape: ImageShape) -> Comparison:
    return compare(model, tflite_model(model), images(shape))


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_computes_the_same_integers(name: str) -> None:
    found = compared(int8_file(classifier(LAYERS[name]), SHAPE), SHAPE)
    # One step is the difference of rounding in fixed point and in float. A mean of four is halfway between two integers
    # a quarter of the time: ONNX Runtime takes the even one, TensorFlow Lite the larger; this output has fine steps.
    assert found.onnx_steps <= (6 if name == "average" else 1)
    assert found.litert_steps <= (1 if name in ("swish", "gate", "hard gate", "branches: mul") else 0)


MBCONV: Knobs = {
    **{"scaling": "free", "depth": 1.0, "width": 0.5, "resolution": 32, "kernel": 3, "expansion": 2},
    **{"squeeze_excite": True, "activation": "silu"},
}
MACRO: Knobs = {
    **{f"operator_{i}": kind for i, kind in enumerate(("inverted", "grouped", "fused", "grouped"), 1)},
    **{f"kernel_{i}": size for i, size in enumerate((3, 5, 3, 7), 1)},
    **{f"{name}_{i}": value for i in range(1, 5) for name, value in (("expansion", 2), ("depth", 1), ("width", 0.5))},
    **{f"{name}_{i}": bool(i % 2) for i in range(1, 5) for name in ("skip", "squeeze_excite")},
    **{"activation": "relu", "resolution": 32},
}
NETWORKS: dict[str, tuple[str, Knobs, str]] = {
    "resnet": ("resnet", RESNET8, ""),
    "resnet in low rank": ("resnet", RESNET8, "low_rank"),
    "resnet with padded shortcuts": (
        "resnet",
        {**RESNET8, "block": "bottleneck", "width": 0.25, "shortcut": "padded", "activation": "hardswish"},
        "",
    ),
    "mbconv": ("mbconv", MBCONV, ""),
    "macro": ("macro", MACRO, ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_whole_networks_stay_close_and_answer_alike(name: str) -> None:
    family, knobs, steps = NETWORKS[name]
    found = compared(family_file(family, knobs, steps=steps), (3, 32, 32))
    assert found.onnx_steps <= 3
    assert found.onnx_mean_steps < 0.7
    assert found.agreement > 0.9
    assert found.litert_steps <= 1


def test_the_integers_are_those_of_the_onnx_file() -> None:
    model = family_file("resnet", RESNET8)
    onnx_weights = [onnx.numpy_helper.to_array(t) for t in onnx.load_from_string(model).graph.initializer]
    graph = schema.ModelT.InitFromObj(parsed := schema.Model.GetRootAs(tflite_model(model), 0)).subgraphs[0]
    filters = [t for t in graph.tensors if t.type == schema.TensorType.INT8 and t.buffer and len(t.shape) == 4]
    kept = 0
    for tensor in filters:
        data = parsed.Buffers(tensor.buffer).DataAsNumpy().view(np.int8).reshape(tensor.shape).transpose(0, 3, 1, 2)
        kept += any(
            w.dtype == np.int8 and w.size == data.size and (w.ravel() == data.ravel()).all() for w in onnx_weights
        )
        assert len(tensor.quantization.scale) == tensor.shape[0]
        assert not np.any(tensor.quantization.zeroPoint)
    assert kept == len(filters) == 10


def test_a_hard_swish_is_one_operator_and_its_gate_is_not_computed() -> None:
    def kinds(layer: nn.Module) -> list[str]:
        file = tflite_model(int8_file(classifier(layer), SHAPE))
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file, 0))
        names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
        used = [model.operatorCodes[one.opcodeIndex].builtinCode for one in model.subgraphs[0].operators]
        return [names[code] for code in used]

    assert kinds(LAYERS["hard swish"]) == ["CONV_2D", "HARD_SWISH", "TRANSPOSE", "RESHAPE", "CONV_2D", "RESHAPE"]
    assert "DEPTHWISE_CONV_2D" in kinds(LAYERS["hard gate"])


def test_single_operators_are_at_most_one_step_apart() -> None:
    network = nn.Sequential(LAYERS["hard swish"], nn.AdaptiveAvgPool2d(1))
    found = operator_steps(int8_file(classifier(network), SHAPE), images(SHAPE))
    outputs = {"Conv": 16 * 8 * 9 * 8, "HardSwish": 16 * 8 * 9 * 8, "GlobalAveragePool": 16 * 8, "Gemm": 16 * 6}
    assert {name: row["outputs"] for name, row in found.items() if name in outputs} == outputs
    assert all(row["largest_steps"] <= 1 for row in found.values())
    assert 0 < found["HardSwish"]["above"] + found["HardSwish"]["below"] < 0.2


def test_a_mean_of_few_pixels_is_rounded_once() -> None:
    """MEAN of TensorFlow Lite would take one in eight outputs of four pixels away from zero."""
    found = operator_steps(int8_file(classifier(LAYERS["mean of four pixels"]), SHAPE), images(SHAPE, 64))
    row = found["GlobalAveragePool"]
    assert (row["outputs"], row["largest_steps"] <= 1) == (64 * 8, True)
    assert row["above"] + row["below"] < 0.03


def test_constants_are_aligned_for_a_microcontroller() -> None:
    model = tflite_model(family_file("resnet", RESNET8))
    parsed = schema.Model.GetRootAs(model, 0)
    for number in range(parsed.BuffersLength()):
        if parsed.Buffers(number).DataLength():
            data = parsed.Buffers(number).DataAsNumpy()
            start = data.__array_interface__["data"][0] - np.frombuffer(model, np.uint8).__array_interface__["data"][0]
            assert start % ALIGNMENT == 0


def test_one_scale_a_tensor() -> None:
    model = family_file("resnet", RESNET8)
    given, file = images((3, 32, 32)), tflite_model(model, "tensor")
    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file, 0)).subgraphs[0]
    assert all(len(t.quantization.scale) == 1 for t in graph.tensors if t.type == schema.TensorType.INT8)
    signature = Signature.of(file)
    outputs, _ = run_micro(file, signature.quantised(given))
    expected = logits(open_session(model, exact=True), given)
    assert (signature.logits(outputs).argmax(1) == expected.argmax(1)).mean() > 0.8
    assert np.abs(signature.logits(outputs) - expected).max() < 0.2 * np.abs(expected).max()


def test_operations_come_after_what_they_take() -> None:
    graph = read_integer_graph(family_file("resnet", RESNET8), OPERATORS)
    order = [id(graph.input), *(id(value) for _, value in graph.operations())]
    assert order[-1] == id(graph.output)
    assert len(set(order)) == len(order)
    for operation, value in graph.operations():
        for source in operation.inputs:
            assert not hasattr(source, "made_by") or order.index(id(source)) < order.index(id(value))
    assert all(first != second for first, second in pairwise(order))


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.GELU()), r"Div|Erf"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.LeakyReLU()), r"LeakyRelu"),
        (Branches("sub"), r"no counterpart of Sub .node \d+"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Upsample(scale_factor=2)), r"Resize|Upsample|Concat|Shape"),
    ],
)
def test_an_operator_without_a_counterpart_is_named(network: nn.Module, reason: str) -> None:
    with pytest.raises(NoIntegerFile, match=rf"^no int8 TensorFlow Lite file: .*({reason})"):
        tflite_model(int8_file(classifier(network), SHAPE))


@pytest.mark.parametrize("knobs", [None, {**INT8, "activations": "fp32"}], ids=["fp32", "weights alone"])
def test_a_file_that_is_not_int8_is_refused(knobs: Knobs | None) -> None:
    network = classifier(nn.Conv2d(3, 8, 1))
    model = export(network.eval(), SHAPE) if knobs is None else int8_file(network, SHAPE, knobs)
    with pytest.raises(NoIntegerFile, match=r"float32; allowed: quantization\.weights int8 or mixed with activations"):
        tflite_model(model)


def test_transformers_are_refused_by_the_operator() -> None:
    knobs = {"patch": 8, "depth": 1, "heads": 1, "head_width": 8, "mlp_ratio": 1.0, "resolution": 32}
    assert FAMILIES["vit"].knobs
    with pytest.raises(NoIntegerFile, match=r"no counterpart of .*LayerNormalization .node \d+ of the ONNX file"):
        tflite_model(family_file("vit", knobs))
