"""What the runtimes and Arm's compiler say of a file: the published reference network, and files that are broken."""

import importlib.util

import numpy as np
import pytest
from int8_models import RESNET8, family_file

from paredown.evaluators.errors import EvaluationError, ExtraMissing
from paredown.evaluators.litert import extra
from paredown.evaluators.litert.conversion import tflite_model
from paredown.evaluators.litert.runtimes import arena, run_litert, run_micro
from paredown.evaluators.litert.signature import Signature
from paredown.evaluators.litert.vela import run_vela
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.spaces.families.catalogue import FAMILIES

ARENA, HEAD, CYCLES, FILE = 55_984, 49_152, 201_747, 98_496
"""Of the reference network of MLPerf Tiny's image classification in int8: TensorFlow Lite Micro, Vela on U55-128."""


@pytest.fixture(scope="module")
def resnet8() -> bytes:
    return tflite_model(family_file("resnet", RESNET8))


def test_it_is_the_network_of_mlperf_tiny() -> None:
    network = FAMILIES["resnet"].build(RESNET8, (3, 32, 32), 10)
    inputs = EvaluationInput(network, (3, 32, 32))
    assert EVALUATORS["macs"].evaluate(inputs).value == pytest.approx(12.5e6, rel=0.01)
    assert EVALUATORS["params"].evaluate(inputs).value == pytest.approx(77_706, rel=0.01)


@pytest.mark.slow
def test_memory_and_cycles_are_those_of_the_reference(resnet8: bytes) -> None:
    memory, estimate = arena(resnet8), run_vela(resnet8)
    assert memory.total == memory.head + memory.tail
    assert memory.total == pytest.approx(ARENA, rel=0.1)
    assert memory.head == pytest.approx(HEAD, rel=0.1)
    assert estimate.cycles == pytest.approx(CYCLES, rel=0.1)
    assert estimate.cycles_npu <= estimate.cycles
    assert estimate.fallbacks == ()
    assert 0.8 * FILE < len(resnet8) < FILE  # zero points that are alike are written once


@pytest.mark.slow
def test_a_smaller_npu_takes_longer_and_one_that_does_not_exist_is_refused(resnet8: bytes) -> None:
    assert run_vela(resnet8, "ethos-u55-32").cycles > 1.5 * run_vela(resnet8, "ethos-u55-128").cycles
    with pytest.raises(EvaluationError, match="Vela cannot compile the file for ethos-u55-7: "):
        run_vela(resnet8, "ethos-u55-7")


@pytest.mark.slow
def test_a_broken_file_is_an_error_and_not_the_end_of_the_process(resnet8: bytes) -> None:
    images = np.zeros(Signature.of(resnet8).shape, np.int8)
    broken = resnet8[:64] + bytes(len(resnet8) - 64)
    with pytest.raises(EvaluationError, match="TensorFlow Lite Micro cannot load or run the file"):
        run_micro(broken, images)
    with pytest.raises(EvaluationError, match="LiteRT cannot load or run the file"):
        run_litert(broken, images)


@pytest.mark.parametrize("file", [b"", b"not a model", b"\x10\x00\x00\x00TFL3" + bytes(64)])
def test_a_file_of_something_else_has_no_signature(file: bytes) -> None:
    with pytest.raises(EvaluationError, match="cannot load the TensorFlow Lite file"):
        Signature.of(file)


def test_without_the_extra_there_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ethosu" else found(name))
    with pytest.raises(ExtraMissing, match=r"extra mcu .ethosu not found.: pip install 'paredown\[mcu\]'"):
        extra.require_mcu()
