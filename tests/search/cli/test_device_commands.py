"""A study for a microcontroller, and the commands that choose and check models for devices, as users meet them."""

import json
import re
from pathlib import Path

import pytest
from commands import Said

from paredown.evaluators.devices.catalogue import FOLDER as DEVICES
from paredown.evaluators.devices.catalogue import device_ids, device_profile
from paredown.studies.exporters.litert import TFLITE_FILE

STUDY = """
study: mcu
task: digits
device: f746
objectives: [accuracy, ram_bytes, flash_bytes]
limits: {accuracy: none, ram_bytes: 64k, flash_bytes: 128k}
space:
  steps: [quantization]
  knobs:
    mbconv.scaling: free
    mbconv.depth: 1.0
    mbconv.width: {low: 0.5, high: 1.0}
    mbconv.resolution: 8
    mbconv.kernel: 3
    mbconv.expansion: 2
    mbconv.squeeze_excite: false
    quantization.aware: null
    quantization.calibration: null
    quantization.max_drop: null
training: {epochs: 2, finetune_epochs: 0, max_seconds: 20}
sampler: random
trials: 3
workers: 1
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mcu")


@pytest.fixture
def found(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return the folder in which the study has finished; it is the working directory."""
    monkeypatch.chdir(folder)
    if not (folder / "study.yaml").exists():
        (folder / "study.yaml").write_text(STUDY)
        said = Said(capsys, "search", "study.yaml")
        assert said.code == 0, said.err
        option = said.err.rpartition("Next: paredown select mcu ")[2].split()
        assert (option[0], Said(capsys, "select", "mcu", *option).code) == ("--max", 0), "the advice holds"
    return folder


