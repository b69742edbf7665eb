"""Data that cannot be used: the error is a TaskError that names what to mend."""

import io
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.catalogue import TASKS
from paredown.evaluators.tasks.task import Task

FORMATS = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "tif": "TIFF", "webp": "WEBP", "ppm": "PPM"}
_numbers = itertools.count()


def encoded(suffix: str, seed: int = 0, side: int = 16) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, FORMATS[suffix])
    return file.getvalue()


def photos(root: Path, suffix: str = "png") -> Path:
    """Return the folder, and in it train/ and val/ with two classes of three images."""
    for split, name, at in itertools.product(("train", "val"), ("cat", "dog"), range(3)):
        (root / split / name).mkdir(parents=True, exist_ok=True)
        (root / split / name / f"{at}.{suffix}").write_bytes(encoded(suffix, at))
    return root


def load_folder(root: Path, **options: Any) -> Task:
    loader = TASKS["image_folder"]
    return loader.load(loader.options.model_validate({"path": str(root), **options}), Path("/nowhere"))


def load_function(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str, name: str = "data") -> Task:
    """Return the task of a function in a module of its own: Python imports a name once."""
    module = f"task_of_test_{next(_numbers)}"
    (folder / f"{module}.py").write_text(f"import numpy as np\nfrom PIL import Image\n{body}\n")
    monkeypatch.syspath_prepend(folder)
    loader = TASKS["python"]
    return loader.load(loader.options.model_validate({"function": f"{module}:{name}"}), folder)


def _unlink_all(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _only_one_class(root: Path) -> None:
    for split in ("train", "val"):
        _unlink_all(root / split / "dog")
        (root / split / "dog").rmdir()


def _leave_one(folder: Path) -> None:
    for file in sorted(folder.iterdir())[1:]:
        file.unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda root: (root / "train").rename(root / "training"), "no folder .*/train; it must hold"),
        (lambda root: (root / "val").rename(root / "validation"), "no folder .*/val; it must hold"),
        (lambda root: _unlink_all(root / "train" / "cat"), "train: class 'cat' has no image"),
        (lambda root: _unlink_all(root / "val" / "dog"), "val: class 'dog' has no image"),
        (_only_one_class, "train holds 1 class folders; at least 2"),
        (lambda root: (root / "val" / "fox").mkdir(), "val/fox is a class that train/ does not have"),
        (lambda root: _leave_one(root / "val" / "cat"), "val needs 2 images of each class"),
        (lambda root: (root / "train/cat/0.png").write_text("hello"), "train/cat/0.png is no image"),
        (lambda root: (root / "train/cat/0.png").write_bytes(b""), "train/cat/0.png is no image"),
        (lambda root: (root / "val/dog/2.png").write_bytes(encoded("png")[:20]), "val/dog/2.png is no image"),
    ],
)
def test_a_bad_folder_is_found_at_load(tmp_path: Path, harm: Callable[[Path], object], said: str) -> None:
    load_folder(photos(tmp_path))
    harm(tmp_path)
    with pytest.raises(TaskError, match=said):
        load_folder(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=f"no folder {tmp_path}/nothing"):
        load_folder(tmp_path / "nothing")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "ppm"])
def test_a_truncated_image_is_named(tmp_path: Path, suffix: str) -> None:
    file = photos(tmp_path, suffix) / "train" / "cat" / f"1.{suffix}"
    file.write_bytes(encoded(suffix, 1)[: len(encoded(suffix, 1)) * 2 // 3])
    with pytest.raises(TaskError, match=f"train/cat/1.{suffix} is (damaged|no image)"):
        load_folder(tmp_path).load("train", 8)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow remarks on nonsense in the tags of a TIFF
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("suffix", FORMATS)
def test_whatever_bytes_are_wrong_no_other_error_comes(tmp_path: Path, suffix: str) -> None:
    file = photos(tmp_path, suffix) / "train" / "cat" / f"0.{suffix}"
    reasons = []
    for seed in range(40):
        dice, content = random.Random(seed), bytearray(encoded(suffix, side=10))
        for _ in range(6):
            content[dice.randrange(len(content) if seed % 2 else 40)] = dice.randrange(256)
        file.write_bytes(content)
        try:
            assert load_folder(tmp_path).load("train", 8).images.shape == (6, 3, 8, 8)
        except TaskError as error:
            reasons.append(str(error))
    assert reasons
    assert all(f"train/cat/0.{suffix} is " in reason for reason in reasons)


def test_16_bit_greys_keep_their_shades(tmp_path: Path) -> None:
    photos(tmp_path)
    ramp = (np.arange(64, dtype=np.uint16) * 1024).reshape(8, 8)
    for file in tmp_path.rglob("*.png"):
        Image.fromarray(ramp).save(file)
    task = load_folder(tmp_path)
    assert task.channels == 1
    assert task.load("train", 8).images[0, 0].tolist() == ramp.tolist()
    assert (task.values.low, task.values.high) == (0, 65535)
    assert load_folder(tmp_path, fit="earlier").load("train", 8).images[0, 0].tolist() == (ramp // 256).tolist()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def data(): return 5", "returned int, not a mapping"),
        ("def data(): return {'train': []}", "returned no 'validation'; needed: train, validation, test"),
        ("data = 5", "has no function 'data'"),
        ("import no_such_module_anywhere", "cannot import .*no_such_module_anywhere"),
    ],
)
def test_a_bad_function_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str) -> None:
    with pytest.raises(TaskError, match=said):
        load_function(tmp_path, monkeypatch, body)


