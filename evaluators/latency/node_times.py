"""Times of the nodes of a network on this machine, by ONNX Runtime's own profiler.

The profiler counts whole microseconds and takes about two of them for each node, as much as a small node itself, so
what it says divides the latency of the whole network, which is measured without it.
"""

import json
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.node_order import sort_nodes
from paredown.evaluators.files.onnx_session import open_session
from paredown.evaluators.latency.node_features import AT, Array
from paredown.evaluators.latency.runtime_node import RuntimeNode

MARK = re.compile(r"k(\d+)\.")
"""Name of a node and of its outputs in a model that is profiled; the runtime's names of fused nodes hold it."""
SHORTEST_RUNS, LONGEST_RUNS = 8, 24
KERNEL = "_kernel_time"
TIMED = re.compile(rf'"dur" *: *(\d+), *"ts" *: *\d+, *"ph" *: *"X", *"name" *: *"([^"]*{KERNEL})"')
"""What the profiler writes of a node that ran: its duration in whole microseconds, and its name."""


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


LEAST_INSIDE_US, MOST_INSIDE_US = 1.0, 8.0
"""Least and largest time that the profiler may take for one node."""
OF_ITS_OWN_US = 0.5
"""How far the profiler's time for a node differs from network to network."""
SLOWER, SLOWER_SPREAD = 1.02, 0.02
"""By how much nodes are slower while they are profiled, and how far that differs from network to network."""
LEAST_US = 0.1


@dataclass(frozen=True)
class NodeTimes:
    """What the profiler says of one network.

    Attributes:
        nodes_us: Time of each node; NaN where the runtime executed other nodes than `runtime_nodes` says.
        total_us: Time of everything that ran.
        count: Number of nodes that ran.
    """

    nodes_us: Array
    total_us: float
    count: int


def node_times(
    model: bytes, nodes: Sequence[RuntimeNode], read: Array, inputs: dict[str, Any], threads: int, seconds: float
) -> NodeTimes:
    """Return what the profiler says of each node.

    Args:
        model: ONNX, of `marked`.
        nodes: Nodes of that same file.
        read: Their measures.
        inputs: What the model runs on.
        threads: Threads that execute it.
        seconds: Time to spend, roughly.
    """
    with tempfile.TemporaryDirectory(prefix="paredown-") as folder:
        session = open_session(model, threads, profile=Path(folder, "profile"))
        each = statistics.median(_timed(lambda: session.run(None, inputs)) for _ in range(3))
        for _ in range(int(np.clip(seconds / max(each, 1e-6), SHORTEST_RUNS, LONGEST_RUNS))):
            session.run(None, inputs)
        ran = _ran(Path(session.end_profiling()).read_text())
    return _times(ran, nodes, read)


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@dataclass(frozen=True)
class _Ran:
    """A node that ran: its name, its size, and its time."""

    name: str
    size: tuple[int, int]
    time_us: float


def _ran(text: str) -> dict[str, list[_Ran]]:
    """Return the nodes of each kind that ran, by what the profiler wrote: one line for each node of each run.

    Nodes run in one order, so the first run says which they are; of the others, whose lines hold much else, the
    durations are read alone.
    """
    timed = TIMED.findall(text)
    if not timed or len(timed) != text.count(f'{KERNEL}"'):
        raise EvaluationError(
            f"ONNX Runtime {onnxruntime.__version__} writes its profiles in a form that is not known: "
            f"{len(timed)} of {text.count(KERNEL)} nodes are read; install the version that paredown names"
        )
    names = [name for _, name in timed]
    each = next((n for n in _divisors(len(timed)) if names == names[:n] * (len(timed) // n)), len(timed))
    durations = np.array([float(duration) for duration, _ in timed]).reshape(-1, each or 1)
    found: dict[str, list[_Ran]] = defaultdict(list)
    lines = (line for line in text.splitlines() if KERNEL in line)
    for line, times in zip(lines, durations.T, strict=False):
        event = json.loads(line.rstrip(","))
        facts = event["args"]
        size = (int(facts.get("output_size") or 0), int(facts.get("parameter_size") or 0))
        found[facts["op_name"]].append(_Ran(event["name"], size, _undisturbed(times)))
    return found


def _divisors(number: int) -> Iterator[int]:
    return (n for n in range(1, number + 1) if number % n == 0)


def _times(ran: dict[str, list[_Ran]], nodes: Sequence[RuntimeNode], read: Array) -> NodeTimes:
    """Match what ran with the nodes: by name, and by kind and size where a node's name tells nothing."""
    waiting: dict[str, dict[int, set[str]]] = defaultdict(dict)
    for at, node in enumerate(nodes):
        waiting[_name_of(node, ran)][at] = {mark for o in node.operators for mark in MARK.findall(o.name)}
    found = np.full(len(nodes), np.nan)
    for kind, those in ran.items():
        rest = list[_Ran]()
        for one in those:
            marks = MARK.findall(one.name)
            same = [at for at, own in waiting[kind].items() if marks and marks[0] in own]
            if same:
                found[same[0]] = one.time_us
                del waiting[kind][same[0]]
            else:
                rest.append(one)
        if len(rest) == len(waiting[kind]):
            by_size = sorted(waiting[kind], key=lambda at: (read[at, AT["elements_out"]], read[at, AT["weights"]]))
            for at, one in zip(by_size, sorted(rest, key=lambda one: one.size), strict=True):
                found[at] = one.time_us
    every = [one.time_us for those in ran.values() for one in those]
    return NodeTimes(found, sum(every), len(every))


def _name_of(node: RuntimeNode, ran: dict[str, list[_Ran]]) -> str:
    if node.kind == "Conv" and not node.blocked and (node.activation or node.adds):
        return "FusedConv"
    return "NhwcMaxPool" if node.kind == "MaxPool" and "MaxPool" not in ran else node.kind


def _undisturbed(times: Array) -> float:
    """Return the mean of the faster half; the profiler cuts off what is beyond whole microseconds."""
    return float(np.sort(times)[: max(1, len(times) // 2)].mean()) + 0.5


def divided(times: Sequence[NodeTimes], latencies_ms: Array) -> list[Array]:
    """Return how the latency of each network divides among its nodes, in microseconds.

    What the profiler takes for a node is found from all networks, since it is the same in each but for little.

    Args:
        times: What the profiler says.
        latencies_ms: Latencies of the networks, measured without it.
    """
    latencies, total = 1e3 * latencies_ms, np.array([one.total_us for one in times])
    counts = np.array([max(1, one.count) for one in times])
    weight = 1 / (counts + SLOWER_SPREAD * latencies)
    terms = np.stack([counts, latencies], axis=1) * weight[:, None]
    usual = float(np.linalg.lstsq(terms, (total - latencies) * weight, rcond=None)[0][0])
    own = (total - SLOWER * latencies) / counts
    trust = (SLOWER_SPREAD * latencies / counts / OF_ITS_OWN_US) ** -2
    inside = np.clip((own * trust + usual) / (trust + 1), LEAST_INSIDE_US, MOST_INSIDE_US)
    scale = latencies / np.maximum(total - inside * counts, latencies / 2)
    return [
        np.maximum((one.nodes_us - less) * factor, LEAST_US)
        for one, less, factor in zip(times, inside, scale, strict=True)
    ]
