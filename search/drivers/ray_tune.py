"""Trials through Ray Tune, on this machine or on a cluster.

The searcher holds nothing that the study does not hold, so Ray's own snapshots are not needed to resume. Ray's
OptunaSearch is not used: it stores stopped trials as complete, leaves trials with NaN running for ever and has no
constraints.
"""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from paredown.evaluators.errors import TrialInterrupted
from paredown.search.drivers.driver import Driver, DriverOptions, Job, RunTrial, next_job
from paredown.search.errors import SearchAborted
from paredown.search.schedulers.judge import Judge
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial_queue import TrialQueue
from paredown.studies.result import CAUSE, TrialResult

RESULT = "trial_result"
CUT = "trial_cut"
"""In the place of a result where the trial was cut off because the search ends."""


class RayOptions(DriverOptions):
    """Where Ray runs.

    Attributes:
        address: Address of a cluster; None starts Ray on this machine.
    """

    address: str | None = None


def run_on_ray(queue: TrialQueue, plan: TrialPlan, workers: int, run: RunTrial, options: RayOptions) -> None:
    """Run trials as Ray Tune trials; see `RunQueue`.

    On a cluster of several machines, the folder of the plan must be shared by all of them. The listener is told the
    epochs of a trial when the trial has ended.
    """
    address = options.address
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    os.environ.setdefault("RAY_AUTH_MODE", "disabled" if address is None else "token")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # the queue hears of it
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # files that nobody reads
    import ray
    from ray import tune

    is_ours = not ray.is_initialized()
    with _stdout_to_stderr(), tempfile.TemporaryDirectory(prefix="paredown-ray-") as folder:
        if is_ours:
            # The cores are divided by us; Ray only counts workers.
            size = {} if address else {"num_cpus": workers}
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR", **size)
        judge = None if queue.halving is None else ray.remote(num_cpus=0)(Judge).remote(queue.halving)
        searcher = _searcher(queue, plan, judge)
        try:
            tune.Tuner(
                tune.with_parameters(_trainable(), run=run, judge=judge),
                tune_config=tune.TuneConfig(
                    search_alg=searcher, num_samples=-1, max_concurrent_trials=workers, reuse_actors=True
                ),
                run_config=tune.RunConfig(
                    storage_path=folder,
                    verbose=0,
                    callbacks=[_renewal(queue)],
                    stop=_cutting(queue),
                    failure_config=tune.FailureConfig(max_failures=0),
                ),
            ).fit()
        finally:
            if judge is not None:
                ray.kill(judge)
            if is_ours:
                ray.shutdown()
    if searcher.aborted is not None:
        raise searcher.aborted
    if queue.must_cut:
        for number in queue.running:
            queue.cut(number)
        queue.next()  # says why there is no more


def _searcher(queue: TrialQueue, plan: TrialPlan, judge: Any) -> Any:  # noqa: C901 (a class: Ray loads late)
    import ray
    from ray.tune.search import Searcher

    class StudySearcher(Searcher):  # type: ignore[misc]
        """Asks and tells the queue; its only state is which Ray trial runs which of ours."""

        def __init__(self, queue: TrialQueue, plan: TrialPlan) -> None:
            super().__init__()
            self.aborted: SearchAborted | None = None
            self._queue, self._plan = queue, plan
            self._numbers: dict[str, int] = {}

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Ray snapshots searchers; the study is the state

        def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
            job = None if self.aborted else next_job(self._queue, self._plan)
            if job is None:
                # None asks Ray to come back later: a running trial may open the way for others.
                return str(Searcher.FINISHED) if self.aborted or self._queue.stopped else None
            self._numbers[trial_id] = job.number
            return {"job": job}

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            number = self._numbers.pop(trial_id, None)
            if number is None:
                return
            if not error and (CUT in (result or {}) or (RESULT not in (result or {}) and self._queue.must_cut)):
                self._queue.cut(number)
                return
            ended = _result(result, error)
            if error and judge is not None:
                ray.get(judge.forget.remote(number))
            for epoch, metrics in ended.curve:
                self._queue.listener.epoch(number, epoch, metrics)
            try:
                self._queue.tell(number, ended)
            except SearchAborted as aborted:
                self.aborted = aborted

        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            """Nothing to learn before the end."""

        def save(self, checkpoint_path: str) -> None:
            """Nothing: the study is the state."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing: the study is the state."""

        def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
            return True

    return StudySearcher(queue, plan)


def _result(result: dict[str, Any] | None, error: bool) -> TrialResult:
    if result is not None and RESULT in result:
        return TrialResult.from_json(json.loads(result[RESULT]))
    return TrialResult("failed", "its Ray worker died" if error else "Ray stopped it", facts={CAUSE: "killed"})


def _trainable() -> Any:
    import ray
    from ray import tune

    class TrialActor(tune.Trainable):  # type: ignore[misc]
        """Runs one trial in one step, then is given the next."""

        def setup(self, config: dict[str, Any], run: RunTrial, judge: Any) -> None:
            self._run, self._judge = run, judge
            self._job: Job = config["job"]

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._job = new_config["job"]
            return True

        def step(self) -> dict[str, Any]:
            try:
                result = self._run(self._job.candidate, self._job.plan, self._on_epoch)
            except TrialInterrupted:
                return {CUT: True, "done": True}
            # One string: Ray flattens mappings on their way to the searcher.
            return {RESULT: json.dumps(result.to_json()), "done": True}

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


def _renewal(queue: TrialQueue) -> Any:
    from ray.tune import Callback

    class Renewal(Callback):  # type: ignore[misc]
        """Renews the leases while Ray waits for results."""

        def __init__(self, queue: TrialQueue) -> None:
            self._queue = queue

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Ray snapshots callbacks; there is nothing to keep

        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
            self._queue.renew()

    return Renewal(queue)


def _cutting(queue: TrialQueue) -> Any:
    from ray.tune import Stopper

    class Cutting(Stopper):  # type: ignore[misc]
        """Stops the running trials when the search must end."""

        def __init__(self, queue: TrialQueue) -> None:
            self._queue = queue

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Ray snapshots stoppers; there is nothing to keep

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return self._queue.must_cut

    return Cutting(queue)


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Ray prints tables, also when told to be silent; standard output is for results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


RAY = Driver("ray", run_on_ray, RayOptions)
