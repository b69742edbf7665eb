"""Compression of one network without a search, for those who know what they want."""

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
from paredown.search.trial.run_trial import look_untrained
from paredown.spaces.knob import Knobs
from paredown.studies.exporters.catalogue import DEFAULT_FORMAT, exporter_named
from paredown.studies.exporters.exporter import Exporter, ExportRequest
from paredown.studies.front import Model
from paredown.studies.model_folder.writing import write_model_folder


@dataclass(frozen=True)
class Compression:
    """One network before and after.

    Attributes:
        baseline: Before, with `test_accuracy`.
        model: After, with `test_accuracy`.
        skipped: Layers that each step left alone, with the reason.
        folder: The exported model.
        notes: Metric to what else must be known of its value, such as what a lower bound leaves out.
        seconds: Of each stage, before and after together.
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

    It runs two trials as a search would: the network as it is, then the compressed one with the first as its
    reference and teacher. Both are trained from the same random weights, unless there are weights.

    Args:
        model: As `paredown.search.one_network.setup.set_up_single`.
        task: The same.
        steps: Knobs of each step by its name; order is the catalogue's.
        label: How manifest and card name the network; None for `model`.
        out: Folder of the exported model: its files, `manifest.json`, `README.md`.
        weights: As `set_up_single`.
        resolution: The same.
        seed: The same.
        training: The same, such as `{"epochs": 30, "finetune_epochs": 10}`.
        format_name: Name in the catalogue of exporters.
        folder: Where imports and relative paths start; None for the working directory.
        skip: Names of layers that every step leaves alone, with `*`, `?` and `[...]`; a name stands for all inside it.
        keep: The same of layers that keep their shape; their weights may be rounded or become zero.
        on_epoch: Told after each epoch of both.

    Raises:
        ConfigError: Something does not exist or does not fit; the message says what is allowed.
        StudyError: The format does not exist.
        InfeasibleCandidate: A step cannot apply to this network.
        EvaluationError: Training or measuring failed.
        ExportRefused: File and network disagree.
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
        look_untrained(candidate, setup.plan)  # what cannot be is known before anything is trained
        before, first = finished(setup.space.baseline, setup.plan, 0, on_epoch)
        after, second = before, first
        if candidate != setup.space.baseline:
            after, second = finished(candidate, with_reference(setup.plan, before), 1, on_epoch)
        skipped = second.facts.get("skipped", {})
        name = label or model
        before, network = _exported(name, before, before, {}, setup, exporter, Path(work, "reference"))
        after, network = _exported(name, after, before, skipped, setup, exporter, out)
    runs = [first.facts["seconds"], second.facts["seconds"]][: 1 + after.trial]
    stages = dict.fromkeys(stage for run in runs for stage in run)
    seconds = {stage: round(sum(run.get(stage, 0.0) for run in runs), 3) for stage in stages}
    notes = second.facts.get("notes", {})
    return Compression(before, after, skipped, out, notes, seconds, second.curve, network)


def check_out(out: Path) -> None:
    """Refuse, before anything is trained, a folder that holds anything but an exported model or cannot be made.

    Raises:
        ConfigError: It does, or cannot.
    """
    if out.exists() and not (out.is_dir() and ((out / MANIFEST_FILE).is_file() or not any(out.iterdir()))):
        raise ConfigError(
            f"out: {out} exists and is no exported model; name a folder that is new, empty or one of those"
        )
    check_parents(out)


def check_parents(out: Path) -> None:
    """Refuse a path whose folders cannot be made.

    Raises:
        ConfigError: One of them is a file.
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
    """Export a model; return it with its accuracy on the test images, and its network."""
    task: Task = setup.task
    artifact = setup.plan.folder / model.artifact
    network, shape = rebuild(model.candidate, task, artifact / WEIGHTS_FILE)
    study = f"{name.replace(':', '.')} on {task.name}"
    known: Measurement | None = model.measurements.get(TEST_ACCURACY.name)
    request = ExportRequest(study, model, baseline, task, network, shape, artifact, known, skipped)
    test = write_model_folder(request, exporter, out)
    return replace(model, measurements={**model.measurements, TEST_ACCURACY.name: test}), network
