"""Latency: the median's interval from the binomial distribution, and models that are equal or not."""

import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from paredown.evaluators.device import this_device
from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.metrics import latency_ms
from paredown.evaluators.metrics.evaluation_input import Baseline, EvaluationInput
from paredown.evaluators.metrics.latency_ms import LATENCY_MS, PAIRS, median_with_interval
from paredown.evaluators.metrics.measurement import Measurement

SHAPE = (3, 24, 24)


def network(channels: int) -> nn.Module:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(4)]
    return nn.Sequential(nn.Conv2d(3, channels, 3), *convolutions, nn.Flatten(), nn.Linear(channels * 22**2, 2)).eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    written = {"small": folder / "small.onnx", "copy": folder / "copy.onnx", "large": folder / "large.onnx"}
    for name, file in written.items():
        file.write_bytes(export(network(32 if name == "large" else 8), SHAPE))
    return written


def measured(file: Path, reference: Baseline | None = None) -> Measurement:
    return LATENCY_MS.evaluate(EvaluationInput(nn.Identity(), SHAPE, file, baseline=reference))


def test_the_median_of_few_values_by_hand() -> None:
    assert median_with_interval(np.array([3.0])) == (3.0, 0.0)
    assert median_with_interval(np.array([4.0, 1.0])) == (2.5, 1.5)  # fewer than six values: all of their width
    assert median_with_interval(np.array([5.0, 1.0, 3.0])) == (3.0, 2.0)


def test_one_outlier_moves_neither_median_nor_interval() -> None:
    values = np.arange(1.0, PAIRS + 1)
    spoilt = np.append(values[:-1], 1e9)
    assert median_with_interval(spoilt) == median_with_interval(values)


def test_the_interval_covers_the_median_95_times_in_100() -> None:
    # With n ordered values, P(k of them below the true median) = C(n, k) / 2^n. Values 0 to n - 1 give the ranks
    # away: twice the half width is the difference of the two ranks, and the lower one is 22 for n = 60.
    half = median_with_interval(np.arange(float(PAIRS)))[1]
    low = math.floor(PAIRS / 2 - 1.96 * math.sqrt(PAIRS) / 2)
    inside = range(low + 1, low + round(2 * half) + 1)
    coverage = sum(math.comb(PAIRS, k) for k in inside) / 2**PAIRS
    assert 0.95 <= coverage < 0.97


def test_equal_models_have_a_ratio_of_one(files: dict[str, Path]) -> None:
    reference = Baseline(files["copy"], SHAPE, 7.0)
    same = min((measured(files["small"], reference) for _ in range(2)), key=lambda m: abs(m.value - 7.0))
    assert same.value == pytest.approx(7.0, rel=0.2)
    assert same.spread < 7.0
    assert same.device == str(this_device()) != ""


def test_a_larger_model_takes_longer_with_and_without_a_reference(files: dict[str, Path]) -> None:
    assert measured(files["large"]).value > 1.5 * measured(files["small"]).value  # 16 times the arithmetic
    assert measured(files["large"], Baseline(files["small"], SHAPE, 1.0)).value > 1.5
    assert measured(files["small"], Baseline(files["large"], SHAPE, 1.0)).value < 0.67


def test_the_reference_may_have_another_shape(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "grey.onnx").write_bytes(export(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), (1, 8, 8)))
    ratio = measured(files["large"], Baseline(tmp_path / "grey.onnx", (1, 8, 8), 1.0)).value
    assert ratio > 1


def test_a_slice_is_the_median_of_its_runs() -> None:
    clock = itertools.accumulate([0.0, 1.0, 0.0, 9.0, 0.0, 2.0])
    assert latency_ms._seconds(lambda: None, 3, lambda: next(clock)) == 2.0


def test_a_run_that_finds_the_data_of_another_model_in_the_caches_does_not_count() -> None:
    now, last = 0.0, ""

    def model(name: str) -> Callable[[], None]:
        def run() -> None:
            nonlocal now, last
            now, last = now + (0.001 if last == name else 0.003), name

        return run

    own, other = latency_ms.paired_times(model("own"), model("other"), 6, lambda: now)
    assert own.slices == pytest.approx(0.001)
    assert other.slices == pytest.approx(0.001)


def test_an_interval_holds_what_differs_between_sessions() -> None:
    assert latency_ms.with_sessions(100.0, 0.0) == pytest.approx(1.96)
    assert latency_ms.with_sessions(100.0, 10.0) == pytest.approx(math.hypot(10, 1.96))


def test_side_by_side_a_model_is_as_fast_as_its_copy(files: dict[str, Path]) -> None:
    runs = [latency_ms.runner(files[name], SHAPE) for name in ("copy", "large")]
    (same, half_width), (slower, _) = latency_ms.side_by_side(runs, latency_ms.runner(files["small"], SHAPE))
    assert same == pytest.approx(1.0, rel=0.2)
    assert half_width > 0.019
    assert slower > 1.5


def test_the_tail_and_the_drift_of_the_baseline_stand_in_the_note(files: dict[str, Path]) -> None:
    alone = measured(files["small"])
    drifted = measured(files["small"], Baseline(files["small"], SHAPE, 1e-3))
    assert alone.note.startswith("p90 ")
    assert alone.note.endswith("drifted by +0.0%")
    assert float(alone.note.split()[1]) >= 0.99 * alone.value
    assert float(drifted.note.split("+")[1].removesuffix("%")) > 100, "it takes longer than a microsecond"


def test_the_tail_is_the_90th_percentile_to_the_median() -> None:
    times = latency_ms.Times(np.array([1.0]), [1.0] * 8 + [2.0] * 3)
    assert times.tail == 2.0


def test_a_batch_takes_longer_than_an_image_and_is_another_device(files: dict[str, Path]) -> None:
    many = LATENCY_MS.evaluate(EvaluationInput(nn.Identity(), SHAPE, files["small"], batch_size=16))
    assert many.value > 4 * measured(files["small"]).value
    assert many.device == str(this_device(1, 16)) != str(this_device())


def test_waiting_for_a_core_does_not_count_on_one_thread() -> None:
    def waits() -> None:
        time.sleep(0.01)  # what is tested: time in which the processor does nothing

    alone, waited = latency_ms.paired_times(waits, waits, 3, latency_ms.clock(1))[0], latency_ms.clock(2)
    assert alone.slices.max() < 0.005
    assert min(alone.waited) >= 0.01
    assert waited is time.perf_counter
