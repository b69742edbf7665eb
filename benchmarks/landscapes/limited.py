"""Made landscapes with limits, on which no sampler was tuned: what lies outside the limits counts for nothing.

Source:
    Islands of infeasible networks: Gelbart, Snoek, Adams, Bayesian Optimization with Unknown Constraints, UAI 2014.
"""

import hashlib
import math
from collections.abc import Callable

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from landscapes.function import FunctionLandscape, Network
from paredown.search.bench.landscape import Goal, Landscape
from paredown.search.samplers.sampler import Cost, Params

ISLANDS: dict[str, BaseDistribution] = {
    "family": CategoricalDistribution(["plain", "separable", "attention"]),
    "resolution": IntDistribution(16, 64, step=8),
    "plain.depth": IntDistribution(1, 12),
    "plain.width": FloatDistribution(8, 96, log=True),
    "separable.depth": IntDistribution(1, 16),
    "separable.width": FloatDistribution(8, 128, log=True),
    "separable.kernel": CategoricalDistribution([3, 5, 7]),
    "attention.layers": IntDistribution(1, 6),
    "attention.heads": CategoricalDistribution([1, 2, 4, 8]),
    "attention.ratio": FloatDistribution(1, 4),
    "bits": CategoricalDistribution([4, 8, 16]),
    "kept": FloatDistribution(0.3, 1.0),
}
HEAVY: dict[str, BaseDistribution] = {
    "depth": IntDistribution(1, 10),
    "width": FloatDistribution(0.25, 2.0),
    "expansion": CategoricalDistribution([1, 2, 4, 6]),
    "kernel": CategoricalDistribution([3, 5, 7]),
    "squeeze": CategoricalDistribution([False, True]),
    "bits": CategoricalDistribution([4, 8, 32]),
    "kept": FloatDistribution(0.3, 1.0),
    "rank": FloatDistribution(0.2, 1.0),
}
LEAST_ISLANDS, LEAST_HEAVY = 88.0, 89.0
"""Worst acceptable accuracy on each landscape."""


def _noise(params: Params) -> float:
    """Return a draw of a standard normal variable, the same each time for one network."""
    seed = int.from_bytes(hashlib.sha256(repr(sorted(params.items())).encode()).digest()[:8], "big")
    return float(np.random.default_rng(seed).normal())


def active(params: Params) -> Params:
    """Return the knobs that count: those of the family and those that all families share."""
    return {name: v for name, v in params.items() if "." not in name or name.startswith(f"{params['family']}.")}


def islands_network(params: Params) -> Network:
    """Return a network of one of three families; of each, those of some islands cannot be trained."""
    p, family = active(params), params["family"]
    if family == "plain":
        blocks, width = p["plain.depth"], p["plain.width"]
        macs, quality = blocks * 9 * width**2, blocks**0.6 * width**0.5 / 6
        diverges = abs(blocks - 8) < 2 and abs(math.log(width / 40)) < 0.4
    elif family == "separable":
        blocks, width = p["separable.depth"], p["separable.width"]
        kernel = p["separable.kernel"]
        macs, quality = blocks * (kernel**2 + width) * width, blocks**0.55 * width**0.5 * (1 + 0.03 * kernel) / 8
        diverges = kernel == 7 and 5 < blocks < 11
    else:
        blocks, width = p["attention.layers"], 16 * p["attention.ratio"]
        macs, quality = blocks * (24 * width + 300 * p["attention.heads"]), blocks**0.7 * width**0.4 / 8
        quality *= 1 + 0.1 * math.log2(p["attention.heads"])
        diverges = p["attention.heads"] == 8 and width > 40
    lost = {4: 3.0, 8: 0.3, 16: 0.0}[p["bits"]] + 9 * (1 - p["kept"]) ** 2
    macs, size = macs * p["kept"] * p["resolution"] ** 2 / 64, macs * p["kept"] * p["bits"] / 8
    mean = 96 - 45 * math.exp(-1.8 * quality) - 25 * math.exp(-p["resolution"] / 12) - lost
    values = None if diverges else (mean + 0.4 * _noise(p), macs, size)
    return Network(values, (mean, macs, size), (macs, size))


def islands() -> FunctionLandscape:
    """Return three families with knobs of their own, islands that cannot be trained, and a limit on accuracy."""
    goals = (Goal("accuracy", maximise=True, limit=LEAST_ISLANDS), Goal("macs", known=True), Goal("bytes", known=True))
    costs, reference = (Cost("macs", 1), Cost("bytes", 2)), np.array([-LEAST_ISLANDS, 6e5, 3e4])
    return FunctionLandscape("islands", goals, ISLANDS, reference, costs, islands_network, active=active)


def heavy_network(params: Params) -> Network:
    """Return a network whose accuracy is told with a noise as large as the differences between good networks."""
    inner = 24 * params["width"] * params["expansion"]
    weights = params["depth"] * inner * (params["kernel"] ** 2 + 48 * params["width"]) * params["kept"] * params["rank"]
    size = weights * params["bits"] / 8 * (1.1 if params["squeeze"] else 1.0)
    quality = params["depth"] ** 0.5 * inner**0.45 * (1 + 0.04 * params["kernel"]) / 10
    lost = {4: 2.5, 8: 0.3, 32: 0.0}[params["bits"]] + 8 * (1 - params["kept"]) ** 2 + 5 * (1 - params["rank"]) ** 3
    mean = 95 - 40 * math.exp(-1.5 * quality) - lost + (0.7 if params["squeeze"] else 0.0)
    macs = weights * 64.0
    return Network((mean + 2.0 * _noise(params), macs, size), (mean, macs, size), (macs, size))


def heavy() -> FunctionLandscape:
    """Return mixed knobs whose accuracy is told with a standard deviation of 2 points, and limits on two objectives."""
    goals = (
        Goal("accuracy", maximise=True, limit=LEAST_HEAVY),
        Goal("macs", known=True),
        Goal("bytes", known=True, limit=3e4),
    )
    costs, reference = (Cost("macs", 1), Cost("bytes", 2, 3e4)), np.array([-LEAST_HEAVY, 1.5e6, 3e4])
    return FunctionLandscape("heavy", goals, HEAVY, reference, costs, heavy_network)


LIMITED: dict[str, Callable[[], Landscape]] = {"islands": islands, "heavy": heavy}
