"""Files of few bits of the networks that people bring: they run, unpack to themselves, and what stays is named."""

import numpy as np
import pytest
import torch
from odd_networks import CLASSES, ODD, SIDE

from paredown.evaluators.device import this_device
from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.packing.container import pack, unpack
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.step import RewriteContext
from paredown.spaces.knob import Knobs

SHAPE = (1, SIDE, SIDE)
IMAGES = np.random.default_rng(0).normal(size=(8, *SHAPE)).astype(np.float32)
WHOLE: Knobs = {"weights": "int8", "activations": "uint8", "calibration": "minmax"}
WEIGHTS: Knobs = {"weights": "int8", "activations": "fp32"}


def rewritten(name: str, knobs: Knobs) -> tuple[bytes, bytes, dict[str, str]]:
    """Return the file of a network, the same in few bits, and what was left alone."""
    torch.manual_seed(0)
    file = export(ODD[name]().eval(), SHAPE)
    context = RewriteContext(IMAGES, np.arange(len(IMAGES)) % CLASSES, target=this_device().target)
    rewrite = STEPS["quantization"].rewrite
    assert rewrite is not None
    return file, slimmed(rewrite(file, knobs, context)), context.skipped


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("knobs", [WHOLE, WEIGHTS], ids=["whole", "weights"])
def test_int8_takes_every_network(name: str, knobs: Knobs) -> None:
    file, narrow, _ = rewritten(name, knobs)
    expected, actual = (logits(open_session(model), IMAGES) for model in (file, narrow))
    assert np.abs(actual - expected).max() < 0.1 * np.abs(expected).max()
    assert np.array_equal(logits(open_session(unpack(pack(narrow))), IMAGES), actual)
    assert len(pack(narrow)) < len(pack(slimmed(file)))


@pytest.mark.parametrize(("name", "operator"), [("lstm", "LSTM"), ("gru", "GRU")])
def test_recurrent_weights_are_named_or_rounded(name: str, operator: str) -> None:
    file, whole, skipped = rewritten(name, WHOLE)
    assert skipped == {f"/rows/{operator}": f"{operator}: its weights stay float32"}
    _, weights, skipped = rewritten(name, WEIGHTS)
    assert skipped == {}
    assert len(pack(weights)) < 0.6 * len(pack(whole)) < 0.6 * len(pack(slimmed(file)))
