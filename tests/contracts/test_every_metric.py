"""What every metric says of itself, and that a new one is one file and one line: all displays then know it."""

import csv
import importlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import f1_score

from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.metrics.catalogue import EVALUATORS, known_metrics
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric
from paredown.search.api.model_table import ModelTable
from paredown.search.cli import app as cli
from paredown.search.drivers.driver import with_reference
from paredown.search.study_file.schema import StudyConfig
from paredown.search.study_file.setup import set_up
from paredown.search.trial.run_trial import run_trial
from paredown.studies.selection import best_models
from paredown.studies.study import Study

F1 = Metric("f1", "1", "measured", higher_is_better=True, is_share=True, untrained_tolerance=None)
ENERGY = Metric("energy_mj", "mJ", "counted", decimals=6)
MJ_PER_MAC = 4.6e-9
"""Horowitz, Computing's Energy Problem, ISSCC 2014, figure 1.1.9: float32, multiply 3.7 pJ and add 0.9 pJ."""
SPACE = {
    "steps": ["early_exit"],
    "knobs": {
        "mbconv.scaling": "free",
        "mbconv.depth": 1.0,
        "mbconv.width": {"low": 0.5, "high": 1.0},
        "mbconv.resolution": 8,
        "mbconv.kernel": 3,
        "mbconv.expansion": 2,
        "mbconv.squeeze_excite": False,
        "early_exit.exits": {"low": 0, "high": 1},
        "early_exit.threshold": 0.5,
        **{"early_exit.rule": "confidence", "early_exit.head": "convolution", "early_exit.first_margin": 0.0},
    },
}


@pytest.mark.parametrize("name", known_metrics())
class TestEveryMetric:
    def test_is_a_file_of_its_name(self, name: str) -> None:
        metric = known_metrics()[name]
        assert importlib.import_module(f"paredown.evaluators.metrics.{name}").METRIC is metric
        assert metric.name == name
        assert metric.unit
        assert metric.how in ("counted", "lower bound", "measured", "predicted")

    def test_formats_every_value_and_change(self, name: str) -> None:
        metric = known_metrics()[name]
        for value in (0.0, 0.25, 1.0, *(() if metric.is_share else (12.0, 154_532.0, 3.2e6, 7e9))):
            assert re.fullmatch(r"\d+(\.\d+)?( [kMG]?[A-Za-z]*)?", metric.format(value)), metric.format(value)
            assert re.fullmatch(r"\+\d+(\.\d+)?( pt|%| [kMG]?[A-Za-z]*)?", metric.format_change(value, 0.0))
            assert metric.with_unit(value).startswith(f"{value:g}")
        assert " ± " in metric.format(0.5, 0.1)

    def test_knows_what_an_improvement_is(self, name: str) -> None:
        metric = known_metrics()[name]
        better, worse = (0.9, 0.2) if metric.higher_is_better else (0.2, 0.9)
        assert metric.compare(better, 0.5) == "better"
        assert metric.compare(worse, 0.5) == "worse"
        assert metric.compare(0.5, 0.5) == "same"
        for value in (better, worse):
            change = metric.change(value, 0.5)
            assert change is not None
            assert (change > 0) == (value > 0.5)
            assert metric.format_change(value, 0.5)[0] == ("+" if change > 0 else "-")
            assert metric.format_change(value, 0.5).endswith("pt" if metric.is_share else "%")

    def test_compares_with_a_baseline_of_nothing(self, name: str) -> None:
        metric = known_metrics()[name]
        assert metric.change(0.0, 0.0) == 0.0
        assert metric.compare(0.65, 0.0) == ("better" if metric.higher_is_better else "worse")
        assert metric.change(0.65, 0.0) == (0.65 if metric.is_share else None)


def _f1(inputs: EvaluationInput) -> Measurement:
    assert inputs.file is not None
    assert inputs.images is not None
    predicted = logits(open_session(inputs.file), inputs.images).argmax(1)
    return Measurement(
        "f1", float(f1_score(inputs.labels, predicted, average="macro", zero_division=0)), 0.02, "measured"
    )


def _energy(inputs: EvaluationInput) -> Measurement:
    return Measurement("energy_mj", EVALUATORS["macs"].evaluate(inputs).value * MJ_PER_MAC)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """A study of two real trials with two new metrics: an untrained baseline, and a smaller model with an exit."""
    folder = tmp_path_factory.mktemp("new")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EVALUATORS, "f1", Evaluator(F1, "data", _f1))
        patch.setitem(EVALUATORS, "energy_mj", Evaluator(ENERGY, "model", _energy))
        objectives = ["f1", "energy_mj", "exit_rate"]
        config = {"study": "new", "task": "digits", "objectives": objectives, "space": SPACE, "trials": 2}
        setup = set_up(StudyConfig.model_validate(config), "new.yaml", folder, folder / "out")
        plan = replace(setup.plan, threads=1, swept=())
        trained, untrained = (replace(plan.training, epochs=n, learning_rate=r) for n, r in ((12, 1e-2), (1, 1e-7)))
        study = Study.create(f"sqlite:///{folder}/new.db", "new", setup.stored, plan.objectives, str(plan.folder))
        small = setup.space.candidate({"mbconv.width": 0.5, "early_exit.exits": 1})
        study.enqueue([setup.space.values(candidate) for candidate in (setup.space.baseline, small)])
        for training in (untrained, trained):
            asked = study.ask(setup.space.sample)
            assert asked is not None
            own = replace(plan, training=training)
            baseline = study.baseline()
            result = run_trial(asked.candidate, own if baseline is None else with_reference(own, baseline))
            assert result.outcome == "done", result.reason
            study.tell(asked.number, result)
        yield study


