"""Whether latency means what it says: a model against itself, and against twice its work, idle and beside a burner.

A network of blocks is measured against a copy of its own file, and a network that runs it twice against it, by the
protocol of `latency_ms`: 60 pairs of slices in alternating order. It must read 1.00 +- 0.02 and 1.9 to 2.1, also while
another process keeps every core busy in bursts. The plain median of one model, which does not hold, stands beside it.

    .venv/bin/python benchmarks/latency.py

Writes benchmarks/results/latency.json and exits with code 1 where a ratio is outside.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import compose

from paredown.evaluators.device import this_device
from paredown.evaluators.latency.block_networks import block_network
from paredown.evaluators.measurement_lock import measurement_lock
from paredown.evaluators.metrics.latency_ms import (
    PAIRS,
    clock,
    median_with_interval,
    paired_times,
    runner,
)

RESULTS = Path(__file__).parent / "results"
SEED = 5
SAME, TWICE = (0.98, 1.02), (1.9, 2.1)


def doubled(model: bytes) -> bytes:
    """Return a model that runs another one twice, on the same image, and returns both outputs."""
    one, two = (compose.add_prefix(onnx.load_from_string(model), prefix) for prefix in ("a_", "b_"))
    both = compose.merge_models(one, two, io_map=[])
    for node in both.graph.node:
        node.input[:] = ["a_image" if name == "b_image" else name for name in node.input]
    for value in [value for value in both.graph.input if value.name == "b_image"]:
        both.graph.input.remove(value)
    return bytes(both.SerializeToString())


def burn(until: float) -> None:
    """Keep a core busy in bursts."""
    dice = np.random.default_rng(os.getpid())
    while time.monotonic() < until:
        end = time.monotonic() + dice.uniform(0.01, 0.2)
        while time.monotonic() < end:
            np.sqrt(np.arange(20_000.0))
        time.sleep(dice.uniform(0.005, 0.05))


@contextmanager
def burners(count: int, seconds: float) -> Iterator[None]:
    """Run some burners."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=burn, args=(time.monotonic() + seconds,)) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


def session(model: bytes, shape: tuple[int, int, int], other: bytes, threads: int) -> dict[str, float]:
    """Return the ratio of a model to another one, of one session, with its half interval and the plain median."""
    with measurement_lock():
        own, beside = paired_times(runner(model, shape, threads), runner(other, shape, threads), PAIRS, clock(threads))
    ratio, half = median_with_interval(own.slices / beside.slices)
    return {
        "ratio": ratio,
        "half_interval": half,
        "median_ms": 1e3 * float(np.median(own.waited)),
        "p90_to_median": own.tail,
    }


def measured(sessions: int, threads: int) -> dict[str, object]:
    """Return both ratios over some sessions."""
    model, shape = block_network(SEED, "fp32")
    found = {}
    for name, own in (("same", model), ("twice", doubled(model))):
        each = [session(own, shape, model, threads) for _ in range(sessions)]
        ratios, plain = ([one[key] for one in each] for key in ("ratio", "median_ms"))
        low, high = SAME if name == "same" else TWICE
        found[name] = {
            "ratios": [round(ratio, 4) for ratio in ratios],
            "within": f"{low} to {high}",
            "holds": sum(low <= ratio <= high for ratio in ratios),
            "sessions": sessions,
            "spread_of_ratios": round(max(ratios) / min(ratios) - 1, 4),
            "spread_of_plain_medians": round(max(plain) / min(plain) - 1, 4),
            "p90_to_median": round(float(np.median([one["p90_to_median"] for one in each])), 3),
        }
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "latency.json")
    options = parser.parse_args()
    document: dict[str, object] = {
        "device": str(this_device(options.threads)),
        "load_average_before": round(os.getloadavg()[0], 2),
        "idle": measured(options.sessions, options.threads),
    }
    with burners(os.cpu_count() or 1, 3600):
        document["beside burners"] = measured(options.sessions, options.threads)
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))
    whole = [document[key][name] for key in ("idle", "beside burners") for name in ("same", "twice")]  # type: ignore[index]
    raise SystemExit(any(one["holds"] < one["sessions"] for one in whole))


if __name__ == "__main__":
    main()
