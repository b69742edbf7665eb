"""Compresses one network with given steps, without a search."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from paredown.evaluators.build import rebuild
from paredown.evaluators.files.names import MANIFEST_FILE, WEIGHTS_FILE
from paredown.evaluators.metrics.measurement import Measurement
from paredown.evaluators.metrics.test_accuracy import METRIC as TEST_ACCURACY
from paredown.evaluators.tasks.task import Task
from paredown.evaluators.training.fit import OnEpoch
from paredown.search.drivers.driver import with_reference
from paredown.search.errors import ConfigError
from paredown.search.one_network.setup import finished, set_up_single
from paredown.search.one_network.step_arguments import check_steps, compressed
from paredown.search.study_file.setup import Setup
from paredown.search.trial.run_trial import check_untrained
from paredown.spaces.knob import Knobs
from paredown.studies.exporters.catalogue import DEFAULT_FORMAT, EXPORTERS, exporter_named
from paredown.studies.exporters.exporter import Exporter, ExportRequest
from paredown.studies.front import Model
from paredown.studies.model_folder.writing import write_model_folder


@dataclass(frozen=True)
class Compression:
    """One network before and after compression.

    Attributes:
        baseline: The network before compression, with `test_accuracy`.
        model: The network after compression, with `test_accuracy`.
        skipped: Layers that each step left unchanged, with the reason.
        folder: Folder of the exported model.
        notes: Remark on the value of a metric, by metric, such as what a lower bound leaves out.
        seconds: Seconds that each stage took for both networks together.
        curve: Metrics after each epoch of the compressed network, fine-tuning included.
        network: The compressed network, trained, in evaluation mode.
    """

    baseline: Model
    model: Model
    skipped: Mapping[str, Mapping[str, str]]
    folder: Path
    notes: Mapping[str, str]
    seconds: Mapping[str, float]
    curve: tuple[tuple[int, Mapping[str, float]], ...]
    network: nn.Module


def compress_model(
    model: str,
    task: str | Mapping[str, Any],
    steps: Mapping[str, Knobs],
    out: Path,
    *,
    label: str | None = None,
    weights: str | None = None,
    resolution: int | None = None,
    seed: int = 0,
    training: Mapping[str, Any] | None = None,
    format_name: str = DEFAULT_FORMAT,
    folder: Path | None = None,
    skip: Sequence[str] = (),
    keep: Sequence[str] = (),
    on_epoch: OnEpoch = lambda epoch, metrics: "",
) -> Compression:
    """Train or load a network, compress it, fine-tune it and export it.

    It runs two trials as a search does: the unchanged network, then the compressed one with the first as its reference
    and teacher. Both start from the same random weights, unless `weights` names a file.

    Args:
        model: The network; see `paredown.search.one_network.setup.set_up_single`.
        task: The task; see `set_up_single`.
        steps: Knobs of each step by its name; the steps run in the order of the catalogue.
        label: Name of the network in manifest and card; None for `model`.
        out: Folder of the exported model: its files, `manifest.json`, `README.md`.
        weights: File of weights; see `set_up_single`.
        resolution: Side of the images, in pixels; see `set_up_single`.
        seed: Random seed of weights and order of images.
        training: Keys of the section `training`, such as `{"epochs": 30, "finetune_epochs": 10}`.
        format_name: Name in the catalogue of exporters.
        folder: Folder in which imports and relative paths start; None for the working directory.
        skip: Names of layers that no step changes, with `*`, `?` and `[...]`; a name includes all layers inside it.
        keep: Names of layers that keep their shape, in the same form; their weights may be rounded or become zero.
        on_epoch: Called after each epoch of both trials.

    Raises:
        ConfigError: A name does not exist, or a value is not allowed; the message says what is allowed.
        StudyError: The format does not exist.
        InfeasibleCandidate: A step cannot apply to this network.
        EvaluationError: Training or measuring failed.
        ExportRefused: The exported file and the network disagree.
    """
    check_steps(steps)
    exporter = exporter_named(format_name, "format")
    check_out(out)
    with tempfile.TemporaryDirectory(prefix="paredown-") as work:
        place: dict[str, Any] = {
            "weights": weights,
            "resolution": resolution,
            "seed": seed,
            "training": training,
            "folder": folder,
            "skip": skip,
            "keep": keep,
        }
        setup = set_up_single(model, task, Path(work), **place)
        candidate = compressed(setup.space, steps)
        check_untrained(candidate, setup.plan)  # errors show before anything is trained
        before, first = finished(setup.space.baseline, setup.plan, 0, on_epoch)
        after, second = before, first
        if candidate != setup.space.baseline:
            after, second = finished(candidate, with_reference(setup.plan, before), 1, on_epoch)
        skipped = second.facts.get("skipped", {})
        name = label or model
        # In the default format, which holds any network: the chosen one may hold the compressed network alone.
        plain = EXPORTERS[DEFAULT_FORMAT]
        before, network = _exported(name, before, before, {}, setup, plain, Path(work, "reference"))
        after, network = _exported(name, after, before, skipped, setup, exporter, out)
    runs = [first.facts["seconds"], second.facts["seconds"]][: 1 + after.trial]
    stages = dict.fromkeys(stage for run in runs for stage in run)
    seconds = {stage: round(sum(run.get(stage, 0.0) for run in runs), 3) for stage in stages}
    notes = second.facts.get("notes", {})
    return Compression(before, after, skipped, out, notes, seconds, second.curve, network)


def check_out(out: Path) -> None:
    """Refuse, before anything is trained, a folder that holds anything but an exported model or cannot be made.

    Raises:
        ConfigError: The folder holds something else or cannot be made.
    """
    if out.exists() and not (out.is_dir() and ((out / MANIFEST_FILE).is_file() or not any(out.iterdir()))):
        raise ConfigError(
            f"out: {out} exists and is no exported model; name a new folder, an empty one, or that of an exported model"
        )
    check_parents(out)


def check_parents(out: Path) -> None:
    """Refuse a path whose folders cannot be made.

    Raises:
        ConfigError: One of the folders is a file.
    """
    for parent in out.absolute().parents:
        if parent.exists() and not parent.is_dir():
            raise ConfigError(f"out: {out} cannot be written: {parent} is a file; name a path in folders")


def _exported(
    name: str,
    model: Model,
    baseline: Model,
    skipped: Mapping[str, Mapping[str, str]],
    setup: Setup,
    exporter: Exporter,
    out: Path,
) -> tuple[Model, nn.Module]:
    """Export a model, and return it with its accuracy on the test images, and its network."""
    task: Task = setup.task
    artifact = setup.plan.folder / model.artifact
    network, shape = rebuild(model.candidate, task, artifact / WEIGHTS_FILE)
    study = f"{name.replace(':', '.')} on {task.name}"
    known: Measurement | None = model.measurements.get(TEST_ACCURACY.name)
    request = ExportRequest(study, model, baseline, task, network, shape, artifact, known, skipped, models=(baseline,))
    test = write_model_folder(request, exporter, out)
    return replace(model, measurements={**model.measurements, TEST_ACCURACY.name: test}), network
