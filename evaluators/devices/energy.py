"""Energy of one image on a device: power of the board times predicted latency, as an interval.

Powers come from published results: energy times images a second. Those runs need not have had the supply or the clock
of the runs that were timed, and the results do not say; the interval of a board's power holds what that makes of it.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from paredown.evaluators.devices import latency
from paredown.evaluators.metrics.measurement import Measurement

if TYPE_CHECKING:
    from paredown.evaluators.devices.board_latency import Interval
    from paredown.evaluators.devices.profile import DeviceProfile, Figure
    from paredown.evaluators.latency.predictor import LatencyPrediction

NAME = "device_energy_uj"
POWER_FACTOR = 1.09
"""Factor within which the power of a board with one engine stays for 9 of 10 networks, where a device file says no
more: powers within the 20 submissions of three boards to MLPerf Tiny v0.7 to v1.3."""


class EnergyInterval(NamedTuple):
    """The energy of one run, predicted.

    Attributes:
        value_uj: Median.
        low_uj: Lower end of the 90 % interval.
        high_uj: Upper end.
    """

    value_uj: float
    low_uj: float
    high_uj: float

    def __str__(self) -> str:
        """Return how it reads: `1230 uJ (905 to 1680)`."""
        value, low, high = (f"{float(f'{one:.3g}'):.12g}" for one in self)
        return f"{value} uJ ({low} to {high})"


def predicts(profile: "DeviceProfile") -> bool:
    """Return whether the energy on a device can be predicted."""
    return profile.power_mw is not None and latency.predicts(profile)


def predicted(profile: "DeviceProfile", file: Path) -> Measurement:
    """Return the energy that a device takes for one run of a model: the median of a 90 % interval, see the note.

    Args:
        profile: A device for which `predicts` is true.
        file: The model: ONNX, or TensorFlow Lite for a microcontroller.

    Raises:
        DeviceError: The predictor beside the device file is missing or none, or the file is no model.
    """
    assert profile.power_mw is not None, "`predicts` is true"
    time = latency.interval(profile, file)
    found = energy_uj(profile.power_mw, time)
    note = f"{found} at {profile.power_mw.value:g} mW and {time}"
    return Measurement(NAME, found.value_uj, (found.high_uj - found.low_uj) / 2, "predicted", profile.id, note)


def described(profile: "DeviceProfile", file: Path) -> dict[str, Any] | None:
    """Return the same as plain data, with the power and how that was found; None where `predicts` is false."""
    power = profile.power_mw
    if power is None or not predicts(profile):
        return None
    found = energy_uj(power, latency.interval(profile, file))
    return {**found._asdict(), "how": "predicted", "power_mw": power.value, "power_kind": power.kind}


def energy_text(found: Mapping[str, Any] | None) -> str:
    """Return how what `described` returns reads: `1230 uJ (905 to 1680), predicted`; empty for None."""
    if found is None:
        return ""
    return f"{EnergyInterval(found['value_uj'], found['low_uj'], found['high_uj'])}, {found['how']}"


def energy_uj(power_mw: "Figure", time: "Interval | LatencyPrediction") -> EnergyInterval:
    """Return the energy that a power makes of a latency.

    Power and latency are taken as independent and lognormal either side of their medians, so that the logarithms of
    their factors add as squares.
    """
    power, least, most = power_mw.value, power_mw.low, power_mw.high
    if least is None or most is None:
        least, most = power / POWER_FACTOR, power * POWER_FACTOR
    value = power * time.value_ms
    low = value * math.exp(-math.hypot(math.log(power / least), math.log(time.value_ms / time.low_ms)))
    high = value * math.exp(math.hypot(math.log(most / power), math.log(time.high_ms / time.value_ms)))
    return EnergyInterval(value, low, high)
