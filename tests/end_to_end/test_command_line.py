"""The command as users and scripts call it."""

import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import COMMAND, ENVIRONMENT, Said, paredown
from PIL import Image
from second_exporter import PROGRAM

from paredown.studies.exporters.catalogue import EXPORTERS

STUDY = """
study: tiny
task: digits
objectives: [accuracy, size_bytes]
space:
  steps: [quantization]
  knobs:
    mbconv.scaling: free
    mbconv.depth: {low: 1.0, high: 1.5}
    mbconv.width: {low: 0.5, high: 1.0}
    mbconv.resolution: 8
    mbconv.kernel: 3
    mbconv.expansion: 2
    quantization.weights: [fp32, fp16]   # int8 of a network after 2 epochs may be refused on export
training: {epochs: 2, finetune_epochs: 1, max_seconds: 20}
sampler: random
trials: 3
workers: 1
"""
MODEL_KEYS = {
    "trial",
    "candidate",
    "metrics",
    "spreads",
    "deltas",
    "slower_than_macs_suggest",
    "latency_at_floor",
    "latency_moved",
    "latency_noisy",
    "int8_slower_than_fp32",
    "latency_apart_from_prediction",
    "feasible",
    "artifact",
}
METRICS = {"accuracy", "latency_ms", "size_bytes", "onnx_bytes", "macs", "params"}
pytestmark = pytest.mark.slow


