from dataclasses import asdict

import pytest

from paredown.evaluators.devices.board_latency import REFERENCES, OperatorMacs, predict, predicts
from paredown.evaluators.devices.catalogue import device_ids, device_profile
from paredown.evaluators.devices.profile import Calibration

PUBLISHED_MS = {"f746": 62.6, "h7a3": 40.8, "l4r5": 165.0, "u575": 109.5, "ra8d1": 8.48}
"""MLPerf Tiny v1.1 to v1.3, image classification, the best engine of each."""


def calibrated(name, network, latency_ms):
    calibration = Calibration(network="mine", latency_ms=latency_ms, operator_macs=asdict(network))
    return device_profile(name).model_copy(update={"calibrations": (calibration,)})


def width(interval):
    return interval.high_ms / interval.low_ms


@pytest.mark.parametrize(("name", "published"), PUBLISHED_MS.items())
def test_the_interval_holds_the_published_latency(name, published):
    interval = predict(device_profile(name), REFERENCES["ic"])
    assert interval.low_ms < published < interval.high_ms


def test_one_calibration_narrows_what_is_known_of_another_network():
    before = predict(device_profile("f746"), REFERENCES["kws"])
    after = predict(calibrated("f746", REFERENCES["ic"], 62.6), REFERENCES["kws"])
    assert width(after) < 0.75 * width(before)
    assert after.low_ms < 18.9 < after.high_ms  # published beside the 62.6 ms


def test_a_calibration_with_the_network_itself_leaves_the_noise_alone():
    after = predict(calibrated("f746", REFERENCES["ic"], 50.0), REFERENCES["ic"])
    assert after.value_ms == pytest.approx(50.0, rel=0.05)
    assert width(after) < 1.4


def test_latency_grows_with_the_network_and_falls_with_the_clock():
    once, twice = OperatorMacs(convolution=1e6), OperatorMacs(convolution=2e6)
    assert predict(device_profile("l4r5"), twice).value_ms == pytest.approx(
        2 * predict(device_profile("l4r5"), once).value_ms
    )
    assert predict(device_profile("h743"), once).value_ms < predict(device_profile("f746"), once).value_ms


def test_a_mix_unlike_the_references_is_less_certain():
    seen = predict(device_profile("h7a3"), OperatorMacs(convolution=1e6))
    unseen = predict(device_profile("h7a3"), OperatorMacs(depthwise=1e6))
    assert width(unseen) > width(seen)


def test_only_microcontrollers_are_predicted():
    assert {name for name in device_ids() if predicts(device_profile(name))} == {
        name for name in device_ids() if device_profile(name).kind == "microcontroller"
    }