@pytest.fixture
def run(study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs a command on the study and returns what it printed."""
    monkeypatch.chdir(Path(study.folder).parent)
    monkeypatch.setenv("PAREDOWN_STORAGE", "sqlite:///new.db")

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as left:
            cli.main(lambda: cli.app(list(arguments)))
        out, err = capsys.readouterr()
        assert not left.value.code, err
        return out

    return run


def changes(study: Study) -> dict[str, tuple[Metric, Measurement, str]]:
    """Return of the new metrics, and of one that is 0 in the baseline, how the change has to read, worked out here."""
    before, after = study.models()
    said = {name: f"{100 * (after[name] - before[name]):+.2f} pt" for name in ("f1", "exit_rate")}
    said["energy_mj"] = f"{after['energy_mj'] / before['energy_mj'] - 1:+.0%}"
    return {name: (known_metrics()[name], after.measurements[name], text) for name, text in said.items()}


@pytest.mark.slow
class TestANewMetricReadsRight:
    def test_is_real(self, study: Study) -> None:
        before, after = study.models()
        assert after["f1"] > before["f1"] + 0.2
        assert 0 < after["energy_mj"] < before["energy_mj"]
        assert after["exit_rate"] > before["exit_rate"] == 0.0
        assert best_models(study)[0] == after
        assert [metric.name for metric in study.optimised_metrics] == ["f1", "energy_mj", "exit_rate"]

    def test_in_the_terminal(self, study: Study, run: Any) -> None:
        table = ModelTable.of(study)
        head, (_, row) = table.head, table.rows(study.models()[1:])
        printed = run("front", "new")
        for name, (metric, measurement, text) in changes(study).items():
            assert row[head.index(name)] == f"{metric.format(measurement.value)}\n[green]{text}[/]"
            assert text in printed

    def test_in_the_report(self, study: Study, run: Any) -> None:
        run("report", "new", "-o", "report.html")
        page = Path("report.html").read_text()
        for name, (metric, measurement, text) in changes(study).items():
            shown = metric.format(measurement.value, measurement.spread)
            assert f"<td>{shown}<small class=better>{text}</small></td>" in page
            assert f"{metric.format(measurement.value)}<small class=better>{text}</small></b><span>best {name}" in page

    def test_in_the_card(self, study: Study, run: Any) -> None:
        run("export", "new", "--trial", "1", "-o", "models")
        card = Path("models/trial-0001/README.md").read_text()
        manifest = json.loads(Path("models/trial-0001/manifest.json").read_text())
        for name, (metric, measurement, text) in changes(study).items():
            shown, before = metric.format(measurement.value, measurement.spread), metric.format(study.models()[0][name])
            assert f"| {name} ({measurement.how}) | {shown} | {before} | {text} (better) |" in card
            assert manifest["metrics"][name]["unit"] == metric.unit
        assert "| test_accuracy (measured) | 0." in card

    def test_in_json_and_csv(self, study: Study, run: Any) -> None:
        before, after = study.models()
        deltas = {name: after[name] - before[name] for name in ("f1", "exit_rate")}
        deltas["energy_mj"] = after["energy_mj"] / before["energy_mj"] - 1
        models = {model["trial"]: model for model in json.loads(run("front", "new", "--json"))["models"]}
        rows = {row["trial"]: row for row in csv.DictReader(io.StringIO(run("front", "new", "--csv")))}
        for name, delta in deltas.items():
            assert models[1]["metrics"][name] == float(rows["1"][name]) == after[name]
            assert models[1]["deltas"][name] == float(rows["1"][f"delta_{name}"]) == pytest.approx(delta)

    def test_can_be_limited(self, study: Study, run: Any) -> None:
        _, small = study.models()
        limits = ["--min", f"f1={small['f1']}", "--max", f"energy_mj={small['energy_mj']}"]
        chosen = json.loads(run("select", "new", *limits, "--json"))
        assert chosen["model"]["trial"] == 1
        assert chosen["limits"] == {"f1": small["f1"], "energy_mj": small["energy_mj"]}


@pytest.mark.slow
def test_a_metric_that_is_gone_again_leaves_the_study_readable(
    study: Study, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Study.open("sqlite:///new.db", "new", lambda stored: study.objectives[1:])
    monkeypatch.delitem(EVALUATORS, "f1")
    table = ModelTable.of(plain)
    head, rows = table.head, table.rows(plain.models())
    assert "f1" not in head
    assert len(rows) == 2
