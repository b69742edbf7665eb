"""Transform sparsity: weights of which few coefficients in another domain are not zero.

Each filter (what makes one output channel) is taken to the cosine, Fourier, short-time Fourier or wavelet domain and
keeps its largest coefficients: a share of their number, or as few as hold a share of the energy. As each filter
is thresholded by itself, a factor on it changes nothing: batch normalisation may be folded afterwards. Fine-tuning
is held to the kept coefficients. The exported file holds ordinary weights with a note of the domain; the packed
file stores the coefficients and restores the weights on load. The runtime computes as before: only bytes are saved.

The signal that is transformed (the whole filter, along its input channels, each kernel, or all axes) is chosen for
each layer by what keeps most energy, or needs the fewest coefficients; a choice for each filter would cost more
bytes than it saves.

Source:
    Wang et al., CNNpack: Packing Convolutional Neural Networks in the Frequency Domain, NeurIPS 2016, section 3;
    Mallat, A Wavelet Tour of Signal Processing, 2009, section 9.2 (the largest coefficients are the best).
"""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from paredown.spaces.compression.layers import MatrixLayer, layers_to_reweigh
from paredown.spaces.compression.node_names import excluded_nodes
from paredown.spaces.compression.step import Hold, RewriteContext, Step, TransformContext
from paredown.spaces.compression.target import Target
from paredown.spaces.errors import InfeasibleCandidate, SpaceError
from paredown.spaces.knob import Choice, Knob, Knobs, Range
from paredown.spaces.transforms import DOMAIN_NOTE, FRAMES, WAVELETS, Domain, without_noise

SMALLEST_FILTER = 4
"""Filters of fewer weights are left alone."""

KNOBS: dict[str, Knob] = {
    "domain": Choice(("none", "dct", "dft", "stft", "wavelet")),
    "rule": Choice(("ratio", "energy")),
    "amount": Range(0.05, 0.95, 0.05),
    "wavelet": Choice(WAVELETS, only_if=("domain", "wavelet")),
}


def sparsified(weights: NDArray[np.float32], knobs: Knobs, channel: int = 0) -> tuple[NDArray[np.float64], Domain]:
    """Return the coefficients of a layer, `channels x n`, thresholded, and their domain.

    Weights that were thresholded already keep what they have: the energy that is left is not thresholded again.

    Args:
        weights: Weights of a layer.
        knobs: Knobs of the step.
        channel: Axis of the output channels.
    """
    domains = _domains(weights.ndim, knobs, channel)
    found = {domain: without_noise(domain.analyse(weights), weights.dtype) for domain in domains}
    sparse = [domain for domain in domains if _is_thresholded(found[domain], knobs)]
    if sparse:
        best = min(sparse, key=lambda domain: np.count_nonzero(found[domain]))
        return found[best], best
    kept = {domain: _thresholded(domain.analyse(weights), knobs) for domain in domains}
    best = min(kept, key=lambda domain: _badness(kept[domain], knobs))
    return kept[best], best


def _domains(axes: int, knobs: Knobs, channel: int) -> list[Domain]:
    """Return the candidates for a layer: whole filters first, then along axes."""
    name = str(knobs["domain"])
    if name == "stft":
        return [Domain(f"stft{frame}", (), channel) for frame in FRAMES]
    along: list[tuple[int, ...]] = [()]
    if axes > 2:
        space = tuple(range(2, axes))
        along += [(1,), space, (1, *space)]
    return [Domain(str(knobs["wavelet"]) if name == "wavelet" else name, a, channel) for a in along]


def _is_thresholded(coefficients: NDArray[np.float64], knobs: Knobs) -> bool:
    width = coefficients.shape[1]
    most = _share(width, knobs) if knobs["rule"] == "ratio" else width - 1
    return bool((np.count_nonzero(coefficients, axis=1) <= most).all())


def _share(width: int, knobs: Knobs) -> int:
    return min(width - 1, math.ceil(float(knobs["amount"]) * width - 1e-9))


def _thresholded(coefficients: NDArray[np.float64], knobs: Knobs) -> NDArray[np.float64]:
    """Return the coefficients without those that are too small; each filter loses at least one."""
    width, amount = coefficients.shape[1], float(knobs["amount"])
    order = np.argsort(-np.abs(coefficients), axis=1, kind="stable")
    if knobs["rule"] == "ratio":
        counts = np.full((len(coefficients), 1), _share(width, knobs))
    else:
        energy = np.cumsum(np.take_along_axis(coefficients, order, axis=1) ** 2, axis=1)
        counts = (energy < amount * energy[:, -1:]).sum(axis=1, keepdims=True) + 1
    ranks = np.argsort(order, axis=1, kind="stable")
    return np.where(ranks < np.clip(counts, 1, width - 1), coefficients, 0.0)


