"""How well latency on microcontrollers is predicted: results of MLPerf Tiny, one board left out at a time.

`python benchmarks/mcu_latency.py [mlperf_tiny_results.csv]` fits what is known of engines and cores to all boards but
one, predicts each result of that board without and with one calibration (another network on the same system), and
writes benchmarks/results/mcu_latency.json. With `--write` it also writes the priors that
`paredown.evaluators.devices.board_latency` predicts with, from all boards.

The model is a Gaussian process on the logarithm of clock cycles per multiply-accumulate. Its covariance is a
sum of levels (core, board, system) and of profiles over the mix of operators (of all systems, of number format, core,
engine, and engine version), each a squared exponential over the shares of the four operator classes.
"""

import argparse
import csv
import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from paredown.evaluators.devices.board_latency import ANCHORS, PRIORS, REFERENCES
from paredown.evaluators.devices.catalogue import device_ids, device_profile

RESULTS = Path(__file__).parent / "results" / "mcu_latency.json"
DATA = Path(os.environ.get("PAREDOWN_DATA", Path(__file__).parents[2] / "shared/data"))
PUBLISHED = DATA / "mlperf_tiny_results.csv"
NETWORKS = {
    "image_classification": "ic",
    "keyword_spotting": "kws",
    "visual_wake_words": "vww",
    "anomaly_detection": "ad",
}
"""Later rounds spell the names out."""
BOARDS = {  # part of the system's name: name of the board, core, clock in MHz
    "h7a3": ("h7a3", "Arm Cortex-M7", 280),
    "f746": ("f746", "Arm Cortex-M7", 216),
    "l4r5": ("l4r5", "Arm Cortex-M4", 120),
    "4343w": ("cy8c6", "Arm Cortex-M4", 150),
    "m467": ("m467", "Arm Cortex-M4", 200),
    "u575": ("u575", "Arm Cortex-M33", 160),
    "u585": ("u585", "Arm Cortex-M33", 160),
    "u385": ("u385", "Arm Cortex-M33", 96),
    "ra6m4": ("ra6m4", "Arm Cortex-M33", 200),
    "xg24": ("xg24", "Arm Cortex-M33", 78),
    "nrf5340": ("nrf5340", "Arm Cortex-M33", 128),
    "g0b1": ("g0b1", "Arm Cortex-M0+", 64),
    "ra8d1": ("ra8d1", "Arm Cortex-M85", 480),
    "rx65n": ("rx65n", "Renesas RX", 120),
    "rh850": ("rh850", "Renesas RH850", 240),
}
"""Microcontrollers that run networks on their core; those with an accelerator are left out."""
ENGINES = {
    "STMicroelectronics": "st",
    "plumerai": "plumerai",
    "bosch": "bosch",
    "Skymizer": "skymizer",
    "silicon_labs": "silabs",
    "renesas": "renesas",
    "Renesas": "renesas",
}
VERSIONS = ("v0.7", "v1.0", "v1.1", "v1.2", "v1.3")
OTHER_TARGETS = ("max_performance", "min_ram")
"""Builds that trade speed for memory, of engines that appear with their usual build too."""
BOARD_FLOOR = 0.06
"""Variance of the logarithm between boards of one core and clock (a quarter): caches and flash wait states, which the
clock does not say. Fifteen boards are too few to find it; 0.15 gives the same median error and coverage."""
LEVEL = 1.645
"""Standard deviations either side that hold 90 % of a normal distribution."""


@dataclass(frozen=True)
class Result:
    """One published latency.

    Attributes:
        board: Chip.
        core: Processor core.
        engine: Engine that ran the network.
        version: Round in which the engine's version appeared, from 0.
        dtype: int8 or float.
        system: Submission: results of one system share a level.
        network: Name of the reference network.
        log_cost: Logarithm of cycles per multiply-accumulate.
    """

    board: str
    core: str
    engine: str
    version: int
    dtype: str
    system: str
    network: str
    log_cost: float


