"""`device profile` and `device measure`, as users meet them; a short profile of this machine."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import Said
from onnx import TensorProto, helper
from torch import nn

from paredown.evaluators.device import cores_here, this_device
from paredown.evaluators.devices.catalogue import FOLDER, HOST, device_ids, device_profile
from paredown.evaluators.devices.costs import device_costs
from paredown.evaluators.devices.profiled_file import write_profiled
from paredown.evaluators.latency.bench import Asked
from paredown.evaluators.latency.bench_processes import BenchProcesses
from paredown.evaluators.latency.block_networks import block_network
from paredown.evaluators.latency.fitting import fitted
from paredown.evaluators.latency.instructions import INSTRUCTIONS, KEY, instructions_here
from paredown.evaluators.latency.predictor import load_predictor
from paredown.evaluators.latency.random_networks import RandomNetwork
from paredown.evaluators.metrics.device_latency_ms import DEVICE_LATENCY_MS
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.spaces.candidate import Candidate

pytestmark = pytest.mark.slow
COMPUTERS = [name for name in device_ids() if name != HOST and device_profile(name).format == "onnx"]


def network(seed: int) -> RandomNetwork:
    model, shape = block_network(seed, "fp32")
    return RandomNetwork(str(seed), "fp32", shape, model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a device file of this machine, made from few networks, and a model."""
    folder = tmp_path_factory.mktemp("host")
    with closing(BenchProcesses(Asked())) as bench:
        found = bench.profiled(list(bench.measured(map(network, range(8)))))
    facts = {"device": str(this_device()), "threads": 1, "batch_size": 1, "reference_drift": 0.0}
    made = fitted(found, facts | {KEY: instructions_here().name}, steps=20)
    write_profiled(made, folder / "host.toml", folder / "host.latency.npz")
    other = next(name for name in INSTRUCTIONS if name != instructions_here().name)
    elsewhere = replace(made, facts={**made.facts, KEY: other})
    write_profiled(elsewhere, folder / "elsewhere.toml", folder / "elsewhere.latency.npz")
    (folder / "model.onnx").write_bytes(network(5).model)
    return folder


