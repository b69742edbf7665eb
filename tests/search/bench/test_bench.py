"""Races of samplers over tables of evaluated networks."""

import csv
import importlib.util
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow
import pyarrow.parquet
import pytest
import yaml
from bench_tables import CONDITIONAL, ROWS, SPEC, conditional_spec, read, unknown_objectives, write_json
from landscapes.function import FunctionLandscape, Network
from landscapes.synthetic import SYNTHETIC
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from paredown.search.bench.competitors.catalogue import COMPETITORS
from paredown.search.bench.competitors.competitor import Competitor
from paredown.search.bench.entries import entries
from paredown.search.bench.landscape import Goal
from paredown.search.bench.plot import write_plot
from paredown.search.bench.race import Run, race, run_once
from paredown.search.bench.share import estimate, full_volume, shares
from paredown.search.bench.standing import checkpoints, document, standings
from paredown.search.bench.table import read_table
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.sampler import Cost, Params, Problem

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("PAREDOWN_DATA", ROOT.parent / "shared/data"))


def write_csv(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with file.open("w", newline="") as target:
        writer = csv.DictWriter(target, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), file)


class Scripted(BaseSampler):
    """Proposes a list in order, and keeps what it is told."""

    script: Sequence[Params] = ()
    told: Sequence[Any] = ()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.script[trial.number][param_name]

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        Scripted.told = [*Scripted.told, list(values) if values else state.name]


def make_scripted(problem: Problem) -> BaseSampler:
    Scripted.told = []
    return Scripted()


def follow(landscape: Any, *script: Params) -> Run:
    Scripted.script = script
    return run_once(landscape, f"{__name__}:make_scripted", 0, len(script))


def share_curve(landscape: Any, run: Run) -> list[float]:
    return shares(run, landscape.reference, full_volume(landscape, [run]))


def network(a: int, b: int) -> dict[str, int]:
    return {"a": a, "b": b}


def test_hypervolume_shares_by_hand(tmp_path: Path) -> None:
    landscape = read(tmp_path)
    run = follow(landscape, network(1, 0), network(1, 1), network(0, 0), network(0, 1))
    assert share_curve(landscape, run) == pytest.approx([40 / 110, 60 / 110, 80 / 110, 1.0])
    assert landscape.describe() == {"networks": 4, "failing": 0, "on_the_front": 3}
    assert Scripted.told == [[70.0, 3.0], [90.0, 4.0], [60.0, 1.0], [80.0, 2.0]]


def test_a_repeated_network_is_an_evaluation_that_brings_nothing(tmp_path: Path) -> None:
    landscape = read(tmp_path)
    run = follow(landscape, network(1, 1), network(1, 1), network(0, 1))
    assert run.duplicates == 1
    assert share_curve(landscape, run) == pytest.approx([40 / 110, 40 / 110, (60 + 40) / 110])


def test_a_proposal_outside_the_table_is_told_fail_and_counted(tmp_path: Path) -> None:
    landscape = read(tmp_path, ROWS[:2] + ROWS[3:])
    run = follow(landscape, network(1, 0), network(1, 1))
    assert (run.outside, run.failed) == (1, 0)
    assert Scripted.told == ["FAIL", [90.0, 4.0]]
    assert share_curve(landscape, run) == pytest.approx([0, 40 / 110])


@pytest.mark.parametrize("empty", [None, math.nan, "", "NaN"])
def test_a_network_without_a_result_fails(tmp_path: Path, empty: Any) -> None:
    landscape = read(tmp_path, [*ROWS[:3], ROWS[3] | {"accuracy": empty}])
    run = follow(landscape, network(1, 1), network(0, 1))
    assert (run.failed, run.outside) == (1, 0)
    assert Scripted.told == ["FAIL", [80.0, 2.0]]
    assert landscape.describe() == {"networks": 4, "failing": 1, "on_the_front": 2}
    whole = 1 * 10 + 3 * 30
    assert share_curve(landscape, run) == pytest.approx([0, 90 / whole])
    assert landscape.costs is not None
    assert landscape.costs.count([network(1, 1)]).tolist() == [[4.0, 40.0]]


