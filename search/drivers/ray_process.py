"""The process that uses Ray: it runs Ray Tune, and asks and tells the process of the search through a pipe.

The searcher holds nothing that the study does not hold, so Ray's own snapshots are not needed to resume. Ray's
OptunaSearch is not used: it stores stopped trials as complete, leaves trials with NaN running for ever and has no
constraints.
"""

import contextlib
import json
import math
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from paredown.search.drivers.driver import Job, RunTrial
from paredown.search.drivers.ray_access import enter
from paredown.search.drivers.ray_actor import NODE, UNSEEN, trial_actor
from paredown.search.drivers.ray_resources import not_offered, reserved_for
from paredown.search.drivers.shared_folder import Marker
from paredown.search.drivers.trial_host import EPOCHS, KILLED
from paredown.search.drivers.worker_process import CUT, DIED, RESULT
from paredown.search.schedulers.halving import Halving
from paredown.search.schedulers.judge import Judge
from paredown.search.study_file.sections import ResourcesSection

NEXT, TICK, REMARK, BUG, OVER = "next", "tick", "remark", "bug", "over"
"""What the process says beside the news of its actors: it wants a job; it is alive; something to show; it failed; there
are no more trials."""
NO_MORE = "no more"
"""What it is answered where there is no job and will be none."""
TICK_S = 1.0
"""Seconds between two signs of life."""
START_S = 60.0
"""Seconds for which a trial waits for the worker that starts for it; then it takes any other that is free."""


@dataclass(frozen=True)
class TuneRun:
    """What the process is told.

    Attributes:
        run: Runs one trial.
        workers: Number of trials at a time.
        address: Address of a cluster; None starts Ray on this machine.
        resources: What is reserved for each trial.
        halving: Stops running trials early; None: all run to their end.
        marker: File by which workers see whether they share the study's folder.
        environment: The environment of the process and, on this machine, of its workers.
    """

    run: RunTrial
    workers: int
    address: str | None
    resources: ResourcesSection
    halving: Halving | None
    marker: Marker
    environment: Mapping[str, str]


def tune(pipe: "Connection[Any, Any]", settings: TuneRun, log: Path) -> None:
    """Run trials until the search has no more, or is gone.

    Args:
        pipe: To the process of the search.
        settings: What to do.
        log: File for all that Ray prints.
    """
    enter(settings.environment, log)
    with contextlib.suppress(BrokenPipeError, EOFError, ConnectionResetError):  # the search has ended
        try:
            _run(pipe, settings)
            pipe.send((OVER,))
        except Exception as error:
            from ray.exceptions import RayError

            traceback.print_exc()
            if not isinstance(error, RayError | OSError):
                pipe.send((BUG, traceback.format_exc()))


def _run(pipe: "Connection[Any, Any]", settings: TuneRun) -> None:
    import ray
    from ray import tune
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    reserved = reserved_for(settings.resources)
    cores = math.ceil(settings.workers * reserved["CPU"])
    size = {} if settings.address else {"num_cpus": cores}
    ray.init(
        address=settings.address or "local", include_dashboard=False, log_to_driver=False, logging_level="ERROR", **size
    )
    try:
        if text := not_offered([node["Resources"] for node in ray.nodes() if node["Alive"]], reserved):
            pipe.send((REMARK, text))
        judge = None
        if settings.halving is not None:
            # With this process: a machine that is lost must not take the memory of the others' trials with it.
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            judge = ray.remote(num_cpus=0, scheduling_strategy=here)(Judge).remote(settings.halving)
        trainable = tune.with_parameters(
            trial_actor(),
            run=settings.run,
            judge=judge,
            marker=settings.marker,
            reserved=reserved,
            workers=settings.workers,
        )
        searcher, callback = _searcher(pipe, judge)
        with tempfile.TemporaryDirectory(prefix="paredown-ray-") as folder:
            tune.Tuner(
                tune.with_resources(trainable, tune.PlacementGroupFactory([reserved])),
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    scheduler=waiting_for_workers(),
                    num_samples=-1,
                    max_concurrent_trials=settings.workers,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    storage_path=folder,
                    verbose=0,
                    callbacks=[callback],
                    failure_config=tune.FailureConfig(max_failures=0),
                ),
            ).fit()
    finally:
        ray.shutdown()


def waiting_for_workers() -> Any:
    """Return the scheduler by which Ray gives trials to workers."""
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import FIFOScheduler

    class WaitingForWorkers(FIFOScheduler):  # type: ignore[misc]
        """Gives the next trial to a free worker, and leaves to those in line the workers that start for them.

        Ray's own scheduler gives a free worker to the first in line and drops the worker that was starting for it, so
        that one worker would run all trials that are shorter than that start.
        """

        def __init__(self) -> None:
            super().__init__()
            self._added: dict[str, float] = {}

        def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
            self._added[trial.trial_id] = time.monotonic()

        def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
            late = time.monotonic() - START_S
            live: set[Trial] = tune_controller.get_live_trials()
            waiting = [one for one in live if one.status == Trial.PENDING and self._added[one.trial_id] < late]
            return min(waiting, key=lambda one: self._added[one.trial_id], default=None)

    return WaitingForWorkers()


def _searcher(pipe: "Connection[Any, Any]", judge: Any) -> tuple[Any, Any]:  # noqa: C901 (classes: Ray loads late)
    import ray
    from ray.tune import Callback
    from ray.tune.search import Searcher

    numbers: dict[str, int] = {}

    class StudySearcher(Searcher):  # type: ignore[misc]
        """Asks and tells the search; its only state is which Ray trial runs which of ours."""

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Ray snapshots searchers; the study is the state

        def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
            pipe.send((NEXT,))
            job = pipe.recv()
            if not isinstance(job, Job):
                # None asks Ray to come back later: a running trial may open the way for others.
                return str(Searcher.FINISHED) if job == NO_MORE else None
            numbers[trial_id] = job.number
            if judge is not None:
                ray.get(judge.allow.remote(job.slack))
            return {"job": job}

        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            if trial_id in numbers and EPOCHS in result:
                pipe.send((EPOCHS, numbers[trial_id], json.loads(result[EPOCHS])))

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            if trial_id not in numbers:
                return
            news = result or {DIED: "its Ray worker died (ray.log says why)"}
            self.on_trial_result(trial_id, news)
            number = numbers.pop(trial_id)
            if UNSEEN in news:
                pipe.send((UNSEEN, news[UNSEEN]))
            elif RESULT in news:
                pipe.send((RESULT, number, news[NODE], *json.loads(news[RESULT])))
            elif CUT in news:
                pipe.send((CUT, number))
            else:
                if judge is not None:
                    ray.get(judge.forget.remote(number))
                pipe.send((KILLED, number, *json.loads(news[KILLED])) if KILLED in news else (DIED, number, news[DIED]))

        def save(self, checkpoint_path: str) -> None:
            """Nothing: the study is the state."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing: the study is the state."""

        def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
            return True

    class SignsOfLife(Callback):  # type: ignore[misc]
        """Tells the search that this process lives, so that it renews its leases; fails where the search is gone."""

        def __init__(self) -> None:
            self._told = 0.0

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Ray snapshots callbacks; there is nothing to keep

        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
            if time.monotonic() - self._told > TICK_S:
                pipe.send((TICK,))
                self._told = time.monotonic()

    return StudySearcher(), SignsOfLife()