@pytest.mark.parametrize("path", ["module", ":data", "module:", ""])
def test_a_path_must_name_module_and_function(path: str) -> None:
    loader = TASKS["python"]
    with pytest.raises(TaskError, match=r"not of the form package\.module:function"):
        loader.load(loader.options.model_validate({"function": path}), Path("."))


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ("(np.zeros((4, 2, 3, 8, 8)), y)", r"shape \(2, 3, 8, 8\); allowed: l, h x w, c x h x w, h x w x c"),
        ("(np.zeros(4), y)", r"shape \(\); allowed"),
        ("(np.zeros((4, 0, 8)), y)", r"shape \(0, 8\); needed: numbers"),
        ("(x, y[:3])", "4 images and labels of shape"),
        ("(x, np.eye(4, dtype=int))", r"4 images and labels of shape \(4, 4\)"),
        ("(x, 3)", r"4 images and labels of shape \(\)"),
        ("(x, y - 1)", "labels must be integers from 0; got -1"),
        ("(x, y * 1.0)", "labels must be integers from 0; got float64"),
        ("(x, np.array(list('abcd')))", "labels must be integers from 0; got <U1"),
        ("(x, y + 0.5)", "got float64 such as 0.5; a label is the number of one class"),
        ("[(a, (1.0, 2.0)) for a in x]", r"labels of shape \(4, 2\)"),
        ("[(x[0], 0), (x[1], (0, 1))]", "labels of different shapes; a label is the number of one class"),
        ("(x + 0.5, y)", "values of different types: float32, uint8"),
        ("(x * np.nan, y)", "not finite"),
        ("(np.full((4, 8, 8), 'a'), y)", "an image is <U1"),
        ("[(x[0], 'cat')]", "got <U3 such as cat"),
        ("[1, 2]", "neither .images, labels. nor a sequence"),
        ("5", "neither .images, labels. nor a sequence"),
        ("[]", "0 images"),
        ("(x, y * 0)", "train: class '1' has no image"),
        ("(x, y * 9)", "label 9 has no name in classes"),
    ],
)
def test_bad_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: str, said: str) -> None:
    body = f"""
x, y = np.zeros((4, 8, 8), int), np.array([0, 1, 0, 1])
def data(): return {{"train": {train}, "validation": (x, y), "test": (x, y), "classes": ["0", "1"]}}"""
    with pytest.raises(TaskError, match=said) as caught:
        load_function(tmp_path, monkeypatch, body)
    assert "function: task_of_test_" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("image_folder", {"path": "x", "crop": 0.5}),
        ("image_folder", {"path": "x", "images_per_class": 3}),
        ("image_folder", {}),
        ("python", {"function": "a:b", "crop": 0.5}),
        ("python", {"function": "a:b", "crop": -0.1}),
        ("digits", {"colour": True}),
    ],
)
def test_options_out_of_range_are_refused(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TASKS[name].options.model_validate(options)


@pytest.mark.parametrize("form", ["x", "x[:, :, :, None]", "x[:, None]", "[Image.fromarray(i) for i in x]", "x / 255"])
def test_every_way_to_give_an_image_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    body = f"""
x = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8)
def data():
    rows = list(zip({form}, [0, 1, 0, 1]))
    return {{"train": rows, "validation": rows, "test": rows}}"""
    split = load_function(tmp_path, monkeypatch, body).load("train", 8)
    assert np.array_equal(split.images, np.arange(4 * 64, dtype=np.uint8).reshape(4, 1, 8, 8))
    assert split.labels.tolist() == [0, 1, 0, 1]
