"""Image folders as people have them."""

import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paredown.evaluators.errors import TaskError
from paredown.evaluators.tasks import decoded_cache
from paredown.evaluators.tasks.catalogue import TASKS
from paredown.evaluators.tasks.input_format import InputFormat
from paredown.evaluators.tasks.python_data import read_pixels
from paredown.evaluators.tasks.task import Task, split_at
from paredown.evaluators.tasks.watching import DataListener, watching


def photos(root: Path, draw: Callable[[int, int], Image.Image], ending: str = "png", **saving: Any) -> Path:
    """Write train/ and val/ of the classes cat and dog, four images each, and return the folder."""
    for split in ("train", "val"):
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for at in range(4):
                draw(label, at + 10 * (split == "val")).save(root / split / name / f"{at}.{ending}", **saving)
    return root


def noise(label: int, at: int, size: tuple[int, ...] = (16, 16, 3)) -> Image.Image:
    return Image.fromarray(np.random.default_rng([label, at]).integers(0, 256, size, dtype=np.uint8))


def load(root: Path, **options: Any) -> Task:
    loader = TASKS["image_folder"]
    return loader.load(loader.options.model_validate({"path": str(root), **options}), Path("/nowhere"))


def said_of(task: Task) -> str:
    assert task.summary is not None
    return task.summary().line


def half_red(label: int, at: int) -> Image.Image:
    """Return a picture of 32 x 24 px, its left half bright: upright it is 24 x 32, its upper half bright."""
    picture = Image.new("RGB", (32, 24), (at, 20, 20))
    picture.paste((255, 0, 0), (0, 0, 16, 24))
    return picture


def test_photos_stand_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: what is left in the file is at the top
    task = load(photos(tmp_path, half_red, "jpg", exif=exif))
    assert task.input_shape(int(task.resolutions.high)) == (3, 32, 24)
    image = split_at(task, "train", 32).images[:][0]
    assert image[0, :12].min() > 200
    assert image[0, 20:].max() < 60
    assert "16 turned upright by their EXIF tag" in said_of(task)
    before = load(tmp_path, fit="earlier")
    assert before.input_shape(24) == (3, 24, 24)
    assert split_at(before, "train", 24).images[:][0, 0, :, 0].min() > 200


@pytest.mark.parametrize("ending", ["jfif", "avif", "jpe", "ppm", "tga", "webp", "PNG"])
def test_every_ending_that_pillow_reads_is_found(tmp_path: Path, ending: str) -> None:
    photos(tmp_path, noise)
    for at, file in enumerate(sorted(tmp_path.rglob("*.png"))):
        if at % 2:
            Image.open(file).save(file.with_suffix(f".{ending}"))
            file.unlink()
    task = load(tmp_path)
    assert [len(split_at(task, name, 8).labels) for name in ("train", "validation", "test")] == [8, 4, 4]


def test_images_are_found_at_any_depth_and_what_systems_leave_is_not(tmp_path: Path) -> None:
    photos(tmp_path, noise)
    for file in sorted(tmp_path.rglob("*.png")):
        (file.parent / "a" / "b").mkdir(parents=True, exist_ok=True)
        file.rename(file.parent / "a" / "b" / file.name)
    left = [
        "train/cat/._0.png",
        "train/.DS_Store",
        "val/dog/Thumbs.db",
        "val/dog/a/.ipynb_checkpoints/0-checkpoint.png",
    ]
    for name in [
        *left,
        "train/__MACOSX/cat/0.png",
        "train/.ipynb_checkpoints/0.png",
        "train/cat/notes.txt",
        "val/x.png",
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    task = load(tmp_path)
    assert task.classes == ("cat", "dog")
    assert [len(split_at(task, name, 8).labels) for name in ("train", "validation", "test")] == [8, 4, 4]
    assert task.summary is not None
    unused = {reason: set(files) for reason, files in task.summary().unused.items()}
    assert unused["files of no image format"] == {"train/cat/notes.txt"}
    assert unused["files outside of a class folder"] == {"val/x.png"}
    assert {"train/cat/._0.png", "train/.DS_Store", "val/dog/Thumbs.db"} <= unused["files of the system"]


def cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])


