"""Exports models of a study into folders."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from paredown.evaluators.build import rebuild
from paredown.evaluators.devices.profile import DeviceProfile
from paredown.evaluators.files.names import WEIGHTS_FILE
from paredown.evaluators.metrics.test_accuracy import METRIC as TEST_ACCURACY
from paredown.evaluators.tasks.spec import stored_task
from paredown.studies.errors import ExportRefused
from paredown.studies.exporters.catalogue import DEFAULT_FORMAT, exporter_named, folder_name
from paredown.studies.exporters.exporter import ExportRequest, trial_file
from paredown.studies.front import Model
from paredown.studies.model_folder.writing import write_model_folder
from paredown.studies.region import limits_summary
from paredown.studies.study import Study


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        folders: Folders of the exported models.
        refused: Errors of the models that were refused.
    """

    folders: tuple[Path, ...]
    refused: tuple[ExportRefused, ...]


def export_models(
    study: Study,
    models: Sequence[Model],
    out: Path,
    format_name: str = DEFAULT_FORMAT,
    target: DeviceProfile | None = None,
) -> Iterator[Path | ExportRefused]:
    """Export models one after the other; yield the folder of each, or the error that refuses it.

    The study stores the accuracy on the test images that the first export of a trial's own file measures.

    Args:
        study: Study of the models.
        models: Models to export.
        out: Folder in which each model gets its own folder.
        format_name: Name in the catalogue of exporters.
        target: Device that the files are made for; None for the study's own, if it has one.

    Raises:
        StudyError: The format does not exist.
        TaskError: The data of the study is gone or has changed.
    """
    exporter = exporter_named(format_name, "format")
    task, baseline = stored_task(study.config), study.baseline()
    finished = study.models()
    skipped = {row["number"]: row["facts"].get("skipped", {}) for row in study.rows()}
    limits = limits_summary(study.objectives)
    assert baseline is not None, "where there are models there is a baseline"
    for model in models:
        artifact, folder = Path(study.folder, model.artifact), out / folder_name(model, exporter)
        known, left_alone = model.measurements.get(TEST_ACCURACY.name), skipped[model.trial]
        try:
            network, shape = rebuild(model.candidate, task, trial_file(model.trial, artifact, WEIGHTS_FILE))
            request = ExportRequest(
                *(study.name, model, baseline, task, network, shape, artifact, known, left_alone, limits),
                target=target or study.target,
                is_other_device=target is not None and target != study.target,
                models=finished,
            )
            test = write_model_folder(request, exporter, folder)
        except ExportRefused as refused:
            yield refused
            continue
        if exporter.is_trial_file and known is None and not study.is_read_only:
            study.add_measurement(model.trial, test)
        yield folder


def export_chosen(
    study: Study,
    models: Sequence[Model],
    out: Path,
    format_name: str = DEFAULT_FORMAT,
    target: DeviceProfile | None = None,
) -> Exported:
    """Export models; see `export_models`.

    Raises:
        ExportRefused: Every model was refused.
    """
    exported = _sorted(export_models(study, models, out, format_name, target))
    if not exported.folders and exported.refused:
        raise exported.refused[0]
    return exported


def _sorted(results: Iterator[Path | ExportRefused]) -> Exported:
    all_results = list(results)
    folders = tuple(one for one in all_results if isinstance(one, Path))
    return Exported(folders, tuple(one for one in all_results if isinstance(one, ExportRefused)))