def test_a_profiled_machine_is_a_device(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    profile = device_profile("host.toml")
    assert (profile.id, profile.format, profile.threads) == ("host", "onnx", 1)
    assert profile.latency_predictor == str(folder / "host.latency.npz")
    assert "held-out error    median " in Said(capsys, "device", "show", "host.toml").out
    assert Said(capsys, "device", "show", "host.toml", "--json").document()["profile"]["networks"] == 8


def test_a_profile_may_have_any_name(folder: Path) -> None:
    written = write_profiled(load_predictor(folder / "host.latency.npz"), folder / "Küche.toml", folder / "ü.npz")
    assert written.id == "k-che"
    assert written == device_profile("Küche.toml", "device", folder)
    assert written.latency_predictor == str(folder / "ü.npz")


def test_a_model_is_measured_beside_its_prediction(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    found = Said(capsys, "device", "measure", "model.onnx", "--device", "host.toml", "--json").document()
    assert found["latency_ms"]["device"] == found["predicted"]["device"] == str(this_device())
    assert found["latency_ms"]["value"] > 0
    assert found["throughput_ips"] == pytest.approx(1e3 / found["latency_ms"]["value"])
    assert found["p90_ms"] > 0
    plain = Said(capsys, "device", "measure", "model.onnx")
    assert "reference   " in plain.out
    assert "predicted" not in plain.out


def test_threads_and_batch_belong_to_the_device(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    text = Path("host.toml").read_text().replace("batch_size = 1", "batch_size = 4")
    Path("four.toml").write_text("\n".join(line for line in text.splitlines() if "latency_predictor" not in line))
    found = Said(capsys, "device", "measure", "model.onnx", "--device", "four.toml", "--json").document()
    assert found["batch_size"] == 4
    assert found["latency_ms"]["device"] == str(this_device(1, 4))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("measure", "model.onnx", "--device", "f746"), "f746 runs litert files"),
        *((("measure", "model.onnx", "--device", name), f"this machine is not {name}: that is ") for name in COMPUTERS),
        (
            ("measure", "model.onnx", "--device", "copied.toml"),
            "allowed: host, or a file that `paredown device profile`",
        ),
        (("measure", "cut.onnx"), "cut.onnx: ONNX Runtime cannot load the model: "),
        (("measure", "words.onnx"), "words.onnx: takes tensor(int64) "),
        (("measure", "nothing"), "nothing: no exported model"),
        (
            ("profile", "--threads", "9999"),
            f"--threads: 9999 is not allowed; allowed: 1 to {cores_here()}, the cores of",
        ),
        (("show", "broken.toml"), "words.onnx is no latency predictor, or is damaged; make it again with"),
        (("show", "array.toml"), "array.npy is no latency predictor, or is damaged; make it again with"),
        (("show", "broken.toml", "--json"), "words.onnx is no latency predictor, or is damaged; make it again with"),
        (("measure", "gone.onnx"), "there is no gone.onnx"),
        (("measure", "model.onnx", "--device", "elsewhere.toml"), "elsewhere was profiled with "),
        (("profile", "--minutes", "0"), "--minutes: 0 is not allowed"),
        (("profile", "--formats", "int8"), "without fp32"),
        (("profile", "--formats", "fp32,fp8"), "'fp8' is not allowed"),
        (("profile", "--out", "host.txt"), "a file .toml"),
        (("show", "alone.toml"), "latency_predictor: there is no"),
    ],
)
def test_what_cannot_be_is_refused(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(folder)
    for name, predictor in {"alone": "gone.npz", "broken": "words.onnx", "array": "array.npy"}.items():
        Path(f"{name}.toml").write_text(Path("host.toml").read_text().replace("host.latency.npz", predictor))
    np.save("array.npy", np.arange(3))
    Path("copied.toml").write_text((FOLDER / "pi4.toml").read_text())
    Path("cut.onnx").write_bytes(Path("model.onnx").read_bytes()[:1000])
    words = [helper.make_tensor_value_info(name, TensorProto.INT64, (1, 4)) for name in ("words", "same")]
    graph = helper.make_graph([helper.make_node("Identity", ["words"], ["same"])], "words", words[:1], words[1:])
    opset = [helper.make_opsetid("", 17)]
    Path("words.onnx").write_bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())
    Path("nothing").mkdir(exist_ok=True)
    refused = Said(capsys, "device", *arguments)
    assert (refused.code, said in refused.err) == (2, True), refused.err
    assert (refused.out, "pickle" in refused.err) == ("", False)


STUDY = """
study: near
task: digits
device: host.toml
objectives: [accuracy, device_latency_ms]
limits: {accuracy: none, device_latency_ms: 1e-6}
space: {knobs: {mbconv.scaling: free}}
training: {epochs: 1, finetune_epochs: 0, max_seconds: 20}
sampler: random
trials: 2
workers: 1
"""


def test_a_limit_on_predicted_latency_is_judged_before_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    Path("study.yaml").write_text(STUDY)
    refused = Said(capsys, "search", "study.yaml")
    assert refused.code == 2
    assert "limits.device_latency_ms: no candidate can meet 1e-06" in refused.err
    assert not Path("paredown.db").exists()


def test_what_a_model_costs_on_the_profiled_machine(folder: Path) -> None:
    profile, file = device_profile(str(folder / "host.toml")), folder / "model.onnx"
    costs = device_costs(file, Candidate("mbconv", {}, {}), profile)
    own = DEVICE_LATENCY_MS.evaluate(EvaluationInput(nn.Identity(), (1, 8, 8), file, target=profile))
    assert costs.measurements["device_latency_ms"] == own
    assert (own.how, own.device) == ("predicted", str(this_device()))
    assert own.note.startswith(f"{own.value:.3g} ms (")
