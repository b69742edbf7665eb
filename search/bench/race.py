"""The race: samplers propose networks, a landscape evaluates them, and the score is the hypervolume.

Each sampler runs once per seed, by ask and tell, in an Optuna study in memory. As in a study of the user, it is told
the limits and the largest costs that count. Every proposal is an evaluation:

- for a network, the sampler observes its values (those of the first run, where there are several);
- for a network that fails, the sampler observes FAIL;
- a proposal that is no network of the landscape fails too and counts as `outside`;
- for a network proposed before, the sampler observes the same values again; it counts as `duplicates`.

The runs are spread over processes with one thread each, so that results do not depend on the number of processes.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from paredown.evaluators.owner import end_with_owner
from paredown.search.bench.entries import sampler_named
from paredown.search.bench.landscape import Landscape
from paredown.search.errors import ConfigError
from paredown.search.samplers.sampler import Problem, Region

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",  # some samplers walk through sets of names
}


@dataclass
class Run:
    """The run of one sampler with one seed.

    Attributes:
        sampler: Name of the sampler.
        seed: Random seed of all draws.
        losses: Losses that the score counts, for each evaluation; None where there was no result.
        ask_s: Seconds that each proposal took.
        failed: Number of networks that failed.
        outside: Number of proposals that were no network of the landscape.
        duplicates: Number of networks that had been proposed before.
    """

    sampler: str
    seed: int
    losses: list[tuple[float, ...] | None] = field(default_factory=list)
    ask_s: list[float] = field(default_factory=list)
    failed: int = 0
    outside: int = 0
    duplicates: int = 0


def run_once(landscape: Landscape, sampler: str, seed: int, trials: int) -> Run:
    """Run one sampler with one seed.

    Raises:
        ConfigError: The sampler does not exist or does not support the objectives.
    """
    distributions = dict(landscape.distributions)
    free = {name: d for name, d in distributions.items() if not d.single()}
    limited = {at: goal for at, goal in enumerate(landscape.goals) if goal.limit is not None}
    limits = {at: goal.loss(float(goal.limit or 0.0)) for at, goal in limited.items()}
    costs = [at for at, goal in enumerate(landscape.goals) if not goal.maximise]
    reference = {at: float(landscape.reference[at]) for at in costs}  # a study tells it too: 1.1 times its baseline's
    region = Region(limits, frozenset(goal.name for goal in limited.values()), reference)
    problem = Problem(seed, trials, free, landscape.costs, landscape.canonical, region=lambda: region)
    directions = [StudyDirection.MAXIMIZE if goal.maximise else StudyDirection.MINIMIZE for goal in landscape.goals]
    study = optuna.create_study(directions=directions, sampler=sampler_named(sampler)(problem))
    run, seen = Run(sampler, seed), set()
    for number in range(trials):
        start = time.perf_counter()
        try:
            trial = study.ask(distributions)
        except ValueError as error:
            if number:
                raise
            raise ConfigError(
                f"--samplers: {sampler} does not support {len(directions)} objectives here: {error}"
            ) from error
        run.ask_s.append(time.perf_counter() - start)
        outcome = landscape.outcome(trial.params)
        run.outside += outcome.network is None
        run.duplicates += outcome.network in seen
        run.losses.append(outcome.losses)
        if outcome.network is not None:
            seen.add(outcome.network)
        if outcome.values is None:
            run.failed += outcome.network is not None
            study.tell(trial, state=TrialState.FAIL)
        else:
            for at, goal in limited.items():
                trial.set_constraint(goal.name, goal.loss(outcome.values[at]) - limits[at])
            study.tell(trial, list(outcome.values))
    return run


def race(
    landscape: Landscape,
    samplers: Sequence[str],
    seeds: Sequence[int],
    trials: int,
    workers: int | None = None,
    on_run: Callable[[Run], None] = lambda run: None,
) -> list[Run]:
    """Run every sampler with every seed.

    Args:
        landscape: The landscape that evaluates proposals.
        samplers: Names of samplers; see `entries.sampler_named`.
        seeds: Random seeds; each sampler runs once with each.
        trials: Number of evaluations in a run.
        workers: Number of processes; None for one per core.
        on_run: Called in this process when a run has ended.

    Returns:
        The runs, by sampler and seed in the given order.

    Raises:
        ConfigError: A sampler does not exist or does not support the objectives.
    """
    for name in samplers:
        sampler_named(name)
    jobs = [(name, seed) for seed in seeds for name in samplers]
    count = min(len(jobs), workers or os.cpu_count() or 1)
    before = set(multiprocessing.active_children())
    runs: dict[tuple[str, int], Run] = {}
    with (
        _environment(ONE_THREAD),
        ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _start, (landscape,)) as pool,
    ):
        try:
            for done in as_completed([pool.submit(_run, name, seed, trials) for name, seed in jobs]):
                run = done.result()
                runs[run.sampler, run.seed] = run
                on_run(run)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()
            raise
    return [runs[name, seed] for name in samplers for seed in seeds]


_landscape: Landscape | None = None
"""The landscape of this worker process."""


def _start(landscape: Landscape) -> None:
    import signal

    global _landscape
    _landscape = landscape
    end_with_owner()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process ends its workers
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _run(sampler: str, seed: int, trials: int) -> Run:
    assert _landscape is not None
    return run_once(_landscape, sampler, seed, trials)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables that worker processes read when they start."""
    before: dict[str, Any] = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
