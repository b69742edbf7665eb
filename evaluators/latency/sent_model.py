"""Measures a model that another machine has sent, with the code that measures the models of this one."""

import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from paredown.evaluators.device import Device, this_device
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import Baseline, EvaluationInput
from paredown.evaluators.metrics.measurement import Measurement

if TYPE_CHECKING:
    from paredown.spaces.families.family import ImageShape


@dataclass(frozen=True)
class SentModel:
    """A model to measure, as plain data that crosses machines.

    Attributes:
        metrics: Names of the metrics.
        onnx: Content of its file.
        shape: Channels, height, width of one input.
        threads: Threads that execute it; see `Device.threads`.
        batch_size: Images of one run; see `Device.batch_size`.
        baseline_onnx: Content of the baseline's file, which runs beside it; None for the baseline itself.
        baseline_shape: Channels, height, width of one input of the baseline.
        baseline_ms: Latency of the baseline on that machine, measured once.
    """

    metrics: tuple[str, ...]
    onnx: bytes
    shape: "ImageShape"
    threads: int
    batch_size: int
    baseline_onnx: bytes | None = None
    baseline_shape: "ImageShape" = (1, 1, 1)
    baseline_ms: float = 0.0


def timed_metrics(asked: Collection[str]) -> tuple[str, ...]:
    """Return the metrics of a study for which files are timed: `latency_ms`, and others that it asks for.

    Args:
        asked: Metrics that are optimised or limited.
    """
    timed = (name for name, one in EVALUATORS.items() if one.needs == "file" and one.metric.how == "measured")
    return tuple(name for name in timed if name == "latency_ms" or name in asked)


def measured_here(sent: SentModel) -> dict[str, Measurement]:
    """Return what a model takes on this machine, by metric.

    Raises:
        EvaluationError: ONNX Runtime of this machine cannot run it.
    """
    from torch import nn

    with tempfile.TemporaryDirectory(prefix="paredown-") as name:
        file, beside = Path(name, "model.onnx"), Path(name, "baseline.onnx")
        file.write_bytes(sent.onnx)
        baseline = None
        if sent.baseline_onnx is not None:
            beside.write_bytes(sent.baseline_onnx)
            baseline = Baseline(beside, sent.baseline_shape, sent.baseline_ms)
        network = nn.Identity()  # the network itself stays where it was trained: files are timed, not networks
        inputs = EvaluationInput(
            network, sent.shape, file, baseline=baseline, threads=sent.threads, batch_size=sent.batch_size
        )
        return {metric: EVALUATORS[metric].evaluate(inputs) for metric in sent.metrics}


def described_here(threads: int, batch_size: int) -> tuple[Device, str]:
    """Return this machine and its version of Paredown, for a search that runs on another one."""
    return this_device(threads, batch_size), version("paredown")
