"""Inputs of any shape and any values, as a function of the user's returns them."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.catalogue import TASKS
from paredown.evaluators.tasks.task import SPLITS, Task, normalisation_at, split_at

_numbers = itertools.count()
OF_0_1 = "7c05987a1dfcd01de87c83155b8a884e9c03abf259ec85683a947884d534740b"
"""What version 0.1 computed of 6 random images of 16 x 16 px in colour a split."""


def load_task(
    folder: Path, monkeypatch: pytest.MonkeyPatch, images: str, *, as_json: bool = False, **options: Any
) -> Task:
    """Return the task of 6 images a split, given as an expression of a random generator."""
    module = f"shapes_of_test_{next(_numbers)}"
    (folder / f"{module}.py").write_text(
        f"""
import numpy as np
from PIL import Image
def data():
    splits = {{}}
    for seed, name in enumerate(("train", "validation", "test")):
        rng = np.random.default_rng(seed)
        splits[name] = {images}, np.arange(6) % 2
    return splits
"""
    )
    monkeypatch.syspath_prepend(folder)
    loader = TASKS["python"]
    given = {"function": f"{module}:data", **options}
    checked = loader.options.model_validate_json(json.dumps(given)) if as_json else loader.options.model_validate(given)
    return loader.load(checked, folder)


@pytest.mark.parametrize(
    ("images", "shape", "low"),
    [
        ("rng.random((6, 128))", (1, 1, 128), 8),
        ("rng.random((6, 1, 128))", (1, 1, 128), 8),
        ("rng.random((6, 6, 128))", (1, 6, 128), 8),
        ("rng.random((6, 6, 1, 128))", (6, 1, 128), 8),
        ("rng.random((6, 40, 101))", (1, 40, 101), 9),
        ("rng.random((6, 32, 96, 3))", (3, 32, 96), 8),
        ("rng.random((6, 96, 32))", (1, 96, 32), 8),
        ("rng.random((6, 4, 16, 16))", (4, 16, 16), 8),
        ("rng.random((6, 16, 16, 2))", (2, 16, 16), 8),
        ("rng.random((6, 12))", (1, 1, 12), 8),
        ("rng.random((6, 5))", (1, 1, 5), 5),
        ("rng.random((6, 1, 16000))", (1, 1, 16000), 8),
    ],
)
def test_the_shape_is_the_data_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: str, shape: tuple[int, int, int], low: int
) -> None:
    task = load_task(tmp_path, monkeypatch, images)
    side = int(task.resolutions.high)
    assert task.input_shape(side) == shape
    assert task.resolutions.low == low
    for name in SPLITS:
        assert split_at(task, name, side).images.shape == (6, *shape)
    small = task.input_shape(low)
    assert split_at(task, "test", low).images.shape == (6, *small)
    assert small[0] == shape[0]
    assert max(small[1:]) == low
    for axis in (1, 2):  # height and width alike, but for rounding, and never below one row
        assert abs(small[axis] - shape[axis] * low / side) <= 0.5 or small[axis] == 1


def test_arrays_say_where_their_channels_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = "rng.random((6, 8, 5, 4))"
    for layout, shape in (("auto", (4, 8, 5)), ("last", (4, 8, 5)), ("first", (8, 5, 4))):
        assert load_task(tmp_path, monkeypatch, images, channels=layout).input_shape(8)[0] == shape[0]


@pytest.mark.parametrize(
    ("images", "values"),
    [
        ("rng.integers(0, 256, (6, 16, 16))", ("uint8", 0, 255)),
        ("rng.integers(0, 256, (6, 16, 16)) / 255", ("uint8", 0, 255)),
        ("(rng.integers(0, 256, (6, 16, 16)) / 255).astype(np.float32)", ("uint8", 0, 255)),
        ("rng.random((6, 16, 16))", ("float32", 0, 1)),
        ("rng.integers(0, 4096, (6, 16, 16)).astype(np.uint16)", ("uint16", 0, 4095)),
        ("rng.integers(0, 4096, (6, 16, 16)) + 20000", ("uint16", 0, 32767)),
        ("rng.integers(60, 200, (6, 16, 16)) * 3", ("uint16", 0, 4095)),
    ],
)
def test_values_are_carried_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: str, values: tuple[str, float, float]
) -> None:
    task = load_task(tmp_path, monkeypatch, images)
    assert (task.values.dtype, task.values.low, task.values.high) == values
    given = eval(images, {"rng": np.random.default_rng(1), "np": np})
    kept = split_at(task, "validation", 16).images[:][:, 0]
    expected = given * 255 if task.values.dtype == "uint8" and given.dtype.kind == "f" else given
    assert np.allclose(kept, expected, rtol=1e-6, atol=1e-3 if task.values.dtype == "uint8" else 0)


def test_standardised_floats_keep_sign_and_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task(tmp_path, monkeypatch, "rng.standard_normal((6, 1, 12))")
    given = np.random.default_rng(0).standard_normal((6, 1, 12)).astype(np.float32)
    assert (task.values.low, task.values.high) == (given.min(), given.max())
    split = split_at(task, "train", 12)
    assert np.array_equal(split.images[:][:, 0], given)
    inputs = normalisation_at(task, 12)(split.images)
    assert np.allclose(inputs[:, 0], (given - given.mean()) / given.std(), atol=1e-5)


def test_the_range_holds_every_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = ("train", "validation", "test")
    images = {name: np.full((4, 8, 8), top, np.uint16) for name, top in zip(splits, (900, 5000, 60000), strict=True)}
    np.savez(
        tmp_path / "deep.npz",
        **{f"{n}_images": x for n, x in images.items()},
        **{f"{n}_labels": np.arange(4) % 2 for n in splits},
    )
    arrays = TASKS["arrays"]
    task = arrays.load(arrays.options.model_validate({"path": "deep.npz"}), tmp_path)
    assert (task.values.low, task.values.high) == (0, 65535)
    with pytest.raises(TaskError, match=r"range: \[0, 4095\] does not hold all values: they go from 900 to 60000"):
        arrays.load(arrays.options.model_validate({"path": "deep.npz", "range": [0, 4095]}), tmp_path)


def test_a_declared_range_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = "rng.standard_normal((6, 8, 8))"
    task = load_task(tmp_path, monkeypatch, images, range=(-10, 10))
    assert (task.values.low, task.values.high) == (-10, 10)
    assert task.options is not None
    assert task.options["range"] == [-10, 10]
    with pytest.raises(TaskError, match=r"range: \[0, 1\] does not hold all values: they go from -"):
        load_task(tmp_path, monkeypatch, images, range=(0, 1))
    with pytest.raises(TaskError, match=r"range: \[3, 1\] is upside down"):
        load_task(tmp_path, monkeypatch, images, range=(3, 1))


def test_transparency_is_a_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "transparent.py").write_text(
        """
