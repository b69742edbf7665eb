"""Made landscapes, the same every time: what a sampler must also be good at, beside the tables at hand.

Source:
    ZDT: Zitzler, Deb, Thiele, Comparison of Multiobjective Evolutionary Algorithms, Evol. Computation 2000.
    DTLZ: Deb et al., Scalable Multi-Objective Optimization Test Problems, CEC 2002.
    NK: Kauffman, Levin, Towards a General Theory of Adaptive Walks on Rugged Landscapes, J. Theor. Biol. 1987.
"""

import hashlib
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from landscapes.function import FunctionLandscape, Network
from paredown.search.bench.columns import Columns
from paredown.search.bench.landscape import Goal, Landscape
from paredown.search.bench.spec import checked_spec
from paredown.search.bench.table import build_table
from paredown.search.samplers.sampler import Cost, Params

ABOVE = "1.05 x max"
ACCURACY = {"direction": "maximise", "score": "mean", "reference": "1 x min"}
COST = {"direction": "minimise", "known": True, "reference": ABOVE}


def _table(name: str, spec: dict[str, Any], rows: list[dict[str, Any]]) -> Landscape:
    cells = {column: [row.get(column) for row in rows] for column in dict.fromkeys(c for row in rows for c in row)}
    named = [f"row {i + 1}" for i in range(len(rows))]
    landscape = build_table(checked_spec(spec, name), Columns(name, cells, named), name)
    landscape.name = name
    return landscape


def _grid(**levels: list[Any]) -> list[dict[str, Any]]:
    return [dict(zip(levels, values, strict=True)) for values in itertools.product(*levels.values())]


def _zdt(name: str, shape: Callable[[float, float], float]) -> Landscape:
    """Return 41 x 5^4 networks; the known objective is the first knob, kept above 0."""
    rows = _grid(x0=list(range(41)), **{f"x{i}": list(range(5)) for i in range(1, 5)})
    for row in rows:
        f1 = row["x0"] / 40
        g = 1 + 9 * sum(row[f"x{i}"] / 4 for i in range(1, 5)) / 4
        row |= {"f1": f1 + 0.1, "f2": g * shape(f1, g)}
    knobs = {f"x{i}": {"type": "int"} for i in range(5)}
    objectives = {"f2": {"direction": "minimise", "reference": 2}, "f1": COST}
    return _table(name, {"knobs": knobs, "objectives": objectives}, rows)


def zdt1() -> Landscape:
    """Return ZDT1 on a grid: a convex front."""
    return _zdt("zdt1", lambda f1, g: 1 - math.sqrt(f1 / g))


def zdt3() -> Landscape:
    """Return ZDT3 on a grid: a front in pieces."""
    return _zdt("zdt3", lambda f1, g: 1 - math.sqrt(f1 / g) - f1 / g * math.sin(10 * math.pi * f1))


def dtlz2() -> Landscape:
    """Return DTLZ2 on a grid of 15 x 15 x 5^3: three objectives, two of them known."""
    rows = _grid(a=list(range(15)), b=list(range(15)), **{f"x{i}": list(range(5)) for i in range(3)})
    for row in rows:
        g = sum((row[f"x{i}"] / 4 - 0.5) ** 2 for i in range(3))
        a, b = row["a"] / 14 * math.pi / 2, row["b"] / 14 * math.pi / 2
        row |= {
            "f1": (1 + g) * math.cos(a) * math.cos(b) + 0.1,
            "f2": (1 + g) * math.cos(a) * math.sin(b) + 0.1,
            "f3": (1 + g) * math.sin(a),
        }
    knobs = {name: {"type": "int"} for name in ("a", "b", "x0", "x1", "x2")}
    objectives = {"f3": {"direction": "minimise", "reference": ABOVE}, "f1": COST, "f2": COST}
    return _table("dtlz2", {"knobs": knobs, "objectives": objectives}, rows)


def rough() -> Landscape:
    """Return an NK landscape (N = 8, K = 3, 3 choices a knob): noisy, and one network in six fails."""
    count, neighbours = 8, 3
    rng = np.random.default_rng(17)
    part = rng.random((count, 3 ** (neighbours + 1)))
    price = rng.uniform(0.2, 1.0, (count, 3)) * np.array([0.3, 1.0, 2.0])
    broken = {(i, j, int(rng.integers(3)), int(rng.integers(3))) for i, j in ((0, 4),)}
    rows = _grid(**{f"k{i}": ["a", "b", "c"] for i in range(count)})
    codes = np.array(list(itertools.product(range(3), repeat=count)))
    for row, code in zip(rows, codes, strict=True):
        places = [[(i + j) % count for j in range(neighbours + 1)] for i in range(count)]
        fit = np.mean([part[i, int(code[p] @ 3 ** np.arange(neighbours + 1))] for i, p in enumerate(places)])
        cost = float(price[np.arange(count), code].sum())
        mean = 55 + 40 * float(fit) + 4 * math.log(cost)
        fails = any(code[i] == a and code[j] == b for i, j, a, b in broken) or rng.random() < 0.05
        accuracy = None if fails else mean + float(rng.normal(0, 0.7))
        row |= {"accuracy": accuracy, "mean": None if fails else mean, "macs": cost * 1e6}
    knobs = {f"k{i}": {"type": "choice"} for i in range(count)}
    return _table("rough", {"knobs": knobs, "objectives": {"accuracy": ACCURACY, "macs": COST}}, rows)


