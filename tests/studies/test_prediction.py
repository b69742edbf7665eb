"""An exported folder on images: a network small enough to reckon by hand."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from paredown.evaluators.errors import TaskError
from paredown.studies.errors import StudyError
from paredown.studies.model_folder.manifest import read_manifest
from paredown.studies.prediction import predict_images

CLASSES = ["dark", "bright"]


def exported(folder: Path, **changed: Any) -> Path:
    """Write a model whose logits are minus and plus the sum of four normalised pixels."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [4, 2], np.array([[-1, 1]] * 4, np.float32).ravel())
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["logits"])],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 2, 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    preprocessing = {"mode": "L", "resolution": 2, "mean": [0.5], "std": [0.5]}
    manifest = {"classes": CLASSES, "preprocessing": preprocessing, "files": {"model.onnx": digest}} | changed
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def image(file: Path, value: int) -> Path:
    Image.new("L", (2, 2), value).save(file)
    return file


def test_pixels_are_normalised_and_scores_are_probabilities(tmp_path: Path) -> None:
    folder = exported(tmp_path / "m")
    black, white = predict_images(folder, [image(tmp_path / "b.png", 0), image(tmp_path / "w.png", 255)])
    assert (black["class"], white["class"]) == ("dark", "bright")
    assert white["top"][0]["probability"] == pytest.approx(1 / (1 + np.exp(-8)))  # logits -4 and 4
    assert sum(c["probability"] for c in black["top"]) == pytest.approx(1)
    (only,) = predict_images(folder, [tmp_path / "w.png"], top=1)
    assert [c["class"] for c in only["top"]] == ["bright"]


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "letter.png").write_text("dear reader")
    with pytest.raises(TaskError, match=r"letter\.png is no image"):
        predict_images(exported(tmp_path / "m"), [tmp_path / "letter.png"])
    with pytest.raises(TaskError, match=r"absent\.png"):
        predict_images(tmp_path / "m", [tmp_path / "absent.png"])


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"files": []}'])
def test_a_broken_manifest_is_refused(tmp_path: Path, text: str) -> None:
    folder = exported(tmp_path / "m")
    (folder / "manifest.json").write_text(text)
    with pytest.raises(StudyError, match=r"manifest\.json"):
        predict_images(folder, [])


def test_an_exported_model_runs_without_pytorch_or_ray(tmp_path: Path) -> None:
    folder, picture = exported(tmp_path / "m"), image(tmp_path / "w.png", 255)
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from paredown.studies.prediction import predict_images\n"
        f"(found,) = predict_images(Path({str(folder)!r}), [Path({str(picture)!r})])\n"
        "assert found['class'] == 'bright', found\n"
        "heavy = {'torch', 'ray', 'optuna'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def with_input(folder: Path, **changed: Any) -> Path:
    """Write the same model with the section `input` of today's manifests."""
    section = {"channels": 1, "height": 2, "width": 2, "dtype": "uint8", "range": [0, 255], "upright": True}
    return exported(folder, input=section | changed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"exporter": "tflite"}, r"manifest\.json: exporter: 'tflite' does not exist; allowed: onnx"),
        ({"model_file": "../m.onnx"}, r"manifest\.json: model_file: '\.\./m\.onnx' is none of its files"),
    ],
)
def test_a_manifest_that_names_what_is_not_there_is_refused(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        predict_images(exported(tmp_path / "m", **changed), [image(tmp_path / "b.png", 0)])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"classes": []}, "classes: List should have at least 1 item"),
        ({"classes": ["a", "b", "c"]}, "gives 2 logits, its manifest names 3 classes"),
        ({"files": {}}, "model_file: 'model.onnx' is none of its files"),
        ({"files": {"../model.onnx": "0"}}, "'../model.onnx' is no file of the folder"),
        ({"model_file": "other.onnx"}, "model_file: 'other.onnx' is none of its files"),
        ({"exporter": "papyrus"}, "exporter: 'papyrus' does not exist"),
        ({"preprocessing": {"mode": "L", "resolution": 2, "mean": [0.5], "std": [0.0]}}, "std.0: .* greater than 0"),
        (
            {"preprocessing": {"mode": "L", "resolution": 2, "mean": [0.5, 0.5], "std": [1.0]}},
            "mean: needed: 1 numbers",
        ),
        ({"preprocessing": {"mode": "L", "resolution": -2, "mean": [0.5], "std": [1.0]}}, "preprocessing.resolution"),
        ({"preprocessing": {"mode": "L", "resolution": 3, "mean": [0.5], "std": [1.0]}}, "cannot be run on what"),
        ({"preprocessing": {"mode": "CMYK", "resolution": 2, "mean": [0.5], "std": [1.0]}}, "mode: 'CMYK'"),
        ({"preprocessing": {}}, "preprocessing.resolution: Field required"),
        ({"preprocessing": None}, "preprocessing: Input should be"),
        ({"input": {"channels": 1}}, "input.height: Field required"),
    ],
)
def test_an_altered_manifest_is_one_message(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    folder = exported(tmp_path / "m", **changed)
    with pytest.raises(StudyError, match=said):
        predict_images(folder, [image(tmp_path / "w.png", 255)])


def test_other_weights_are_not_run(tmp_path: Path) -> None:
    folder = exported(tmp_path / "m")
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StudyError, match=r"model\.onnx: missing or changed"):
        predict_images(folder, [image(tmp_path / "w.png", 255)])


