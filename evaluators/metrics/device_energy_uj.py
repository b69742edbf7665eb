"""Energy of one run on the study's device, predicted: power of the board times latency, the median of an interval.

It is known before training. The power stands in the device's file, the latency is that of `device_latency_ms`. The
interval stands in the note and, as half its width, in the spread.
"""

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Evaluator
from paredown.evaluators.metrics.measurement import Measurement, Metric

METRIC = Metric("device_energy_uj", "uJ", "predicted", decimals=2)


def _predict(inputs: EvaluationInput) -> Measurement:
    from paredown.evaluators.devices.energy import predicted, predicts

    if inputs.target is None or inputs.file is None or not predicts(inputs.target):
        lacks = f", which {inputs.target.id} is not" if inputs.target else ""
        raise EvaluationError(
            "device_energy_uj: needs `device:` in the study file, a device with `power_mw` and a predicted latency"
            f"{lacks}: h7a3, l4r5, u575, or a device file of your own with `power_mw`"
        )
    return predicted(inputs.target, inputs.file)


def _applies(inputs: EvaluationInput) -> bool:
    from paredown.evaluators.devices.energy import predicts

    return inputs.target is not None and predicts(inputs.target)


DEVICE_ENERGY_UJ = Evaluator(METRIC, "file", _predict, _applies)
