"""Runs files with exits on batches, without PyTorch.

Such a file takes one image at a time; a nested `If` behind each exit holds all that follows. This module splits the
file into its stages again, so that each stage runs on one batch, without the images that left before.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from paredown.evaluators.files.onnx_session import open_session

EXITS_KEY = "paredown.exits"
"""Metadata key of the file that holds its rule and the names of its stages, as JSON."""
DECIDES = "decide"
"""Prefix of the names of nodes that decide whether to leave."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ExitPlan:
    """The exits of a file, as its metadata describe them.

    Attributes:
        rule: Name of the rule: confidence, entropy or patience.
        thresholds: Threshold of confidence or entropy for each exit but the last; a single one applies to all exits.
        stages: Names of input, logits and features of each stage; the last stage has no features.
    """

    rule: str
    thresholds: tuple[float, ...]
    stages: tuple[tuple[str, str, str], ...]

    def to_json(self) -> str:
        """Return the text for the file."""
        stages = [list(stage) for stage in self.stages]
        return json.dumps({"rule": self.rule, "thresholds": self.thresholds, "stages": stages})

    @classmethod
    def of(cls, session: onnxruntime.InferenceSession) -> "ExitPlan | None":
        """Return the plan of a loaded file; None where it has no exits."""
        return cls.from_json(session.get_modelmeta().custom_metadata_map.get(EXITS_KEY))

    @classmethod
    def from_json(cls, text: str | None) -> "ExitPlan | None":
        """Return the plan that `to_json` wrote; None where the text is None."""
        if text is None:
            return None
        plan: dict[str, Any] = json.loads(text)
        stages = tuple((entry, logits, features) for entry, logits, features in plan["stages"])
        thresholds = plan["thresholds"] if "thresholds" in plan else [plan["threshold"]]  # the key of older files
        return cls(plan["rule"], tuple(thresholds), stages)

    def leaves(self, logits: list[Floats]) -> NDArray[np.bool_]:
        """Return for each image whether it leaves at the last of the exits passed so far, `n`.

        Args:
            logits: Logits of each exit passed so far, `n x classes`, in order.
        """
        if self.rule == "patience":
            if len(logits) == 1:
                return np.zeros(len(logits[-1]), dtype=np.bool_)
            agree: NDArray[np.bool_] = logits[-2].argmax(1) == logits[-1].argmax(1)
            return agree
        threshold = self.thresholds[min(len(logits), len(self.thresholds)) - 1]
        shifted = logits[-1] - logits[-1].max(1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        shares = np.exp(logs)
        if self.rule == "confidence":
            sure: NDArray[np.bool_] = shares.max(1) >= np.float32(threshold)
            return sure
        calm: NDArray[np.bool_] = -(shares * logs).sum(1) <= np.float32(entropy_limit(threshold, logs.shape[1]))
        return calm


class Batches(Protocol):
    """Images by the batch: an array `n x c x h x w`, or what makes them when they are asked for."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, rows: slice, /) -> Floats:
        """Return some of them."""


def entropy_limit(threshold: float, classes: int) -> float:
    """Return the largest entropy, in nats, at which an image leaves."""
    return float((1 - threshold) * np.log(classes))


@dataclass(frozen=True)
class Answers:
    """The outputs of a batch.

    Attributes:
        logits: Logits of each image from the exit at which it left, `n x classes`.
        taken: Index of that exit, `n`, counted from 0.
        exits: Number of exits, including the end.
    """

    logits: Floats
    taken: NDArray[np.int64]
    exits: int

    @property
    def rates(self) -> list[float]:
        """Share of images that left at each exit, the end last."""
        return [float((self.taken == exit_).mean()) for exit_ in range(self.exits)]


class BatchRuntime:
    """Runs the stages of a file with exits on batches; images that left are dropped from the next stage's batch.

    Args:
        file: ONNX model, or the path of its file.
        batch: Number of images that run at once.
        threads: Threads that execute each stage.
        exact: Whether sums of 8-bit products are never clipped; see `open_session`.

    Raises:
        ValueError: The file has no exits.
    """

    def __init__(self, file: Path | bytes, batch: int = 64, threads: int = 1, exact: bool = False) -> None:
        proto = onnx.load_from_string(file) if isinstance(file, bytes) else onnx.load(file, load_external_data=False)
        plan = ExitPlan.from_json({p.key: p.value for p in proto.metadata_props}.get(EXITS_KEY))
        if plan is None:
            raise ValueError("the model has no exits")
        self.plan, self._batch = plan, batch
        stages = (model.SerializeToString() for model in stage_models(proto, plan))
        self._sessions = [open_session(stage, threads, exact=exact) for stage in stages]

    def run(self, images: Batches) -> Answers:
        """Return the outputs for normalised images, `n x c x h x w`."""
        parts = [self._run(images[i : i + self._batch]) for i in range(0, len(images), self._batch)]
        logits, taken = (np.concatenate(one) for one in zip(*parts, strict=True))
        return Answers(logits, taken, len(self._sessions))

    def all_logits(self, images: Batches) -> list[Floats]:
        """Return `n x classes` of each exit, as if no image left before the end."""
        parts = []
        for i in range(0, len(images), self._batch):
            x, logits = images[i : i + self._batch], []
            for session in self._sessions:
                own, *features = session.run(None, {session.get_inputs()[0].name: x})
                logits.append(own)
                x = features[0] if features else x
            parts.append(logits)
        return [np.concatenate(one) for one in zip(*parts, strict=True)]

    def _run(self, x: Floats) -> tuple[Floats, NDArray[np.int64]]:
        rows = np.arange(len(x))
        taken = np.full(len(x), len(self._sessions) - 1)
        chosen: Floats | None = None
        passed: list[Floats] = []
        for exit_, session in enumerate(self._sessions):
            own, *features = session.run(None, {session.get_inputs()[0].name: x})
            chosen = np.empty((len(taken), own.shape[1]), np.float32) if chosen is None else chosen
            chosen[rows] = own
            if not features:
                break
            passed.append(own)
            leaving = self.plan.leaves(passed)
            taken[rows[leaving]] = exit_
            rows, x, passed = rows[~leaving], features[0][~leaving], [one[~leaving] for one in passed]
            if not len(rows):
                break
        assert chosen is not None
        return chosen, taken


def stage_models(proto: onnx.ModelProto, plan: ExitPlan) -> list[onnx.ModelProto]:
    """Return the stages of a file with exits as models of their own, from input to logits and features."""
    graph, models = proto.graph, []
    for entry, logits, features in plan.stages:
        nodes = [node for node in graph.node if node.op_type != "If" and not node.name.startswith(DECIDES)]
        outputs = [_float(name) for name in (logits, features) if name]
        stage = onnx.helper.make_graph(nodes, "stage", [_float(entry)], outputs, list(graph.initializer))
        model = onnx.helper.make_model(stage, opset_imports=proto.opset_import, ir_version=proto.ir_version)
        models.append(model)
        if features:
            branch = next(node for node in graph.node if node.op_type == "If")
            graph = next(a.g for a in branch.attribute if a.name == "else_branch")
    return models


def _float(name: str) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
