"""The end of a search: it exports the front and writes the report, and neither may hold the night.

Both happen in a process of their own. It is ended when the time is up, and where nothing comes of it for long.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paredown.search.api.storage import DEFAULT_STORAGE, stored_study
from paredown.search.side_process import SideProcess, Tell, Work
from paredown.studies.database_address import shown
from paredown.studies.errors import ExportRefused
from paredown.studies.exporting import export_models
from paredown.studies.report import write_report
from paredown.studies.selection import best_models
from paredown.studies.study import Study

GRACE_S, GRACE_SHARE, MAX_GRACE_S = 8.0, 0.05, 300.0
"""Time after a deadline in which the front is exported: seconds, plus a share of the time that the search had."""
STALL_S = 600.0
"""Seconds without a further model or report after which the process is taken to hang."""
MAX_NAMED = 12
"""Maximum number of trials that a message names one by one."""
REPORT = "report.html"
"""File of the report, in the study's folder."""


@dataclass(frozen=True)
class Finished:
    """The exported front and the report at the end of a search.

    Attributes:
        folders: Folders of the exported models.
        refused: Errors of the models that were refused.
        missing: Trials whose models were not exported in time.
        report: Page about the study; None where it was not written in time.
    """

    folders: tuple[Path, ...]
    refused: tuple[ExportRefused, ...]
    missing: tuple[int, ...]
    report: Path | None

    @property
    def is_whole(self) -> bool:
        """Whether there was time for all."""
        return not self.missing and self.report is not None

    def remark(self, study: str, storage: str) -> str:
        """Return what there was no time for, and the commands that make up for it; empty where there was."""
        if self.is_whole:
            return ""
        where = f"{study}" + ("" if storage == DEFAULT_STORAGE else f" --storage {shown(storage)}")
        if not self.missing:
            return f"the report was not written in time; `paredown report {where}` writes it"
        few = len(self.missing) <= MAX_NAMED
        named = " ".join(f"--trial {number}" for number in self.missing) if few else "--front"
        trials = ", ".join(str(number) for number in self.missing)
        return f"not exported in time: trials {trials}; `paredown export {where} {named}` exports them"


def grace_end(deadline: float | None, began: float) -> float | None:
    """Return the `time.monotonic()` at which a front is to be exported; None where the search has no deadline.

    Args:
        deadline: `time.monotonic()` at which no further trial runs.
        began: `time.monotonic()` at which the search began.
    """
    if deadline is None:
        return None
    return deadline + GRACE_S + min(MAX_GRACE_S, GRACE_SHARE * max(0.0, deadline - began))


def export_front(tell: Tell, storage: str, name: str) -> None:
    """Export the front of a study and write its report; tell of each model and of the report."""
    study = stored_study(storage, name)
    for exported in export_models(study, best_models(study), Path(study.folder, "models")):
        tell(exported)
    tell(replace_report(study))


def replace_report(study: Study) -> Path:
    """Write the report of a study beside its place, put it there, and return its path."""
    file = Path(study.folder, REPORT)
    fresh = file.with_name(f".new-{os.getpid()}-{REPORT}")
    try:
        write_report(study, fresh)
        os.replace(fresh, file)
    finally:
        fresh.unlink(missing_ok=True)
    return file


def finish(study: Study, storage: str, end: float | None, work: Work = export_front) -> Finished:
    """Export the front and write the report, both into the study's folder, as far as there is time.

    Args:
        study: The study.
        storage: Address of its database.
        end: `time.monotonic()` at which this ends; None for no such moment.
        work: What does it.

    Raises:
        TaskError: The data of the study is gone or has changed.
    """
    numbers, told = [model.trial for model in best_models(study)], list[Any]()
    process = SideProcess(work, storage, study.name)
    try:
        for message in process.messages(lambda: _next_end(end)):
            told.append(message)
    except TimeoutError:
        pass  # what is missing is said
    finally:
        process.end()
    return _finished(told, numbers)


def _next_end(end: float | None) -> float:
    stalled = time.monotonic() + STALL_S
    return stalled if end is None else min(end, stalled)


def _finished(told: Sequence[Any], numbers: Sequence[int]) -> Finished:
    models, report = list(told[: len(numbers)]), told[len(numbers) :]
    return Finished(
        tuple(one for one in models if isinstance(one, Path)),
        tuple(one for one in models if isinstance(one, ExportRefused)),
        tuple(numbers[len(models) :]),
        report[0] if report else None,
    )