def test_a_study_for_a_device_keeps_its_limits_and_reports_its_file(
    found: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    front = Said(capsys, "front", "mcu", "--json").document()
    assert front["objectives"] == ["accuracy", "ram_bytes", "flash_bytes"]
    assert front["models"]
    for model in front["models"]:
        assert model["candidate"]["steps"]["quantization"]["weights"] == "int8"
        assert model["metrics"]["ram_bytes"] <= 64_000
        assert 35_840 < model["metrics"]["flash_bytes"] <= 128_000
        assert model["metrics"]["device_latency_ms"] > 0


def test_select_for_a_device_exports_the_file_that_it_runs(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, "select", "mcu", "--device", "f746", "--export", "out", "--format", "litert", "--json")
    chosen = said.document()
    exported = Path(chosen["model"]["exported"])
    manifest = json.loads((exported / "manifest.json").read_text())
    assert chosen["limits"]["flash_bytes"] == 1_048_576
    assert manifest["microcontroller"]["litert_max_steps"] == 0
    assert manifest["microcontroller"]["arena_bytes"] == chosen["model"]["metrics"]["ram_bytes"]
    assert (exported / TFLITE_FILE).stat().st_size + 35_840 == chosen["model"]["metrics"]["flash_bytes"]


def test_select_says_which_limit_binds(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, "select", "mcu", "--device", "f746", "--max", "ram_bytes=1k")
    assert said.code == 2
    assert "none of" in said.err
    assert "ram_bytes" in said.err
    kept = Said(capsys, "select", "mcu", "--device", "f746")
    assert "device     f746: STM32F746" in kept.out
    assert "predicted, 90 % interval" in kept.out
    assert "binding " in kept.out


def test_select_limits_the_energy_on_a_device_that_states_its_power(
    found: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = Said(capsys, "select", "mcu", "--device", "h7a3", "--max", "device_energy_uj=100k", "--json").document()
    energy = chosen["model"]["metrics"]["device_energy_uj"]
    assert energy == pytest.approx(140 * chosen["model"]["metrics"]["device_latency_ms"])
    assert 0 < energy <= 100_000
    assert "at 140 mW and " in Said(capsys, "select", "mcu", "--device", "h7a3").out
    beyond = Said(capsys, "select", "mcu", "--device", "h7a3", "--max", "device_energy_uj=0.001")
    assert (beyond.code, "device_energy_uj" in beyond.err) == (2, True)
    powerless = Said(capsys, "select", "mcu", "--device", "f746", "--max", "device_energy_uj=100k")
    assert (powerless.code, "f746 does not tell device_energy_uj" in powerless.err) == (2, True)


def test_all_devices_are_answered_from_one_study(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matrix = {
        row["device"]: row for row in Said(capsys, "select", "mcu", "--all-devices", "--json").document()["devices"]
    }
    assert set(matrix) == set(device_ids())
    assert matrix["rp2040"]["trial"] is not None
    assert matrix["jetson-nano"]["trial"] == 0  # the baseline: it executes float32, and no int8
    assert matrix["ethos-u55"]["metrics"]["npu_cycles"] > 0
    energy = matrix["h7a3"]["energy"]
    assert energy["low_uj"] < energy["value_uj"] < energy["high_uj"]
    assert energy["value_uj"] == pytest.approx(140 * matrix["h7a3"]["metrics"]["device_latency_ms"])
    assert (energy["how"], energy["power_mw"], energy["power_kind"]) == ("predicted", 140, "published")
    assert {name for name, row in matrix.items() if row["energy"]} == {"h7a3", "l4r5", "u575"}
    assert "device_latency_ms" not in matrix["ethos-u55"]["metrics"], "that of the study's device is not its own"
    head, *rows = Said(capsys, "select", "mcu", "--all-devices").out.splitlines()
    assert head.split() == [
        *("device", "trial", "accuracy", "ram_bytes", "flash_bytes", "device_latency_ms", "energy", "reason")
    ]
    shown = {row.split()[0]: row for row in rows}
    assert " uJ (" in shown["h7a3"]
    assert "), predicted" in shown["h7a3"]
    assert " uJ (" not in shown["f746"]


def test_check_ends_with_1_where_a_limit_is_broken(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = Said(
        capsys, "select", "mcu", "--device", "f746", "--export", "checked", "--format", "onnx", "--json"
    ).document()["model"]
    model = chosen["exported"]
    assert Said(capsys, "check", model, "--device", "f746", "--max", "ram_bytes=60k").code == 0
    broken = Said(capsys, "check", model, "--device", "f746", "--max", "ram_bytes=1k")
    assert (broken.code, "broken: ram_bytes" in broken.out) == (1, True)
    refused = Said(capsys, "check", model, "--device", "jetson-nano")
    assert (refused.code, "executes fp32, fp16" in refused.out) == (1, True)
    unknown = Said(capsys, "check", model, "--max", "npu_cycles=5")
    assert Said(capsys, "check", model, "--device", "f746", "--max", "device_latency_ms=1000").code == 0
    assert (unknown.code, "unknown" in unknown.out) == (1, True)
    assert Said(capsys, "check", model, "--device", "h7a3", "--max", "device_energy_uj=100k").code == 0
    wasteful = Said(capsys, "check", model, "--device", "h7a3", "--max", "device_energy_uj=0.001")
    assert (wasteful.code, "broken: device_energy_uj" in wasteful.out) == (1, True)
    powerless = Said(capsys, "check", model, "--device", "f746", "--max", "device_energy_uj=100k")
    assert (powerless.code, "unknown" in powerless.out) == (1, True)
    litert = Said(capsys, "select", "mcu", "--device", "f746", "--export", "lite", "--format", "litert", "--json")
    assert Said(capsys, "check", litert.document()["model"]["exported"], "--device", "f746").code == 0


def test_one_latency_of_the_users_board_narrows_the_prediction(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Said(capsys, "select", "mcu", "--device", "f746", "--export", "cal", "--json").document()["model"][
        "exported"
    ]
    spaced = Said(capsys, "device", "calibrate", "f746", "--model", model, "--ms", "2.0", "-o", "my board.toml")
    assert "`select --device 'my board.toml'`" in spaced.out, "as a shell reads it"
    said = Said(capsys, "device", "calibrate", "f746", "--model", model, "--ms", "2.0", "-o", "mine.toml", "--json")
    before, after = (said.document()["predicted"][key] for key in ("before", "after"))
    assert after["high_ms"] / after["low_ms"] < before["high_ms"] / before["low_ms"]
    assert after["low_ms"] < 2.0 < after["high_ms"]
    assert Said(capsys, "select", "mcu", "--device", "mine.toml").code == 0
    for wrong in (("--ms", "0"), ("--ms", "nan")):
        refused = Said(capsys, "device", "calibrate", "f746", "--model", model, *wrong)
        assert (refused.code, "milliseconds above 0" in refused.err) == (2, True)


def test_the_costs_of_one_board_say_nothing_of_another(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = Said(capsys, "select", "mcu", "--device", "coral", "--max", "device_latency_ms=10")
    assert (refused.code, "coral does not tell device_latency_ms" in refused.err) == (2, True)
    assert "latency " not in Said(capsys, "select", "mcu", "--device", "coral").out.replace("latency_ms", "")
    exported = ("--device", "coral", "--export", "coral", "--json")
    model = Said(capsys, "select", "mcu", *exported).document()["model"]
    manifest = json.loads(Path(model["exported"], "manifest.json").read_text())
    assert "device_latency_ms" not in manifest["metrics"]
    assert manifest["metrics"]["flash_bytes"]["value"] == model["metrics"]["flash_bytes"]
    unknown = Said(capsys, "check", model["exported"], "--device", "coral", "--max", "device_latency_ms=10")
    assert (unknown.code, "the device does not tell" in unknown.out) == (1, True)
    slower = Said(capsys, "select", "mcu", "--device", "rp2040", "--json").document()["model"]
    assert "device_latency_ms" not in slower["deltas"], "the baseline is fp32, which the board does not run"


def test_a_limit_does_not_loosen_that_of_the_device(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    free = Said(capsys, "select", "mcu", "--device", "f746", "--max", "ram_bytes=100M", "--json").document()
    assert free["limits"]["ram_bytes"] == device_profile("f746").limits["ram_bytes"]
    small = Path("small.toml")
    text = (DEVICES / "f746.toml").read_text().replace('id = "f746"', 'id = "small"')
    small.write_text(re.sub(r"(?m)^(ram_bytes = \{ value = )\d+", r"\g<1>20000", text))
    for more in ((), ("--max", "ram_bytes=1M")):
        refused = Said(capsys, "select", "mcu", "--device", str(small), *more)
        assert (refused.code, "none of" in refused.err) == (2, True)
    trial = str(free["model"]["trial"])
    said = Said(capsys, "export", "mcu", "--trial", trial, "--device", str(small), "-o", "beyond", "--format", "litert")
    assert (said.code, "does not run on small: ram_bytes" in said.err) == (0, True)
    model = said.out.split()[1]
    assert Said(capsys, "check", model, "--device", str(small), "--max", "ram_bytes=1M").code == 1
    twice = Said(capsys, "check", model, "--max", "ram_bytes=1M", "--max", "ram_bytes=2M")
    assert (twice.code, "--max ram_bytes=1M stands there too" in twice.err) == (2, True)


def test_a_file_is_checked_for_what_the_device_takes(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported = Said(capsys, "select", "mcu", "--device", "f746", "--export", "channel", "--json").document()
    model = exported["model"]["exported"]
    for device, said in (("stm32mp25", "a scale for each channel"), ("pi4", "is a TensorFlow Lite file; pi4 runs")):
        refused = Said(capsys, "check", model, "--device", device)
        assert (refused.code, said in refused.out) == (1, True), refused.out
    options = ("--device", "stm32mp25", "--export", "tensor", "--json")
    whole = Said(capsys, "select", "mcu", *options).document()["model"]
    assert Said(capsys, "check", whole["exported"], "--device", "stm32mp25").code == 0
    manifest = json.loads(Path(whole["exported"], "manifest.json").read_text())
    assert manifest["metrics"]["accuracy"]["device"] == TFLITE_FILE, "measured on the file with one scale a tensor"
    file = Path(whole["exported"], TFLITE_FILE).stat().st_size
    engine = device_profile("stm32mp25").engine_flash_bytes
    assert manifest["metrics"]["flash_bytes"]["value"] == file + engine


@pytest.mark.parametrize(
    ("line", "instead", "said"),
    [
        ("device: f746", "device: f747", "device: device 'f747' does not exist"),
        ("ram_bytes: 64k", "ram_bytes: 640k", "limits.ram_bytes: 640000 is more than f746 has"),
        ("steps: [quantization]", "steps: []", "add quantization to space.steps"),
        ("quantization.aware: null", "quantization.weights: fp16", "leaves nothing that f746 executes"),
    ],
)
def test_a_study_file_that_contradicts_its_device_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    instead: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    text = STUDY.replace(line, instead, 1)
    if "steps: []" in text:
        text = "\n".join(one for one in text.splitlines() if "quantization." not in one)
    Path("study.yaml").write_text(text)
    refused = Said(capsys, "search", "study.yaml")
    assert (refused.code, said in refused.err) == (2, True), refused.err
    assert not Path("paredown.db").exists()


def test_devices_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    listed = Said(capsys, "device", "list", "--json").document()["devices"]
    assert [one["id"] for one in listed] == list(device_ids())
    assert "STMicroelectronics DS10916" in Said(capsys, "device", "show", "f746").out
    assert Said(capsys, "device", "show", "f999").code == 2
