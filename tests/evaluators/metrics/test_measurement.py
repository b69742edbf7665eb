"""How values and changes read, worked out by hand."""

import subprocess
import sys

import pytest

from paredown.evaluators.metrics.catalogue import EVALUATORS, known_metrics
from paredown.evaluators.metrics.measurement import Comparison, Metric, Objective, optimised_metrics

METRICS = known_metrics()
THROUGHPUT = Metric("images_per_s", "1/s", "measured", higher_is_better=True, decimals=1)
ENERGY = Metric("energy_mj", "mJ", "measured", decimals=1)


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("accuracy", 0.97, "0.9700"),
        ("test_accuracy", 0.98886, "0.9889"),
        ("latency_ms", 0.0312, "0.0312 ms"),
        ("latency_ms", 1520.25, "1520.2500 ms"),
        ("size_bytes", 0, "0 B"),
        ("size_bytes", 999, "999 B"),
        ("size_bytes", 154_532, "154.5 kB"),
        ("size_bytes", 2.5e9, "2.5 GB"),
        ("macs", 1.25e6, "1.2 MMAC"),
        ("params", 2690, "2.7 k"),
        ("params", 12, "12"),
    ],
)
def test_values_read_with_their_unit(metric: str, value: float, text: str) -> None:
    assert METRICS[metric].format(value) == text


@pytest.mark.parametrize(
    ("metric", "value", "spread", "text"),
    [
        ("accuracy", 0.98886, 0.00671, "0.9889 ± 0.0067"),
        ("latency_ms", 0.19881, 0.00212, "0.1988 ± 0.0021 ms"),
        ("macs", 1.25e6, 19_200, "1.2 ± 0.019 MMAC"),
    ],
)
def test_a_spread_is_in_the_unit_of_its_value(metric: str, value: float, spread: float, text: str) -> None:
    assert METRICS[metric].format(value, spread) == text


@pytest.mark.parametrize(
    ("metric", "value", "baseline", "text", "comparison"),
    [
        ("accuracy", 0.9184, 0.91, "+0.84 pt", "better"),
        ("accuracy", 0.90, 0.91, "-1.00 pt", "worse"),
        ("exit_rate", 0.65, 0.0, "+65.00 pt", "better"),
        ("exit_rate", 0.0, 0.0, "+0.00 pt", "same"),
        ("size_bytes", 400, 1000, "-60%", "better"),
        ("size_bytes", 2500, 1000, "+150%", "worse"),
        ("size_bytes", 1000, 1000, "+0%", "same"),
        ("size_bytes", 12, 0, "+12 B", "worse"),
        ("size_bytes", 0, 0, "+0%", "same"),
        ("size_bytes", 0, 12, "-100%", "better"),
        ("latency_ms", 0.0036, 1.0, "-99.6%", "better"),
        ("latency_ms", 0.997, 1.0, "-0.3%", "better"),
        ("macs", 1.00004, 1.0, "+0%", "worse"),
    ],
)
def test_changes_read_and_compare(
    metric: str, value: float, baseline: float, text: str, comparison: Comparison
) -> None:
    assert METRICS[metric].format_change(value, baseline) == text
    assert METRICS[metric].compare(value, baseline) == comparison


def test_metrics_of_other_kinds_read_too() -> None:
    assert ENERGY.format(1240.26) == "1240.3 mJ", "mJ takes no further prefix"
    assert (ENERGY.format_change(12.4, 0), ENERGY.compare(12.4, 0)) == ("+12.4 mJ", "worse")
    assert (ENERGY.title, METRICS["accuracy"].title) == ("energy_mj (mJ)", "accuracy")
    assert (THROUGHPUT.format_change(150, 100), THROUGHPUT.compare(150, 100)) == ("+50%", "better")
    assert (THROUGHPUT.format_change(50, 0), THROUGHPUT.compare(50, 0)) == ("+50.0 1/s", "better")


def test_a_broken_limit_is_said_in_the_unit_of_the_metric() -> None:
    said = Objective(METRICS["accuracy"], limit=0.9).describe(0.5)
    assert said == "accuracy 0.5 is below the limit 0.9"
    assert Objective(METRICS["macs"], limit=5).describe(7) == "macs 7 MAC is above the limit 5"


def test_what_is_only_limited_spans_no_front() -> None:
    objectives = [Objective(METRICS["macs"]), Objective(ENERGY, optimised=False, limit=1), Objective(METRICS["params"])]
    assert optimised_metrics(objectives) == (METRICS["macs"], METRICS["params"])


def test_no_trial_measures_what_comes_after_it() -> None:
    assert set(METRICS) - set(EVALUATORS) == {"test_accuracy", "latency_again_ms"}
    assert METRICS["test_accuracy"].higher_is_better
    assert METRICS["test_accuracy"].highest == 1.0


@pytest.mark.parametrize(
    "module", ["evaluators.metrics.catalogue", "studies.study", "studies.selection", "studies.report"]
)
def test_what_shows_a_study_loads_neither_torch_nor_a_runtime(module: str) -> None:
    heavy = ("torch", "onnxruntime", "onnx", "scipy", "sklearn", "ray")
    code = f"import sys, paredown.{module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
