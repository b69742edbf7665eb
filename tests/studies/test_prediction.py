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

from paredown.evaluators.errors import TaskError
from paredown.studies.errors import StudyError
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
