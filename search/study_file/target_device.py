"""What `device:` of a study file sets by itself: limits, number formats, multiples of channels."""

from pathlib import Path
from typing import Any

from paredown.evaluators.devices.catalogue import device_profile
from paredown.evaluators.devices.profile import DeviceProfile
from paredown.evaluators.errors import DeviceError
from paredown.search.errors import ConfigError
from paredown.search.study_file.limits import NONE
from paredown.search.study_file.schema import StudyConfig

QUANTIZATION = "quantization"
INT8 = {"quantization.weights": "int8", "quantization.activations": "uint8"}
"""Knobs with which a file computes with int8 alone."""
MULTIPLE = "channel_pruning.multiple"


def target_of(config: StudyConfig, where: str, folder: Path) -> DeviceProfile | None:
    """Return the device that a study file names; None where it names none.

    Raises:
        ConfigError: There is no such device, or its file is wrong.
    """
    if config.device is None:
        return None
    try:
        return device_profile(config.device, f"{where}: device", folder)
    except DeviceError as error:
        raise ConfigError(str(error)) from error


def with_target(config: StudyConfig, target: DeviceProfile | None, where: str) -> StudyConfig:
    """Return a study file with what follows from its device.

    Raises:
        ConfigError: A key contradicts the device; the message names both.
    """
    if target is None:
        return config
    limits = _limits(config, target, where)
    space = config.space.model_copy(update={"knobs": _knobs(config, target, where)})
    return config.model_copy(update={"limits": limits, "space": space})


def _limits(config: StudyConfig, target: DeviceProfile, where: str) -> dict[str, Any]:
    limits: dict[str, Any] = dict(config.limits)
    for metric, most in target.limits.items():
        given = limits.setdefault(metric, most)
        if given == NONE or not isinstance(given, int | float):
            continue
        if given > most:
            raise ConfigError(
                f"{where}: limits.{metric}: {given:g} is more than {target.id} has; allowed: at most {most:g}, or "
                "leave the line out"
            )
    return limits


def _knobs(config: StudyConfig, target: DeviceProfile, where: str) -> dict[str, Any]:
    knobs = dict(config.space.knobs)
    if target.is_int8_only:
        if QUANTIZATION not in config.space.steps:
            raise ConfigError(
                f"{where}: device: {target.id} executes int8 alone; add {QUANTIZATION} to space.steps, which makes it"
            )
        for knob, value in INT8.items():
            given = knobs.setdefault(knob, value)
            if value not in (given if isinstance(given, list) else [given]):
                raise ConfigError(
                    f"{where}: space.knobs: {knob}: {given!r} leaves nothing that {target.id} executes; needed: {value}"
                )
    if "channel_pruning" in config.space.steps and MULTIPLE not in knobs:
        from paredown.spaces.compression.catalogue import STEPS

        if target.channel_multiple in STEPS["channel_pruning"].knobs["multiple"]:
            knobs[MULTIPLE] = target.channel_multiple
    return knobs
