"""Transform sparsity: coefficients by hand, the rules, fine-tuning that is held, a file that is sparse."""

import copy

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.packing.container import pack, read, unpack
from paredown.spaces.compression.quantization import QUANTIZATION
from paredown.spaces.compression.step import RewriteContext, TransformContext
from paredown.spaces.compression.target import Target
from paredown.spaces.compression.transform_sparsity import KNOBS, TRANSFORM_SPARSITY, sparsified
from paredown.spaces.errors import InfeasibleCandidate, SpaceError
from paredown.spaces.transforms import TRANSFORMS, WAVELETS, Domain, without_noise

SHAPE = (1, 8, 8)
DCT = {"domain": "dct", "rule": "ratio", "amount": 0.5}


def settings() -> list[dict[str, str | float]]:
    plain = [DCT | {"domain": domain} for domain in ("dct", "dft", "stft")]
    return plain + [DCT | {"domain": "wavelet", "wavelet": wavelet} for wavelet in WAVELETS]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU()]
    made = nn.Sequential(*body, nn.Flatten(), nn.Linear(8 * 16, 5))
    made.train()(torch.randn(64, *SHAPE))
    return made.eval()


def transformed(knobs: dict[str, str | float], made: nn.Module, material: TransformContext | None = None) -> nn.Module:
    assert TRANSFORM_SPARSITY.transform is not None
    return TRANSFORM_SPARSITY.transform(made, knobs, material or TransformContext(torch.zeros(1, *SHAPE)))


def noted(knobs: dict[str, str | float], model: bytes) -> bytes:
    assert TRANSFORM_SPARSITY.rewrite is not None
    images = np.zeros((1, *SHAPE), np.float32)
    return TRANSFORM_SPARSITY.rewrite(model, knobs, RewriteContext(images, np.zeros(1, np.int64)))


def counts(layer: nn.Conv2d | nn.Linear, knobs: dict[str, str | float]) -> list[int]:
    weights = layer.weight.detach().numpy()
    return [int(n) for n in np.count_nonzero(sparsified(weights, knobs)[0], axis=1)]


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 9, 13, 36])
def test_a_transform_is_orthonormal(name: str, n: int) -> None:
    matrix = Domain(name).analyse(np.eye(n))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(n), atol=1e-11)
    np.testing.assert_allclose(Domain(name).synthesise(matrix, (n, n)), np.eye(n), atol=1e-11)


def test_coefficients_by_hand() -> None:
    signal, root = np.array([[1.0, 2.0, 3.0, 4.0]]), np.sqrt(2)
    np.testing.assert_allclose(Domain("haar").analyse(signal), [[5, -2, -1 / root, -1 / root]])
    np.testing.assert_allclose(Domain("dft").analyse(signal), [[5, -root, root, -1]])
    np.testing.assert_allclose(Domain("stft4").analyse(np.hstack([signal, signal])), [[5, -root, root, -1] * 2])
    c, s = np.cos(np.pi / 8), np.sin(np.pi / 8)
    first, third = root * (-3 * c - s) / 2, root * (-3 * s * 1 + c) / 2
    np.testing.assert_allclose(Domain("dct").analyse(signal), [[5, first, 0, third]], atol=1e-12)


def test_axes_and_channel() -> None:
    kernels = np.random.default_rng(0).normal(size=(5, 4, 3, 3))
    constant = np.ones((2, 4, 3, 3))
    assert np.count_nonzero(np.abs(Domain("dct", (1, 2, 3)).analyse(constant)) > 1e-9) == 2
    assert np.count_nonzero(np.abs(Domain("dct", (2, 3)).analyse(constant)) > 1e-9) == 2 * 4
    turned = Domain("dct", (), 1).analyse(kernels[:, :, 0, 0].T)
    np.testing.assert_allclose(turned, Domain("dct").analyse(kernels[:, :, 0, 0]))
    for domain in (Domain("dct", (1, 2, 3)), Domain("sym4", (1,)), Domain("dft", (2, 3))):
        assert Domain.parse(str(domain)) == domain
        np.testing.assert_allclose(domain.synthesise(domain.analyse(kernels), kernels.shape), kernels, atol=1e-11)


