"""The sensitivity map: the loss of accuracy when a single layer is compressed, by method and strength.

For each layer with weights, the measurement changes that layer in a copy of the trained network, re-estimates the batch
statistics and classifies the validation images, without fine-tuning.

Source:
    Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017, section 3.2 (sensitivity of layers).
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paredown.evaluators.tasks.task import Split
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import layout
from paredown.evaluators.training.inference import recalibrate, score
from paredown.spaces.compression.layers import MatrixLayer, layers_to_reweigh

MAX_IMAGES = 1000
"""Maximum number of validation images that are classified."""
STATISTICS_IMAGES = 256
"""Number of training images from which batch statistics are estimated."""

Applied = Callable[[Tensor, float], Tensor]
"""(weights `out x ...`, strength) -> weights of the same shape."""


@dataclass(frozen=True)
class Method:
    """A way to compress one layer.

    Attributes:
        name: Name in maps and plots.
        unit: Meaning of its strengths.
        strengths: Strengths, from the mildest to the strongest.
        off: Strength at which it changes nothing.
        apply: Function that returns compressed weights.
        reason: Function that returns why the method does not apply to a layer; empty where it does.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    off: float
    apply: Applied
    reason: Callable[[nn.Module], str] = lambda layer: ""


@dataclass(frozen=True)
class SensitivityMap:
    """Accuracy drops, by method, layer and strength.

    Attributes:
        accuracy: Accuracy of the unchanged network.
        images: Number of validation images.
        layers: Number of weights of each layer by name, in the order of the network.
        strengths: Strengths of each method, from the mildest to the strongest.
        units: Meaning of each method's strengths.
        drops: Method to layer to the drop at each strength, as a share of images; negative where accuracy rose.
        skipped: Method to layer to the reason why the method does not apply.
    """

    accuracy: float
    images: int
    layers: Mapping[str, int]
    strengths: Mapping[str, tuple[float, ...]]
    units: Mapping[str, str]
    drops: Mapping[str, Mapping[str, tuple[float, ...]]]
    skipped: Mapping[str, Mapping[str, str]]

    def to_json(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "SensitivityMap":
        """Return the map that `to_json` wrote."""
        strengths = {method: tuple(values) for method, values in data["strengths"].items()}
        drops = {m: {layer: tuple(d) for layer, d in layers.items()} for m, layers in data["drops"].items()}
        return cls(**{**data, "strengths": strengths, "drops": drops})


def zeroed(weight: Tensor, ratio: float) -> Tensor:
    """Return the weights with a share of them, the smallest, set to zero."""
    count = round(weight.numel() * ratio)
    smallest = weight.abs().flatten().argsort(stable=True)[:count]
    flat = weight.flatten().clone()
    flat[smallest] = 0
    return flat.reshape(weight.shape)


def rounded(weight: Tensor, bits: float) -> Tensor:
    """Return the weights rounded to a symmetric grid of a number of bits, with one scale per output channel.

    Source:
        Jacob et al., CVPR 2018, section 2.1, without a zero point.
    """
    top = 2 ** (int(bits) - 1) - 1
    scale = weight.abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True).clamp(min=1e-12) / top
    on_grid: Tensor = (weight / scale).round().clamp(-top, top) * scale
    return on_grid


def flattened(weight: Tensor, ratio: float) -> Tensor:
    """Return the nearest weights whose matrix `out x (in * k * k)` has a share of the full rank.

    Source:
        Eckart, Young, The approximation of one matrix by another of lower rank, Psychometrika 1936.
    """
    matrix = weight.flatten(1)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    rank = max(1, round(min(matrix.shape) * ratio))
    nearest: Tensor = (u[:, :rank] * s[:rank]) @ v[:rank]
    return nearest.reshape(weight.shape)


def _no_matrix(layer: nn.Module) -> str:
    if getattr(layer, "groups", 1) > 1:
        return "its groups are no single matrix"
    return ""


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("zeroing", "share of weights set to zero", (0.25, 0.5, 0.75, 0.9), 0.0, zeroed),
        Method("rounding", "bits of a weight", (8, 6, 4, 3, 2), 32, rounded),
        Method("low rank", "share of the full rank", (0.75, 0.5, 0.25, 0.125), 1.0, flattened, _no_matrix),
    )
}


def layers_of(network: nn.Module, skipped: dict[str, str] | None = None) -> dict[str, MatrixLayer]:
    """Return the layers whose weights can change, each once, by name; other layers with weights go to `skipped`."""
    return layers_to_reweigh(network, {} if skipped is None else skipped)


def measure(
    network: nn.Module, data: TrainingData, on_layer: Callable[[str], None] = lambda layer: None
) -> SensitivityMap:
    """Compress each layer of a trained network by itself, and return the loss of accuracy.

    Args:
        network: The network; it is not changed.
        data: Validation images to classify, and training images to estimate batch statistics from.
        on_layer: Called with the name of the layer after each measurement.
    """
    rows = np.random.default_rng(0).permutation(len(data.validation.images))[:MAX_IMAGES]
    validation = Split(data.validation.images[rows], data.validation.labels[rows])

    def accuracy(changed: nn.Module) -> float:
        recalibrate(changed, data, STATISTICS_IMAGES)
        return score(changed, validation, data.normalise)[0]

    work = copy.deepcopy(network).eval()
    work.to(memory_format=layout(work))  # type: ignore[call-overload]
    state = copy.deepcopy(work.state_dict())
    left: dict[str, str] = {}
    before, layers = accuracy(work), layers_of(work, left)
    drops: dict[str, dict[str, tuple[float, ...]]] = {name: {} for name in METHODS}
    skipped = {name: dict(left) for name in METHODS}
    for name, layer in layers.items():
        weight = layer.weight.detach().clone()
        for method in METHODS.values():
            if reason := method.reason(layer):
                skipped[method.name][name] = reason
                continue
            found = []
            for strength in method.strengths:
                with torch.no_grad():
                    layer.weight.copy_(method.apply(weight, strength))
                found.append(round(before - accuracy(work), 6))
                work.load_state_dict(state)
                on_layer(name)
            drops[method.name][name] = tuple(found)
    return SensitivityMap(
        accuracy=before,
        images=len(rows),
        layers={name: layer.weight.numel() for name, layer in layers.items()},
        strengths={name: method.strengths for name, method in METHODS.items()},
        units={name: method.unit for name, method in METHODS.items()},
        drops=drops,
        skipped={name: reasons for name, reasons in skipped.items() if reasons},
    )


def change(drop: float, decimals: int = 1) -> str:
    """Return a drop, given as a share of images, as a change of accuracy in percentage points."""
    points = round(-100 * drop, decimals)
    return f"{points:+.{decimals}f}" if points else f"{0:.{decimals}f}"


def count(network: nn.Module) -> int:
    """Return the number of measurements that a map takes."""
    methods = METHODS.values()
    return sum(len(m.strengths) for layer in layers_of(network).values() for m in methods if not m.reason(layer))


def store(found: SensitivityMap, file: Path) -> None:
    """Write a map as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found.to_json(), indent=2, allow_nan=False) + "\n")
