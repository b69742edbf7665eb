"""What an exporter is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from paredown.evaluators.metrics.measurement import Measurement
from paredown.evaluators.tasks.task import Task
from paredown.spaces.families.family import ImageShape
from paredown.studies.front import Model


@dataclass(frozen=True)
class ExportRequest:
    """A model on its way out of the study.

    Attributes:
        study: Name of the study.
        model: The finished trial.
        baseline: The reference trial.
        task: The data.
        network: The trained PyTorch network that the file must agree with.
        shape: Channels, height, width of one input.
        file: The ONNX model that the trial measured.
        test_accuracy: On images the search never saw; None to measure it now.
        skipped: Layers that each compression step left alone, with the reason.
    """

    study: str
    model: Model
    baseline: Model
    task: Task
    network: nn.Module
    shape: ImageShape
    file: Path
    test_accuracy: Measurement | None = None
    skipped: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


Export = Callable[[ExportRequest, Path], Measurement]
"""(shipment, folder that does not exist yet) -> test accuracy; the folder appears whole or not at all."""

Manifest = dict[str, Any]