def read(file: Path) -> list[Result]:
    """Return the published latencies of microcontrollers."""
    found = []
    with file.open() as lines:
        for row in csv.DictReader(lines):
            name = row["system"].lower().replace("-", "_")
            network = NETWORKS.get(row["benchmark"], row["benchmark"])
            board = next((board for part, board in BOARDS.items() if part in name), None)
            unusable = row["kind"] != "performance" or not row["value"] or network not in REFERENCES
            if unusable or board is None or any(target in name for target in OTHER_TARGETS) or "u3c5" in name:
                continue
            version = VERSIONS.index("v1.0" if "x_cube_ai" in name else row["version"])
            found.append(
                Result(
                    board=board[0],
                    core=board[1],
                    engine=engine(row["org"], name),
                    version=version,
                    dtype="float" if "float" in name else "int8",
                    system=f"{row['version']} {row['org']} {row['system']}",
                    network=network,
                    log_cost=float(np.log(1e6 * board[2] / float(row["value"]) / REFERENCES[network].total)),
                )
            )
    return found


def engine(organisation: str, system: str) -> str:
    """Return which engine a submission used: that of the organisation, unless the system's name says another."""
    if "microtvm" in system:
        return "microtvm-native" if "native" in system else "microtvm"
    return "st" if "x_cube_ai" in system else ENGINES.get(organisation, organisation)


