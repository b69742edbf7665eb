"""A search from beginning to end: it opens the study, runs trials until the budget is spent, and says how it ended."""

import functools
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from paredown.evaluators.device import this_device
from paredown.evaluators.training.workload import allowed_threads
from paredown.search.budget import Budget
from paredown.search.deadline import deadline_of
from paredown.search.drivers.catalogue import DRIVERS
from paredown.search.drivers.driver import Driver, RunTrial
from paredown.search.errors import ClusterLost, ConfigError, check_name
from paredown.search.front_latency import measure_front_again
from paredown.search.interruption import stop_on_signals
from paredown.search.listener import SILENT, ProgressListener, SearchStart
from paredown.search.monitoring.live_report import LiveReport
from paredown.search.monitoring.recording import recorded
from paredown.search.places import begun_study, check_outputs, losses_as_abort, watched
from paredown.search.remote_device.bench import Bench
from paredown.search.remote_device.connection import DeviceConnection
from paredown.search.remote_device.reaching import reached, split_address
from paredown.search.samplers.choosing import choose_sampler
from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.knobs import distributions
from paredown.search.samplers.sampler import Problem, Region, Work, no_work
from paredown.search.samplers.surrogate.candidate_costs import CandidateCosts
from paredown.search.samplers.surrogate.described import DescribedCandidates
from paredown.search.samplers.surrogate.training_work import TrainingWork
from paredown.search.schedulers.halving import Halving
from paredown.search.schedulers.resumed import resume
from paredown.search.study_file.feasibility import probe
from paredown.search.study_file.schema import StudyConfig
from paredown.search.study_file.setup import Setup
from paredown.search.study_file.stored import stored_device
from paredown.search.trial.epoch_checkpoint import drop_checkpoints
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.pretraining import training_key
from paredown.search.trial.run_trial import run_trial
from paredown.search.trial.supernets import prepare_supernets
from paredown.search.trial_queue import STOPPED, TIME_IS_UP, TrialQueue
from paredown.search.warm_start import COLD, WarmStart, read_warm_start
from paredown.studies.front import worst_cost
from paredown.studies.outputs import write_mark
from paredown.studies.ownership import LEASE_S
from paredown.studies.reconnecting import DATABASE_ERRORS, is_away
from paredown.studies.result import PARKED, TrialResult
from paredown.studies.study import Study


@dataclass(frozen=True)
class SearchSummary:
    """How a search ended.

    Attributes:
        study: The study, with all that it holds now.
        reason: Why the search ended.
        interrupted: Whether it ended before its budget was spent, so that running it again goes on.
        overhead_s: Seconds in sampler, database and listener while a worker waited.
        wall_s: Seconds from the first to the last trial, training of supernets included.
        deadline: `time.monotonic()` after which no trial was to run; None for no limit.
    """

    study: Study
    reason: str
    interrupted: bool
    overhead_s: float
    wall_s: float
    deadline: float | None = None