def test_the_sampler_sees_the_first_run_and_the_mean_is_scored(tmp_path: Path) -> None:
    rows = [row | {"runs": [row["accuracy"], 0.0], "mean": row["accuracy"] + 5} for row in ROWS]
    accuracy = {"column": "runs[0]", "score": "mean", "direction": "maximise", "reference": 50}
    landscape = read(tmp_path, rows, SPEC | {"objectives": {**SPEC["objectives"], "accuracy": accuracy}})
    run = follow(landscape, network(1, 1))
    assert Scripted.told == [[90.0, 4.0]]
    assert share_curve(landscape, run) == pytest.approx([45 / (1 * 15 + 2 * 35 + 1 * 45)])


def test_costs_are_the_known_columns(tmp_path: Path) -> None:
    costs = read(tmp_path, ROWS[:3]).costs
    assert costs is not None
    assert costs.columns == (Cost("cost", 1), Cost("params", None))
    for tell in (costs.estimate, costs.count):
        known = tell([network(1, 0), network(1, 1), network(0, 0)])
        assert np.array_equal(known, [[3.0, 30.0], [math.nan] * 2, [1.0, 10.0]], equal_nan=True)
    assert costs.estimate([]).shape == (0, 2)
    assert read(tmp_path, spec=SPEC | {"objectives": unknown_objectives(), "known": {}}).costs is None


FORMATS: dict[str, Callable[[Path, Any], None]] = {
    "table.csv": write_csv,
    "table.parquet": write_parquet,
    "records.json": write_json,
    "columns.json": lambda file, rows: write_json(file, {name: [row[name] for row in rows] for name in rows[0]}),
    "mapping.json": lambda file, rows: write_json(
        file, {row["arch"]: {k: v for k, v in row.items() if k != "arch"} for row in rows}
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_the_same(tmp_path: Path, name: str) -> None:
    rows = [
        {"arch": f"0{row['a']}{row['b']}", "test": [row["accuracy"], 1.0], **{k: row[k] for k in ("cost", "params")}}
        for row in ROWS
    ]
    accuracy = {"column": "test[0]", "direction": "maximise", "reference": 50}
    knobs = {k: {"column": f"arch[{i}]", "type": "choice", "values": [0, 1]} for i, k in ((1, "a"), (2, "b"))}
    spec = SPEC | {"key": "arch", "knobs": knobs, "objectives": {**SPEC["objectives"], "accuracy": accuracy}}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    FORMATS[name](tmp_path / name, rows)
    landscape = read_table(tmp_path / name, tmp_path / "spec.yaml")
    for row in ROWS:
        outcome = landscape.outcome(network(row["a"], row["b"]))
        assert outcome.values == (row["accuracy"], row["cost"])
        assert outcome.losses == (-row["accuracy"], row["cost"])
    assert landscape.describe() == {"networks": 4, "failing": 0, "on_the_front": 3}


def test_a_reference_point_may_be_relative_to_the_table(tmp_path: Path) -> None:
    objectives = {n: o | {"reference": r} for (n, o), r in zip(SPEC["objectives"].items(), ["min", "1.05 x max"])}  # noqa: B905
    assert read(tmp_path, spec=SPEC | {"objectives": objectives}).reference == pytest.approx([-60, 1.05 * 4])


@pytest.mark.parametrize("write", [write_json, write_csv])
def test_a_knob_that_a_network_does_not_have_does_not_matter(tmp_path: Path, write: Any) -> None:
    file = tmp_path / ("t.csv" if write is write_csv else "t.json")
    write(file, CONDITIONAL)
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(conditional_spec()))
    landscape = read_table(file, tmp_path / "spec.yaml")
    some = {"family": "plain", "depth": 2, "heads": 1}
    same = some | {"heads": 8}
    assert landscape.canonical(some) == landscape.canonical(same) == {"family": "plain", "depth": 2}
    assert landscape.outcome(some).network == landscape.outcome(same).network
    domain = KnobDomain(landscape.distributions, landscape.canonical)
    assert domain.key(some) == domain.key(same)
    run = follow(landscape, some, same, {**same, "family": "mixed"})
    assert (run.duplicates, run.outside) == (1, 0)
    assert Scripted.told[-1] == [90.0, 4.0]


def test_a_proposed_number_means_the_nearest_of_the_table(tmp_path: Path) -> None:
    rows = [row | {"width": width, "a": 0.1 * i} for i, (row, width) in enumerate(zip(ROWS, [8, 16, 32, 64]))]  # noqa: B905
    landscape = read(tmp_path, rows, SPEC | {"knobs": {"width": {"type": "int"}, "a": {"type": "float"}}})
    assert landscape.distributions == {"width": IntDistribution(8, 64, step=8), "a": FloatDistribution(0, 0.1 * 3)}
    assert landscape.outcome({"width": 24, "a": 0.14}).values == (80.0, 2.0)
    assert landscape.outcome({"width": 40, "a": 0.16}).values == (70.0, 3.0)
    assert landscape.canonical({"width": 64, "a": 0.29}) == {"width": 64, "a": 0.1 * 3}
    assert landscape.outcome({"width": 64, "a": 0.0}).network is None


def test_the_interval_is_students() -> None:
    three = estimate([0.8, 0.9, 1.0])
    assert three.mean == pytest.approx(0.9)
    assert three.half_width == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-5)
    assert estimate([0.5]).half_width is None