def files(folder: Path) -> list[Path]:
    """Return the files of a folder, without those that SQLite keeps beside a database while it is open."""
    return sorted(p for p in folder.iterdir() if not p.name.endswith(("-wal", "-shm")))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Run the tiny study; return its folder and what it printed."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "tiny.yaml").write_text(STUDY)
    done = paredown(folder, "search", "tiny.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert "leaked" not in done.stderr, "workers tidy up"
    return folder, json.loads(done.stdout)


@pytest.fixture
def here(searched: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(searched[0])
    monkeypatch.delenv("PAREDOWN_STORAGE", raising=False)
    return searched[0]


def test_search_prints_its_front_and_writes_models_and_report(searched: tuple[Path, dict[str, Any]]) -> None:
    folder, document = searched
    assert document["counts"]["done"] == 3
    assert document["reason"] == "3 trials are done"
    assert document["refused"] == []
    assert len(document["exported"]) == len(document["models"]) >= 1
    for exported in document["exported"]:
        assert {"model.onnx", "manifest.json"} <= {p.name for p in Path(exported).iterdir()}
    assert Path(document["report"]) == folder / "paredown-out/tiny/report.html"
    assert "tiny" in Path(document["report"]).read_text()


def test_front_as_json_holds_the_documented_keys(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = Said(capsys, "front", "tiny", "--json").document()
    assert set(document) == {"study", "objectives", "baseline", "models", "limits", "binding"}
    assert document["objectives"] == ["accuracy", "size_bytes"]
    assert document["binding"] is None
    accuracy = document["baseline"]["metrics"]["accuracy"]
    assert document["limits"]["accuracy"]["value"] == pytest.approx(accuracy - 0.03), "the default of a new study"
    reference = document["baseline"]["metrics"]
    for model in (document["baseline"], *document["models"]):
        assert set(model) == MODEL_KEYS
        assert set(model["metrics"]) >= METRICS
        assert model["deltas"]["accuracy"] == pytest.approx(model["metrics"]["accuracy"] - reference["accuracy"])
        share = model["metrics"]["size_bytes"] / reference["size_bytes"] - 1
        assert model["deltas"]["size_bytes"] == pytest.approx(share)
        assert Path(model["artifact"], "model.onnx").stat().st_size == model["metrics"]["onnx_bytes"]
        assert Path(model["artifact"], "model.packed").stat().st_size == model["metrics"]["size_bytes"]


def test_front_as_csv_and_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = Said(capsys, "front", "tiny", "--json").document()["models"]
    rows = list(csv.DictReader(io.StringIO(Said(capsys, "front", "tiny", "--csv").out)))
    assert [int(r["trial"]) for r in rows] == [m["trial"] for m in models]
    assert [float(r["delta_size_bytes"]) for r in rows] == [m["deltas"]["size_bytes"] for m in models]
    table = Said(capsys, "front", "tiny").out
    assert "baseline" in table
    assert "accuracy" in table


def test_select_takes_the_best_within_limits(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = Said(capsys, "front", "tiny", "--json").document()["models"]
    best = Said(capsys, "select", "tiny", "--max", "size_bytes=1M", "--json").document()
    assert best["limits"] == {"size_bytes": 1e6}
    assert best["model"]["metrics"]["accuracy"] == max(m["metrics"]["accuracy"] for m in models)
    assert "export it: paredown export tiny" in Said(capsys, "select", "tiny").out


def test_export_and_predict(here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    document = Said(capsys, "export", "tiny", "--front", "-o", str(tmp_path / "models"), "--json").document()
    digit = np.round(load_digits().images[0] * (255 / 16)).astype(np.uint8)
    Image.fromarray(digit).save(tmp_path / "digit.png")
    for model in document["exported"]:
        answer = Said(capsys, "predict", model, str(tmp_path / "digit.png"), "--json").document()
        (prediction,) = answer["predictions"]
        assert prediction["class"] in set("0123456789")
        assert len(prediction["top"]) == 3
        assert prediction["top"][0]["probability"] >= prediction["top"][1]["probability"]


def test_a_second_format_is_exported_and_predicted(
    here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Said(capsys, "show", "tiny", "--json").document()
    monkeypatch.setitem(EXPORTERS, PROGRAM.name, PROGRAM)
    command = ("export", "tiny", "--trial", "0", "--format", PROGRAM.name, "-o", str(tmp_path), "--json")
    (exported,) = Said(capsys, *command).document()["exported"]
    assert Path(exported).name == "trial-0000-program"
    assert sorted(p.name for p in Path(exported).iterdir()) == ["README.md", "manifest.json", "model.pt2"]
    manifest = json.loads(Path(exported, "manifest.json").read_text())
    assert manifest["parity"]["label_agreement"] >= 0.999
    assert manifest["metrics"]["test_accuracy"]["how"] == "measured"
    assert "exported as a program of torch.export" in Path(exported, "README.md").read_text()
    assert Said(capsys, "show", "tiny", "--json").document() == known, "it is no measurement of the trial's own file"
    Image.new("L", (8, 8), 128).save(tmp_path / "grey.png")
    (prediction,) = Said(capsys, "predict", exported, str(tmp_path / "grey.png"), "--json").document()["predictions"]
    assert prediction["class"] in set("0123456789")
    monkeypatch.delitem(EXPORTERS, PROGRAM.name)
    said = Said(capsys, "predict", exported, str(tmp_path / "grey.png"))
    assert said.code == 2
    assert "manifest.json: exporter: 'program' does not exist; allowed: onnx" in said.err


def test_report_show_and_studies(here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert Said(capsys, "report", "tiny", "-o", str(tmp_path / "r.html")).code == 0
    assert (tmp_path / "r.html").read_text().lstrip().lower().startswith("<!doctype html")
    shown = Said(capsys, "show", "tiny", "--json").document()
    assert [t["number"] for t in shown["trials"]] == list(range(len(shown["trials"])))
    assert shown["counts"]["done"] == 3
    assert all(t["skipped"] == {} for t in shown["trials"]), "fp16 leaves nothing alone"
    assert "accuracy" in Said(capsys, "show", "tiny").out
    (study,) = Said(capsys, "studies", "--json").document()["studies"]
    assert (study["study"], study["trials"]["done"]) == ("tiny", 3)
    assert "tiny" in Said(capsys, "studies").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["front", "nothing"], "no study 'nothing'"),
        (["select", "tiny", "--max", "size_bytes=10"], "none of 3 models keeps the limits; the nearest is trial"),
        (["select", "tiny", "--max", "weight=10"], "metric 'weight' does not exist"),
        (["select", "tiny", "--max", "accuracy=0.9"], "write --min accuracy=0.9"),
        (["export", "tiny"], "say which models: --front, or --trial N"),
        (["export", "tiny", "--trial", "99"], "trial 99 is no finished model"),
        (["export", "tiny", "--front", "--format", "tflite"], "allowed: onnx"),
        (["predict", ".", "x.png"], "no exported model"),
        (["search", "tiny.yaml", "--ray-address", "a:1"], "driver local: address='a:1': no such option"),
        (["front", "tiny", "--storage", "sqlite:///tiny.yaml"], "cannot be used as a database"),
        (["front", "tiny", "--storage", "sqlite:///gone.db"], "there is no file gone.db"),
        (["front", "tiny", "--storage", "nonsense"], "not a database address"),
        (["search", "tiny.yaml", "--seed", "7"], "exists with another seed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_message_and_code_2(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = files(here)
    said = Said(capsys, *arguments)
    assert said.code == 2
    assert said.out == ""
    assert message in said.err
    assert said.err.count("paredown: ") == 1
    assert "Traceback" not in said.err
    assert files(here) == before


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to be in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAREDOWN_STORAGE", raising=False)
    return tmp_path


def test_a_config_error_leaves_nothing_behind(alone: Path) -> None:
    (alone / "bad.yaml").write_text(STUDY.replace("objectives", "objctives"))
    refused = paredown(alone, "search", "bad.yaml")
    assert refused.returncode == 2
    assert refused.stderr.startswith("paredown: bad.yaml: objectives: ")
    assert "bad.yaml: objctives: no such key" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert [p.name for p in alone.iterdir()] == ["bad.yaml"]


def test_timeout_saves_and_says_so(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (alone / "tiny.yaml").write_text(STUDY)
    stopped = Said(capsys, "search", "tiny.yaml", "--timeout", "0.5s")
    assert stopped.code == 3, stopped.err
    assert "the time is up" in stopped.err
    states = trial_states(alone)
    assert len(states) < 3
    assert {state for _, state in states} <= {"done", "waiting"}, "what was cut off is in line again"


def test_a_search_whose_baseline_fails_is_aborted(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (alone / "tiny.yaml").write_text(STUDY.replace("epochs: 2,", "learning_rate: 1e+30, epochs: 2,", 1))
    aborted = Said(capsys, "search", "tiny.yaml")
    assert aborted.code == 4, aborted.err
    last = aborted.err.splitlines()[-1]
    assert last.startswith("paredown: the search was aborted: the baseline (trial 0) failed: the loss of epoch ")
    assert last.endswith("; all that is finished is saved")
    assert "Traceback" not in aborted.err
    assert trial_states(alone) == [(0, "failed")]


def trial_states(folder: Path) -> list[tuple[int, str]]:
    with sqlite3.connect(folder / "paredown.db") as connection:
        rows = connection.execute("SELECT number, state FROM paredown_trials ORDER BY number").fetchall()
    connection.close()
    return rows


def stop_after_a_trial(folder: Path, number: int, *, whole_group: bool) -> tuple[int, str]:
    """Start the search, send it a signal once it has finished a trial, and return its exit code and words."""
    with subprocess.Popen(
        [*COMMAND, "search", "tiny.yaml", "--trials", "5"],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("trial "):
                break
        os.killpg(process.pid, number) if whole_group else os.kill(process.pid, number)
        rest = process.stderr.read()
        return process.wait(), rest


@pytest.mark.timeout(400)
def test_ctrl_c_and_kill_lose_nothing(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (alone / "tiny.yaml").write_text(STUDY)
    code, words = stop_after_a_trial(alone, signal.SIGINT, whole_group=True)
    assert code == 3, words
    assert "stopped; the same command goes on" in words
    assert "Traceback" not in words

    code, _ = stop_after_a_trial(alone, signal.SIGKILL, whole_group=True)
    assert code == -signal.SIGKILL
    before = [s for s in trial_states(alone) if s[1] == "done"]
    assert len(before) >= 2

    finished = Said(capsys, "search", "tiny.yaml", "--trials", "5")
    assert finished.code == 0, finished.err
    states = trial_states(alone)
    assert [n for n, _ in states] == list(range(len(states)))
    assert set(before) <= set(states)
    assert [s for _, s in states].count("done") == 5
    assert {s for _, s in states} <= {"done", "duplicate"}
    with sqlite3.connect(alone / "paredown.db") as connection:
        left = connection.execute("SELECT count(*) FROM trials WHERE state = 'RUNNING'").fetchone()
    connection.close()
    assert left == (0,)


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from paredown.search.cli import app as cli\n"
        "try:\n"
        "    cli.main(lambda: cli.app(['--help']))\n"
        "except SystemExit as left:\n"
        "    assert not left.code, left.code\n"
        "heavy = {'torch', 'ray', 'optuna', 'onnx', 'sklearn', 'plotly'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
