"""A search from beginning to end: study, driver, exports, report."""

import functools
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from paredown.evaluators.build import rebuild
from paredown.evaluators.device import this_device
from paredown.evaluators.files.names import MODEL_FILE, WEIGHTS_FILE
from paredown.search.cli.progress import ProgressDisplay
from paredown.search.drivers.catalogue import DRIVERS
from paredown.search.drivers.driver import RunTrial
from paredown.search.drivers.in_process import threads_each
from paredown.search.errors import ConfigError
from paredown.search.samplers.choosing import choose_sampler
from paredown.search.samplers.domain import Domain
from paredown.search.samplers.knobs import distributions
from paredown.search.samplers.sampler import Params, Problem
from paredown.search.samplers.surrogate.candidate_costs import CandidateCosts
from paredown.search.schedulers.halving import Halving
from paredown.search.schedulers.resumed import resume
from paredown.search.study_file.feasibility import probe
from paredown.search.study_file.setup import Setup
from paredown.search.study_file.stored import stored_device, stored_task
from paredown.search.trial.run_trial import run_trial
from paredown.search.trial.supernets import prepare_supernets
from paredown.search.trial_queue import TIME_IS_UP, Budget, TrialQueue
from paredown.spaces.knob import Value
from paredown.studies.errors import ExportRefused, StudyError
from paredown.studies.exporters.catalogue import EXPORTERS
from paredown.studies.exporters.exporter import ExportRequest
from paredown.studies.front import Model
from paredown.studies.report import write_report
from paredown.studies.selection import best_models
from paredown.studies.study import Study


@dataclass(frozen=True)
class Outcome:
    """How a search ended.

    Attributes:
        reason: Why it ended.
        interrupted: Whether more trials were wanted.
        overhead_s: Seconds in sampler, database and display.
        wall_s: Seconds from the first to the last trial.
    """

    reason: str
    interrupted: bool
    overhead_s: float
    wall_s: float


def search(
    setup: Setup,
    url: str,
    console: Console,
    *,
    where: str,
    run: RunTrial = run_trial,
    address: str | None = None,
) -> tuple[Study, Outcome]:
    """Run or continue a study until its budget is spent.

    Args:
        setup: What to search.
        url: Of the database.
        console: For progress.
        where: How messages name the study file.
        run: Runs one trial.
        address: Of a Ray cluster.

    Raises:
        ParedownError: The study cannot be opened, or its configuration contradicts the stored one.
        SearchAborted: The baseline failed, or too many trials in a row.
    """
    config = setup.config
    if config.driver not in DRIVERS:
        raise ConfigError(f"{where}: driver: {config.driver!r} does not exist; allowed: {', '.join(DRIVERS)}")
    if not _has_begun(url, config.study):
        probe(setup, where)
    study = Study.create(url, config.study, setup.stored, setup.plan.objectives, str(setup.plan.folder))
    setup = _on_its_device(setup, study, console)
    study.enqueue([setup.space.values(c) for c in (setup.space.baseline, setup.space.mildest())])
    problem = problem_of(setup, study)
    metrics = [o.metric for o in setup.plan.objectives if o.optimised]
    study.use(choose_sampler(config.sampler, problem, metrics, where, setup.plan.task.folder, config.polish))
    deadline = None if config.timeout is None else time.monotonic() + config.timeout
    budget = Budget(config.trials, deadline, config.max_failures, config.max_stall)
    cores = os.cpu_count() or 1
    workers = min(cores, config.trials) if config.workers == "auto" else config.workers
    begin, reason, interrupted = time.monotonic(), "", False
    display = ProgressDisplay(console, study.name, metrics, budget, study.models(), study.counts())
    halving = None
    if config.halving is not None:
        halving = resume(Halving(metrics, **config.halving.model_dump()), study, setup.plan)
    supply = TrialQueue(study, setup.space, budget, display, halving)
    try:
        with _sigterm_is_interrupt():
            if supply.is_spent or prepare_supernets(setup.plan, console, deadline):
                plan = threads_each(setup.plan, workers, cores)
                with display:
                    DRIVERS[config.driver](supply, plan, workers, display, run, address)
            else:
                supply.stopped = TIME_IS_UP
        reason = supply.stopped
        interrupted = reason == TIME_IS_UP
    except KeyboardInterrupt:
        reason, interrupted = "stopped; the same command goes on", True
    finally:
        study.leave()
    return study, Outcome(reason, interrupted, supply.asking_s + display.showing_s, time.monotonic() - begin)


