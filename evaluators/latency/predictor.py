"""Latency of a whole network on one device, predicted from its file: the sum of what the nodes take that run.

A table guesses how long each node takes, and several small neural networks, each trained on other networks of a
profile, correct it; their mean is the prediction, and how far they are apart says how sure it is. They are stored as
plain arrays, which need no PyTorch and run no code when they are read; `paredown.evaluators.latency.fitting` trains
them.

Source:
    Zhang et al., nn-Meter, MobiSys 2021 (the sum over kernels); Lakshminarayanan et al., Simple and Scalable
    Predictive Uncertainty Estimation using Deep Ensembles, NeurIPS 2017; Lei et al., Distribution-Free Predictive
    Inference for Regression, JASA 2018, section 5.2 (intervals that held-out networks scale).
"""

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.errors import DeviceError
from paredown.evaluators.files.onnx_graph import Graph, read_graph
from paredown.evaluators.latency.instructions import Instructions, instructions_of, is_known
from paredown.evaluators.latency.node_counts import FEATURES, counts_of, features
from paredown.evaluators.latency.node_features import AT, CLASSES, MEASURES, Array, measures
from paredown.evaluators.latency.runtime_nodes import runtime_nodes
from paredown.evaluators.latency.single_precision import in_single_precision
from paredown.evaluators.latency.table_sum import costs_of, groups_of, guessed_us

BOUNDED = ("channels_in", "channels_out", "elements_in", "elements_out", "side", "stride", "groups", "weights")
"""Measures whose range in the profile a prediction keeps to."""
COLUMNS = [AT[name] for name in BOUNDED]
FLAGS = {"int8": "is_int8", "fp16": "is_half"}
"""Measures that are not zero in networks of a number format."""
MOST_CORRECTED = 0.3
"""Logarithm of the factor by which a member corrects the guess of a node at most."""
BESIDE = ("guess", "guess_before", "guess_after", "guess_of_network", "nodes_of_network")
"""Logarithms that members see of a node beside its features: what it finds in the caches depends on the others."""
SEEN = (*FEATURES, *BESIDE)
NOTHING = -1 / 3
"""What members see where no node is before another, or none after it."""
MARGIN = 0.05
UNREADABLE = (
    *(ValueError, KeyError, TypeError, AttributeError, EOFError, RecursionError),
    *(zipfile.BadZipFile, zlib.error),
    NotImplementedError,  # what `zipfile` raises of an archive that is packed in a way it does not know
)
"""What reading a file raises that holds something else, or is damaged."""
FEWEST_NODES = 20
"""Nodes of a class in a profile below which nothing is known of it."""


