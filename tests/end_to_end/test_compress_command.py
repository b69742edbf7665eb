"""`paredown compress` and `paredown sensitivity` as users call them: one run of each, and what they refuse."""

import json
from pathlib import Path

import pytest
import torch
from commands import Said, paredown
from safetensors.torch import save_file
from zoo import ZOO

pytestmark = pytest.mark.slow


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAREDOWN_STORAGE", raising=False)
    return tmp_path


def test_compress_ships_a_smaller_network(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = ["--step", "channel_pruning:ratio=0.5", "--step", "quantization:weights=fp16"]
    size = [
        "--model",
        "zoo:residual",
        "--task",
        "digits",
        "--resolution",
        "8",
        "--epochs",
        "1",
        "--finetune-epochs",
        "1",
    ]
    done = Said(capsys, "compress", *size, *steps, "-o", "out", "--json")
    document = done.document()
    before, after = document["before"], document["after"]
    assert set(before) == set(after) >= {"accuracy", "test_accuracy", "latency_ms", "size_bytes", "macs", "params"}
    assert after["macs"] < 0.5 * before["macs"]
    assert document["deltas"]["size_bytes"] == pytest.approx(after["size_bytes"] / before["size_bytes"] - 1)
    assert document["candidate"]["steps"]["channel_pruning"]["ratio"] == 0.5
    assert sorted(p.name for p in here.iterdir()) == ["out"], "nothing but the model: no database, no trials"
    manifest = json.loads((here / "out/manifest.json").read_text())
    assert {"model.onnx", "manifest.json", "README.md"} <= {p.name for p in (here / "out").iterdir()}
    assert manifest["metrics"]["test_accuracy"]["value"] == after["test_accuracy"]
    assert manifest["baseline"]["metrics"]["macs"] == before["macs"]
    assert (here / "out/model.packed").stat().st_size == after["size_bytes"]
    assert (here / "out/model.onnx").stat().st_size == after["onnx_bytes"]


def test_sensitivity_draws_and_stores_a_map(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    save_file(ZOO["separable"](1, 10).state_dict(), here / "weights.safetensors")
    network = ["--model", "zoo:separable", "--weights", "weights.safetensors", "--resolution", "8"]
    done = Said(capsys, "sensitivity", *network, "-o", "map.html")
    assert done.code == 0, done.err
    found = json.loads((here / "map.json").read_text())
    assert list(found["layers"]) == ["stem.0", "head", "depthwise.0", "pointwise.0"]
    assert len(found["drops"]["zeroing"]["head"]) == len(found["strengths"]["zeroing"])
    assert "depthwise.0" in found["skipped"]["low rank"]
    page = (here / "map.html").read_text()
    assert "Plotly.newPlot" in page
    assert "<script src=" not in page, "it needs no network"
    assert "depthwise.0" in done.out
    assert "map.json" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compress", "--model", "resnet20", "-o", "o", "--step", "magic:x=1"], "'magic' does not exist; allowed: "),
        (["compress", "--model", "resnet20", "-o", "o", "--step", "channel_pruning:ratio=1.0"], "1.0 is not allowed"),
        (
            ["compress", "--model", "resnet20", "-o", "o", "--step", "low_rank:rank=3"],
            "'rank' is no knob; knobs: ratio",
        ),
        (["compress", "--model", "resnet20", "-o", "."], "exists and is no exported model"),
        (["compress", "--model", "resnet20", "-o", "o", "--format", "tflite"], "--format: 'tflite' does not exist"),
        (["compress", "--model", "resnet19", "-o", "o"], "'resnet19' is no named network; allowed: "),
        (["compress", "--model", "resnet20", "--task", "letters", "-o", "o"], "'letters' does not exist; allowed: "),
        (["compress", "--model", "resnet20", "-o", "mine.txt/o"], "mine.txt is a file"),
        (["sensitivity", "--model", "resnet20", "-o", "mine.txt/m.html"], "mine.txt is a file"),
        (["sensitivity", "-o", "m.html"], "say which network: --model, or --study"),
        (["sensitivity", "--model", "resnet20", "-o", "m.png"], "allowed: a file that ends in .html"),
        (["sensitivity", "--study", "gone", "-o", "m.html"], "there is no file paredown.db"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_message_and_code_2(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (here / "mine.txt").write_text("stays")
    said = Said(capsys, *arguments)
    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert said.err.count("paredown: ") == 1
    assert [p.name for p in here.iterdir()] == ["mine.txt"]


STUDY = """
study: mine
task: digits
model: my_net:shared
weights: weights.safetensors
objectives: [accuracy, size_bytes]
space:
  steps: [channel_pruning]
  knobs: {imported.resolution: 8, channel_pruning.ratio: 0.5}
training: {finetune_epochs: 1}
sampler: random
trials: 2
workers: 1
"""


def test_a_network_of_the_user_is_searched_in_worker_processes(tmp_path: Path) -> None:
    """Its folder is neither the working directory nor on PYTHONPATH: workers find it by the candidate alone."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/my_net.py").write_text("from zoo import shared\n")
    (tmp_path / "code/study.yaml").write_text(STUDY)
    torch.manual_seed(0)
    save_file(ZOO["shared"](1, 10).state_dict(), tmp_path / "code/weights.safetensors")
    done = paredown(tmp_path, "search", "code/study.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert "weights.safetensors: the network starts trained; training.epochs is 0" in done.stderr
    document = json.loads(done.stdout)
    assert document["counts"]["done"] == 2
    assert len(document["exported"]) == len(document["models"]) > 0
    knobs = document["baseline"]["candidate"]["knobs"]
    assert (knobs["function"], knobs["folder"]) == ("my_net:shared", str(tmp_path / "code"))
    assert document["refused"] == []