def _has_begun(url: str, name: str) -> bool:
    """Tell whether a study exists: its space was looked at when it began, perhaps by milder rules."""
    try:
        Study.open(url, name, lambda stored: ())
    except StudyError:  # what is wrong with a database is said where the study is made
        return False
    return True


def _on_its_device(setup: Setup, study: Study, console: Console) -> Setup:
    """Return the setup with the device that the study began on; say so where this machine is another."""
    device = stored_device(study.config)
    here = this_device(device.threads)
    if device != here:
        console.print(f"study {study.name!r}: {device.remark_on(here)}", markup=False, highlight=False)
    return replace(setup, plan=replace(setup.plan, device=device))


def problem_of(setup: Setup, study: Study) -> Problem:
    """Return what the sampler is told of the search."""
    space, knobs = setup.space, distributions(setup.space)

    @functools.lru_cache(maxsize=100_000)
    def values(items: tuple[tuple[str, Value], ...]) -> dict[str, Value]:
        return space.values(space.candidate(dict(items)))

    def canonical(params: Params) -> Params:
        return values(tuple(params.items()))

    costs = CandidateCosts(space, Domain(knobs, canonical), setup.task, setup.plan.objectives, study.models())
    told = sum(study.counts().values())
    return Problem(setup.config.seed, setup.config.trials, knobs, costs, canonical, told)


def export_models(study: Study, models: Sequence[Model], format_name: str, out: Path) -> Iterator[Path | ExportRefused]:
    """Export models one after the other; yields the folder of each, or why it was refused.

    The accuracy on the test images is measured on a model's first export and kept in the study.
    """
    task, baseline = stored_task(study.config), study.baseline()
    skipped = {row["number"]: row["facts"].get("skipped", {}) for row in study.rows()}
    assert baseline is not None, "where there are models there is a baseline"
    for model in models:
        artifact = Path(study.folder, model.artifact)
        try:
            for name in (MODEL_FILE, WEIGHTS_FILE):
                if not (artifact / name).is_file():
                    raise ExportRefused(
                        f"trial {model.trial}: {artifact / name} is gone; "
                        "`paredown search --out` names the study's folder"
                    )
            network, shape = rebuild(model.candidate, task, artifact / WEIGHTS_FILE)
            known = model.measurements.get("test_accuracy")
            file, left_alone = artifact / MODEL_FILE, skipped[model.trial]
            shipment = ExportRequest(study.name, model, baseline, task, network, shape, file, known, left_alone)
            folder = out / f"trial-{model.trial:04d}"
            test = EXPORTERS[format_name](shipment, folder)
        except ExportRefused as refused:
            yield refused
            continue
        if known is None:
            study.add_measurement(model.trial, test)
        yield folder


def export_chosen(study: Study, models: Sequence[Model], format_name: str, out: Path, console: Console) -> list[Path]:
    """Export models and return their folders; those refused are named on the console.

    Raises:
        ExportRefused: Every model was refused.
    """
    paths, refused = [], []
    with console.status("exporting"):
        for result in export_models(study, models, format_name, out):
            if isinstance(result, Path):
                paths.append(result)
            else:
                refused.append(result)
    for reason in refused:
        console.print(f"not exported: {reason}", markup=False)
    if not paths:
        raise refused[0]
    return paths


def finish(study: Study, console: Console) -> tuple[list[Path], list[str], Path]:
    """Export the front and write the report; return the folders, refusals and the report's path."""
    folder = Path(study.folder)
    exported: list[Path] = []
    refused: list[str] = []
    with console.status("exporting the front"):
        for result in export_models(study, best_models(study), "onnx", folder / "models"):
            if isinstance(result, Path):
                exported.append(result)
            else:
                refused.append(str(result))
        report = folder / "report.html"
        write_report(study, report)
    return exported, refused, report


@contextmanager
def _sigterm_is_interrupt() -> Iterator[None]:
    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
