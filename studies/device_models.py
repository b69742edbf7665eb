"""The models of a study as a device sees them: with its costs and limits, and without those that it cannot run."""

from collections.abc import Callable, Collection, Mapping, Sequence
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
from paredown.studies.errors import NothingFits
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
        told: Metrics that are known of the models on this device.
    """

    profile: DeviceProfile
    models: tuple[Model, ...]
    refused: dict[int, str] = field(default_factory=dict)
    told: frozenset[str] = frozenset()

    @property
    def limits(self) -> list[Objective]:
        """The limits that the device sets by itself."""
        metrics = known_metrics()
        return [Objective(metrics[name], False, limit) for name, limit in self.profile.limits.items()]

    def limits_with(self, given: Sequence[Objective]) -> list[Objective]:
        """Return the limits of the user and of the device; see `limits_with`."""
        return limits_with(self.limits, given, self.told, self.profile.id)


def limits_with(
    own: Sequence[Objective], given: Sequence[Objective], told: Collection[str], device: str
) -> list[Objective]:
    """Return limits together with those of a device, which nothing loosens: of two on one metric the tighter holds.

    Args:
        own: Limits of the device.
        given: Limits of the user.
        told: Metrics that are known of the models on this device.
        device: Name of the device, for messages.

    Raises:
        NothingFits: A limit is on a cost that only another device has.
    """
    for limit in given:
        if (name := limit.metric.name) in DEVICE_METRICS and name not in told:
            known = ", ".join(sorted(DEVICE_METRICS & set(told))) or "none of these costs"
            raise NothingFits(
                f"{device} does not tell {name}, so no limit on it can be judged; leave it out ({device} tells: "
                f"{known})"
            )
    return tightened(own, given)


def tightened(own: Sequence[Objective], given: Sequence[Objective]) -> list[Objective]:
    """Return the tighter one of each two limits on one metric, and all others; those of the user first."""
    limits = {limit.metric.name: limit for limit in given}
    for limit in own:
        known = limits.get(limit.metric.name)
        if known is None or limit.tighter_than(known):
            limits[limit.metric.name] = limit
    return list(limits.values())


def candidates(study: Study) -> list[Model]:
    """Return the models that keep what a study limits by itself, whatever its own device would run."""
    own = study.target.limits if study.target else {}
    others = [objective for objective in study.objectives if objective.metric.name not in own]
    return [replace(m, feasible=True, refusal="") for m in study.models() if worst_violation(m, others)[1] <= 0]


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
    able, refused, told = [], {}, set[str]()
    for model in models:
        costs = _costs(_file(study, model), model, profile)
        if costs.refusal:
            refused[model.trial] = costs.refusal
        else:
            able.append(with_costs(model, costs.measurements, study.objectives))
            told |= costs.measurements.keys()
        on_progress()
    return DeviceModels(profile, tuple(able), refused, frozenset(told))


def baseline_on(study: Study, profile: DeviceProfile) -> Model | None:
    """Return the reference of a study with what it costs on a device, as far as that runs it, and on no other one."""
    baseline = study.baseline()
    if baseline is None:
        return None
    costs = _costs(_file(study, baseline), baseline, profile)
    return with_costs(baseline, {} if costs.refusal else costs.measurements, ())


def with_costs(model: Model, costs: Mapping[str, Measurement], objectives: Sequence[Objective]) -> Model:
    """Return a model with what it costs on a device, and without what it costs on that of its study.

    Objectives keep the value of the study's device where this one has none, since models are ranked by them.

    Args:
        model: The model.
        costs: By metric, on the device.
        objectives: Objectives of its study.
    """
    foreign = DEVICE_METRICS - {objective.metric.name for objective in objectives if objective.optimised}
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