def test_all_damaged_files_are_named_at_once(tmp_path: Path) -> None:
    photos(tmp_path, noise)
    for name in ("train/cat/0.png", "train/dog/3.png", "val/cat/1.png", "val/dog/2.png"):
        cut(tmp_path / name)
    with pytest.raises(TaskError) as refused:
        load(tmp_path)
    assert "4 files are damaged or no images: " in str(refused.value)
    assert str(refused.value).count(" is damaged (") == 4
    assert "; remove or replace them, or set skip_damaged: true" in str(refused.value)
    task = load(tmp_path, skip_damaged=True)
    assert sum(len(split_at(task, name, 8).labels) for name in ("train", "validation", "test")) == 12
    assert "4 damaged files (train/cat/0.png, " in said_of(task)
    assert task.options is not None
    assert task.options["skip_damaged"] is True
    for file in (tmp_path / "train" / "dog").iterdir():
        cut(file)
    with pytest.raises(TaskError, match="train without damaged files: class 'dog' has no image"):
        load(tmp_path, skip_damaged=True)


def decoded_now(root: Path, **options: Any) -> int:
    """Return how many images are decoded while a folder is loaded."""
    done = {"decoding images": 0}
    listener = DataListener(lambda what, now, of: done.update({what: now}), lambda summary: None)
    with watching(listener):
        load(root, **options)
    return done["decoding images"]


def test_every_file_is_decoded_once(tmp_path: Path) -> None:
    photos(tmp_path, noise)
    assert [decoded_now(tmp_path) for _ in range(2)] == [16, 0]
    noise(5, 5).save(tmp_path / "train" / "cat" / "0.png")
    assert decoded_now(tmp_path) == 16
    assert decoded_now(tmp_path, fit="crop") == 16
    assert decoded_now(tmp_path, images_per_class=4) == 12  # one of each class in val and test
    assert decoded_now(tmp_path, flip=False) == 0


def test_images_in_two_splits_are_named(tmp_path: Path) -> None:
    photos(tmp_path, noise)
    Image.open(tmp_path / "train/cat/1.png").save(tmp_path / "val/dog/2.png", optimize=True)
    assert "1 of validation are also in train (val/dog/2.png)" in said_of(load(tmp_path)).replace(
        "of test", "of validation"
    )
    assert "smallest class 'cat' with 4 of train" in said_of(load(tmp_path))


def test_12_bits_in_16_are_scaled_by_their_range(tmp_path: Path) -> None:
    def dark(label: int, at: int) -> Image.Image:
        return Image.fromarray(np.full((8, 8), 60 + 60 * label + at, np.uint16))

    task = load(photos(tmp_path, dark))
    assert (task.values.dtype, task.values.low, task.values.high) == ("uint16", 0, 4095)
    assert split_at(task, "train", 8).images[:][:, 0, 0, 0].tolist() == [60, 61, 62, 63, 120, 121, 122, 123]
    noise(0, 0).save(tmp_path / "train" / "cat" / "0.png")
    with pytest.raises(TaskError, match=r"values of different types: .*0\.png \(uint8\).*uint16|uint16.*uint8"):
        load(tmp_path)


def deep_png(file: Path, colours: np.ndarray) -> None:
    """Write `h x w x 3` in 16 bits, which Pillow reads but does not write."""
    height, width, _ = colours.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    chunks = (struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts.items())
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def test_colours_of_16_bits_are_refused_not_cut_to_8(tmp_path: Path) -> None:
    folder = photos(tmp_path, noise)
    for file in folder.rglob("*.png"):
        deep_png(file, np.full((8, 8, 3), 900))
    with pytest.raises(TaskError, match=r"images of more than 8 bits must be grey; .*\.png has colours"):
        load(folder)
    with pytest.raises(TaskError, match=r"0\.png: has colours of 16 bits; needed"):
        InputFormat(channels=3, height=8, width=8, upright=True).read(folder / "train" / "cat" / "0.png")
    refused = pytest.raises(TaskError, match="an image has colours of 16 bits; needed")
    with Image.open(folder / "train" / "cat" / "0.png") as image, refused:
        read_pixels([image], "train", "auto", earlier=False)