def test_checkpoints_end_with_the_race() -> None:
    assert checkpoints([25, 50, 100], 60) == [25, 50, 60]
    assert checkpoints([25, 50, 100], 100) == [25, 50, 100]


def test_results_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    landscape = SYNTHETIC["conditional"]()
    one, two = (race(landscape, ["tpe", "random"], [0, 3], 14, workers) for workers in (1, 2))
    assert [(r.sampler, r.seed) for r in one] == [("tpe", 0), ("tpe", 3), ("random", 0), ("random", 3)]
    assert [r.losses for r in one] == [r.losses for r in two]
    assert one[0].losses != one[1].losses

    places = standings(landscape, one)
    report = document(landscape, places, checkpoints([5], 14))
    json.dumps(report, allow_nan=False)
    assert [s["sampler"] for s in report["samplers"]] == ["tpe", "random"]
    for found, mine in zip(report["samplers"], (one[:2], one[2:]), strict=True):
        curves = [share_curve(landscape, run) for run in mine]
        assert [r["curve"] for r in found["runs"]] == [pytest.approx(c, abs=1e-6) for c in curves]
        assert found["share"]["14"]["mean"] == pytest.approx((curves[0][-1] + curves[1][-1]) / 2)
        assert found["share"]["5"]["mean"] == pytest.approx((curves[0][4] + curves[1][4]) / 2)
        assert found["share"]["14"]["gap"] == pytest.approx(1 - found["share"]["14"]["mean"])
    write_plot(places, "a title", tmp_path / "plot.html")
    assert "a title, 2 seeds" in (tmp_path / "plot.html").read_text()


def line_network(params: Params) -> Network:
    x = float(params["x"])
    return Network((x + 0.5, x) if x < 0.9 else None, (x, x), (x,))


def line(evaluations: int) -> FunctionLandscape:
    goals = (Goal("quality", maximise=True), Goal("cost", known=True))
    reference = np.array([0.0, 1.0])
    knobs = {"x": FloatDistribution(0.1, 1.0)}
    return FunctionLandscape("line", goals, knobs, reference, (Cost("cost", 1),), line_network, evaluations)


