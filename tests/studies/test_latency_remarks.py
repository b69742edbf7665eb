"""Remarks beside a latency: int8 that is slower than fp32, and a measurement that is noisy."""

from dataclasses import replace

import pytest

from paredown.evaluators.metrics.measurement import Measurement
from paredown.spaces.candidate import Candidate
from paredown.studies.front import Model
from paredown.studies.latency_remarks import FLAGS, Fp32Models, faster_in_fp32, is_noisy, latency_flags, latency_remarks
from paredown.studies.summary import front_summary, model_summary

INT8 = {"quantization": {"weights": "int8", "activations": "uint8"}}
FP16 = {"quantization": {"weights": "fp16"}}
WEIGHTS_ALONE = {"quantization": {"weights": "int8", "activations": "fp32"}}


def model(
    trial: int,
    latency_ms: float,
    spread: float = 0.01,
    steps: dict[str, dict[str, object]] | None = None,
    width: float = 1.0,
    device: str = "here",
    **counted: float,
) -> Model:
    values = {"accuracy": 0.9, "macs": 1e6, "params": 1e4} | counted
    measured = {name: Measurement(name, value) for name, value in values.items()}
    measured["latency_ms"] = Measurement("latency_ms", latency_ms, spread, "measured", device)
    return Model(trial, Candidate("mbconv", {"width": width}, steps or {}), measured, f"trials/{trial}")


FP32 = model(0, 1.0)
SLOW = model(3, 1.2, steps=INT8)


def test_int8_beside_a_faster_fp32_of_its_architecture_is_remarked() -> None:
    assert faster_in_fp32(SLOW, Fp32Models([FP32, SLOW])) == FP32
    assert latency_remarks(SLOW, FP32, Fp32Models([FP32, SLOW])) == ["int8 slower than fp32: 1.0000 ms in trial 0"]
    assert latency_remarks(FP32, FP32, Fp32Models([FP32, SLOW])) == []
    distilled = {"distillation": {"weight": 0.5}}
    taught = model(4, 1.2, steps=INT8 | distilled)
    assert faster_in_fp32(taught, Fp32Models([FP32])) == FP32, "a step that leaves the shape alone"


@pytest.mark.parametrize(
    "other",
    [
        model(1, 1.3),
        model(1, 1.19),
        model(1, 1.0, spread=0.5),
        model(1, 1.0, width=0.5),
        model(1, 1.0, macs=9e5),
        model(1, 1.0, params=9e3),
        model(1, 1.0, device="another machine"),
        model(1, 1.0, steps=INT8),
        model(1, 1.0, steps=FP16),
    ],
    ids=["slower", "within", "noisy", "knobs", "macs", "params", "device", "int8", "fp16"],
)
def test_int8_is_not_compared_with_what_is_no_faster_fp32_of_it(other: Model) -> None:
    assert faster_in_fp32(SLOW, Fp32Models([other, SLOW])) is None


def test_only_what_computes_in_int8_is_compared() -> None:
    for steps in (FP16, WEIGHTS_ALONE):
        assert faster_in_fp32(model(3, 1.2, steps=steps), Fp32Models([FP32])) is None


def test_below_the_floor_nothing_is_slower_or_noisy() -> None:
    least, less = model(0, 0.001, spread=0.001), model(1, 0.019, spread=0.01, steps=INT8)
    assert faster_in_fp32(less, Fp32Models([least, less])) is None
    assert not is_noisy(less)


def test_the_earliest_fp32_model_is_the_one_that_counts() -> None:
    later, slower_first = model(2, 0.5), model(1, 1.19)
    assert faster_in_fp32(SLOW, Fp32Models([later, slower_first])) is None
    assert faster_in_fp32(SLOW, Fp32Models([later, FP32])) == FP32


@pytest.mark.parametrize(("spread", "noisy"), [(0.0, False), (0.19, False), (0.21, True)])
def test_a_spread_above_a_tenth_is_noise(spread: float, noisy: bool) -> None:
    measured = model(1, 2.0, spread)
    assert is_noisy(measured) == noisy
    assert model_summary(measured, None, "", Fp32Models())["latency_noisy"] == noisy
    assert any("measurement noisy: ± 10%" in said for said in latency_remarks(measured, None, Fp32Models())) == noisy


def test_a_model_without_latency_has_no_remark() -> None:
    unmeasured = Model(1, SLOW.candidate, {"accuracy": Measurement("accuracy", 0.9)}, "trials/1")
    assert latency_remarks(unmeasured, FP32, Fp32Models([FP32])) == []


def test_the_documents_say_it_of_models_off_the_front_too() -> None:
    shown = front_summary("s", ["accuracy", "latency_ms"], None, [SLOW], "out", Fp32Models([FP32, SLOW]))["models"]
    assert [one["int8_slower_than_fp32"] for one in shown] == [True]
    assert not model_summary(FP32, None, "", Fp32Models([FP32, SLOW]))["int8_slower_than_fp32"]


def test_each_flag_of_programs_is_one_of_the_columns_of_a_table() -> None:
    assert tuple(latency_flags(SLOW, FP32, Fp32Models([FP32, SLOW]))) == FLAGS
    raised = latency_flags(SLOW, FP32, Fp32Models([FP32, SLOW]))
    assert [name for name, is_raised in raised.items() if is_raised] == ["int8_slower_than_fp32"]


@pytest.mark.parametrize(
    ("device", "apart"), [("here", True), ("pi4 (here)", True), ("there", False), ("pi4 (there)", False)]
)
def test_a_prediction_is_compared_with_what_the_same_device_measured(device: str, apart: bool) -> None:
    one = model(1, 1.0, device=device)
    predicted = Measurement("device_latency_ms", 1.3, 0.1, "predicted", "here")
    one = replace(one, measurements={**one.measurements, "device_latency_ms": predicted})
    assert latency_flags(one, FP32, Fp32Models())["latency_apart_from_prediction"] is apart
