"""What `paredown bench samplers` refuses, and in which words."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from bench_tables import CONDITIONAL, ROWS, SPEC, conditional_spec, read, unknown_objectives, write_json
from optuna.samplers import BaseSampler

from paredown.search.cli import app as cli
from paredown.search.samplers.sampler import Problem


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> str:
    """Run the command where it must refuse; return its message."""
    arguments = ["--table", "table.json", "--spec", "spec.yaml", "--trials", "2", "--seeds", "1", *more]
    there = pytest.MonkeyPatch()
    there.chdir(folder)
    with pytest.raises(SystemExit) as left:
        cli.main(lambda: cli.app(["bench", "samplers", *arguments]))
    there.undo()
    out, err = capsys.readouterr()
    assert left.value.code == 2, err
    assert out == ""
    assert err.count("paredown: ") == 1
    return err[err.index("paredown: ") :].strip()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samplers", "tpe,annealing"], "--samplers: 'annealing' does not exist; allowed: all, cost_aware, tpe, "),
        (["--samplers", ","], "--samplers: names none; allowed: all, cost_aware, tpe, "),
        (["--samplers", "no.such:thing"], "--samplers: no.such:thing: 'no.such' cannot be imported"),
        (["--samplers", "math:nothing"], "--samplers: math:nothing: math has no 'nothing'"),
        (["--samplers", "math:pi"], "--samplers: math:pi: is no function of a Problem"),
        (["--seeds", "ten"], "--seeds: 'ten' is not allowed; allowed: whole numbers from 1"),
        (["--seeds", "0"], "--seeds: '0' is not allowed"),
        (["--trials", "-3"], "--trials: '-3' is not allowed"),
        (["--workers", "many"], "--workers: 'many' is not allowed; allowed: whole numbers from 1 or auto"),
        (["--at", "25,x"], "--at: 'x' is not allowed"),
        (["--table", "gone.json"], "gone.json: cannot be read: No such file"),
        (["--spec", "gone.yaml"], "gone.yaml: cannot be read: No such file"),
        (["--table", "table.xlsx"], "table.xlsx: '.xlsx' is no format; allowed: .csv, .parquet, .json"),
        (["--table", "spec.yaml.json"], "spec.yaml.json: is no valid JSON"),
        (["--table", "broken.parquet"], "broken.parquet: is no Parquet file"),
        (["--table", "short.csv"], "short.csv: line 3 has 2 cells; the head has 5"),
        (["--spec", "broken.yaml"], "broken.yaml: is no valid YAML"),
        (["--spec", "table.json"], "table.json: must hold the keys knobs and objectives"),
        (["--plot", "x.png"], "--plot: x.png is not allowed; allowed: a file that ends in .html or .svg"),
        (["--plot", "nowhere/x.html"], "--plot: nowhere/x.html: there is no folder nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_are_one_message_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    read(tmp_path)
    (tmp_path / "spec.yaml.json").write_text("a: 1")
    (tmp_path / "broken.parquet").write_text("a: 1")
    (tmp_path / "broken.yaml").write_text("a: [1")
    (tmp_path / "short.csv").write_text("a,b,accuracy,cost,params\n0,0,60,1,10\n0,1\n")
    assert refused(capsys, tmp_path, *options).startswith(f"paredown: {message}")


def with_knob(**changes: Any) -> dict[str, Any]:
    return SPEC | {"knobs": SPEC["knobs"] | {"a": SPEC["knobs"]["a"] | changes}}


def with_accuracy(**changes: Any) -> dict[str, Any]:
    return SPEC | {"objectives": SPEC["objectives"] | {"accuracy": SPEC["objectives"]["accuracy"] | changes}}


BAD_TABLES: dict[str, tuple[Any, Any, str]] = {
    "missing column": (
        ROWS,
        with_accuracy(column="acc"),
        "table.json: spec.yaml: objectives.accuracy: no column 'acc'; there are a, b, accuracy, cost, params",
    ),
    "missing score": (ROWS, with_accuracy(score="mean"), "table.json: spec.yaml: objectives.accuracy.score: no column"),
    "no such position": (ROWS, with_accuracy(column="cost[0]"), "table.json: column 'cost[0]', row 1: 1.0 has no"),
    "a network twice": ([*ROWS, ROWS[1]], SPEC, "table.json: row 2 and row 5 are the same network: a=0, b=1"),
    "a column twice": ({"x": {"a": 0}, "y": []}, SPEC, "table.json: must be a list of records, columns with lists, or"),
    "uneven columns": ({"a": [1], "b": [1, 2]}, SPEC, "table.json: columns differ in length: 1, 2"),
    "empty": ([], SPEC, "table.json: holds no network"),
    "value outside": (
        [*ROWS, {**ROWS[0], "a": 2}],
        SPEC,
        "table.json: spec.yaml: knobs.a: column 'a', row 5: 2 is not allowed; allowed: 0, 1",
    ),
    "number outside": (
        ROWS,
        SPEC | {"knobs": {"params": {"type": "int", "high": 30}}},
        "table.json: spec.yaml: knobs.params: column 'params', row 4: 40 is not allowed; allowed: -inf to 30",
    ),
    "no whole number": (
        [{**row, "params": 1.5} for row in ROWS],
        SPEC | {"knobs": {"params": {"type": "int"}}},
        "table.json: spec.yaml: knobs.params: column 'params', row 1: 1.5 is no whole number",
    ),
    "empty knob": (
        CONDITIONAL,
        conditional_spec(optional=False),
        "table.json: spec.yaml: knobs.depth: column 'depth', row 3: is empty; allowed where the spec says `optional",
    ),
    "two that mean one": (
        [{**row, "family": "plain"} for row in CONDITIONAL],
        conditional_spec(),
        "table.json: row 1 and row 3 differ only in knobs that one of them does not have; add a knob to spec.yaml",
    ),
    "no number": (
        [{**ROWS[0], "cost": "much"}],
        SPEC,
        "table.json: spec.yaml: objectives.cost: column 'cost', row 1: 'm",
    ),
    "infinite": (
        [{**ROWS[0], "cost": "inf"}],
        SPEC,
        "table.json: spec.yaml: objectives.cost: column 'cost', row 1: 'inf'",
    ),
    "no cost": ([*ROWS[:3], {**ROWS[3], "params": 0}], SPEC, "table.json: spec.yaml: params: row 4: 0 is not allowed"),
    "unbeaten reference": (
        ROWS,
        with_accuracy(reference=95),
        "spec.yaml: reference: no network of table.json is better than accuracy 95, cost 5 in every objective",
    ),
    "no reference": (ROWS, with_accuracy(reference="huge"), "spec.yaml: objectives.accuracy.reference: 'huge' is not"),
    "no direction": (ROWS, with_accuracy(direction="up"), "spec.yaml: objectives.accuracy.direction: "),
    "known and maximised": (ROWS, with_accuracy(known=True), "spec.yaml: objectives.accuracy: what is known before tr"),
    "nothing known": (
        ROWS,
        {"knobs": SPEC["knobs"], "objectives": unknown_objectives()},
        "spec.yaml: nothing is known before training; mark an objective `known: true`",
    ),
    "no objectives": (ROWS, {"knobs": SPEC["knobs"], "known": {}}, "spec.yaml: objectives: is missing"),
    "no knobs": (ROWS, {"objectives": SPEC["objectives"]}, "spec.yaml: knobs: is missing"),
    "unknown key": (ROWS, SPEC | {"knob": {}}, "spec.yaml: knob: no such key; allowed: key, knobs, objectives, known"),
    "unknown key of a knob": (
        ROWS,
        with_knob(kind=1),
        "spec.yaml: knobs.a.kind: no such key; allowed: column, type, v",
    ),
    "unknown type": (ROWS, with_knob(type="text"), "spec.yaml: knobs.a.type: "),
    "range of a choice": (ROWS, with_knob(low=1), "spec.yaml: knobs.a: a choice has no low, high or log; write values"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables_and_specs_are_one_message_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    rows, spec, message = BAD_TABLES[case]
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    write_json(tmp_path / "table.json", rows)
    assert refused(capsys, tmp_path, "--samplers", "random").startswith(f"paredown: {message}")


def test_a_network_named_twice_in_a_mapping(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path)
    (tmp_path / "table.json").write_text('{"n0": {"a": 0}, "n1": {"a": 1}, "n0": {"a": 0}}')
    assert refused(capsys, tmp_path) == "paredown: table.json: 'n0' appears twice: entries 1 and 3"


def make_single(problem: Problem) -> BaseSampler:
    return optuna.samplers.CmaEsSampler(seed=problem.seed)


def test_a_sampler_that_does_not_support_the_objectives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"{__name__}:make_single"
    read(tmp_path, [row | {"x": i} for i, row in enumerate(ROWS)], SPEC | {"knobs": {"x": {"type": "int"}}})
    assert refused(capsys, tmp_path, "--samplers", name).startswith(f"paredown: --samplers: {name} does not support 2")