def test_the_front_of_a_function_is_the_best_that_was_ever_evaluated() -> None:
    landscape = line(evaluations=2)
    run = follow(landscape, {"x": 0.95}, {"x": 0.5})
    assert Scripted.told == ["FAIL", [1.0, 0.5]]
    assert run.losses == [None, (-0.5, 0.5)]
    other = Run("other", 0, losses=[(-0.25, 0.25), (-0.75, 0.75)])
    alone, together = full_volume(landscape, []), full_volume(landscape, [run, other])
    assert together > max(alone, 0.0)
    assert together >= 0.25 * 0.75 + 0.25 * 0.5 + 0.25 * 0.25
    long = line(evaluations=5000)
    assert full_volume(long, []) == pytest.approx(0.49, abs=0.01)
    assert -0.9 < long.best_losses()[:, 0].min() < -0.89, "from 0.9 on networks fail"
    assert landscape.costs is not None
    assert landscape.costs.estimate([{"x": 0.3}]).tolist() == [[0.3]]


@pytest.mark.parametrize("name", SYNTHETIC)
def test_made_landscapes_are_the_same_every_time(name: str) -> None:
    first, second = SYNTHETIC[name](), SYNTHETIC[name]()
    if name != "many":  # its reference run is long
        assert np.array_equal(first.best_losses(), second.best_losses())
        assert len(first.best_losses()) > 10
    runs = [run_once(landscape, "random", 1, 20) for landscape in (first, second)]
    assert runs[0].losses == runs[1].losses
    assert (runs[0].failed > 0) == (name == "rough")
    assert runs[0].outside == 0


def half_fails(params: Params) -> Network:
    cost = 1.0 + sum(params.values())
    quality = math.log(cost) + 0.1 * params["k1"]
    return Network(None if params["k0"] % 2 else (quality, cost), (quality, cost), (cost,))


def installed(name: str) -> bool:
    return all(importlib.util.find_spec(module) for module in COMPETITORS[name].needs)


@pytest.mark.parametrize("name", COMPETITORS)
@pytest.mark.filterwarnings("default")
def test_outside_tools_race(name: str, tmp_path: Path) -> None:
    if not installed(name):
        pytest.skip(f"{name} is not installed: pip install 'paredown[bench]'")
    goals = (Goal("quality", maximise=True), Goal("cost", known=True))
    knobs = {f"k{i}": IntDistribution(0, 5) for i in range(4)}
    landscape = FunctionLandscape("half", goals, knobs, np.array([0.0, 25.0]), (Cost("cost", 1),), half_fails)
    first, second = (run_once(landscape, name, 1, 12) for _ in range(2))
    assert first.losses == second.losses
    assert first.outside == 0
    assert first.failed > 0
    assert run_once(landscape, name, 2, 4).losses != first.losses[:4]


def test_nas_bench_macro_as_its_readme_says() -> None:
    file = DATA / "nas-bench-macro.json"
    if not file.exists():
        pytest.skip(f"no {file}; set PAREDOWN_DATA to the folder that holds nas-bench-macro.json")
    landscape = read_table(file, ROOT / "examples/nas-bench-macro.yaml")
    assert landscape.describe() == {"networks": 6561, "failing": 0, "on_the_front": 35}
    digits = {f"layer{i}": int(c) for i, c in enumerate("02012100")}
    assert landscape.outcome(digits).values == pytest.approx((89.47000122070312, 47327744))
    assert landscape.outcome(digits).losses == pytest.approx((-89.19666544596355, 47327744))
    runs = [run_once(landscape, name, seed, 100) for name in ("tpe", "random") for seed in range(4)]
    tpe, by_chance = standings(landscape, runs)
    assert tpe.share(100).mean == pytest.approx(0.966, abs=0.015)
    assert by_chance.share(100).mean == pytest.approx(0.926, abs=0.02)


def test_samplers_are_named_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    assert entries("all") == list(SAMPLERS)
    assert entries("random, tpe,random") == ["random", "tpe"]
    monkeypatch.setitem(COMPETITORS, "gone", Competitor(make_scripted, ("no_such_module_anywhere",)))
    with pytest.raises(Exception, match=r"gone needs no_such_module_anywhere: pip install 'paredown\[bench\]'"):
        entries("gone")
