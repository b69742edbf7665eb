"""Searches from Python code: `run_study`."""

import os
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paredown.search import run
from paredown.search.api.data_display import reading_data
from paredown.search.api.progress import ProgressDisplay, display_console
from paredown.search.api.storage import DEFAULT_STORAGE
from paredown.search.api.study import Study
from paredown.search.api.task import Task
from paredown.search.listener import SILENT, ProgressListener
from paredown.search.monitoring.shell_hooks import run_hook
from paredown.search.places import begun_study, find_data, outputs_folder
from paredown.search.run import SearchSummary
from paredown.search.study_file.schema import StudyConfig, checked_config, read_config
from paredown.search.study_file.setup import set_up
from paredown.search.study_file.stored import as_begun, with_default_limits
from paredown.search.trial_queue import STOPPED

OBJECTIVES = ("accuracy", "latency_ms", "size_bytes")
"""Objectives of a study given as a mapping that names none."""
GIVEN = "study"
"""How messages name a study that is no file."""


@dataclass(frozen=True)
class StudyRun:
    """A search that has ended.

    Attributes:
        config: The configuration of the search.
        study: The study.
        summary: How the search ended.
    """

    config: StudyConfig
    study: Study
    summary: SearchSummary

    def run_finish_hook(self) -> None:
        """Tell the user of a search that ended by itself; one that was stopped goes on later."""
        if self.summary.reason != STOPPED:
            config, folder = self.config, self.study.folder
            _remark(run_hook("on_finish", config.on_finish, config.study, self.summary.reason, folder))


def run_study(
    study: str | Path | Mapping[str, Any] | StudyConfig | None = None,
    *,
    name: str | None = None,
    trials: int | None = None,
    timeout: float | str | None = None,
    until: str | None = None,
    workers: int | str | None = None,
    driver: str | None = None,
    sampler: str | None = None,
    seed: int | None = None,
    report_every: float | str | None = None,
    storage: str = DEFAULT_STORAGE,
    out: str | Path | None = None,
    progress: bool | ProgressListener = True,
    driver_options: Mapping[str, Any] | None = None,
) -> Study:
    """Run or continue a study until its budget is spent, and return it.

    An interrupt, such as the stop button of a notebook, ends the search with everything saved: the study is returned,
    and the same call continues it.

    Args:
        study: Path of a study file, the same as a mapping, or a checked configuration; None for the default study.
            `task` of a mapping may be a `paredown.Task`; its default objectives are accuracy, latency and size.
        name: Name of the study, in place of the file's.
        trials: Total number of trials, in place of the file's.
        timeout: Time after which the search stops, in seconds or as text such as `8h`.
        until: Time of day at which the search stops, such as `07:00`; tomorrow where that is past.
        workers: Number of processes, or `auto` for one per core.
        driver: Where trials run: `local` or `ray`.
        sampler: Name of a sampler, or `package.module:name`.
        seed: Random seed.
        report_every: Time after which the report is written anew while the search runs, in seconds or as text such as
            `10m`; it is written once more at the end.
        storage: Address of the database.
        out: Folder of trials, models and report; None for the study's own, which is `paredown-out/NAME` at first.
        progress: Whether to show progress, or a listener that does.
        driver_options: Options of the driver, such as `{"address": ...}` of a Ray cluster.

    Raises:
        ConfigError: The study says something that cannot be; the message names the key and what is allowed.
        StudyError: The database cannot be used, or holds the study with another configuration.
        SearchAborted: The baseline failed, or too many trials in a row.
    """
    given = {
        "study": name,
        "trials": trials,
        "timeout": timeout,
        "until": until,
        "workers": workers,
        "driver": driver,
        "sampler": sampler,
        "seed": seed,
        "report_every": report_every,
    }
    given = {key: value for key, value in given.items() if value is not None}
    ended = search_study(study, given, storage, out, progress, driver_options)
    if ended.config.report_every is not None:
        ended.study.report()
    ended.run_finish_hook()
    return ended.study


def search_study(
    study: str | Path | Mapping[str, Any] | StudyConfig | None,
    given: Mapping[str, Any],
    storage: str,
    out: str | Path | None,
    progress: bool | ProgressListener,
    driver_options: Mapping[str, Any] | None,
    began: float | None = None,
) -> StudyRun:
    """Run or continue a study; see `run_study`.

    Args:
        study: As there.
        given: Keys of the study file that replace the file's.
        storage: As there.
        out: As there.
        progress: As there.
        driver_options: As there.
        began: `time.monotonic()` from which the timeout counts; None for now.
    """
    began = time.monotonic() if began is None else began
    config, where, folder = _configuration(study, given)
    console = display_console()
    listener = progress if isinstance(progress, ProgressListener) else ProgressDisplay(console) if progress else SILENT
    begun = begun_study(storage, config.study)
    config = as_begun(with_default_limits(config, begun), begun, is_default=study is None)
    config, folder = find_data(config, where, folder, begun, storage)
    outputs = outputs_folder(begun, config.study, storage, None if out is None else Path(out))
    with reading_data(console) if progress is True else nullcontext():
        setup = set_up(config, where, folder, outputs)
    try:
        summary = run.search(setup, storage, listener=listener, where=where, driver_options=driver_options, began=began)
    except Exception as error:
        _remark(run_hook("on_failure", config.on_failure, config.study, str(error), setup.plan.folder))
        raise
    return StudyRun(config, Study(summary.study, summary.reason), summary)


def _remark(text: str) -> None:
    if text:
        display_console().print(text, markup=False, highlight=False)


def _configuration(
    study: str | Path | Mapping[str, Any] | StudyConfig | None, given: Mapping[str, Any]
) -> tuple[StudyConfig, str, Path]:
    """Return the checked configuration, how messages name it, and where its relative paths start."""
    if study is None:
        return read_config(None, dict(given)), "default study", Path()
    if isinstance(study, str | os.PathLike):
        file = Path(study)
        return read_config(file, dict(given)), str(file), file.parent
    if isinstance(study, StudyConfig):
        study = study.model_dump(exclude_unset=True)
    data = {"objectives": list(OBJECTIVES)} | dict(study)
    if isinstance(task := data.get("task"), Task):
        data["task"] = task.section
    return checked_config(data, GIVEN, dict(given)), GIVEN, Path()