def search(
    setup: Setup,
    url: str,
    *,
    listener: ProgressListener = SILENT,
    where: str = "study",
    run: RunTrial = run_trial,
    driver_options: Mapping[str, Any] | None = None,
    began: float | None = None,
    lease_s: float = LEASE_S,
) -> SearchSummary:
    """Run or continue a study until its budget is spent.

    Args:
        setup: What to search.
        url: Address of the database.
        listener: Told what happens while the search runs.
        where: How messages name the study file.
        run: Runs one trial.
        driver_options: Options of the driver that the study names, such as `{"address": ...}` of a Ray cluster.
        began: `time.monotonic()` from which the study's timeout counts; None for now.
        lease_s: Seconds after which other searches take over the trials of this one where it shows no sign of life.

    Raises:
        ParedownError: The study cannot be opened, or its configuration contradicts the stored one.
        SearchAborted: The baseline failed, or too many trials in a row failed.
    """
    config = setup.config
    deadline = deadline_of(config, time.monotonic() if began is None else began)
    check_name(config.driver, DRIVERS, f"{where}: driver")
    driver = DRIVERS[config.driver]
    given, address = split_address(driver, config, driver_options or {})
    options = driver.checked(_with_resources(driver, config, given, where), where)
    driver.check(options, where)
    if config.weights and not config.training.epochs:
        listener.remark(f"{config.weights}: the network starts trained; training.epochs is 0, fine-tuning follows")
    begun, folder = begun_study(url, config.study), setup.plan.folder
    with reached(config, setup.plan.device, address, where, is_begun=begun is not None) as connection:
        setup = setup if connection is None else _made_for(setup, connection)
        if said := check_outputs(begun, config.study, folder, url):
            listener.remark(said)
        warm = read_warm_start(setup, url, begun, where)
        measured = [] if begun is not None else probe(setup, where, listener.probed)
        stored = {**setup.stored, **({"warm_start": list(warm.stored)} if warm.stored else {})}
        study = Study.create(url, config.study, stored, setup.plan.objectives, str(folder), lease_s)
        with losses_as_abort(study, folder, url), recorded(folder, study.name, listener) as recording:
            write_mark(folder, study, url)
            if config.report_every is not None:
                recording.add(LiveReport(url, study.name, config.report_every, recording.remark))
            costs = _costs(setup, study)
            for candidate, values in measured:
                costs.learn(candidate, values)
            setup = _on_its_device(setup, study, recording, connection)
            for said in warm.remarks:
                recording.remark(said)
            _prepare(study, setup, costs, where, warm)
            run_trials = functools.partial(driver.run, run=run, options=options)
            room, trouble = functools.partial(driver.room, options), watched(study, folder, url)
            bench = None if connection is None else Bench(study, setup.task, setup.plan, connection)
            summary = _searched(setup, study, costs, deadline, recording, run_trials, room, trouble, bench)
            if not summary.interrupted:
                measure_front_again(study, setup.task, setup.plan)
            recording.reason = summary.reason
    return summary


def _searched(
    setup: Setup,
    study: Study,
    costs: CandidateCosts,
    deadline: float | None,
    listener: ProgressListener,
    run_trials: Callable[[TrialQueue, TrialPlan, int], None],
    room: Callable[[], int],
    trouble: Callable[[TrialResult], str],
    bench: Bench | None,
) -> SearchSummary:
    """Run trials until the budget is spent, the time is up or the search is asked to stop."""
    config, metrics, halving = setup.config, setup.plan.optimised_metrics, None
    if config.halving is not None:
        halving = resume(Halving(metrics, **config.halving.model_dump()), study, setup.plan)
    budget = Budget(config.trials, deadline, config.max_failures, config.patience_trials)
    begin, lost, is_database_away = time.monotonic(), "", False
    with stop_on_signals() as stop, study.runner.alive():
        queue = TrialQueue(study, setup.space, budget, listener, halving, costs.counted, stop, trouble, bench)
        try:
            if queue.is_spent or prepare_supernets(setup.plan, deadline, listener, stop):
                plan, workers = _divided(setup, room)
                before = study.models(), study.counts()
                start = SearchStart(
                    study.name,
                    metrics,
                    config.trials,
                    deadline,
                    *before,
                    workers,
                    config.sampler,
                    study.objectives,
                    halving.stopped_share(plan.epochs(study.baseline_candidate)) if halving is not None else 0.0,
                )
                listener.search_started(start)
                run_trials(queue, plan, workers)
            else:
                queue.stopped = STOPPED if stop.is_asked else TIME_IS_UP
        except ClusterLost as error:
            lost = str(error)
        except KeyboardInterrupt:  # of a listener, or in a thread, where signals raise no flag
            queue.stopped = STOPPED
        except DATABASE_ERRORS as error:
            is_database_away = is_away(error)  # it was waited for already; what this search holds lapses
            raise
        finally:
            try:
                if not is_database_away:
                    study.leave()
            finally:
                listener.search_ended()
    reason = lost or queue.stopped
    interrupted = bool(lost) or reason in (STOPPED, TIME_IS_UP)
    if bench is not None and not interrupted and (parked := study.counts().get(PARKED, 0)):
        reason, interrupted = f"{reason}; {bench.said(parked)}", True
    if not {"running", "waiting"} & study.counts().keys():
        drop_checkpoints(setup.plan.folder)
    return SearchSummary(study, reason, interrupted, queue.asking_s, time.monotonic() - begin, deadline)


