"""The Python API: a search from a mapping, its front, the right model, export, compression and prediction."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import paredown
from paredown.evaluators.tasks.digits import DIGITS
from paredown.search.errors import ConfigError
from paredown.search.listener import ProgressListener, SearchStart
from paredown.studies.errors import NothingFits, StudyNotFound
from paredown.studies.result import TrialResult

SMALL = {
    "mbconv.scaling": "free",
    "mbconv.depth": 1.0,
    "mbconv.width": [0.5, 0.75],
    "mbconv.resolution": 8,
    "quantization.weights": ["fp32", "fp16"],
}
STUDY = {
    "study": "small",
    "task": "digits",
    "space": {"families": ["mbconv"], "steps": ["quantization"], "knobs": SMALL},
    "training": {"epochs": 2, "finetune_epochs": 1},
    "workers": 1,
}


class Counting(ProgressListener):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.began, self.outcomes = "", list[str]()

    def search_started(self, start: SearchStart) -> None:
        self.began = start.study

    def finished(self, number: int, result: TrialResult) -> None:
        self.outcomes.append(result.outcome)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[paredown.Study, Counting, Path]:
    """A study of three trials in a folder of its own."""
    folder, listener = tmp_path_factory.mktemp("api"), Counting()
    storage = f"sqlite:///{folder}/studies.db"
    study = paredown.run_study(STUDY, trials=3, storage=storage, out=folder / "out", progress=listener)
    return study, listener, folder


def test_a_search_returns_its_study_and_tells_the_listener(run: tuple[paredown.Study, Counting, Path]) -> None:
    study, listener, _ = run
    assert listener.began == "small"
    assert listener.outcomes == ["done"] * 3
    assert study.counts == {"done": 3}
    assert study.reason == "3 trials are done"
    assert repr(study) == "<Study 'small': 3 done>"
    assert study.baseline == study.models[0]


def test_the_same_call_goes_on(run: tuple[paredown.Study, Counting, Path]) -> None:
    _, _, folder = run
    storage = f"sqlite:///{folder}/studies.db"
    listener = Counting()
    study = paredown.run_study(STUDY, trials=3, storage=storage, out=folder / "out", progress=listener)
    assert listener.outcomes == []
    assert study.counts == {"done": 3}


def test_the_front_is_a_sequence_and_a_table(run: tuple[paredown.Study, Counting, Path]) -> None:
    study, _, folder = run
    front = paredown.open_study("small", storage=f"sqlite:///{folder}/studies.db").front()
    assert front[0] in list(front)
    assert len(front[0:1]) == 1
    table = front.to_pandas()
    assert list(table.index) == [model.trial for model in front]
    assert {"accuracy", "size_bytes", "delta_accuracy", "family", "compression"} <= set(table.columns)
    assert table["size_bytes"].tolist() == [model["size_bytes"] for model in front]
    document = front.to_dict(study.folder)
    assert [model["trial"] for model in document["models"]] == list(table.index)
    for text in (repr(front), front._repr_html_()):
        assert all(str(model.trial) in text for model in front)
        assert "baseline" in text
    assert front._repr_html_().startswith("<table>")


def test_selection_by_limits(run: tuple[paredown.Study, Counting, Path]) -> None:
    study, _, _ = run
    sizes = sorted(model["size_bytes"] for model in study.models)
    assert study.select(max={"size_bytes": sizes[0]}, min={"accuracy": 0.0})["size_bytes"] == sizes[0]
    assert study.select(max={"size_bytes": "900k"}, min={"accuracy": 0.0}) == study.select()
    with pytest.raises(ConfigError, match="max speed=1: metric 'speed' does not exist; allowed: accuracy, "):
        study.select(max={"speed": 1})
    with pytest.raises(ConfigError, match="min size_bytes=5: limits the good side of size_bytes; write max size_bytes"):
        study.select(min={"size_bytes": 5})
    with pytest.raises(NothingFits, match="none of 3 models keeps the limits; the nearest is trial"):
        study.select(max={"size_bytes": 1})


def test_export_report_and_predict(run: tuple[paredown.Study, Counting, Path], tmp_path: Path) -> None:
    study, _, _ = run
    (folder,) = study.export(study.models[0], tmp_path / "one")
    assert study.export([0], tmp_path / "two")[0].name == folder.name
    assert {path.name for path in study.export(out=tmp_path / "all")} == {f"trial-{m.trial:04d}" for m in study.front()}
    assert study.report(tmp_path / "page.html").read_text().count("<section>") >= 3
    pixels = DIGITS.load(DIGITS.options(), Path()).load("test", 8).images[0, 0]
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(tmp_path / "digit.png")
    one = paredown.predict(folder, tmp_path / "digit.png")
    both = paredown.predict(str(folder), [str(tmp_path / "digit.png")] * 2, top=2)
    assert one[0]["class"] == both[0]["class"] == both[1]["class"]
    assert [len(answer["top"]) for answer in both] == [2, 2]


def arrays(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return grey images that are bright on the left or on the right."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = random.integers(0, 60, (count, 12, 12), dtype=np.uint8)
    images[labels == 0, :, :6] += 180
    images[labels == 1, :, 6:] += 180
    return images, labels


def test_arrays_are_a_task(tmp_path: Path) -> None:
    task = paredown.Task.from_arrays(
        arrays(160, 0), arrays(60, 1), arrays(60, 2), classes=["left", "right"], folder=tmp_path / "data"
    )
    again = paredown.Task.from_arrays(
        arrays(160, 0), arrays(60, 1), arrays(60, 2), classes=["left", "right"], folder=tmp_path / "data"
    )
    assert task == again
    assert len(list((tmp_path / "data").iterdir())) == 1
    study = paredown.run_study(
        {**STUDY, "task": task, "study": "sides", "training": {"epochs": 4, "finetune_epochs": 1}},
        trials=1,
        storage=f"sqlite:///{tmp_path}/s.db",
        out=tmp_path / "out",
        progress=False,
    )
    assert study.models[0]["accuracy"] > 0.9
    opened = paredown.open_study("sides", storage=f"sqlite:///{tmp_path}/s.db")
    (folder,) = opened.export(out=tmp_path / "models")
    Image.fromarray(arrays(1, 5)[0][0]).save(tmp_path / "left.png")
    assert paredown.predict(folder, tmp_path / "left.png")[0]["class"] == "left"


def test_a_network_of_ones_own_is_compressed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)
    )
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    done = paredown.compress(
        network,
        task="digits",
        steps={"channel_pruning": {"ratio": 0.5}},
        resolution=8,
        finetune_epochs=2,
        out=tmp_path / "out",
        progress=False,
    )
    assert done.model["params"] < done.baseline["params"]
    assert done.network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert (tmp_path / "out/manifest.json").is_file()
    assert "given_network" not in (tmp_path / "out/README.md").read_text().partition("\n")[0]
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    with pytest.raises(ConfigError, match="weights: only with a model given by name"):
        paredown.compress(network, steps={"low_rank": {"ratio": 0.5}}, weights="x.pt", out=tmp_path / "no")


def test_mistakes_name_key_and_value(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"study: space\.familys: no such key; allowed: families"):
        paredown.run_study({**STUDY, "space": {"familys": ["mbconv"]}}, storage=f"sqlite:///{tmp_path}/s.db")
    assert not list(tmp_path.iterdir())
    with pytest.raises(paredown.ParedownError, match="there is no file"):
        paredown.open_study("none", storage=f"sqlite:///{tmp_path}/s.db")


def test_a_study_that_is_not_there_is_named(run: tuple[paredown.Study, Counting, Path]) -> None:
    _, _, folder = run
    with pytest.raises(StudyNotFound, match=r"no study 'smal' in .*; studies there: small"):
        paredown.open_study("smal", storage=f"sqlite:///{folder}/studies.db")


def test_the_package_loads_nothing_until_it_is_used() -> None:
    program = "import paredown, sys; assert not {'torch', 'numpy', 'optuna'} & set(sys.modules); print(dir(paredown))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "run_study" in said.stdout
    assert all(hasattr(paredown, name) for name in paredown.__all__)
    assert paredown.__version__


def test_a_script_without_a_guard_searches_once(tmp_path: Path) -> None:
    """Workers that imported the script would run it again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import paredown\n"
        f"study = paredown.run_study({ {**STUDY, 'workers': 2}!r}, trials=2, storage='sqlite:///{tmp_path}/s.db',\n"
        f"    out='{tmp_path}/out')\n"
        "print('trials:', study.counts)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "trials: {'done': 2}\n"
    assert "trial 1 done" in done.stderr