def test_bombs_are_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    Image.new("L", (8, 8)).save(tmp_path / "bomb.png")
    with pytest.raises(TaskError, match=r"bomb\.png .*decompression bomb"):
        predict_images(exported(tmp_path / "m"), [tmp_path / "bomb.png"])


def test_a_huge_text_in_a_png_is_one_message(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("comment", "a" * (70 << 20), zip=True)
    Image.new("L", (2, 2), 255).save(tmp_path / "text.png", pnginfo=text)
    with pytest.raises(TaskError, match=r"text\.png is "):
        predict_images(exported(tmp_path / "m"), [tmp_path / "text.png"])


def test_photos_stand_upright_as_in_training(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new("L", (4, 2), 0)
    picture.paste(255, (0, 0, 2, 2))  # upright, the upper half is bright
    picture.save(tmp_path / "turned.png", exif=exif)
    shape = {"native": [4, 2], "fit": "keep"}
    given = with_input(tmp_path / "m", **shape)
    pixels = read_manifest(given).format.model_copy(update={"height": 4, "width": 2}).read(tmp_path / "turned.png")
    assert pixels.tolist() == [[[255, 255], [255, 255], [0, 0], [0, 0]]]
    before = read_manifest(exported(tmp_path / "old")).format.model_copy(update={"height": 2, "width": 4})
    assert before.read(tmp_path / "turned.png").tolist() == [[[255, 255, 0, 0], [255, 255, 0, 0]]]


def test_arrays_and_16_bits(tmp_path: Path) -> None:
    folder = with_input(tmp_path / "m", dtype="uint16", range=[0, 4095])
    np.save(tmp_path / "high.npy", np.full((2, 2), 4095))
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "low.png")
    high, low = predict_images(folder, [tmp_path / "high.npy", tmp_path / "low.png"])
    assert (high["class"], low["class"]) == ("bright", "dark")
    assert high["top"][0]["probability"] == pytest.approx(1 / (1 + np.exp(-8)))
    np.save(tmp_path / "over.npy", np.full((2, 2), 5000))
    np.save(tmp_path / "text.npy", np.array(["a", "b"]))
    np.save(tmp_path / "nan.npy", np.full((2, 2), np.nan))
    np.save(tmp_path / "three.npy", np.zeros((3, 2, 2)))
    np.save(tmp_path / "code.npy", np.array([{}]), allow_pickle=True)
    image(tmp_path / "eight.png", 255)
    for name, said in {
        "over.npy": "has values from 5000 to 5000; the model was trained on 0 to 4095",
        "text.npy": "needed: an array of numbers",
        "nan.npy": "has values that are not finite",
        "three.npy": "has 3 channels; the model takes 1",
        "code.npy": "is no array that can be read",
        "eight.png": "has values of uint8; the model was trained on uint16 from 0 to 4095",
    }.items():
        with pytest.raises(TaskError, match=said):
            predict_images(folder, [tmp_path / name])
