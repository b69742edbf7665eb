"""Times of a network and of each of its kernels on this machine, by ONNX Runtime's own profiler.

The latency of the whole network is the ratio of its time to that of a reference right beside it, times the reference's
latency, which was measured once: a machine whose clock drifts yields the same number. The profiler tells only how
that latency divides among the kernels, since it takes time itself.
"""

import json
import re
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from paredown.evaluators.files.onnx_graph import sort_nodes
from paredown.evaluators.files.onnx_session import open_session
from paredown.evaluators.latency.kernels import Kernel

MARK = re.compile(r"k(\d+)\.")
"""Name of a node and of its outputs in a model that is profiled; the runtime's names of fused nodes hold it."""
SHORTEST_RUNS, LONGEST_RUNS = 8, 60


def marked(model: bytes) -> bytes:
    """Return the model with nodes and tensors named so that a runtime's names tell where they come from."""
    proto = onnx.load_from_string(model)
    sort_nodes(proto.graph)
    names = {"": ""} | {value.name: value.name for value in (*proto.graph.input, *proto.graph.output)}
    names |= {tensor.name: tensor.name for tensor in proto.graph.initializer}
    for at, node in enumerate(proto.graph.node):
        node.name = f"k{at}."
        node.input[:] = [names[name] for name in node.input]
        for place, name in enumerate(node.output):
            names.setdefault(name, f"k{at}.{place}" if place else f"k{at}.")
        node.output[:] = [names[name] for name in node.output]
    return bytes(proto.SerializeToString())


def kernel_shares(
    model: bytes, kernels: list[Kernel], inputs: dict[str, Any], threads: int, seconds: float
) -> NDArray[np.float64]:
    """Return the share of each kernel in the time of all.

    Args:
        model: ONNX, of `marked`.
        kernels: Kernels of that same file.
        inputs: What the model runs on.
        threads: Threads that execute it.
        seconds: Time to spend, roughly.
    """
    with tempfile.TemporaryDirectory(prefix="paredown-") as folder:
        session = open_session(model, threads, profile=Path(folder, "profile"))
        each = statistics.median(_timed(lambda: session.run(None, inputs)) for _ in range(3))
        for _ in range(int(np.clip(seconds / max(each, 1e-6), SHORTEST_RUNS, LONGEST_RUNS))):
            session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text())
    of_kernel = {operator.name: at for at, kernel in enumerate(kernels) for operator in kernel.operators}
    return _shares(events, {int(name[1:-1]): at for name, at in of_kernel.items()}, len(kernels))


def _timed(run: Callable[[], object]) -> float:
    import time

    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _shares(events: list[dict[str, Any]], of_kernel: dict[int, int], count: int) -> NDArray[np.float64]:
    """Return the shares that a profile tells.

    A node that the runtime inserted, whose name tells nothing, belongs to the kernel before it; one that reorders
    what comes next belongs to that.
    """
    nodes = sorted(
        (e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")), key=lambda e: e["ts"]
    )
    durations: dict[tuple[str, str], list[float]] = defaultdict(list)
    kernels: dict[tuple[str, str], int] = {}
    last, waiting = 0, list[tuple[str, str]]()
    for event in nodes:
        key = (str(event["args"].get("node_index")), event["name"])
        durations[key].append(float(event["dur"]))
        if key in kernels:
            continue
        found = [of_kernel[int(number)] for number in MARK.findall(event["name"]) if int(number) in of_kernel]
        if found:
            last = kernels[key] = found[0]
            kernels |= dict.fromkeys(waiting, last)
            waiting = []
        elif event["args"].get("op_name") == "ReorderInput":
            waiting.append(key)
        else:
            kernels[key] = last
    shares = np.zeros(count)
    for key, times in durations.items():
        shares[kernels.get(key, last)] += _usual(times)
    return np.asarray(shares / max(shares.sum(), 1e-9))


def _usual(times: list[float]) -> float:
    """Return the mean without what was interrupted; the profiler counts whole microseconds, too coarse for a median."""
    most = 1.5 * statistics.median(times) + 1
    return statistics.fmean(value for value in times if value <= most)
