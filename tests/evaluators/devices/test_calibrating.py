"""`device calibrate`: files that users wrote by hand, and what it refuses before it writes anything."""

import tomllib
from pathlib import Path

import pytest
from commands import Said
from int8_models import RESNET8, family_file
from torch import nn

from paredown.evaluators.devices.catalogue import FOLDER, read_profile
from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.litert.conversion import tflite_model

F746 = (FOLDER / "f746.toml").read_text()
ENTRY = '{ network = "first", latency_ms = 3.5, operator_macs = { dense = 1e5 } }'


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with models, whole and broken."""
    folder = tmp_path_factory.mktemp("models")
    convolution = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Flatten(), nn.Linear(512, 10)).eval()
    whole = export(convolution, (1, 8, 8))
    (folder / "model.onnx").write_bytes(whole)
    (folder / "cut.onnx").write_bytes(whole[:1000])
    (folder / "nothing.onnx").write_bytes(
        export(nn.Sequential(nn.BatchNorm2d(1), nn.ReLU(), nn.Flatten()).eval(), (1, 8, 8))
    )
    (folder / "cut.tflite").write_bytes(tflite_model(family_file("resnet", RESNET8))[:1000])
    (folder / "words.tflite").write_text("no model at all")
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def calibrate(capsys: pytest.CaptureFixture[str], device: str, model: Path, *options: str) -> Said:
    return Said(capsys, "device", "calibrate", device, "--model", str(model), "--ms", "12", *options)


@pytest.mark.parametrize(
    ("text", "earlier"),
    [
        (F746, 0),
        (F746.replace("\n", "\r\n"), 0),
        (f'based_on="f746"\n{F746}', 0),
        (f"# a comment\nbased_on\t=\t'f746' # based_on = \n{F746}", 0),
        (f"# based_on = \n{F746}", 0),
        (f'"based_on" = "f746"\n{F746.replace("f746", "my-board", 1)}', 0),
        (f"calibrations = [ {ENTRY} ]\n{F746}", 1),
        (f"calibrations = [\n  {ENTRY},\n  {ENTRY}, # again\n]\n{F746}", 2),
        (f"calibrations = []\n{F746}", 0),
    ],
)
def test_a_device_file_of_the_user_is_calibrated_in_place(
    folder: Path, models: Path, capsys: pytest.CaptureFixture[str], text: str, earlier: int
) -> None:
    file = Path("mine.toml")
    file.write_bytes(text.encode())
    before = read_profile(file, "device")
    for count in (1, 2):
        said = calibrate(capsys, "mine.toml", models / "model.onnx", "--json")
        assert said.document()["device"] == "mine.toml"
        after = read_profile(file, "device")
        assert len(after.calibrations) == earlier + count
        assert after.calibrations[-1].latency_ms == 12
        assert after.based_on == "f746"
        unchanged = {"based_on": None, "calibrations": ()}
        assert after.model_copy(update=unchanged) == before.model_copy(update=unchanged)
    assert [one.name for one in folder.iterdir()] == ["mine.toml"]
    if not earlier and "calibrations" not in text:
        assert text.replace("\r\n", "\n") in file.read_text(), "its comments are kept"


@pytest.mark.parametrize("name", ["é \U0001f600", 'a"b\\c', "\x7f", "\udcff"])
def test_a_network_may_have_any_name(folder: Path, models: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    model = folder / f"{name}.onnx"
    model.write_bytes((models / "model.onnx").read_bytes())
    assert calibrate(capsys, "f746", Path(model.name)).code == 0
    (entry,) = tomllib.loads(Path("f746.toml").read_text(encoding="utf-8"))["calibrations"]
    assert entry["network"] == model.name.replace("\udcff", "?")


@pytest.mark.parametrize(
    ("device", "model", "options", "said"),
    [
        ("f746", "model.onnx", ("--ms", "inf"), "--ms: inf is not allowed; allowed: milliseconds above 0"),
        ("f746", "model.onnx", ("--ms", "1e300"), "--ms: 1e+300 is not allowed; allowed: milliseconds above 0"),
        (
            "f746",
            "model.onnx",
            ("-o", "nodir/b.toml"),
            "--out: nodir/b.toml is not allowed; allowed: a file .toml in a",
        ),
        ("f746", "model.onnx", ("-o", "b.txt"), "--out: b.txt is not allowed; allowed: a file .toml in a folder"),
        ("f746", "model.onnx", ("-o", "folder.toml"), "folder.toml cannot be read: Is a directory"),
        ("f746", "model.onnx", ("-o", "h743.toml"), "--out: h743.toml describes another device; name a new file"),
        ("f746", "model.onnx", ("-o", str(FOLDER / "f746.toml")), "f746.toml belongs to the catalogue of devices"),
        ("renamed.toml", "model.onnx", (), "a file of your own that names one under based_on"),
        ("f746", "cut.onnx", (), "cut.onnx: is no ONNX model"),
        ("f746", "cut.tflite", (), "cut.tflite: is no TensorFlow Lite model, or is damaged"),
        ("f746", "words.tflite", (), "words.tflite: is no TensorFlow Lite model, or is damaged"),
        ("f746", "nothing.onnx", (), "nothing.onnx has no convolution and no matrix product"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    folder: Path,
    models: Path,
    capsys: pytest.CaptureFixture[str],
    device: str,
    model: str,
    options: tuple[str, ...],
    said: str,
) -> None:
    Path("folder.toml").mkdir()
    Path("h743.toml").write_text((FOLDER / "h743.toml").read_text())
    Path("renamed.toml").write_text(F746.replace("f746", "mine", 1))
    before = {one: one.read_bytes() for one in folder.iterdir() if one.is_file()}
    refused = calibrate(capsys, device, models / model, *options)
    assert (refused.code, said in refused.err, refused.out) == (2, True, ""), refused.err
    assert len(refused.err.splitlines()) == 1
    assert {one: one.read_bytes() for one in folder.iterdir() if one.is_file()} == before
    assert (FOLDER / "f746.toml").read_text() == F746