def _with_resources(driver: Driver, config: StudyConfig, given: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return the options of the driver, among them what the study file reserves for each trial."""
    if config.resources is None:
        return given
    if "resources" not in driver.options.model_fields:
        able = [name for name, other in DRIVERS.items() if "resources" in other.options.model_fields]
        raise ConfigError(
            f"{where}: resources: the driver {driver.name} reserves nothing for a trial; drivers that do: "
            f"{', '.join(able)}"
        )
    return {**given, "resources": config.resources.model_dump()}


def _made_for(setup: Setup, connection: DeviceConnection) -> Setup:
    """Return the setup of a study whose files are made for the machine that measures them, where that is there."""
    device = connection.described or setup.plan.device
    return replace(setup, plan=replace(setup.plan, device=device), stored={**setup.stored, "device": device.to_json()})


def _on_its_device(
    setup: Setup, study: Study, listener: ProgressListener, connection: DeviceConnection | None
) -> Setup:
    """Return the setup with the device that the study began on; say so where the one that measures is another."""
    device = stored_device(study.config)
    here = this_device(device.threads, device.batch_size)
    if connection is None and device != here:
        listener.remark(f"study {study.name!r}: {device.remark_on(here)}")
    elif connection is not None:
        for said in connection.remarks(device):
            listener.remark(f"study {study.name!r}: {said}")
    return replace(setup, plan=replace(setup.plan, device=device))


def _prepare(study: Study, setup: Setup, costs: CandidateCosts, where: str, warm: WarmStart = COLD) -> None:
    """Let a study ask for its baseline first, then for networks that are known to be good; give it its sampler."""
    config, plan, space = setup.config, setup.plan, setup.space
    study.enqueue([space.values(space.baseline), *(warm.first or [space.values(space.mildest())])])
    problem, last = replace(problem_of(setup, study, costs), sisters=warm.sisters), config.local_search_trials
    study.use(choose_sampler(config.sampler, problem, plan.optimised_metrics, where, plan.task.folder, last))


def problem_of(setup: Setup, study: Study, costs: CandidateCosts | None = None) -> Problem:
    """Return the problem that the sampler is made for."""
    knobs, n_told = distributions(setup.space), sum(study.counts().values())
    costs = costs or _costs(setup, study)
    start = [setup.space.values(candidate) for candidate in (setup.space.baseline, setup.space.mildest())]
    region = functools.partial(_region, study)
    training = setup.plan.training
    work: Work = no_work
    if training.mode == "scratch" and training.first_epochs:  # elsewhere networks of all sizes take about the same
        finetuning = training.finetune_epochs / (training.first_epochs + training.finetune_epochs)
        work = TrainingWork(setup.space, costs, training_key, finetuning)
    seed, trials = setup.config.seed, setup.config.trials
    return Problem(seed, trials, knobs, costs, costs.described.canonical, start, region, n_told, work)


def _region(study: Study) -> Region:
    """Return what a study accepts of its objectives; what follows from the baseline is known once that is done."""
    limits, metrics, baseline = study.limits, study.optimised_metrics, study.baseline()
    losses = {at: m.loss(limits[m.name]) for at, m in enumerate(metrics) if m.name in limits}
    reference: dict[int, float] = {}
    if baseline is not None:
        reference = {at: worst_cost(m, baseline) for at, m in enumerate(metrics) if not m.higher_is_better}
    return Region(losses, frozenset(metrics[at].name for at in losses), reference)


def _costs(setup: Setup, study: Study) -> CandidateCosts:
    """Return the costs of candidates, those of the study's finished trials among them."""
    described = DescribedCandidates(setup.space)
    domain = KnobDomain(distributions(setup.space), described.canonical)
    return CandidateCosts(setup.space, domain, setup.task, setup.plan.objectives, study.models(), described)


def _divided(setup: Setup, room: Callable[[], int]) -> tuple[TrialPlan, int]:
    """Return the plan with the cores of the machine divided between the workers, and the number of workers."""
    cores, config = os.cpu_count() or 1, setup.config
    workers = min(room(), config.trials) if config.workers == "auto" else config.workers
    return replace(setup.plan, threads=allowed_threads(cores, workers), memory_bytes=config.trial_memory), workers