@dataclass(frozen=True)
class LatencyPrediction:
    """A predicted latency.

    Attributes:
        value_ms: The prediction.
        low_ms: Lower end of the 90 % interval.
        high_ms: Upper end.
        outside: What about the network lies outside of what was profiled; empty for a network within it.
    """

    value_ms: float
    low_ms: float
    high_ms: float
    outside: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return how it reads: `0.412 ms (0.39 to 0.435)`."""
        marked = f"; outside of the profiled range: {', '.join(self.outside)}" if self.outside else ""
        return f"{self.value_ms:.3g} ms ({self.low_ms:.3g} to {self.high_ms:.3g}){marked}"


@dataclass(frozen=True)
class LatencyPredictor:
    """What predicts the latency on one device.

    Attributes:
        facts: What the profile says of itself: device, number of networks, their range, errors on held-out ones.
        tables: Table of costs of each member, as in `paredown.evaluators.latency.table_sum`.
        mean: Mean of each feature.
        scale: Standard deviation of each feature.
        layers: Weights, `members x inputs x outputs`, and biases, `members x outputs`, of each layer.
        low: Least value of each measure in each class of nodes.
        high: Largest value.
        counts: Number of nodes of each class in the profile.
        interval: For each number format, the standard deviation that is added to that of the members and the factor of
            their sum, both of the logarithm, with which intervals hold 90 % of held-out networks.
    """

    facts: dict[str, Any]
    tables: Array
    mean: Array
    scale: Array
    layers: tuple[tuple[Array, Array], ...]
    low: Array
    high: Array
    counts: Array
    interval: Array

    @property
    def instructions(self) -> Instructions:
        """Instructions of the processor for which it was made."""
        return instructions_of(self.facts)

    def predict(self, model: Path | bytes) -> LatencyPrediction:
        """Return the latency of a model.

        Args:
            model: ONNX, or the path of its file.

        Raises:
            EvaluationError: It is no ONNX model.
        """
        read, was_half = self._read(model)
        members = np.log(self.nodes_us(read).sum(axis=1) / 1e3)
        middle, (floor, factor) = float(members.mean()), self.interval[self._format_of(read)]
        reach = factor * (float(members.std()) + floor)
        value, low, high = (float(np.exp(middle + step)) for step in (0.0, -reach, reach))
        outside = [*self._outside(read, value), *(["fp16, which runs as fp32 here"] if was_half else [])]
        return LatencyPrediction(value, low, high, tuple(outside))

    def _read(self, model: Path | bytes) -> tuple[Array, bool]:
        """Return the measures of the nodes that run, and whether fp16 runs as fp32: where a profile has none of it."""
        graph = longest(read_graph(model, int(self.facts.get("batch_size", 1))))
        run = graph if "fp16" in self.facts["formats"] else in_single_precision(graph)
        return measures(run, runtime_nodes(run, self.instructions), self.instructions), run is not graph

    def _format_of(self, read: Array) -> int:
        """Return at which of the profiled number formats a network is computed; the first where at none of them."""
        formats: list[str] = self.facts["formats"]
        name = next((name for name, flag in FLAGS.items() if read[:, AT[flag]].any()), "fp32")
        return formats.index(name) if name in formats else 0

    def nodes_us(self, read: Array) -> Array:
        """Return what each node takes by each member, in microseconds: `members x nodes`."""
        counts = counts_of(read, self.instructions)
        costs, groups, seen = costs_of(counts), groups_of(counts), features(counts, self.instructions)
        guessed = guessed_us(costs, groups, self.tables)
        standard, owner = standardised(seen, self.mean, self.scale), np.zeros(len(read), np.int64)
        return corrected_us(guessed, inputs_of(standard, guessed, owner), self.layers)

    def table_sum_ms(self, model: Path | bytes) -> float:
        """Return the latency of a model by the tables alone, in ms."""
        counts = counts_of(self._read(model)[0], self.instructions)
        costs, groups = costs_of(counts), groups_of(counts)
        return float(guessed_us(costs, groups, self.tables).sum(axis=1).mean() / 1e3)

    def _outside(self, read: Array, value_ms: float) -> list[str]:
        classes, found = read[:, AT["class"]].astype(int), dict[str, None]()
        values, low, high = (each[:, COLUMNS] for each in (read, self.low[classes], self.high[classes]))
        is_beyond = (values < low * (1 - MARGIN)) | (values > high * (1 + MARGIN))
        is_known = self.counts[classes] >= FEWEST_NODES
        for at in np.flatnonzero(~is_known | is_beyond.any(axis=1)):
            name = CLASSES[classes[at]].replace("_", " ")
            if is_known[at]:
                found |= dict.fromkeys(f"{BOUNDED[which]} of a {name} layer" for which in np.flatnonzero(is_beyond[at]))
            else:
                found[f"{name} layers"] = None
        least, most = self.facts["latency_ms"]
        if not least <= value_ms <= most:
            found[f"{value_ms:.3g} ms ({least:.3g} to {most:.3g} ms)"] = None
        return list(found)

    def save(self, file: Path) -> None:
        """Write the predictor."""
        layers = {f"{kind}{at}": a for at, pair in enumerate(self.layers) for kind, a in zip("wb", pair, strict=True)}
        facts = np.array(json.dumps({**self.facts, "features": SEEN, "classes": CLASSES, "measures": MEASURES}))
        rest = {
            "tables": self.tables,
            "mean": self.mean,
            "scale": self.scale,
            "low": self.low,
            "high": self.high,
            "counts": self.counts,
        }
        small = {name: values.astype(np.float32) for name, values in (layers | rest).items()}
        np.savez_compressed(file, facts=facts, interval=self.interval, **small)  # type: ignore[arg-type]


def standardised(seen: Array, mean: Array, scale: Array) -> Array:
    """Return features in standard deviations from their mean in a profile."""
    return np.asarray(np.clip((seen - mean) / scale, -5, 5))


def inputs_of(standard: Array, guessed: Array, owner: NDArray[np.int64]) -> Array:
    """Return what members see of each node, `[members] x nodes x features`: all of `SEEN`.

    Args:
        standard: Standardised features.
        guessed: Guess of each node in microseconds, by one table or by each.
        owner: Network of each node, those of a network one after another.
    """
    seen = np.empty((*guessed.shape, standard.shape[1] + len(BESIDE)), np.float32)
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    counts = np.diff(starts, append=len(owner))
    logs = np.log(guessed) / 3  # this and the constants below bring all to about one size
    before, after = np.roll(logs, 1, axis=-1), np.roll(logs, -1, axis=-1)
    before[..., starts] = after[..., starts - 1] = NOTHING
    sums = np.log(np.add.reduceat(guessed, starts, axis=-1))
    seen[..., :-5], seen[..., -5], seen[..., -4], seen[..., -3] = standard, logs, before, after
    seen[..., -2] = (np.repeat(sums, counts, axis=-1) - 6) / 1.5
    seen[..., -1] = (np.repeat(np.log(counts), counts) - 4) / 0.7
    return seen


def corrected_us(guessed: Array, inputs: Array, layers: Sequence[tuple[Array, Array]]) -> Array:
    """Return what each node takes by one member or by each, in microseconds: `[members] x nodes`."""
    x = inputs
    for at, (weights, biases) in enumerate(layers):
        x = x @ weights + biases[..., None, :]
        if at < len(layers) - 1:
            x = x / (1 + np.exp(-np.clip(x, -50, 50)))  # SiLU
    return np.asarray(guessed * np.exp(MOST_CORRECTED * np.tanh(x[..., 0] / MOST_CORRECTED)))


@cache
def load_predictor(file: Path) -> LatencyPredictor:
    """Return the predictor of a file.

    Raises:
        DeviceError: The file is missing, is none, or was written by a version with other features.
    """
    again = "make it again with `paredown device profile`"
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name]) for name in stored.files}
        facts: dict[str, Any] = json.loads(str(arrays.pop("facts")))
        known = tuple(facts.pop(name) for name in ("features", "classes", "measures"))
        is_of_this_version = known == (list(SEEN), list(CLASSES), list(MEASURES)) and is_known(facts)
    except OSError as error:
        raise DeviceError(f"{file} cannot be read: {error.strerror or error}; {again}") from error
    except UNREADABLE as error:  # what NumPy says of it speaks of pickled objects
        raise DeviceError(f"{file} is no latency predictor, or is damaged; {again}") from error
    if not is_of_this_version:
        raise DeviceError(f"{file} was made by another version of paredown; {again}")
    try:
        return _predictor(facts, arrays)
    except (KeyError, ValueError) as error:
        raise DeviceError(f"{file} is no latency predictor, or is damaged; {again}") from error


def _predictor(facts: dict[str, Any], arrays: dict[str, Array]) -> LatencyPredictor:
    count = sum(name.startswith("w") for name in arrays)
    layers = tuple((arrays[f"w{at}"], arrays[f"b{at}"]) for at in range(count))
    tables, mean, scale, low, high, counts = (
        arrays[name].astype(float) for name in ("tables", "mean", "scale", "low", "high", "counts")
    )
    return LatencyPredictor(facts, tables, mean, scale, layers, low, high, counts, arrays["interval"])


def longest(graph: Graph) -> Graph:
    """Return a graph without alternatives: where it has some, the longest is executed."""
    from paredown.evaluators.latency.kernels import macs_of

    def macs(one: Graph) -> float:
        return sum(
            macs_of(one, operator) + max(map(macs, operator.branches), default=0.0) for operator in one.operators
        )

    operators, tensors = list(graph.operators), dict(graph.tensors)
    while any(operator.branches for operator in operators):
        flat: Sequence[Any] = [
            inner
            for operator in operators
            for inner in (max(operator.branches, key=macs).operators if operator.branches else (operator,))
        ]
        for operator in operators:
            for branch in operator.branches:
                tensors |= branch.tensors
        operators = list(flat)
    return Graph(tuple(operators), tensors, graph.inputs, graph.outputs)
