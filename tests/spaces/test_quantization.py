"""Quantization: the grid by hand, the file's integers, aware fine-tuning, calibration and reverting."""

import copy
import functools
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from paredown.evaluators.device import this_device
from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.quantization import QUANTIZATION
from paredown.spaces.compression.quantizing.awareness import on_the_grid, rounded
from paredown.spaces.compression.quantizing.grid import largest, on_grid, scales, straight_through
from paredown.spaces.compression.quantizing.integers import IntegerModel
from paredown.spaces.compression.step import RewriteContext
from paredown.spaces.compression.target import Target
from paredown.spaces.errors import InfeasibleCandidate, SpaceError
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Knobs, Range
from paredown.spaces.space import joint_space

SHAPE = (3, 8, 8)
WIDTHS = {"weights": "mixed", "early": 4, "middle": 3, "late": 2}
EXACT_HERE = this_device().target
EIGHT_BITS, SEVEN_BITS = Target(int8_weight_bits=8), Target(int8_weight_bits=7)


class Residual(nn.Module):
    """Nine layers; the shortcut is made last and runs third."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.first = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.rest = nn.Sequential(*(m for _ in range(3) for m in _unit(16)))
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16))
        self.head = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 5))
        self.shortcut = nn.Conv2d(8, 16, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.first(x) + self.shortcut(x)
        return self.head(torch.relu(self.depthwise(self.rest(x))).mean((2, 3)))


def _unit(width: int) -> list[nn.Module]:
    return [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]


def _network() -> nn.Module:
    return copy.deepcopy(_trained())


@functools.cache
def _trained() -> nn.Module:
    torch.manual_seed(0)
    network = Residual()
    with torch.no_grad():
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.weight.uniform_(-1.5, 1.5)  # a negative one turns the sign of a channel's weights
    images = torch.from_numpy(_images(256))
    labels = (images.mean((2, 3)) @ torch.randn(3, 5)).argmax(1)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval()


def _images(count: int) -> NDArray[np.float32]:
    """Noise around a colour of each image."""
    random = np.random.default_rng(0)
    colours = 2 * random.normal(size=(count, 3, 1, 1))
    return (colours + 0.5 * random.normal(size=(count, *SHAPE))).astype(np.float32)


def _run(model: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
    return logits(open_session(model), images)


def _calibration(model: bytes, images: int = 64, target: Target = EXACT_HERE) -> RewriteContext:
    """Classes are what the model itself answers, so that its accuracy is 1."""
    inputs = _images(images)
    return RewriteContext(inputs, _run(model, inputs).argmax(1).astype(np.int64), target=target, run=_run)


def _rewritten(model: bytes, knobs: Knobs, calibration: RewriteContext | None = None) -> bytes:
    assert QUANTIZATION.rewrite is not None
    return QUANTIZATION.rewrite(model, knobs, calibration or _calibration(model))


def _integers(model: bytes) -> list[NDArray[np.int8]]:
    tensors = onnx.load_from_string(model).graph.initializer
    return [numpy_helper.to_array(t) for t in tensors if t.data_type == TensorProto.INT8 and len(t.dims) > 1]


def test_the_grid_by_hand() -> None:
    assert [largest(bits) for bits in (2, 3, 4, 8)] == [1, 3, 7, 127]
    weight = torch.tensor([[0.7, -0.69, 0.31, 0.04], [-7.0, 3.1, 0.4, 0.6]])
    assert scales(weight, 4).tolist() == pytest.approx([0.1, 1.0])
    assert torch.allclose(on_grid(weight, 4), torch.tensor([[0.7, -0.7, 0.3, 0.0], [-7.0, 3.0, 0.0, 1.0]]))
    assert scales(weight, 8).tolist() == pytest.approx([0.7 / 127, 7 / 127])


def test_narrow_grids_clip_an_outlier() -> None:
    weight = torch.tensor([[4.0, 1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0, 1.0, -1.0, 1.0, 1.0]])
    assert scales(weight, 8).item() == pytest.approx(4 / 127)
    moved = on_grid(weight, 2)
    assert (moved != 0).all(), "without the clip, all but the outlier would be zero"
    assert moved[0, 0].item() < 4


@pytest.mark.parametrize("bits", range(2, 9))
def test_the_grid_is_the_same_after_any_multiplication_and_a_second_time(bits: int) -> None:
    torch.manual_seed(bits)
    weight, factor = torch.randn(6, 5, 3, 3), torch.tensor([1.0, -1, 0.01, -30, 3, 0.5])[:, None, None, None]
    moved = on_grid(weight, bits)
    assert torch.allclose(on_grid(weight * factor, bits), moved * factor, rtol=1e-5)
    assert torch.allclose(on_grid(moved, bits), moved, rtol=1e-5)
    assert torch.allclose(straight_through(weight, bits), moved, rtol=1e-5)
    integers = (moved.flatten(1) / scales(moved, bits)[:, None]).round()
    assert integers.abs().amax(1).tolist() == [largest(bits)] * 6


def test_zeros_stay_zeros() -> None:
    weight = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    assert torch.equal(on_grid(weight, 3), weight)
    assert torch.equal(on_grid(torch.zeros(2, 2), 2), torch.zeros(2, 2))


def test_gradients_pass_straight_through_but_for_the_clipped() -> None:
    weight = torch.tensor([[0.1, -0.3, 0.7], [4.0, 1.0, -1.0]], requires_grad=True)
    (straight_through(weight, 8) * torch.tensor([1.0, 2, 3])).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[1, 2, 3], [1, 2, 3]]
    outlier = torch.tensor([[4.0] + [1.0] * 11], requires_grad=True)
    straight_through(outlier, 2).sum().backward()
    assert outlier.grad is not None
    assert outlier.grad[0].tolist() == [0.0] + [1.0] * 11


def test_int8_is_what_onnx_runtime_writes_by_itself() -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = export(_network(), SHAPE)
    calibration = _calibration(model, target=EIGHT_BITS)

    class Reader:
        rows = iter(range(64))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            row = next(self.rows, None)
            return None if row is None else {"image": calibration.images[row : row + 1]}

    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder, "p.onnx"), Path(folder, "q.onnx")
        quant_pre_process(onnx.load_from_string(model), prepared)
        quantize_static(
            prepared,
            quantized,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        assert slimmed(_rewritten(model, {"weights": "int8"}, calibration)) == slimmed(quantized.read_bytes())


def test_where_sums_saturate_weights_have_seven_bits() -> None:
    model = export(_network(), SHAPE)
    narrow, wide = (_calibration(model, target=target) for target in (SEVEN_BITS, EIGHT_BITS))
    written = _rewritten(model, {"weights": "int8"}, narrow)
    assert max(int(np.abs(tensor).max()) for tensor in _integers(written)) == 63
    assert written == _rewritten(model, {"weights": "mixed", "early": 7, "middle": 7, "late": 7}, wide)
    alone = _rewritten(model, {"weights": "int8", "activations": "fp32"}, narrow)
    assert max(int(np.abs(tensor).max()) for tensor in _integers(alone)) == 127, "in floats nothing saturates"


@pytest.mark.parametrize(("target", "points"), [(SEVEN_BITS, 63), (EIGHT_BITS, 127)])
def test_aware_fine_tuning_ends_on_the_grid_of_the_device(target: Target, points: int) -> None:
    network = _network()
    assert QUANTIZATION.finetuning is not None
    with QUANTIZATION.finetuning(network, {"weights": "int8", "aware": True}, target):
        network(torch.from_numpy(_images(4)))
    rows = network.stem[0].weight.detach().flatten(1)  # type: ignore[index, union-attr]
    places = rows / rows.abs().amax(1, keepdim=True) * points
    assert torch.allclose(places, places.round(), atol=1e-3)


def test_reverting_without_anything_that_runs_the_file_is_refused() -> None:
    model = export(_network(), SHAPE)
    calibration = _calibration(model)
    calibration.run = None
    with pytest.raises(SpaceError, match=r"quantization\.max_drop: accuracy is compared by running the file"):
        _rewritten(model, {"weights": "int8", "max_drop": 1.0}, calibration)


@pytest.mark.parametrize("activations", ["uint8", "fp32"])
def test_each_third_takes_its_width_in_the_order_in_which_layers_run(activations: str) -> None:
    model = export(_network(), SHAPE)
    knobs = WIDTHS | {"activations": activations}
    layers = IntegerModel(model, knobs, _calibration(model).images, "minmax", Target()).layers
    assert [layer.bits for layer in layers] == [4, 4, 4, 3, 3, 3, 2, 2, 2]
    assert [layer.nodes[0].split("/")[1] for layer in layers[:4]] == ["stem", "first", "shortcut", "rest"]
    ends = sorted(int(np.abs(values).max()) for values in _integers(_rewritten(model, knobs)))
    assert ends == [1, 1, 1, 3, 3, 3, 7, 7, 7]


def test_weights_alone_leave_the_arithmetic_to_float32(tmp_path: Path) -> None:
    network = _network()
    model = export(network, SHAPE)
    written = _rewritten(model, {"weights": "int8", "activations": "fp32"})
    assert len(_integers(written)) == 9
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(written, options, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert not kinds & {"DequantizeLinear", "QuantizeLinear", "Cast", "Mul"}, "weights are restored once, on loading"
    images = _calibration(model).images
    expected, actual = (logits(open_session(m), images) for m in (model, written))
    assert np.abs(actual - expected).max() < 0.03 * np.abs(expected).max()


@pytest.mark.parametrize("activations", ["uint8", "fp32"])
def test_a_narrow_file_computes_what_the_rounded_network_does(activations: str) -> None:
    network = _network()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    model = export(network, SHAPE)
    knobs = WIDTHS | {"activations": activations}
    calibration = _calibration(model)
    with torch.no_grad():
        images = torch.from_numpy(calibration.images)
        expected = rounded(network, knobs, images[:1])(images).numpy()
        untouched = network(images).numpy()
    actual = logits(open_session(_rewritten(model, knobs, calibration)), calibration.images)
    if activations == "fp32":
        assert np.abs(actual - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.abs(actual - untouched).mean() > 3 * np.abs(actual - expected).mean()
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


def test_a_bias_follows_the_scale_of_its_weights() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * 64, 5)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    tensors = {
        t.name: numpy_helper.to_array(t)
        for t in onnx.load_from_string(_rewritten(export(network, SHAPE), WIDTHS)).graph.initializer
    }
    stored = tensors["0.bias_quantized"] * tensors["0.bias_quantized_scale"]
    assert tensors["0.bias_quantized"].dtype == np.int32
    assert stored == pytest.approx(network[0].bias.detach().numpy(), abs=float(tensors["0.bias_quantized_scale"].max()))
    assert tensors["0.bias_quantized_scale"] == pytest.approx(tensors["0.weight_scale"] * tensors["image_scale"])


def test_bfloat16_is_half_the_bytes_and_rounds_to_nearest_even() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).eval()
    model = export(network, SHAPE)
    written = _rewritten(model, {"weights": "bf16"})
    tensors = [t for t in onnx.load_from_string(written).graph.initializer if t.data_type == TensorProto.BFLOAT16]
    assert [len(t.raw_data) for t in tensors] == [2 * 192 * 5]
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    narrow.load_state_dict(network.state_dict())
    with torch.no_grad():
        narrow[1].weight.copy_(network[1].weight.to(torch.bfloat16).float())
        images = torch.randn(4, *SHAPE)
        expected = narrow(images).numpy()
    assert logits(open_session(written), images.numpy()) == pytest.approx(expected, abs=1e-5)


def test_calibration_methods_differ_where_there_is_an_outlier(capsys: pytest.CaptureFixture[str]) -> None:
    model = export(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(1024, 5)), (3, 16, 16))
    images = np.random.default_rng(0).normal(size=(64, 3, 16, 16)).astype(np.float32)
    images[0, 0, 0, 0] = 1000.0  # 1 of 49,152: more than 1 of 20,000 is not cut
    calibration = RewriteContext(images, np.zeros(64, np.int64))
    spans = {}
    for method in ("minmax", "percentile", "entropy"):
        written = onnx.load_from_string(_rewritten(model, {"weights": "int8", "calibration": method}, calibration))
        (scale,) = (numpy_helper.to_array(t) for t in written.graph.initializer if t.name == "image_scale")
        spans[method] = 255 * float(scale)
    assert spans["minmax"] == pytest.approx(1000 - float(calibration.images.min()), rel=1e-3)
    assert spans["percentile"] < 20
    assert spans["entropy"] == pytest.approx(1004.5, abs=0.5), "the least divergence is that of all bins"
    assert capsys.readouterr().out == "", "standard output belongs to the command's answer"


def test_a_normalisation_that_stays_is_no_reason_for_a_warning(capfd: pytest.CaptureFixture[str]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(784, 5)).eval()
    images = np.random.default_rng(0).normal(size=(8, 3, 16, 16)).astype(np.float32)
    model = export(network, (3, 16, 16))
    assert b"BatchNormalization" in model
    _rewritten(model, {"weights": "int8"}, RewriteContext(images, np.zeros(8, np.int64)))
    assert "out-of-range" not in capfd.readouterr().err


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_activations_that_are_all_zero_calibrate(method: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5)).eval()
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].bias.fill_(-1.0)
    model = export(network, SHAPE)
    written = _rewritten(model, WIDTHS | {"calibration": method})
    images = _calibration(model).images
    expected, actual = (logits(open_session(m), images) for m in (model, written))
    assert actual == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("activations", ["uint8", "fp32"])
def test_aware_fine_tuning_changes_only_weights_and_leaves_them_on_the_grid(activations: str) -> None:
    network = _network()
    names, parts = list(network.state_dict()), [type(m) for m in network.modules()]
    knobs = WIDTHS | {"aware": True, "activations": activations}
    assert QUANTIZATION.finetuning is not None
    with QUANTIZATION.finetuning(network, knobs, Target()) as hold:
        parameters = list(network.parameters())
        optimizer = torch.optim.SGD(parameters, 0.05)
        images, labels = torch.randn(64, *SHAPE), torch.arange(64) % 5
        network.train()
        losses = []
        for step in range(1, 21):
            loss = nn.functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            hold.after_step(step / 20)
            losses.append(loss.item())
        network.eval()
        felt = network(images).detach()
    assert losses[-1] < losses[0]
    assert list(network.state_dict()) == names
    assert [type(m) for m in network.modules()] == parts
    assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))
    assert not any("forward" in vars(m) or m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    model = export(network, SHAPE)
    written = _rewritten(model, knobs)
    if activations == "fp32":  # what fine-tuning felt, what is left, and the file: all one, batch statistics folded
        assert torch.allclose(network(images), felt, atol=1e-5)
        exported = logits(open_session(written), images.numpy())
        assert np.abs(exported - felt.numpy()).max() < 1e-4 * np.abs(exported).max()
    again = rounded(network, knobs, images[:1])
    for (name, left), right in zip(network.named_parameters(), again.parameters(), strict=True):
        assert torch.allclose(left, right, rtol=1e-5, atol=1e-7), name


def test_without_a_step_the_weights_are_on_the_grid_too() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(256, 5))
    with on_the_grid(network, WIDTHS, Target()) as hold:
        hold.after_step(1.0)
    assert torch.allclose(on_grid(network[0].weight, 4), network[0].weight)
    assert torch.allclose(on_grid(network[2].weight, 3), network[2].weight)


def test_a_weight_that_is_computed_from_others_is_left_alone_and_named() -> None:
    network = nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(192, 5)))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with on_the_grid(network, WIDTHS, Target()) as hold:
        network(torch.randn(4, *SHAPE)).sum().backward()
    assert hold.skipped == {"1": "its weight is computed from other parameters"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_only_aware_knobs_ask_for_fine_tuning() -> None:
    assert not QUANTIZATION.finetunes({"weights": "int8"})
    assert not QUANTIZATION.finetunes({"weights": "int8", "aware": False})
    assert QUANTIZATION.finetunes({"weights": "int8", "aware": True})


def test_the_worst_layers_go_back_until_the_drop_is_allowed() -> None:
    network = _network()
    model = export(network, SHAPE)
    knobs = {"weights": "mixed", "early": 2, "middle": 2, "late": 8, "max_drop": 2.0}
    drops = {}
    for max_drop in (0.0, 5.0, 1.0):
        calibration = _calibration(model, 512)
        written = _rewritten(model, knobs | {"max_drop": max_drop}, calibration)
        right = logits(open_session(written), calibration.images).argmax(1) == calibration.labels
        drops[max_drop] = (100 * (1 - right.mean()), len(calibration.skipped), len(_integers(written)))
    assert drops[0.0][0] > 5
    assert drops[0.0][1:] == (0, 9)
    for max_drop in (5.0, 1.0):
        drop, skipped, integers = drops[max_drop]
        assert drop <= max_drop
        assert skipped >= 1
        assert skipped + integers == 9 or integers == 0
    assert drops[1.0][1] >= drops[5.0][1]
    assert all("float32: with it in" in reason for reason in calibration.skipped.values())


def test_reverting_waits_for_a_trained_network() -> None:
    model = export(_network(), SHAPE)
    calibration = _calibration(model)
    calibration.trained = False
    knobs = {"weights": "mixed", "early": 2, "middle": 2, "late": 2, "max_drop": 0.5, "calibration": "entropy"}
    assert len(_integers(_rewritten(model, knobs, calibration))) == 9
    assert calibration.skipped == {}
    assert QUANTIZATION.file_needs.calibration_images({"weights": "int8"}) == 64
    assert QUANTIZATION.file_needs.calibration_images(knobs) == 512


def test_a_network_without_layers_is_infeasible() -> None:
    model = export(nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), SHAPE)
    with pytest.raises(InfeasibleCandidate, match="quantization: the network has no layer"):
        _rewritten(model, {"weights": "int8"})


def test_a_transposed_convolution_is_left_at_8_bits_and_noted() -> None:
    network = nn.Sequential(nn.ConvTranspose2d(3, 4, 2, 2), nn.ReLU(), nn.Conv2d(4, 5, 16), nn.Flatten()).eval()
    model = export(network, SHAPE)
    calibration = _calibration(model)
    written = _rewritten(model, WIDTHS, calibration)
    assert list(calibration.skipped.values()) == ["transposed convolution: 8 bits"]
    assert sorted(int(np.abs(v).max()) for v in _integers(written)) == [7, 127]


@pytest.mark.parametrize(
    ("knob", "value", "said"),
    [
        ("early", 0, "quantization.early: 0 is not allowed; allowed: 2 to 8 in steps of 1"),
        ("late", 9, "quantization.late: 9 is not allowed; allowed: 2 to 8"),
        ("weights", "int4", "allowed: one of fp32, fp16, bf16, int8, mixed"),
        ("calibration", "mse", "allowed: one of minmax, percentile, entropy"),
        ("max_drop", -1.0, "quantization.max_drop: -1.0 is not allowed; allowed: 0.0 to 5.0"),
    ],
)
def test_bad_knobs_are_refused_with_what_is_allowed(knob: str, value: object, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        joint_space(FAMILIES, STEPS, Range(8, 12, 4), {f"quantization.{knob}": value}, {})


def test_onnx_runtime_keeps_narrow_weights_in_integer_kernels(tmp_path: Path) -> None:
    model = export(_network(), SHAPE)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(_rewritten(model, WIDTHS), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == 7
    assert "Conv" not in kinds
