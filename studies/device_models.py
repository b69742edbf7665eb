"""The models of a study as a device sees them: with its costs and limits, and without those that it cannot run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from paredown.evaluators.devices import energy
from paredown.evaluators.devices.costs import DeviceCosts, device_costs
from paredown.evaluators.devices.latency import predicts
from paredown.evaluators.devices.profile import DeviceProfile
from paredown.evaluators.files.names import MODEL_FILE
from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Measurement, Objective
from paredown.studies.front import Model
from paredown.studies.region import worst_violation
from paredown.studies.study import Study

DEVICE_METRICS = {"ram_bytes", "flash_bytes", "npu_cycles", "npu_sram_bytes", "device_latency_ms", "device_energy_uj"}
"""Metrics whose value holds for one device alone."""


@dataclass(frozen=True)
class DeviceModels:
    """Models of a study on a device.

    Attributes:
        profile: The device.
        models: Models that the device can run, with what they cost on it among their measurements.
        refused: Trial of each other model to the reason.
    """

    profile: DeviceProfile
    models: tuple[Model, ...]
    refused: dict[int, str] = field(default_factory=dict)

    @property
    def limits(self) -> list[Objective]:
        """The limits that the device sets by itself."""
        metrics = known_metrics()
        return [Objective(metrics[name], False, limit) for name, limit in self.profile.limits.items()]

    def limits_beside(self, given: Sequence[Objective]) -> list[Objective]:
        """Return the limits of the device on metrics to which the user gives none."""
        named = {limit.metric.name for limit in given}
        return [limit for limit in self.limits if limit.metric.name not in named]


def candidates(study: Study) -> list[Model]:
    """Return the models that keep what a study limits by itself, whatever its own device would run."""
    own = study.target.limits if study.target else {}
    others = [objective for objective in study.objectives if objective.metric.name not in own]
    return [replace(m, feasible=True) for m in study.models() if worst_violation(m, others)[1] <= 0]


def on_device(
    study: Study, profile: DeviceProfile, models: Sequence[Model], on_progress: Callable[[], None] = lambda: None
) -> DeviceModels:
    """Return the models of a study with what they cost on a device, found from their files.

    Args:
        study: The study.
        profile: The device.
        models: Finished trials of the study.
        on_progress: Called after each model.
    """
    able, refused = [], {}
    for model in models:
        costs = _costs(_file(study, model), model, profile)
        if costs.refusal:
            refused[model.trial] = costs.refusal
        else:
            able.append(with_costs(model, costs.measurements, study.objectives))
        on_progress()
    return DeviceModels(profile, tuple(able), refused)


def with_costs(model: Model, costs: Mapping[str, Measurement], objectives: Sequence[Objective]) -> Model:
    """Return a model with what it costs on a device, and without what it costs on that of its study.

    Objectives keep the value of the study's device where this one has none, since models are ranked by them.

    Args:
        model: The model.
        costs: By metric, on the device.
        objectives: Objectives of its study.
    """
    foreign = DEVICE_METRICS - {objective.metric.name for objective in objectives}
    kept = {name: found for name, found in model.measurements.items() if name not in foreign}
    return replace(model, measurements={**kept, **costs})


def energy_on(study: Study, profile: DeviceProfile, model: Model) -> dict[str, Any] | None:
    """Return the energy of one run of a model on a device as plain data; None where it cannot be predicted."""
    return energy.described(profile, _file(study, model))


def _file(study: Study, model: Model) -> Path:
    return Path(study.folder, model.artifact, MODEL_FILE)


def _costs(file: Path, model: Model, profile: DeviceProfile) -> DeviceCosts:
    if not file.is_file() and (profile.format == "litert" or predicts(profile)):
        return DeviceCosts(refusal=f"{file} is gone")
    return device_costs(file, model.candidate, profile)