@pytest.mark.parametrize("text", ["", "dct", "dct/flat", "db99/flat/0", "dct/x/0", "dct/flat/2", "dct/1/0/0"])
def test_a_text_that_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(SpaceError, match=r"is no (domain|transform)"):
        Domain.parse(text)


def test_the_rules_by_hand() -> None:
    coefficients = np.array([[8.0, 1.0, 0.5, 4.0], [0.1, 0.2, 0.4, 0.8]])
    weights = Domain("dct").synthesise(coefficients, (2, 4)).astype(np.float32)
    half, _ = sparsified(weights, DCT)
    np.testing.assert_allclose(half, [[8, 0, 0, 4], [0, 0, 0.4, 0.8]], rtol=1e-6)
    energy, _ = sparsified(weights, DCT | {"rule": "energy", "amount": 0.75})  # 64 of 81.25; 0.64 of 0.85
    np.testing.assert_allclose(energy, [[8, 0, 0, 0], [0, 0, 0, 0.8]], rtol=1e-6)
    energy, _ = sparsified(weights, DCT | {"rule": "energy", "amount": 0.8})
    np.testing.assert_allclose(energy, [[8, 0, 0, 4], [0, 0, 0.4, 0.8]], rtol=1e-6)


def test_each_layer_takes_the_axes_that_keep_most() -> None:
    along = np.random.default_rng(0).normal(size=(4, 1, 3, 3)).repeat(8, axis=1).astype(np.float32)
    assert sparsified(along, DCT | {"amount": 0.1})[1].axes in ((1,), (1, 2, 3))
    within = np.random.default_rng(0).normal(size=(4, 8, 1, 1)).repeat(3, axis=2).repeat(3, axis=3)
    assert sparsified(within.astype(np.float32), DCT | {"amount": 0.1})[1].axes in ((2, 3), (1, 2, 3))


def test_a_factor_on_a_filter_changes_nothing_else() -> None:
    weights = np.random.default_rng(0).normal(size=(4, 8, 3, 3)).astype(np.float32)
    factors = np.float32(2.0) ** np.array([-3, 0, 5, 1], np.float32).reshape(4, 1, 1, 1)
    plain, domain = sparsified(weights, DCT)
    scaled = Domain(domain.transform, domain.axes).analyse(weights * factors)
    np.testing.assert_allclose(np.where(plain != 0, scaled, 0), plain * factors.reshape(4, 1), rtol=1e-5)


