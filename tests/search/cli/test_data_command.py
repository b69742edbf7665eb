"""`paredown data check`."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from paredown.search.cli.app import app
from paredown.search.errors import ConfigError

CLASSES = ("01,one", "[bold]", "<b>&")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for name in CLASSES:
            (tmp_path / split / name).mkdir(parents=True)
            for at in range(count):
                pixels = rng.integers(0, 256, (12, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{at}.png")
    (tmp_path / "train" / "[bold]" / "1.png").write_bytes(b"no image")
    (tmp_path / "train" / "[bold]" / "[red]notes.txt").write_text("seen")
    return tmp_path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["data", "check", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_names_of_the_user_are_text(photos: Path) -> None:
    lines = [line.split() for line in run(f"image_folder:{photos}").splitlines()]
    assert ["class", "train", "validation", "test"] in lines
    assert ["01,one", "3", "1", "1"] in lines
    assert ["[bold]", "2", "1", "1"] in lines
    assert ["(all)", "8", "3", "3"] in lines
    said = run(f"image_folder:{photos}")
    assert "one input is 3 x 12 x 20 (uint8, 0 to 255)" in said
    assert "not used: 1 damaged files (train/[bold]/1.png)" in said
    assert "not used: 1 files of no image format (train/[bold]/[red]notes.txt)" in said


def test_the_page_shows_images_of_each_class(photos: Path) -> None:
    page = photos / "page" / "data.html"
    assert str(page) in run(f"image_folder:{photos}", "-o", str(page))
    text = page.read_text()
    assert text.count("<img ") == 8 + 3 + 3
    assert "&lt;b&gt;&amp;" in text
    assert "<b>&" not in text
    assert not re.search(r'(src|href)="(?!data:)', text), "nothing outside of the page"


def test_json_is_one_document(photos: Path) -> None:
    document = json.loads(run(f"image_folder:{photos}", "--json"))
    assert document["counts"]["train"] == {"01,one": 3, "[bold]": 2, "<b>&": 3}
    assert document["shape"] == [3, 12, 20]
    assert document["unused"]["damaged files"] == ["train/[bold]/1.png"]


def test_what_user_code_prints_does_not_disturb_the_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "talkative.py").write_text(
        "import os, subprocess\nimport numpy as np\n"
        "def data():\n    print('printed')\n    os.write(1, b'written')\n    subprocess.run(['echo', 'started'])\n"
        "    return {name: (np.eye(8)[None] * np.ones((4, 1, 1)), np.arange(4) % 2)\n"
        "            for name in ('train', 'validation', 'test')}\n"
    )
    monkeypatch.chdir(tmp_path)
    app(["data", "check", "python:talkative:data", "--json"], standalone_mode=False)
    seen = capfd.readouterr()
    assert json.loads(seen.out)["shape"] == [1, 8, 8]
    assert all(word in seen.err for word in ("printed", "written", "started"))
    print("as before")
    assert capfd.readouterr().out == "as before\n"


def test_the_digits_are_described(tmp_path: Path) -> None:
    page = tmp_path / "digits.html"
    assert "one input is 1 x 8 x 8 (uint8, 0 to 255)" in run("digits", "-o", str(page))
    assert page.read_text().count("<img ") == 8 * 3 * 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["image_folder:/nowhere"], "task.image_folder.path: no folder /nowhere"),
        (["photos"], "task: 'photos' does not exist; allowed: digits"),
        (["digits", "-o", "page.txt"], "--out: page.txt is not allowed"),
    ],
)
def test_what_is_wrong_is_one_message(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        CliRunner().invoke(app, ["data", "check", *arguments], catch_exceptions=False)
