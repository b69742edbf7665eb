"""The one place that opens a model in ONNX Runtime."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from int8_models import large_sums
from torch import nn

from paredown.evaluators.device import this_device
from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.files.onnx_session import logits, open_session

ROOT = Path(__file__).parents[3]
PACKAGES = ("spaces", "evaluators", "studies", "search")


def test_a_session_has_the_threads_it_is_given_from_bytes_or_a_file(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    model, images = export(network, (1, 2, 2)), torch.randn(70, 1, 2, 2)  # more than a batch
    (tmp_path / "model.onnx").write_bytes(model)
    for source, threads in ((model, 1), (tmp_path / "model.onnx", 2)):
        session = open_session(source, threads)
        assert session.get_session_options().intra_op_num_threads == threads
        torch.testing.assert_close(torch.from_numpy(logits(session, images.numpy())), network(images).detach())


def test_what_cannot_be_loaded_is_one_error() -> None:
    with pytest.raises(EvaluationError, match="ONNX Runtime cannot load the model"):
        open_session(b"no model")


def test_no_other_source_sets_up_a_session() -> None:
    sources = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    found = [
        str(f.relative_to(ROOT)) for f in sources if re.search(r"SessionOptions\(|InferenceSession\(", f.read_text())
    ]
    assert found == ["evaluators/files/onnx_session.py"]


def test_sums_of_8_bit_products_are_exact_where_that_is_asked() -> None:
    """Pairs of 255 x 127 do not fit into 16 bits, in which x86 without VNNI adds them."""
    image = np.ones((1, 32, 4, 4), np.float32)
    right = logits(open_session(large_sums(), exact=True), image)
    np.testing.assert_allclose(right, 32.0, atol=0.1)
    usual = logits(open_session(large_sums()), image)
    assert (usual < 20).all() if this_device().int8_sums_saturate else (usual == right).all()
