"""Trials through Ray Tune, on this machine or a cluster.

The searcher holds nothing that the study does not: Ray's own snapshots are not needed to resume. Ray's
OptunaSearch is not used: it stores stopped trials as complete ones, leaves those with NaN running for ever
and knows no limits.
"""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from paredown.search.drivers.driver import RunTrial, with_reference
from paredown.search.errors import SearchAborted
from paredown.search.schedulers.halving import Halving
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial_queue import ProgressListener, TrialQueue
from paredown.studies.result import TrialResult

RESULT = "trial_result"


def run_on_ray(
    supply: TrialQueue,
    plan: TrialPlan,
    workers: int,
    watcher: ProgressListener,
    run: RunTrial,
    address: str | None = None,
) -> None:
    """Run trials as Ray Tune trials; see `Driver`.

    Args:
        supply: Trials and budget.
        plan: How a trial runs; its folder must be shared where the cluster has several machines.
        workers: Trials at a time.
        watcher: Told what happens; epochs are told when the trial ends.
        run: Runs one trial.
        address: Of a cluster; None starts Ray on this machine.
    """
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    os.environ.setdefault("RAY_AUTH_MODE", "disabled" if address is None else "token")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    import ray
    from ray import tune

    is_ours = not ray.is_initialized()
    with _stdout_to_stderr(), tempfile.TemporaryDirectory(prefix="paredown-ray-") as folder:
        if is_ours:
            # The cores are divided by us; Ray only counts workers.
            size = {} if address else {"num_cpus": workers}
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR", **size)
        judge = None if supply.halving is None else ray.remote(num_cpus=0)(_Judge).remote(supply.halving)
        searcher = _searcher(supply, plan, watcher, judge)
        try:
            tune.Tuner(
                tune.with_parameters(_trainable(), run=run, judge=judge),
                tune_config=tune.TuneConfig(
                    search_alg=searcher, num_samples=-1, max_concurrent_trials=workers, reuse_actors=True
                ),
                run_config=tune.RunConfig(
                    storage_path=folder,
                    verbose=0,
                    callbacks=[_renewal(supply)],
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


class _Judge:
    """Holds the scheduler in a process of its own, where all trials of the cluster reach it."""

    def __init__(self, halving: Halving) -> None:
        self._halving = halving

    def judge(self, number: int, epoch: int, epochs: int, metrics: dict[str, float], spared: bool) -> str:
        return self._halving.judge(number, epoch + 1, epochs, self._halving.losses(metrics), spared=spared)

    def forget(self, number: int) -> None:
        self._halving.forget(number)


def _searcher(supply: TrialQueue, plan: TrialPlan, watcher: ProgressListener, judge: Any) -> Any:  # noqa: C901 (a class: Ray loads late)
    import ray
    from ray.tune.search import Searcher

    class StudySearcher(Searcher):  # type: ignore[misc]
        """Asks and tells a supply; its only state is which Ray trial runs which of ours."""

        def __init__(self, supply: TrialQueue, plan: TrialPlan, watcher: ProgressListener) -> None:
            super().__init__()
            self.aborted: SearchAborted | None = None
            self._supply, self._plan, self._watcher = supply, plan, watcher
            self._numbers: dict[str, int] = {}

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Ray snapshots searchers; the study is the state

        def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
            asked = None if self.aborted else self._supply.next()
            if asked is None:
                # None asks Ray to come back later: a running trial may open the way for others.
                return str(Searcher.FINISHED) if self.aborted or self._supply.stopped else None
            self._numbers[trial_id] = asked.number
            plan = with_reference(self._plan, self._supply.baseline)
            return {"number": asked.number, "candidate": asked.candidate, "plan": plan}

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            number = self._numbers.pop(trial_id, None)
            if number is None:
                return
            outcome = _outcome(result, error)
            if error and judge is not None:
                ray.get(judge.forget.remote(number))
            for epoch, metrics in outcome.curve:
                self._watcher.epoch(number, epoch, dict(metrics))
            try:
                self._supply.tell(number, outcome)
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

    return StudySearcher(supply, plan, watcher)


def _outcome(result: dict[str, Any] | None, error: bool) -> TrialResult:
    if result is not None and RESULT in result:
        return TrialResult.from_json(json.loads(result[RESULT]))
    return TrialResult("failed", "its Ray worker died" if error else "Ray stopped it")


def _trainable() -> Any:
    import ray
    from ray import tune

    class TrialActor(tune.Trainable):  # type: ignore[misc]
        """Runs one trial in one step, then is given the next."""

        def setup(self, config: dict[str, Any], run: RunTrial, judge: Any) -> None:
            self._run, self._judge, self._job = run, judge, config

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._job = new_config
            return True

        def step(self) -> dict[str, Any]:
            result = self._run(self._job["candidate"], self._job["plan"], self._on_epoch)
            # One string: Ray flattens mappings on their way to the searcher.
            return {RESULT: json.dumps(result.to_json()), "done": True}

        def _on_epoch(self, epoch: int, metrics: dict[str, float]) -> str:
            if self._judge is None:
                return ""
            number, plan = self._job["number"], self._job["plan"]
            epochs, spared = plan.epochs(self._job["candidate"]), plan.baseline is None
            return str(ray.get(self._judge.judge.remote(number, epoch, epochs, metrics, spared)))

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Nothing: a trial is one step."""

        def load_checkpoint(self, checkpoint: Any) -> None:
            """Nothing: a trial is one step."""

    return TrialActor


def _renewal(supply: TrialQueue) -> Any:
    from ray.tune import Callback

    class Renewal(Callback):  # type: ignore[misc]
        """Renews the leases while Ray waits for results."""

        def __init__(self, supply: TrialQueue) -> None:
            self._supply = supply

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Ray snapshots callbacks; there is nothing to keep

        def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
            self._supply.renew()

    return Renewal(supply)


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Ray prints tables, also when told to be silent; standard output is for results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