def conditional() -> Landscape:
    """Return two families of networks, each with knobs of its own."""
    shared: dict[str, list[Any]] = {"resolution": [16, 20, 24, 28, 32], "activation": ["relu", "silu"]}
    plain = _grid(family=["plain"], **shared, depth=list(range(1, 13)), width=[8, 12, 16, 24, 32, 48, 64, 96])
    mixed = _grid(family=["mixed"], **shared, heads=[1, 2, 4, 8], ratio=[1, 2, 3, 4], layers=list(range(1, 7)))
    rng = np.random.default_rng(5)
    for row in plain:
        row["macs"] = row["depth"] * row["width"] ** 1.6 * row["resolution"] ** 2
        row["mean"] = 96 - 30 * math.exp(-row["depth"] / 4) - 25 * math.exp(-row["width"] / 20)
    for row in mixed:
        row["macs"] = row["layers"] * row["ratio"] * (20 + 8 * row["heads"]) * row["resolution"] ** 2
        row["mean"] = 98 - 30 * math.exp(-row["layers"] / 3) - 12 / row["heads"] - 8 * math.exp(-row["ratio"] / 1.5)
    rows = plain + mixed
    for row in rows:
        row["mean"] += -20 * math.exp(-row["resolution"] / 9) + (0.8 if row["activation"] == "silu" else 0.0)
        row["accuracy"] = row["mean"] + float(rng.normal(0, 0.3))
    knobs: dict[str, Any] = {"family": {"type": "choice"}, "activation": {"type": "choice"}}
    knobs["resolution"] = {"type": "int"}
    knobs |= {name: {"type": "int", "optional": True} for name in ("depth", "width", "heads", "ratio", "layers")}
    return _table("conditional", {"knobs": knobs, "objectives": {"accuracy": ACCURACY, "macs": COST}}, rows)


def noisy() -> Landscape:
    """Return one objective with much noise against two known costs."""
    levels = {"depth": list(range(1, 9)), "width": [1, 2, 3, 4, 5, 6], "kernel": [3, 5, 7]}
    rows = _grid(**levels, bits=[4, 8, 16], rank=[0.25, 0.5, 1.0], activation=["relu", "silu", "hswish"])
    rng = np.random.default_rng(29)
    for row in rows:
        row["macs"] = row["depth"] * row["width"] ** 2 * row["kernel"] ** 2 * row["rank"] * 1e4
        row["bytes"] = row["depth"] * row["width"] ** 2 * row["bits"] / 8 * row["rank"] * 1e3
        size = row["depth"] * row["width"] * math.sqrt(row["kernel"]) * row["rank"] ** 0.4
        lost = {4: 4.0, 8: 0.4, 16: 0.0}[row["bits"]] + {"relu": 0.6, "silu": 0.0, "hswish": 0.2}[row["activation"]]
        row["mean"] = 95 - 40 * math.exp(-size / 18) - lost
        row["accuracy"] = row["mean"] + float(rng.normal(0, 1.5))
    knobs: dict[str, Any] = {name: {"type": "int"} for name in ("depth", "width")}
    knobs |= {name: {"type": "choice"} for name in ("kernel", "bits", "activation")} | {"rank": {"type": "float"}}
    objectives = {"accuracy": ACCURACY, "macs": COST, "bytes": COST}
    return _table("noisy", {"knobs": knobs, "objectives": objectives}, rows)


BLOCKS = 6
MANY: dict[str, BaseDistribution] = {
    name: knob
    for b in range(BLOCKS)
    for name, knob in {
        f"b{b}.operator": CategoricalDistribution(["conv", "separable", "skip"]),
        f"b{b}.width": IntDistribution(8, 64, step=8),
        f"b{b}.kept": FloatDistribution(0.2, 1.0),
        f"b{b}.bits": CategoricalDistribution([4, 8, 32]),
    }.items()
}


def many_network(params: Params) -> Network:
    """Return a network of six blocks: an operator, a width, a share of channels kept and a bit width each."""
    macs = size = quality = lost = 0.0
    before = 16.0
    for b in range(BLOCKS):
        operator, bits = params[f"b{b}.operator"], params[f"b{b}.bits"]
        kept = float(params[f"b{b}.kept"])
        width = before if operator == "skip" else params[f"b{b}.width"] * kept
        weights = {"conv": 9 * before * width, "separable": (9 + width) * before, "skip": 16.0}[operator]
        macs += weights * 4.0 ** (3 - b // 2)
        size += weights * bits / 8
        strength = {"conv": 1.0, "separable": 0.8, "skip": 0.1}[operator]
        quality += strength * math.log1p(width) * (1 + 0.15 * b) * (1.2 if b % 2 == (operator == "conv") else 1.0)
        lost += {4: 0.5, 8: 0.05, 32: 0.0}[bits] * strength + 1.2 * (1 - kept) ** 2 * strength
        before = width
    mean = 98 - 50 * math.exp(-quality / 8) - lost
    named = repr(sorted(params.items())).encode()
    seed = int.from_bytes(hashlib.sha256(named).digest()[:8], "big")
    told = mean + float(np.random.default_rng(seed).normal(0, 0.3))
    return Network((told, macs, size), (mean, macs, size), (macs, size))


def many() -> Landscape:
    """Return 24 knobs of all types, computed: accuracy against two known costs."""
    goals = (Goal("accuracy", maximise=True), Goal("macs", known=True), Goal("bytes", known=True))
    reference = np.array([-60.0, 1.2e6, 1.5e5])
    return FunctionLandscape("many", goals, MANY, reference, (Cost("macs", 1), Cost("bytes", 2)), many_network)


SYNTHETIC: dict[str, Callable[[], Landscape]] = {
    "zdt1": zdt1,
    "zdt3": zdt3,
    "dtlz2": dtlz2,
    "rough": rough,
    "conditional": conditional,
    "noisy": noisy,
    "many": many,
}
