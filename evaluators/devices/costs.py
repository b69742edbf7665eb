"""What a trained model costs on a device, from its file alone: nothing is trained or built again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from paredown.evaluators.devices import energy, latency
from paredown.evaluators.devices.profile import DataType, DeviceProfile
from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.metrics.measurement import Measurement
from paredown.spaces.candidate import Candidate

QUANTIZATION = "quantization"


@dataclass(frozen=True)
class DeviceCosts:
    """What a model costs on a device.

    Attributes:
        measurements: By metric: what was found, with how and by what.
        refusal: Why the device cannot run the model; empty where it can.
    """

    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    refusal: str = ""


def number_format(candidate: Candidate) -> str:
    """Return what a candidate's file computes with: `fp32`, `fp16`, `bf16` or `int8`."""
    knobs = candidate.steps.get(QUANTIZATION, {})
    weights = str(knobs.get("weights", "fp32"))
    if weights in {"fp16", "bf16"}:
        return weights
    return "int8" if weights != "fp32" and knobs.get("activations", "uint8") == "uint8" else "fp32"


def refused_format(candidate: Candidate, profile: DeviceProfile) -> str:
    """Return why a device does not execute a candidate's number format; empty where it does."""
    computes = number_format(candidate)
    if computes in profile.dtypes:
        return ""
    allowed: tuple[DataType, ...] = profile.dtypes
    how = "; quantization.weights=int8 with activations=uint8 makes it so" if allowed == ("int8",) else ""
    return f"computes with {computes}; {profile.id} executes {', '.join(allowed)}{how}"


def device_costs(file: Path, candidate: Candidate, profile: DeviceProfile) -> DeviceCosts:
    """Return what a model costs on a device.

    Args:
        file: The ONNX file that its trial measured, or the TensorFlow Lite file that was made of it.
        candidate: What was built.
        profile: The device.
    """
    if refusal := refused_format(candidate, profile):
        return DeviceCosts(refusal=refusal)
    is_tflite = file.suffix == ".tflite"
    if is_tflite and profile.format != "litert":
        return DeviceCosts(refusal=f"is a TensorFlow Lite file; {profile.id} runs {profile.format}")
    try:
        found = _integer_costs(file, profile) if profile.format == "litert" else {}
        found |= {one.NAME: one.predicted(profile, file) for one in (latency, energy) if one.predicts(profile)}
        return DeviceCosts(found)
    except EvaluationError as error:
        return DeviceCosts(refusal=str(error))


def _integer_costs(file: Path, profile: DeviceProfile) -> dict[str, Measurement]:
    from paredown.evaluators.litert.conversion import tflite_model
    from paredown.evaluators.litert.metric import npu_estimate
    from paredown.evaluators.litert.runtimes import arena
    from paredown.evaluators.litert.signature import has_channel_scales

    model = file.read_bytes()
    if file.suffix != ".tflite":
        model = tflite_model(model, profile.weight_granularity)
    elif profile.weight_granularity == "tensor" and has_channel_scales(model):
        raise EvaluationError(
            f"has a scale for each channel of its weights; {profile.id} takes one a tensor: export it with --device "
            f"{profile.id}"
        )
    found = [
        Measurement("ram_bytes", arena(model).total, device="TensorFlow Lite Micro's allocator, 64-bit host"),
        Measurement("flash_bytes", len(model) + profile.engine_flash_bytes, device=profile.id),
    ]
    if profile.npu is not None:
        estimate = npu_estimate(model, profile.npu)
        found.append(Measurement("npu_cycles", estimate.cycles, how="predicted", device=f"Vela, {profile.npu}"))
        found.append(Measurement("npu_sram_bytes", estimate.sram_bytes, how="predicted", device=f"Vela, {profile.npu}"))
    return {measurement.metric: measurement for measurement in found}
