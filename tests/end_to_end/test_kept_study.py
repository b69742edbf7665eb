"""A study, its files and exported models as version 0.1 left them: they open, go on, are exported and predict."""

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import paredown
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.search.listener import ProgressListener
from paredown.studies.result import TrialResult

KEPT = Path(__file__).parents[1] / "upgrade_assets/study_of_version_0_1"


class Outcomes(ProgressListener):
    """Keeps what became of each trial."""

    def __init__(self) -> None:
        self.by_number = dict[int, str]()

    def finished(self, number: int, result: TrialResult) -> None:
        self.by_number[number] = result.outcome


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with the study in it, and the address of its database."""
    folder = tmp_path_factory.mktemp("kept")
    shutil.copytree(KEPT, folder, dirs_exist_ok=True)
    with sqlite3.connect(folder / "kept.db") as connection:  # it was made in a folder that is not there any more
        connection.execute(
            "update paredown_studies set folder = replace(folder, 'FOLDER', ?), config = replace(config, 'FOLDER', ?)",
            (str(folder), str(folder)),
        )
    connection.close()
    return folder, f"sqlite:///{folder / 'kept.db'}"


def test_it_opens_with_its_trials_and_their_values(place: tuple[Path, str]) -> None:
    study = paredown.open_study("kept", storage=place[1])
    assert study.counts["done"] >= 3
    first, second, third = study.models[:3]
    assert [m["size_bytes"] for m in (first, second, third)] == [19202, 7459, 3898]
    assert round(first["accuracy"], 4) == 0.9025
    assert "channels 0.125, rank 0.875, bits fp16" in repr(study.front())
    assert study.select(max={"size_bytes": "8k"}, min={"accuracy": 0.5}) == second


def test_its_models_are_rebuilt_from_stored_weights_and_exported(place: tuple[Path, str], tmp_path: Path) -> None:
    """Export compares the rebuilt network with the stored file on real images."""
    study = paredown.open_study("kept", storage=place[1])
    folders = study.export([0, 1], tmp_path / "models")
    for folder, artifact in zip(folders, (m.artifact for m in study.models[:2]), strict=True):
        assert (folder / "model.onnx").read_bytes() == (place[0] / "out" / artifact / "model.onnx").read_bytes()


def test_an_exported_folder_of_then_predicts_as_its_file_does(place: tuple[Path, str], tmp_path: Path) -> None:
    folder = place[0] / "out/models/trial-0001"
    session = open_session(folder / "model.onnx")
    said = json.loads((folder / "manifest.json").read_text())["preprocessing"]
    random = np.random.default_rng(0)
    for at in range(5):
        pixels = random.integers(0, 256, (said["resolution"], said["resolution"]), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{at}.png")
        inputs = (pixels[None, None].astype(np.float32) / 255 - said["mean"][0]) / said["std"][0]
        (answer,) = paredown.predict(folder, tmp_path / f"{at}.png")
        assert answer["class"] == str(logits(session, inputs.astype(np.float32)).argmax())


def test_the_same_study_file_goes_on_under_its_old_keys(
    place: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, storage = place
    outcomes = Outcomes()
    study = paredown.run_study(
        folder / "kept.yaml", trials=4, workers=1, storage=storage, out=folder / "out", progress=outcomes
    )
    assert "max_stall is called patience_trials today" in capsys.readouterr().err
    assert min(outcomes.by_number) == 3, "those that had finished are not run again"
    finished = [number for number, outcome in outcomes.by_number.items() if outcome in {"done", "failed", "stopped"}]
    assert len(finished) == 1
    assert len(study.models) == 4
