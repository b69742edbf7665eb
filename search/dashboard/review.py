"""What our own tables know of a study, in the form that the dashboard can show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from paredown.evaluators.files.names import MODEL_FILE
from paredown.search.dashboard.attributes import Attributes, trial_attributes
from paredown.search.dashboard.notes import model_note, study_attributes, study_note
from paredown.search.dashboard.plots import study_figures
from paredown.studies.front import front
from paredown.studies.latency_remarks import Fp32Models
from paredown.studies.records import Records


@dataclass(frozen=True)
class TrialReview:
    """What is shown of a trial.

    Attributes:
        attributes: Metrics, changes from the baseline, outcome and reasons, by name.
        note: Card of a model on the front, as Markdown; empty for all other trials.
        files: Files that can be downloaded, relative to the study's folder.
    """

    attributes: Attributes = field(default_factory=dict)
    note: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyReview:
    """What is shown of a study.

    Attributes:
        trials: What is shown of each trial, by number.
        front: Numbers of the trials on the front, which keep every limit.
        attributes: What the study has come to, each part under its name.
        note: Summary with a table of the front, as Markdown.
        figures: JSON of figures of plotly, by id.
        folder: The study's folder.
    """

    trials: Mapping[int, TrialReview]
    front: tuple[int, ...]
    attributes: Mapping[str, str]
    note: str
    figures: Mapping[str, str]
    folder: Path


def review(study: Records) -> StudyReview:
    """Return what is shown of a study, as its tables are now."""
    models, baseline, measured = study.models(), study.baseline(), study.measured()
    best = front(models, study.optimised_metrics)
    folder = Path(study.folder).absolute()
    by_number, on_front = {model.trial: model for model in models}, {model.trial for model in best}
    trials, fp32 = {}, Fp32Models(models)
    for row in study.rows():
        number = row["number"]
        model, is_best = by_number.get(number), number in on_front
        trials[number] = TrialReview(
            trial_attributes(row, measured.get(number, {}), study.objectives, baseline, model, fp32, on_front=is_best),
            model_note(study, model, baseline) if model is not None and is_best else "",
            _existing(folder, f"{model.artifact}/{MODEL_FILE}") if model is not None else (),
        )
    return StudyReview(
        trials=trials,
        front=tuple(model.trial for model in best),
        attributes=study_attributes(study, best),
        note=study_note(study, best, baseline),
        figures=study_figures(models, best, baseline, study.optimised_metrics),
        folder=folder,
    )


def _existing(folder: Path, file: str) -> tuple[str, ...]:
    return (file,) if (folder / file).is_file() else ()