class Covariance:
    """The covariance between results, given the parameters.

    Attributes:
        names: Names of the parameters; all are logarithms.
    """

    names = (
        "length", "core", "board", "system", "profile", "engine", "engine_version", "core_profile", "noise",
        "version_length", "network_version", "dtype",
    )  # fmt: skip

    def __init__(self, results: list[Result]) -> None:
        def same(*keys: str) -> NDArray[np.float64]:
            of = [tuple(getattr(r, key) for key in keys) for r in results]
            return np.array([[float(a == b) for b in of] for a in of])

        mix = np.array([REFERENCES[r.network].shares for r in results])
        self._distance = ((mix[:, None] - mix[None]) ** 2).sum(-1)
        versions = np.array([r.version for r in results])
        self._apart = np.abs(versions[:, None] - versions[None])
        self._core, self._board, self._system = same("core"), same("board"), same("system")
        self._dtype, self._core_dtype = same("dtype"), same("core", "dtype")
        self._engine, self._engine_network = same("engine", "dtype"), same("engine", "dtype", "network")

    def of(self, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the covariance matrix of all results."""
        p = dict(zip(self.names, np.exp(parameters), strict=True))
        near = np.exp(-self._distance / (2 * p["length"] ** 2))
        lasting = np.exp(-self._apart / p["version_length"])
        level = p["core"] * self._core + (p["board"] + BOARD_FLOOR) * self._board + p["system"] * self._system + 0.5
        profile = p["profile"] + p["dtype"] * self._dtype + p["core_profile"] * self._core_dtype
        profile = profile + (p["engine"] + p["engine_version"] * lasting) * self._engine
        own = p["network_version"] * lasting * self._engine_network
        return np.asarray(level + near * profile + own + (p["noise"] + 1e-8) * np.eye(len(near)))


START = np.array([-0.5, -1, -1, -2, -1, -3, -3, -3, -5, 0, -3, -2], float)


def fit(covariance: Covariance, y: NDArray[np.float64], rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the parameters of the largest likelihood on some results, with a weak prior."""

    def loss(parameters: NDArray[np.float64]) -> float:
        try:
            factor = cho_factor(covariance.of(parameters)[np.ix_(rows, rows)], lower=True)
        except np.linalg.LinAlgError:
            return 1e9
        centred = y[rows] - np.median(y[rows])
        likelihood = 0.5 * centred @ cho_solve(factor, centred) + np.log(np.diag(factor[0])).sum()
        return float(likelihood + 0.02 * ((parameters + 2) ** 2).sum())

    return np.asarray(minimize(loss, START, method="L-BFGS-B", options={"maxiter": 60}).x)


def predicted(k: NDArray[np.float64], y: NDArray[np.float64], known: list[int], wanted: int) -> tuple[float, float]:
    """Return mean and standard deviation of a result, given others."""
    mean = float(np.median(y[known]))
    weights = np.linalg.solve(k[np.ix_(known, known)], k[known, wanted])
    variance = k[wanted, wanted] - weights @ k[known, wanted]
    return mean + float(weights @ (y[known] - mean)), float(max(variance, 0.0)) ** 0.5


def leave_one_board_out(results: list[Result]) -> dict[str, object]:
    """Return how far predictions are from the results of boards that the model has not seen."""
    covariance, y = Covariance(results), np.array([r.log_cost for r in results])
    rows: dict[str, list[tuple[float, bool]]] = {"uncalibrated": [], "calibrated": [], "calibrated, known engine": []}
    for board in sorted({r.board for r in results}):
        outside = [i for i, r in enumerate(results) if r.board != board]
        k = covariance.of(fit(covariance, y, np.array(outside)))
        engines = {results[i].engine for i in outside}
        for wanted, result in enumerate(results):
            if result.board != board:
                continue
            rows["uncalibrated"].append(_error(*predicted(k, y, outside, wanted), y[wanted]))
            for other, calibration in enumerate(results):
                if calibration.system == result.system and calibration.network != result.network:
                    error = _error(*predicted(k, y, [*outside, other], wanted), y[wanted])
                    rows["calibrated"].append(error)
                    if result.engine in engines:
                        rows["calibrated, known engine"].append(error)
    return {name: summary(errors) for name, errors in rows.items()}


def _error(mean: float, deviation: float, truth: float) -> tuple[float, bool]:
    return abs(float(np.expm1(mean - truth))), abs(mean - truth) <= LEVEL * deviation


def summary(errors: list[tuple[float, bool]]) -> dict[str, float]:
    """Return median error, the share within 10 %, and how often the 90 % interval holds the truth."""
    sizes = np.array([size for size, _ in errors])
    return {
        "predictions": len(errors),
        "median_error": round(float(np.median(sizes)), 4),
        "within_10_percent": round(float(np.mean(sizes < 0.1)), 4),
        "coverage_of_90_percent_interval": round(float(np.mean([held for _, held in errors])), 4),
    }


def priors(results: list[Result]) -> dict[str, object]:
    """Return what is known of each device of the catalogue: log cycles per MAC at the anchors, with its covariance."""
    plain = [Result("", "", "", 0, "int8", "", network, 0.0) for network in ANCHORS]
    y = np.array([r.log_cost for r in results])
    parameters = fit(Covariance(results), y, np.arange(len(results)))
    p = dict(zip(Covariance.names, np.exp(parameters), strict=True))
    devices = {}
    for name in device_ids():
        profile = device_profile(name)
        if profile.kind != "microcontroller":
            continue
        seen = any(r.board == name for r in results)
        own = [
            Result(name, profile.processor, profile.engine, len(VERSIONS) - 1, "int8", name, r.network, 0.0)
            for r in plain
        ]
        k, n = Covariance(results + own).of(parameters), len(results)
        mean = float(np.median(y))
        weights = np.linalg.solve(k[:n, :n], k[:n, n:])
        covariance = k[n:, n:] - k[n:, :n] @ weights - p["noise"] * np.eye(len(own))
        devices[name] = {
            "board_seen": seen,
            "mean": (mean + weights.T @ (y - mean)).round(5).tolist(),
            "covariance": covariance.round(6).tolist(),
        }
    profile_variance = sum(p[key] for key in ("profile", "dtype", "core_profile", "engine", "engine_version"))
    return {
        "source": "benchmarks/mcu_latency.py --write, from MLPerf Tiny v0.7 to v1.3",
        "results": len(results),
        "length": round(float(p["length"]), 5),
        "level_variance": round(float(p["core"] + p["board"] + BOARD_FLOOR + p["system"] + 0.5), 5),
        "profile_variance": round(float(profile_variance), 5),
        "own_variance": round(float(p["network_version"]), 5),
        "noise": round(float(p["noise"]), 6),
        "centre": round(float(np.median(y)), 5),
        "devices": devices,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "results", type=Path, nargs="?", default=PUBLISHED, help=f"{PUBLISHED.name}; default: %(default)s"
    )
    parser.add_argument("--write", action="store_true", help="write the priors that predictions use")
    arguments = parser.parse_args()
    if not arguments.results.is_file():
        parser.error(f"results: there is no file {arguments.results}; give its path, or its folder as PAREDOWN_DATA")
    results = read(arguments.results)
    counts = {key: len({getattr(r, key) for r in results}) for key in ("board", "core", "engine", "system")}
    document = {
        "data": {"results": len(results), **counts, "networks": dict(Counter(r.network for r in results))},
        **leave_one_board_out(results),
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))
    if arguments.write:
        PRIORS.write_text(json.dumps(priors(results), indent=1) + "\n")


if __name__ == "__main__":
    main()
