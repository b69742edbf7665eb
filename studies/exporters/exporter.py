"""The definition of an exporter: its files, how to run them, and how far they may deviate from the network.

All else that an export needs is shared: see `paredown.studies.model_folder`. The command line and `predict` load every
exporter, so that each one imports its converters and runtimes inside its functions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paredown.studies.errors import ExportRefused

if TYPE_CHECKING:  # for annotations alone: --help and `predict` must not load PyTorch
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from paredown.evaluators.devices.profile import DeviceProfile
    from paredown.evaluators.metrics.measurement import Measurement
    from paredown.evaluators.tasks.task import Task
    from paredown.spaces.compression.tolerance import Tolerance
    from paredown.spaces.families.family import ImageShape
    from paredown.studies.front import Model


@dataclass(frozen=True)
class ExportRequest:
    """A request to export a model of a study.

    Attributes:
        study: Name of the study.
        model: The finished trial.
        baseline: The reference trial.
        task: Task of the study.
        network: The trained PyTorch network that the file must agree with.
        shape: Channels, height, width of one input.
        artifact: Folder of the trial's files.
        test_accuracy: Accuracy of the trial's own file on images that the search never used; None where it was not
            measured yet.
        skipped: Layers that each compression step left unchanged, with the reason.
        limits: Limits of the study by metric, each with its value and its text.
        target: Device that the file is made for; None where none is named.
        is_other_device: Whether that is another device than the study's, so that the trial's costs are not its own.
        models: Models of the study, among which an int8 model has one in fp32.
    """

    study: str
    model: "Model"
    baseline: "Model"
    task: "Task"
    network: "nn.Module"
    shape: "ImageShape"
    artifact: Path
    test_accuracy: "Measurement | None" = None
    skipped: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    target: "DeviceProfile | None" = None
    is_other_device: bool = False
    models: "Sequence[Model]" = ()

    def refusal(self, reason: str) -> ExportRefused:
        """Return the error that refuses this model; the caller raises it."""
        return ExportRefused(f"trial {self.model.trial}: {reason}")


def trial_file(trial: int, artifact: Path, name: str) -> Path:
    """Return the path of a trial's file.

    Raises:
        ExportRefused: The file does not exist.
    """
    if not (artifact / name).is_file():
        raise ExportRefused(
            f"trial {trial}: {artifact / name} is gone; `paredown adopt` tells a study where its outputs are"
        )
    return artifact / name


Manifest = dict[str, Any]
"""Content of `manifest.json`."""

Write = Callable[[ExportRequest, Path], Manifest]
"""(request, empty folder) -> further keys of the manifest; it writes the files of the format into the folder.

It raises ExportRefused where the format cannot represent the model.
"""

Run = Callable[["NDArray[np.float32]"], "NDArray[np.float32]"]
"""Normalised images `n x c x h x w` -> logits `n x classes`."""


@dataclass(frozen=True)
class Exporter:
    """A format in which models leave a study.

    Attributes:
        name: Name in the catalogue, after `--format` and in the manifest.
        description: Format and runtime in a few words, for the help and the card.
        model_file: Name of the file that the runtime loads.
        write: Function that writes the files of the format.
        load: Function that loads the model file and returns a function that runs it; it raises EvaluationError where
            that fails.
        packages: Distributions, beside PyTorch, whose versions the manifest names.
        is_trial_file: Whether the model file is the one that the trial measured, so that every metric of the trial
            holds for it.
        tolerance: How far the model file may deviate from the network; None for the tolerance of the model's
            compression steps, for formats that hold the rewritten model.
        card: Function that returns further lines of the card for a manifest.
        require: Function that raises ExtraMissing where the packages of the format are not installed.
    """

    name: str
    description: str
    model_file: str
    write: Write
    load: Callable[[Path], Run]
    packages: tuple[str, ...] = ()
    is_trial_file: bool = False
    tolerance: "Tolerance | None" = None
    card: Callable[[Manifest], list[str]] = lambda manifest: []
    require: Callable[[], None] = lambda: None