@pytest.mark.parametrize("knobs", settings(), ids=lambda k: str(k.get("wavelet", k["domain"])))
def test_half_of_each_filter_remains_and_is_found_again(knobs: dict[str, str | float]) -> None:
    changed = transformed(knobs, network())
    assert counts(changed[0], knobs) == [5] * 8, "half of 9, rounded up"
    assert counts(changed[6], knobs) == [64] * 5
    again = transformed(knobs, changed)
    for a, b in zip(changed.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", ["ratio", "energy"])
def test_fine_tuning_moves_only_what_is_kept(rule: str) -> None:
    knobs = DCT | {"rule": rule}
    made = transformed(knobs, network())
    before = copy.deepcopy(made.state_dict())
    domains = {at: sparsified(made[at].weight.detach().numpy(), knobs) for at in (0, 3, 6)}
    assert TRANSFORM_SPARSITY.finetuning is not None
    with TRANSFORM_SPARSITY.finetuning(made, knobs, Target()) as hold:
        optimizer = torch.optim.SGD(made.parameters(), 0.1)
        for share in (0.5, 1.0):
            optimizer.zero_grad()
            made.train()(torch.randn(16, *SHAPE)).square().sum().backward()
            optimizer.step()
            hold.after_step(share)
    assert made.state_dict().keys() == before.keys()
    for at, (kept, domain) in domains.items():
        weights = made[at].weight.detach().numpy()
        assert np.abs(weights - before[f"{at}.weight"].numpy()).max() > 1e-4
        found = without_noise(domain.analyse(weights), weights.dtype)
        assert not found[kept == 0].any()


@pytest.mark.parametrize("knobs", settings(), ids=lambda k: str(k.get("wavelet", k["domain"])))
def test_the_packed_file_holds_the_coefficients(knobs: dict[str, str | float]) -> None:
    made = transformed(knobs, network())
    plain = slimmed(export(made, SHAPE))
    packed = pack(slimmed(noted(knobs, export(made, SHAPE))))
    stored = {t.shape: t for t in read(packed).tensors}
    for shape in ((8, 1, 3, 3), (5, 128)):
        assert stored[shape].encoding.startswith("transform("), "also where batch normalisation was folded"
        assert stored[shape].size_bytes < 0.7 * stored[shape].dense_bytes
    assert len(packed) < len(pack(plain))
    images = np.random.default_rng(0).normal(size=(16, *SHAPE)).astype(np.float32)
    expected = logits(open_session(plain), images)
    np.testing.assert_allclose(logits(open_session(unpack(packed)), images), expected, atol=1e-5)


def test_float16_weights_are_stored_as_float16_coefficients() -> None:
    made = transformed(DCT, network())
    narrow = QUANTIZATION.rewrite
    assert narrow is not None
    images = np.zeros((1, *SHAPE), np.float32)
    model = narrow(noted(DCT, export(made, SHAPE)), {"weights": "fp16"}, RewriteContext(images, np.zeros(1, np.int64)))
    packed = pack(slimmed(model))
    stored = {t.shape: t for t in read(packed).tensors}[(5, 128)]
    assert (stored.kind, stored.encoding.partition("(")[0]) == ("float16", "transform")
    assert stored.size_bytes < 0.65 * stored.dense_bytes


def test_a_file_that_was_not_sparse_is_thresholded() -> None:
    weights = onnx.load_from_string(noted(DCT, export(network(), SHAPE))).graph.initializer
    dense = next(t for t in weights if list(t.dims) == [5, 128])
    assert dense.doc_string.startswith("paredown.domain=dct/flat/")
    assert np.count_nonzero(sparsified(onnx.numpy_helper.to_array(dense), DCT)[0]) == 5 * 64


def test_short_filters_are_left_alone() -> None:
    made = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
    material = TransformContext(torch.zeros(1, 3, 4, 4))
    changed = transformed(DCT, made, material)
    assert material.skipped == {"0": "filters of 3 weights are too short"}
    assert torch.equal(changed[0].weight, made[0].weight)
    with pytest.raises(InfeasibleCandidate, match="transform_sparsity: no layer has filters of 4 weights"):
        transformed(DCT, nn.Sequential(nn.Conv2d(3, 4, 1)))


@pytest.mark.parametrize(
    ("knob", "value", "allowed"),
    [
        ("amount", 0, "0.05 to 0.95"),
        ("amount", 1.5, "0.05 to 0.95"),
        ("amount", -0.5, "0.05 to 0.95"),
        ("rule", "luck", "ratio, energy"),
        ("domain", "fractal", "dct, dft, stft, wavelet"),
        ("wavelet", "db99", "haar, db2"),
    ],
)
def test_bad_knobs_are_refused(knob: str, value: str | float, allowed: str) -> None:
    with pytest.raises(SpaceError, match=allowed):
        KNOBS[knob].narrowed(value)
    with pytest.raises(SpaceError, match=f"transform_sparsity.{knob}: {value!r} is not allowed; allowed: .*{allowed}"):
        transformed(DCT | {"domain": "wavelet", "wavelet": "haar"} | {knob: value}, network())
