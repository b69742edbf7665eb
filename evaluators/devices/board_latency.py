"""Latency of an int8 network on a microcontroller, predicted: an interval, not a number.

Published results of four reference networks say how many clock cycles a multiply-accumulate takes on a core with an
engine, by the mix of operators; `benchmarks/mcu_latency.py` fits that and says how far predictions are from boards
that it has not seen. One latency from the user's own board (`paredown device calibrate`) narrows the interval to what
is left unknown of the mix.

Source:
    MLPerf Tiny v0.7 to v1.3, closed and open division; Rasmussen and Williams, Gaussian Processes for Machine
    Learning, section 2.2.
"""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from paredown.evaluators.devices.profile import DeviceProfile

PRIORS = Path(__file__).with_name("board_latency.json")
LEVEL = 1.645
"""Standard deviations either side that hold 90 % of a normal distribution."""


@dataclass(frozen=True)
class OperatorMacs:
    """Multiply-accumulates of a network by class of operator.

    Attributes:
        dense: Of matrix products.
        convolution: Of convolutions over space that mix channels.
        depthwise: Of convolutions of each channel by itself.
        pointwise: Of convolutions of 1 x 1.
    """

    dense: float = 0.0
    convolution: float = 0.0
    depthwise: float = 0.0
    pointwise: float = 0.0

    @property
    def total(self) -> float:
        """Multiply-accumulates of all classes."""
        return self.dense + self.convolution + self.depthwise + self.pointwise

    @property
    def shares(self) -> tuple[float, ...]:
        """The mix: share of each class."""
        return tuple(part / max(self.total, 1.0) for part in astuple(self))


REFERENCES = {
    "ad": OperatorMacs(dense=264_192),
    "ic": OperatorMacs(convolution=12_140_000, pointwise=360_000),
    "kws": OperatorMacs(convolution=320_000, depthwise=288_000, pointwise=2_049_000),
    "vww": OperatorMacs(convolution=225_000, depthwise=824_000, pointwise=6_441_000),
}
"""Reference networks of MLPerf Tiny: autoencoder, ResNet-8, DS-CNN, MobileNet 0.25."""
ANCHORS = tuple(REFERENCES)


@dataclass(frozen=True)
class Interval:
    """A predicted latency.

    Attributes:
        value_ms: Median.
        low_ms: Lower end of the 90 % interval.
        high_ms: Upper end.
    """

    value_ms: float
    low_ms: float
    high_ms: float

    def __str__(self) -> str:
        """Return how it reads: `12.3 ms (9.8 to 15.4)`."""
        return f"{self.value_ms:.3g} ms ({self.low_ms:.3g} to {self.high_ms:.3g})"


@cache
def _priors() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(PRIORS.read_text())
    return loaded


def predicts(profile: "DeviceProfile") -> bool:
    """Return whether the latency on a device can be predicted."""
    return (profile.based_on or profile.id) in _priors()["devices"]


def predict(profile: "DeviceProfile", network: OperatorMacs) -> Interval:
    """Return the latency of a network on a device, narrowed by the calibrations of the profile.

    Raises:
        KeyError: `predicts` says that nothing is known of the device.
    """
    priors = _priors()
    known = priors["devices"][profile.based_on or profile.id]
    networks = [network, *(OperatorMacs(**c.operator_macs) for c in profile.calibrations)]
    mean, covariance = _at(networks, known, priors)
    noise, cycles_a_ms = priors["noise"], 1e3 * profile.clock_mhz.value
    if len(networks) > 1:
        cycles = [c.latency_ms * cycles_a_ms for c in profile.calibrations]
        observed = np.log([taken / n.total for taken, n in zip(cycles, networks[1:], strict=True)])
        system = covariance[1:, 1:] + noise * np.eye(len(networks) - 1)
        weights = np.linalg.solve(system, covariance[1:, 0])
        mean[0] += weights @ (observed - mean[1:])
        covariance[0, 0] -= weights @ covariance[1:, 0]
    deviation = float(np.sqrt(max(covariance[0, 0], 0.0) + noise))
    middle = float(mean[0] + np.log(network.total / cycles_a_ms))
    low, value, high = (float(np.exp(middle + step * deviation)) for step in (-LEVEL, 0.0, LEVEL))
    return Interval(value, low, high)


def _at(
    networks: Sequence[OperatorMacs], known: dict[str, Any], priors: dict[str, Any]
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Return mean and covariance of networks' log cycles per multiply-accumulate, from the reference networks'."""
    mixes = np.array([n.shares for n in networks])
    anchors = np.array([REFERENCES[name].shares for name in ANCHORS])
    own = priors["own_variance"]  # what a network has beside its mix

    def prior(left: "NDArray[np.float64]", right: "NDArray[np.float64]") -> "NDArray[np.float64]":
        distance = ((left[:, None] - right[None]) ** 2).sum(-1)
        near = np.exp(-distance / (2 * priors["length"] ** 2))
        return np.asarray(priors["level_variance"] + priors["profile_variance"] * near)

    weights = np.linalg.solve(prior(anchors, anchors) + own * np.eye(len(anchors)), prior(anchors, mixes)).T
    mean = priors["centre"] + weights @ (np.array(known["mean"]) - priors["centre"])
    same = np.array([[float(one == other) for other in networks] for one in networks])
    left_over = prior(mixes, mixes) + own * same - weights @ prior(anchors, mixes)
    return mean, left_over + weights @ np.array(known["covariance"]) @ weights.T