def _badness(kept: NDArray[np.float64], knobs: Knobs) -> float:
    """Return the number of coefficients, or where it is the same in each domain, their energy, negative."""
    return float(np.count_nonzero(kept)) if knobs["rule"] == "energy" else -float((kept**2).sum())


def _check(knobs: Knobs) -> None:
    for name, knob in KNOBS.items():
        condition = knob.only_if
        if condition is not None and knobs.get(condition[0]) != condition[1]:
            continue
        value = knobs.get(name, knob.lowest)
        if value not in knob:
            raise SpaceError(f"transform_sparsity.{name}: {value!r} is not allowed; allowed: {knob}")


def _reason_to_skip(layer: MatrixLayer) -> str:
    width = layer.weight[0].numel()
    return f"filters of {width} weights are too short" if width < SMALLEST_FILTER else ""


def _layers(network: nn.Module, skipped: dict[str, str], excluded: Sequence[str]) -> dict[str, MatrixLayer]:
    layers = layers_to_reweigh(network, skipped, excluded)
    skipped |= {name: reason for name, layer in layers.items() if (reason := _reason_to_skip(layer))}
    return {name: layer for name, layer in layers.items() if name not in skipped}


def _sparsify(model: nn.Module, knobs: Knobs, material: TransformContext) -> nn.Module:
    _check(knobs)
    changed = copy.deepcopy(model)
    layers = _layers(changed, material.skipped, material.excluded)
    if not layers:
        raise InfeasibleCandidate(f"transform_sparsity: no layer has filters of {SMALLEST_FILTER} weights or more")
    for layer in layers.values():
        coefficients, domain = sparsified(_array(layer), knobs)
        _write(layer, coefficients, domain)
    return changed


def _array(layer: MatrixLayer) -> NDArray[np.float32]:
    return layer.weight.detach().cpu().float().numpy()


def _write(layer: MatrixLayer, coefficients: NDArray[np.float64], domain: Domain) -> None:
    weights = domain.synthesise(coefficients, tuple(layer.weight.shape)).astype(np.float32)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))


@contextmanager
def _held(network: nn.Module, knobs: Knobs, target: Target, excluded: Sequence[str] = ()) -> Iterator[Hold]:
    """Project the weights back on the kept coefficients after each step."""
    _check(knobs)
    supports: list[tuple[MatrixLayer, NDArray[np.bool_], Domain]] = []
    for layer in _layers(network, {}, excluded).values():
        coefficients, domain = sparsified(_array(layer), knobs)
        supports.append((layer, coefficients != 0, domain))

    def project(progress: float) -> None:
        del progress
        for layer, support, domain in supports:
            _write(layer, np.where(support, domain.analyse(_array(layer)), 0.0), domain)

    yield Hold(project)


def _note(model: bytes, knobs: Knobs, calibration: RewriteContext) -> bytes:
    """Threshold the weights of an ONNX model where that has not been done, and note their domain beside them."""
    _check(knobs)
    proto = onnx.load_from_string(model)
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    kept = excluded_nodes(proto.graph, calibration.excluded)
    for node in proto.graph.node:
        channel = None if node.name in kept else _channel_axis(node)
        tensor = tensors.get(node.input[1]) if channel is not None else None
        if channel is None or tensor is None or tensor.doc_string.startswith(DOMAIN_NOTE):
            continue
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) not in (2, 3, 4, 5):
            calibration.skipped[tensor.name] = "its weights are not float32, or not those of a layer"
        elif math.prod(tensor.dims) // tensor.dims[channel] < SMALLEST_FILTER:
            calibration.skipped[tensor.name] = "its filters are too short"
        else:
            weights = onnx.numpy_helper.to_array(tensor)
            coefficients, domain = sparsified(weights, knobs, channel)
            restored = domain.synthesise(coefficients, weights.shape).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(restored, tensor.name))
            tensor.doc_string = f"{DOMAIN_NOTE}{domain}"
    return bytes(proto.SerializeToString())


def _channel_axis(node: Any) -> int | None:
    """Return the axis of the output channels in a node's weights; None where it is no layer."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return 1 if node.op_type == "MatMul" else None


TRANSFORM_SPARSITY = Step(
    name="transform_sparsity",
    short="transform",
    knobs=KNOBS,
    switch="domain",
    off="none",
    transform=_sparsify,
    finetuning=_held,
    rewrite=_note,
    source="Wang et al., CNNpack, NeurIPS 2016, section 3",
    # By energy, trained filters need up to half as many coefficients as untrained ones: the bytes are not known before.
    shapes_known=False,
)
