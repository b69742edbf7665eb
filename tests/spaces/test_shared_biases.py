"""Layers that share a bias, as those of an untrained network do, in an int8 file."""

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.spaces.compression.quantization import QUANTIZATION
from paredown.spaces.compression.step import RewriteContext

SHAPE = (3, 8, 8)


def test_copies_of_a_shared_bias_are_called_like_nothing_else() -> None:
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()) for _ in range(24)]
    for layer in layers:
        nn.init.dirac_(layer[0].weight)
        nn.init.constant_(layer[0].bias, 0.25)
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    images = np.random.default_rng(0).normal(size=(32, *SHAPE)).astype(np.float32)
    model = slimmed(export(network, SHAPE))
    assert QUANTIZATION.rewrite is not None
    context = RewriteContext(images, np.zeros(len(images), np.int64), trained=False)
    written = QUANTIZATION.rewrite(model, {"weights": "int8", "activations": "uint8"}, context)
    graph = onnx.load_from_string(written).graph
    made = [name for node in graph.node for name in node.output]
    assert len(made) == len(set(made))
    assert not set(made) & {tensor.name for tensor in graph.initializer}
    biases = [t for t in graph.initializer if t.data_type == onnx.TensorProto.INT32 and numpy_helper.to_array(t).any()]
    assert len(biases) == len(layers), "each has its own, in units of its scales"
    expected = logits(open_session(model), images)
    assert np.abs(logits(open_session(written), images) - expected).max() < 0.05 * np.abs(expected).max()
