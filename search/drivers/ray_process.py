"""The process that uses Ray: it runs Ray Tune, and asks and tells the process of the search through a pipe.

The searcher holds nothing that the study does not hold, so Ray's own snapshots are not needed to resume. Ray's
OptunaSearch is not used: it stores stopped trials as complete, leaves trials with NaN running for ever and has no
constraints.
"""

import contextlib
import json
import math
import os
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from paredown.evaluators.errors import TrialInterrupted
from paredown.search.drivers.driver import Job, RunTrial
from paredown.search.drivers.shared_folder import Marker, digests
from paredown.search.schedulers.halving import Halving
from paredown.search.schedulers.judge import Judge
from paredown.search.study_file.sections import ResourcesSection
from paredown.search.trial.failure_cause import cause_of
from paredown.studies.result import CAUSE, TrialResult

NEXT, ENDED, LOST, CUT, TICK = "next", "ended", "lost", "cut", "tick"
REMARK, UNSEEN, BUG, OVER = "remark", "unseen", "bug", "over"
"""What the process says: it wants a job; a trial ended; a worker died; a trial found that the search ends; it is alive;
something to show; a worker does not see the study's folder; it failed; there are no more trials."""
NO_MORE = "no more"
"""What it is answered where there is no job and will be none."""
TICK_S = 1.0
"""Seconds between two signs of life."""
RESULT = "trial_result"


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

    @property
    def reserved(self) -> dict[str, float]:
        """What Ray reserves for each trial, by Ray's names."""
        resources = self.resources
        cpu = 1.0 if resources.cpu is None else resources.cpu  # the cores are divided by us; Ray only counts workers
        return {"CPU": cpu, **({"GPU": resources.gpu} if resources.gpu else {}), **resources.custom}


def tune(pipe: "Connection[Any, Any]", settings: TuneRun, log: Path) -> None:
    """Run trials until the search has no more, or is gone.

    Args:
        pipe: To the process of the search.
        settings: What to do.
        log: File for all that Ray prints.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the search decides what Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(settings.environment)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
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

    cores = math.ceil(settings.workers * settings.reserved["CPU"])
    size = {} if settings.address else {"num_cpus": cores}
    ray.init(
        address=settings.address or "local", include_dashboard=False, log_to_driver=False, logging_level="ERROR", **size
    )
    try:
        if text := _not_offered(ray.nodes(), settings.reserved):
            pipe.send((REMARK, text))
        judge = None
        if settings.halving is not None:
            # With this process: a machine that is lost must not take the memory of the others' trials with it.
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            judge = ray.remote(num_cpus=0, scheduling_strategy=here)(Judge).remote(settings.halving)
        trainable = tune.with_parameters(_trainable(), run=settings.run, judge=judge, marker=settings.marker)
        searcher, callback = _searcher(pipe, judge)
        with tempfile.TemporaryDirectory(prefix="paredown-ray-") as folder:
            tune.Tuner(
                tune.with_resources(trainable, tune.PlacementGroupFactory([settings.reserved])),
                tune_config=tune.TuneConfig(
                    search_alg=searcher, num_samples=-1, max_concurrent_trials=settings.workers, reuse_actors=True
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


def _not_offered(nodes: list[dict[str, Any]], reserved: Mapping[str, float]) -> str:
    """Return what to say where no machine could run a trial now; empty where one could."""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if any(all(offered.get(name, 0) >= amount for name, amount in reserved.items()) for offered in alive):
        return ""
    asked = ", ".join(f"{name} {amount:g}" for name, amount in reserved.items())
    return f"no machine of the cluster offers {asked}: trials wait until one does"


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
            return {"job": job}

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            number = numbers.pop(trial_id, None)
            if number is None:
                return
            if result is not None and UNSEEN in result:
                pipe.send((UNSEEN, result[UNSEEN]))
            elif result is not None and CUT in result:
                pipe.send((CUT, number))
            elif result is not None and RESULT in result:
                pipe.send((ENDED, number, *json.loads(result[RESULT])))
            else:
                if judge is not None:
                    ray.get(judge.forget.remote(number))
                pipe.send((LOST, number, "its Ray worker died"))

        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            """Nothing to learn before the end."""

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


def _trainable() -> Any:  # noqa: C901 (a class: Ray loads late)
    import ray
    from ray import tune

    class TrialActor(tune.Trainable):  # type: ignore[misc]
        """Runs one trial in one step, then is given the next."""

        def setup(self, config: dict[str, Any], run: RunTrial, judge: Any, marker: Marker) -> None:
            self._run, self._judge = run, judge
            self._sees = marker.is_seen
            self._job: Job = config["job"]

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._job = new_config["job"]
            return True

        def step(self) -> dict[str, Any]:
            if not self._sees:
                return {UNSEEN: socket.gethostname(), "done": True}
            job = self._job
            try:
                result = self._run(job.candidate, job.plan, self._on_epoch)
            except TrialInterrupted:
                return {CUT: True, "done": True}
            except Exception as error:
                facts = {CAUSE: cause_of(error)}
                result = TrialResult("failed", f"{type(error).__name__}: {error}", facts=facts)
            result = replace(result, facts={**result.facts, "node": ray.get_runtime_context().get_node_id()})
            artifacts = [result.artifact, *(derived.artifact for derived in result.derived)]
            # One string: Ray flattens mappings on their way to the searcher.
            return {RESULT: json.dumps([result.to_json(), digests(job.plan.folder, artifacts)]), "done": True}

        def _on_epoch(self, epoch: int, metrics: dict[str, float]) -> str:
            if self._judge is None:
                return ""
            job = self._job
            return str(ray.get(self._judge.judge.remote(job.number, epoch, job.epochs, metrics, spared=job.spared)))

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Nothing: a trial is one step."""

        def load_checkpoint(self, checkpoint: Any) -> None:
            """Nothing: a trial is one step."""

    return TrialActor
