"""The accuracy of a file is that on the processor it is made for, whichever one measures it."""

from pathlib import Path

import numpy as np
import pytest
from int8_models import large_sums
from torch import nn

from paredown.evaluators.device import Device, this_device
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import EvaluationInput

VNNI = Device("A processor with VNNI", int8_sums_saturate=False)


@pytest.mark.parametrize("device", [VNNI, this_device()])
def test_int8_sums_are_those_of_the_device_that_the_file_is_made_for(device: Device, tmp_path: Path) -> None:
    """The first class has a sum of 32: clipped, it is below 20, and the second class has 23."""
    (tmp_path / "model.onnx").write_bytes(large_sums(classifies=True))
    images, labels = np.ones((1, 32, 4, 4), np.float32), np.zeros(1, np.int64)
    inputs = EvaluationInput(
        nn.Identity(), (32, 4, 4), tmp_path / "model.onnx", images=images, labels=labels, exact=device.is_exact
    )
    assert EVALUATORS["accuracy"].evaluate(inputs).value == float(device.is_exact)
