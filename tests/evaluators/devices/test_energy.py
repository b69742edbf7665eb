"""Energy on a device: power times latency, as an interval, beside the energies that MLPerf Tiny published."""

import csv
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from paredown.evaluators.devices.board_latency import REFERENCES, Interval, predict
from paredown.evaluators.devices.catalogue import FOLDER, device_ids, device_profile
from paredown.evaluators.devices.energy import described, energy_text, energy_uj, predicted, predicts
from paredown.evaluators.devices.operator_macs import operator_macs
from paredown.evaluators.devices.profile import Calibration, DeviceProfile, Figure
from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.metrics.device_energy_uj import DEVICE_ENERGY_UJ
from paredown.evaluators.metrics.evaluation_input import EvaluationInput

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = Path(os.environ.get("PAREDOWN_DATA", ROOT.parent / "shared/data")) / "mlperf_tiny_results.csv"
POWERED = {"h7a3", "l4r5", "u575"}


def power(value: float, **interval: float) -> Figure:
    return Figure(value=value, kind="published", source="a data sheet", **interval)


def test_devices_that_state_power_and_have_a_latency_model_are_predicted() -> None:
    assert {name for name in device_ids() if predicts(device_profile(name))} == POWERED


def test_the_median_is_power_times_latency_and_both_widen_the_interval() -> None:
    exact, wide = Interval(10.0, 10.0, 10.0), Interval(10.0, 5.0, 20.0)
    assert energy_uj(power(40, low=40, high=40), exact) == pytest.approx((400, 400, 400))
    assert energy_uj(power(40, low=20, high=60), exact) == pytest.approx((400, 200, 600))
    assert energy_uj(power(40, low=40, high=40), wide) == pytest.approx((400, 200, 800))
    both = energy_uj(power(40, low=20, high=60), wide)
    assert both == pytest.approx((400, 400 / 2**2**0.5, 400 * np.exp(np.hypot(np.log(1.5), np.log(2)))))


def test_a_power_without_an_interval_is_not_taken_as_exact() -> None:
    value, low, high = energy_uj(power(40), Interval(10.0, 10.0, 10.0))
    assert low < 0.95 * value < 1.05 * value < high


def test_one_latency_of_the_users_board_narrows_the_energy() -> None:
    board = device_profile("u575")
    mine = Calibration(network="mine", latency_ms=110, operator_macs=asdict(REFERENCES["ic"]))
    calibrated = board.model_copy(update={"calibrations": (mine,)})
    assert board.power_mw is not None
    widths = [
        high / low
        for _, low, high in (energy_uj(board.power_mw, predict(one, REFERENCES["kws"])) for one in (board, calibrated))
    ]
    assert widths[1] < 0.8 * widths[0]


def test_the_metric_reports_the_interval_of_a_file(conv_file: Path) -> None:
    board = device_profile("l4r5")
    found = DEVICE_ENERGY_UJ.evaluate(inputs(board, conv_file))
    assert found == predicted(board, conv_file)
    time = predict(board, operator_macs(conv_file))
    assert found.value == pytest.approx(45 * time.value_ms)
    assert found.spread > 45 * (time.high_ms - time.low_ms) / 2
    assert (found.how, found.device) == ("predicted", "l4r5")
    assert f"at 45 mW and {time}" in found.note


def test_an_energy_is_described_with_its_interval_and_how_the_power_was_found(conv_file: Path) -> None:
    board = device_profile("l4r5")
    assert board.power_mw is not None
    value, low, high = energy_uj(board.power_mw, predict(board, operator_macs(conv_file)))
    found = described(board, conv_file)
    interval = {"value_uj": value, "low_uj": low, "high_uj": high}
    assert found == {**interval, "how": "predicted", "power_mw": 45, "power_kind": "published"}
    assert described(device_profile("f746"), conv_file) is None
    assert energy_text({**found, "value_uj": 123456, "low_uj": 0.012345, "high_uj": 1e6}) == (
        "123000 uJ (0.0123 to 1000000), predicted"
    )
    assert energy_text(None) == ""


@pytest.mark.parametrize(
    ("name", "said"), [("f746", ", which f746 is not"), ("coral", ", which coral is not"), (None, "latency: h7a3")]
)
def test_a_device_without_power_or_latency_is_refused_with_those_that_have_both(
    name: str | None, said: str, conv_file: Path
) -> None:
    asked = inputs(device_profile(name) if name else None, conv_file)
    assert not DEVICE_ENERGY_UJ.applies(asked)
    with pytest.raises(
        EvaluationError, match=f"device_energy_uj: needs `device:`.*{said}.*l4r5, u575, or a device file"
    ):
        DEVICE_ENERGY_UJ.evaluate(asked)


def test_a_device_file_of_the_user_with_its_power_is_predicted(tmp_path: Path, conv_file: Path) -> None:
    text = (FOLDER / "f746.toml").read_text().replace('id = "f746"', 'id = "mine"\nbased_on = "f746"')
    text = text.replace("\n[memory]", 'power_mw = { value = 330, kind = "measured", source = "my meter" }\n\n[memory]')
    (tmp_path / "mine.toml").write_text(text)
    mine = device_profile("mine.toml", "device", tmp_path)
    assert DEVICE_ENERGY_UJ.applies(inputs(mine, conv_file))
    assert DEVICE_ENERGY_UJ.evaluate(inputs(mine, conv_file)).value == pytest.approx(
        330 * predict(mine, operator_macs(conv_file)).value_ms
    )


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="set PAREDOWN_DATA to the folder of mlperf_tiny_results.csv")
def test_the_interval_holds_most_published_energies_and_the_stated_power_is_theirs() -> None:
    energies, speeds = _published("energy"), _published("performance")
    held, errors, powers = [], [], dict[str, list[float]]()
    for (submission, board, network), published in energies.items():
        profile = device_profile(board)
        assert profile.power_mw is not None
        speed = speeds[submission, board, network]
        powers.setdefault(board, []).append(published * speed / 1e3)
        _, low, high = energy_uj(profile.power_mw, predict(profile, REFERENCES[network]))
        held.append(low <= published <= high)
        errors.append(abs(profile.power_mw.value * 1e3 / speed / published - 1))  # at the latency that was published
    assert len(held) == 78
    assert 0.85 <= np.mean(held) < 1.0
    assert np.median(errors) < 0.12
    for board, seen in powers.items():
        stated = device_profile(board).power_mw
        assert stated is not None
        assert (stated.low, stated.value, stated.high) == pytest.approx(np.quantile(seen, (0.05, 0.5, 0.95)), rel=0.02)


def _published(kind: str) -> dict[tuple[str, str, str], float]:
    """Return the results of the boards whose files state power: by submission, board and network."""
    found = {}
    with PUBLISHED.open() as lines:
        for row in csv.DictReader(lines):
            board = next((name for name in POWERED if name in row["system"].lower()), None)
            if row["kind"] == kind and board is not None and row["benchmark"] in REFERENCES:
                submission = f"{row['version']} {row['org']} {row['system']}"
                found[submission, board, row["benchmark"]] = float(row["value"].split()[0])
    return found


def inputs(target: DeviceProfile | None, file: Path) -> EvaluationInput:
    return EvaluationInput(nn.Identity(), (1, 8, 8), file, target=target)


@pytest.fixture(scope="module")
def conv_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an ONNX file of one convolution and one matrix product."""
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)).eval()
    file = tmp_path_factory.mktemp("conv") / "model.onnx"
    file.write_bytes(export(network, (1, 8, 8)))
    return file
