"""Small networks in int8 ONNX, as `quantization` writes them, for tests of files for microcontrollers."""

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from paredown.evaluators.build import apply_structural_steps, build
from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.step import RewriteContext
from paredown.spaces.compression.target import Target
from paredown.spaces.families.family import ImageShape
from paredown.spaces.knob import Knobs

INT8: Knobs = {"weights": "int8", "activations": "uint8", "calibration": "minmax", "aware": False, "max_drop": 0.0}
RESNET8: Knobs = {
    **{"block": "basic", "blocks": 1, "widths": "equal", "width": 1.0},
    **{"shortcut": "projected", "activation": "relu", "resolution": 32},
}
"""The network of MLPerf Tiny's image classification: three stages of 16, 32 and 64 channels, one block each."""


def images(shape: ImageShape, count: int = 16, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def int8_file(network: nn.Module, shape: ImageShape, knobs: Knobs = INT8, bits: int = 8) -> bytes:
    """Return the int8 ONNX file of a network, calibrated on random images."""
    given = images(shape, 64, 1)
    context = RewriteContext(given, np.arange(len(given)) % 2, target=Target(bits))
    rewrite = STEPS["quantization"].rewrite
    assert rewrite is not None
    return slimmed(rewrite(export(network.eval(), shape), knobs, context))


@functools.cache
def _family_file(family: str, knobs: tuple[tuple[str, object], ...], shape: ImageShape, steps: str) -> bytes:
    torch.manual_seed(0)
    named = {"low_rank": {"ratio": 0.5, "rule": "ratio", "kernel": "spatial"}}
    candidate = Candidate(family, dict(knobs), {name: named[name] for name in steps.split()})  # type: ignore[arg-type]
    network = build(candidate, shape, 10)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return int8_file(apply_structural_steps(network, candidate, shape).network, shape)


def family_file(family: str, knobs: Knobs, shape: ImageShape = (3, 32, 32), steps: str = "") -> bytes:
    """Return the int8 ONNX file of a network of a family with 10 classes and normalisations as after training."""
    return _family_file(family, tuple(knobs.items()), shape, steps)