def test_links_to_nothing_and_to_folders_are_named(tmp_path: Path) -> None:
    folder = photos(tmp_path, noise)
    (folder / "train" / "dog" / "more").symlink_to(folder / "train" / "cat")
    assert "not used: 1 links to folders, which are not followed (train/dog/more)" in said_of(load(folder))
    (folder / "train" / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(TaskError, match=r"gone\.png is no image that can be read .*skip_damaged: true"):
        load(folder)
    assert "not used: 1 damaged files (train/cat/gone.png)" in said_of(load(folder, skip_damaged=True))


def test_float_tiffs_keep_their_values(tmp_path: Path) -> None:
    def height(label: int, at: int) -> Image.Image:
        return Image.fromarray(np.full((8, 8), label - 0.25 * at, np.float32))

    task = load(photos(tmp_path, height, "tif"))
    assert (task.values.dtype, task.values.low, task.values.high) == ("float32", -0.75, 1)
    assert split_at(task, "train", 8).images[:][:, 0, 0, 0].tolist() == [0, -0.25, -0.5, -0.75, 1, 0.75, 0.5, 0.25]
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(tmp_path / "train" / "cat" / "0.tif")
    with pytest.raises(TaskError, match=r"0\.tif is damaged \(it has values that are not finite"):
        load(tmp_path)


def test_transparency_counts_where_there_is_any(tmp_path: Path) -> None:
    def opaque(label: int, at: int) -> Image.Image:
        picture = noise(label, at)
        picture.putalpha(255)
        return picture

    task = load(photos(tmp_path, opaque))
    assert task.channels == split_at(task, "train", 8).images.shape[1] == 3
    assert "transparency is left out: every pixel is opaque" in said_of(task)
    picture = noise(0, 0)
    picture.putalpha(Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)))
    picture.save(tmp_path / "train" / "cat" / "0.png")
    task = load(tmp_path)
    images = split_at(task, "train", 16).images[:]
    assert task.channels == images.shape[1] == 4
    assert np.array_equal(images[0], np.asarray(picture).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("fit", "shape", "dark"),
    [("auto", (3, 20, 20), True), ("crop", (3, 16, 16), False), ("stretch", (3, 20, 20), False)],
)
def test_portraits_and_landscapes_come_to_one_shape(
    tmp_path: Path, fit: str, shape: tuple[int, int, int], dark: bool
) -> None:
    def framed(label: int, at: int) -> Image.Image:
        return Image.new("RGB", (16, 25) if at % 2 else (25, 16), (100 + at, 100, 100 + label))

    task = load(photos(tmp_path, framed), fit=fit)
    assert task.input_shape(int(task.resolutions.high)) == shape
    images = split_at(task, "train", int(task.resolutions.high)).images[:]
    assert bool(images.min() == 0) is dark
    with pytest.raises(TaskError, match=r"fit: keep needs images of one aspect; .*16 x 25 px, .* 25 x 16"):
        load(tmp_path, fit="keep")


class TestCache:
    @pytest.fixture(autouse=True)
    def _own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(decoded_cache.FOLDER_VARIABLE, str(tmp_path / "cache"))

    def test_the_oldest_entries_make_room(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        size = 16 * 3 * 16 * 16
        monkeypatch.setenv(decoded_cache.BYTES_VARIABLE, str(int(3 * size)))
        roots = [photos(tmp_path / str(i), lambda label, at, i=i: noise(label + 2 * i, at)) for i in range(3)]
        tasks = [load(root) for root in roots]
        entries = list(decoded_cache.cache_folder().iterdir())
        assert len(entries) == 2, "indexes count too, so three do not fit"
        assert decoded_now(roots[2]) == 0
        assert split_at(tasks[0], "train", 8).images.shape == (8, 3, 8, 8), "who has it open keeps it"
        assert not [entry for entry in entries if entry.name.startswith(decoded_cache.UNFINISHED)]

    def test_too_little_room_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        photos(tmp_path / "photos", noise)
        monkeypatch.setenv(decoded_cache.BYTES_VARIABLE, "1000")
        with pytest.raises(TaskError, match="may hold; PAREDOWN_CACHE_BYTES sets another bound"):
            load(tmp_path / "photos")
        monkeypatch.setenv(decoded_cache.BYTES_VARIABLE, "much")
        with pytest.raises(TaskError, match="PAREDOWN_CACHE_BYTES: 'much' is no number of bytes"):
            load(tmp_path / "photos")

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("no folder")
        monkeypatch.setenv(decoded_cache.FOLDER_VARIABLE, str(tmp_path / "file"))
        with pytest.raises(TaskError, match="PAREDOWN_CACHE names another folder"):
            load(photos(tmp_path / "photos", noise))

    def test_an_entry_that_is_lost_is_made_again(self, tmp_path: Path) -> None:
        root = photos(tmp_path / "photos", noise)
        first = split_at(load(root), "train", 16).images[:]
        shutil.rmtree(decoded_cache.cache_folder())
        assert decoded_now(root) == 16
        assert np.array_equal(split_at(load(root), "train", 16).images[:], first)
