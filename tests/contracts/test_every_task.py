"""What every task must do, on data made here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks.catalogue import TASKS
from paredown.evaluators.tasks.task import SPLITS, Task, normalisation_at, split_at
from paredown.studies.agreement import PLACE_OPTIONS

MODULE = """
import numpy as np

def data():
    rng = np.random.default_rng(0)
    part = lambda n: (rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8), np.arange(n) % 3)
    return {"train": part(30), "validation": part(12), "test": part(12), "classes": ["a", "b", "c"]}

def broken():
    return {"train": (np.zeros((4, 5)), np.zeros(4, dtype=int))}
"""


def make_folder(root: Path, splits: dict[str, int]) -> Path:
    rng = np.random.default_rng(0)
    for split, count in splits.items():
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for at in range(count):
                pixels = rng.integers(0, 256, (14, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{at}.png")
    return root


def load(name: str, folder: Path, **options: Any) -> Task:
    loader = TASKS[name]
    return loader.load(loader.options.model_validate(options), folder)


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest, tmp_path: Path) -> Task:
    make_folder(tmp_path / "photos", {"train": 6, "val": 4})
    (tmp_path / "mydata.py").write_text(MODULE)
    rng = np.random.default_rng(0)
    arrays = {f"{split}_images": rng.integers(0, 256, (12, 16, 16), dtype=np.uint8) for split in SPLITS}
    np.savez(tmp_path / "data.npz", **arrays, **{f"{split}_labels": np.arange(12) % 3 for split in SPLITS})
    options = {
        "image_folder": {"path": "photos"},
        "python": {"function": "mydata:data"},
        "arrays": {"path": "data.npz"},
    }
    return load(request.param, tmp_path, **options.get(request.param, {}))


def test_splits_have_every_class_and_one_shape(task: Task) -> None:
    side = int(task.resolutions.low)
    for name in SPLITS:
        split = split_at(task, name, side)
        assert split.images.dtype == np.uint8
        assert split.images.shape == (len(split.labels), *task.input_shape(side))
        assert split.labels.dtype == np.int64
        assert set(split.labels) == set(range(len(task.classes)))


def test_splits_share_no_image(task: Task) -> None:
    side = int(task.resolutions.high)
    seen = [{image.tobytes() for image in split_at(task, name, side).images} for name in SPLITS]
    common = (seen[0] & seen[1]) | (seen[0] & seen[2]) | (seen[1] & seen[2])
    assert len(common) <= 0.01 * sum(map(len, seen))  # real data may hold the same digit twice


def test_loads_the_same_again_and_keeps_it_in_memory(task: Task) -> None:
    side = int(task.resolutions.low)
    assert split_at(task, "train", side) is split_at(task, "train", side)
    assert np.array_equal(task.load("train", side).images, split_at(task, "train", side).images)
    assert task.digest


def test_normalisation_centres_the_training_images(task: Task) -> None:
    side = int(task.resolutions.low)
    images = normalisation_at(task, side)(split_at(task, "train", side).images)
    assert np.allclose(images.mean((0, 2, 3)), 0, atol=1e-3)
    assert np.allclose(images.std((0, 2, 3)), 1, atol=1e-3)


def test_the_range_of_resolutions_is_what_it_says(task: Task) -> None:
    assert task.channels in (1, 3)
    for side in (int(task.resolutions.low), int(task.resolutions.high)):
        assert split_at(task, "test", side).images.shape[1:] == task.input_shape(side)


def test_without_a_test_folder_each_class_is_halved(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 3, "val": 8})
    task, again = (load("image_folder", tmp_path, path=".") for _ in range(2))
    other = load("image_folder", tmp_path, path=".", seed=1)
    for name in SPLITS[1:]:
        assert np.bincount(split_at(task, name, 8).labels).tolist() == [4, 4]
        assert np.array_equal(task.load(name, 8).images, again.load(name, 8).images)
    assert not np.array_equal(task.load("test", 8).images, other.load("test", 8).images)
    assert task.digest == again.digest != other.digest


def test_a_changed_image_changes_the_digest(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 3, "val": 4})
    before = load("image_folder", tmp_path, path=".").digest
    Image.new("RGB", (20, 14)).save(tmp_path / "train" / "cat" / "0.png")
    assert load("image_folder", tmp_path, path=".").digest != before


def test_digits_are_split_evenly_by_class() -> None:
    task = load("digits", Path())
    labels = [split_at(task, name, 8).labels for name in SPLITS]
    assert sum(map(len, labels)) == 1797
    for part in labels:
        assert np.ptp(np.bincount(part) / len(part)) < 0.02


def test_a_test_folder_is_used_where_there_is_one(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 3, "val": 4, "test": 5})
    counts = [len(split_at(load("image_folder", tmp_path, path="."), name, 8).labels) for name in SPLITS]
    assert counts == [6, 8, 10]


def test_a_subset_takes_so_many_of_each_class(tmp_path: Path) -> None:
    make_folder(tmp_path, {"train": 6, "val": 8})
    task = load("image_folder", tmp_path, path=".", images_per_class=4)
    assert np.bincount(split_at(task, "train", 8).labels).tolist() == [4, 4]
    assert np.bincount(split_at(task, "validation", 8).labels).tolist() == [1, 1]


def _break(folder: Path, how: str) -> None:
    file = folder / "train" / "cat" / "0.png"
    if how == "no image":
        file.write_text("hello")
    elif how == "truncated":
        file.write_bytes(file.read_bytes()[:-400])
    elif how == "empty class":
        for image in (folder / "train" / "cat").iterdir():
            image.unlink()
    elif how == "no val":
        (folder / "val").rename(folder / "validation")
    elif how == "class only in val":
        (folder / "val" / "fox").mkdir()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no image", "0.png is no image"),
        ("empty class", "'cat' has no image"),
        ("no val", "no folder .*val"),
        ("class only in val", "fox is a class that train/ does not have"),
        ("truncated", "0.png is damaged"),
    ],
)
def test_a_broken_folder_is_named(tmp_path: Path, how: str, said: str) -> None:
    make_folder(tmp_path, {"train": 3, "val": 4})
    _break(tmp_path, how)
    with pytest.raises(TaskError, match=said):
        split_at(load("image_folder", tmp_path, path="."), "train", 8)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("mydata", "not of the form"),
        ("nowhere:data", "cannot import"),
        ("mydata:absent", "no function"),
        ("mydata:broken", "no 'validation'"),
    ],
)
def test_a_broken_function_is_named(tmp_path: Path, function: str, said: str) -> None:
    (tmp_path / "mydata.py").write_text(MODULE)
    with pytest.raises(TaskError, match=said):
        load("python", tmp_path, function=function)


def test_the_option_that_says_where_the_data_lie_is_no_part_of_a_study() -> None:
    assert {loader.shorthand for loader in TASKS.values()} - {""} == set(PLACE_OPTIONS)
