"""`paredown unpack`: the very model, a table of encodings, no PyTorch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.packing.container import pack, ship
from paredown.search.cli import app as cli
from paredown.spaces.compression.step import RewriteContext
from paredown.spaces.compression.transform_sparsity import TRANSFORM_SPARSITY

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model one layer of which is stored by its coefficients."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)).eval()
    knobs = {"domain": "wavelet", "rule": "energy", "amount": 0.8, "wavelet": "db2"}
    assert TRANSFORM_SPARSITY.rewrite is not None
    calibration = RewriteContext(np.zeros((1, *SHAPE), np.float32), np.zeros(1, np.int64))
    folder = tmp_path_factory.mktemp("exported")
    ship(slimmed(TRANSFORM_SPARSITY.rewrite(export(network, SHAPE), knobs, calibration)), folder / "model.onnx")
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        cli.main(lambda: cli.app(list(arguments)))
    return (int(left.value.code or 0), *capsys.readouterr())


def test_writes_the_model_with_the_same_outputs(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "unpack", str(exported), "-o", str(tmp_path / "again.onnx"))
    assert code == 0
    assert (tmp_path / "again.onnx").read_bytes() == (exported / "model.onnx").read_bytes()
    images = np.random.default_rng(0).normal(size=(16, *SHAPE)).astype(np.float32)
    first, second = (logits(open_session(f), images) for f in (exported / "model.onnx", tmp_path / "again.onnx"))
    assert first.tobytes() == second.tobytes()
    assert "transform(" in out
    assert "5 x 288" in out
    assert f"packed  {(exported / 'model.packed').stat().st_size:,} bytes" in out


def test_json_is_one_document(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "unpack", str(exported / "model.packed"), "--json")
    assert code == 0
    document = json.loads(out)
    assert document["model"] is None
    assert document["packed_bytes"] == (exported / "model.packed").stat().st_size == sum(document["parts"].values())
    assert document["onnx_bytes"] == (exported / "model.onnx").stat().st_size
    assert set(document["tensors"][0]) == {"tensor", "shape", "type", "encoding", "bytes", "dense_bytes"}
    assert sum(t["bytes"] for t in document["tensors"]) == sum(e["bytes"] for e in document["encodings"])
    linear = next(t for t in document["tensors"] if t["shape"] == [5, 288])
    assert linear["bytes"] < linear["dense_bytes"] == 4 * 5 * 288


@pytest.mark.parametrize(
    ("content", "out", "message"),
    [
        (None, "m.onnx", "model.packed: cannot be read (No such file or directory)"),
        (b"no such file", "m.onnx", "model.packed: no packed file"),
        (b"", "nowhere/m.onnx", "model.packed: no packed file"),
        (pack(b""), "nowhere/m.onnx", "cannot be written"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(
    content: bytes | None, out: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "model.packed").write_bytes(content)
    code, printed, error = run(capsys, "unpack", str(tmp_path), "-o", str(tmp_path / out))
    assert code == 2
    assert printed == ""
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / out).exists()


@pytest.mark.slow
def test_it_runs_without_pytorch(exported: Path, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom paredown.search.cli import app as cli\n"
        f"sys.argv = ['paredown', 'unpack', {str(exported)!r}, '-o', 'm.onnx']\n"
        "try:\n    cli.main()\nexcept SystemExit as left:\n    assert not left.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.onnx").read_bytes() == (exported / "model.onnx").read_bytes()