import numpy as np
from PIL import Image
def data():
    pixels = np.random.default_rng(2).integers(0, 256, (4, 16, 16, 4), dtype=np.uint8)
    rows = [(Image.fromarray(image), i % 2) for i, image in enumerate(pixels)]
    return {"train": rows, "validation": rows, "test": rows}
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    loader = TASKS["python"]
    task = loader.load(loader.options.model_validate({"function": "transparent:data"}), tmp_path)
    given = np.random.default_rng(2).integers(0, 256, (4, 16, 16, 4), dtype=np.uint8)
    assert task.channels == 4
    assert np.array_equal(split_at(task, "test", 16).images[:], given.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_images_of_different_shapes_come_to_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: str) -> None:
    loader = TASKS["python"]
    (tmp_path / f"mixed_{fit}.py").write_text(
        """
import numpy as np
def data():
    rows = [(np.full(shape, 200, np.uint8), i % 2) for i, shape in enumerate([(20, 40), (40, 20), (24, 24), (20, 40)])]
    return {"train": rows, "validation": rows, "test": rows}
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    task = loader.load(loader.options.model_validate({"function": f"mixed_{fit}:data", "fit": fit}), tmp_path)
    images = split_at(task, "train", int(task.resolutions.high)).images[:]
    assert {"crop": images.min() == 200, "pad": images.min() == 0, "stretch": images.min() == 200}[fit]
    if fit == "crop":
        assert images.shape[2] == images.shape[3] == 20
    with pytest.raises(TaskError, match="fit: keep needs images of one aspect"):
        loader.load(loader.options.model_validate({"function": f"mixed_{fit}:data", "fit": "keep"}), tmp_path)


class TestEarlierStudies:
    """A study of before the option `fit` has stored none, and goes on with what it saw."""

    def test_square_data_is_stored_and_known_as_before(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        images = "rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)"
        now, before = (load_task(tmp_path, monkeypatch, images, as_json=as_json) for as_json in (False, True))
        assert now.options is not None
        assert set(now.options) == {"function", "flip", "crop"}
        assert now.digest == before.digest == OF_0_1
        assert now.resolutions == before.resolutions
        assert np.array_equal(split_at(now, "train", 12).images[:], split_at(before, "train", 12).images[:])

    def test_other_data_is_cut_to_the_middle_square_in_8_bits(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task = load_task(tmp_path, monkeypatch, "rng.random((6, 16, 40))", as_json=True)
        given = np.random.default_rng(0).random((6, 16, 40))[:, :, 12:28]
        assert task.input_shape(16) == (1, 16, 16)
        assert np.array_equal(split_at(task, "train", 16).images[:][:, 0], np.round(given * 255).astype(np.uint8))
        assert task.options is not None
        assert "fit" not in task.options

    def test_a_new_study_of_such_data_says_how_it_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task = load_task(tmp_path, monkeypatch, "rng.random((6, 16, 40))")
        assert task.options is not None
        assert task.options["fit"] == "keep"
        again = load_task(tmp_path, monkeypatch, "rng.random((6, 16, 40))", as_json=True, fit="keep")
        assert (again.digest, again.input_shape(40)) == (task.digest, (1, 16, 40))


def test_16_bits_of_a_picture_are_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = "[Image.fromarray(np.full((8, 8), 1000 + k, np.uint16)) for k in range(6)]"
    (tmp_path / "pictures.py").write_text(
        f"""
import numpy as np
from PIL import Image
def data():
    rows = list(zip({image}, [0, 1, 0, 1, 0, 1]))
    return {{"train": rows, "validation": rows, "test": rows}}
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    loader = TASKS["python"]
    task = loader.load(loader.options.model_validate({"function": "pictures:data"}), tmp_path)
    assert split_at(task, "train", 8).images[:][:, 0, 0, 0].tolist() == [1000, 1001, 1002, 1003, 1004, 1005]
    assert Image.fromarray(np.full((8, 8), 1000, np.uint16)).mode == "I;16"
