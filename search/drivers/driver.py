"""What a driver is: it runs the trials of a queue, wherever that may be."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from paredown.evaluators.build import input_shape
from paredown.evaluators.files.names import MODEL_FILE
from paredown.evaluators.metrics.evaluation_input import Baseline
from paredown.evaluators.metrics.measurement import resolved_objectives
from paredown.evaluators.tasks.spec import load_task
from paredown.evaluators.training.fit import OnEpoch
from paredown.search.errors import ConfigError, SearchAborted
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial_queue import TrialQueue
from paredown.spaces.candidate import Candidate
from paredown.studies.front import Model
from paredown.studies.result import TrialResult

RunTrial = Callable[[Candidate, TrialPlan, OnEpoch], TrialResult]


class DriverOptions(BaseModel):
    """Options of a driver, checked; a driver that has some declares them in a subclass."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RunQueue(Protocol):
    """Runs trials until the queue has no more."""

    def __call__(self, queue: TrialQueue, plan: TrialPlan, workers: int, run: RunTrial, options: Any) -> None:
        """Take jobs by `next_job`, run them, and tell the queue what each came to.

        A trial that raises TrialInterrupted, and every running one as soon as `queue.must_cut`, ends where it stands
        and is given back by `queue.cut`.

        Args:
            queue: Trials and budget.
            plan: How a trial runs.
            workers: Number of trials at a time.
            run: Runs one trial.
            options: What the driver declares as its options.

        Raises:
            SearchAborted: The queue says that going on makes no sense.
            ClusterLost: The machines are gone; running trials are given back.
        """


class Check(Protocol):
    """Refuses, before anything is stored, what the driver could not do."""

    def __call__(self, options: Any, where: str) -> None:
        """Return where trials can run.

        Args:
            options: What the driver declares as its options.
            where: How messages name the study file.

        Raises:
            ConfigError: They cannot; the message says what to change.
        """


def _check_nothing(options: Any, where: str) -> None:
    """Every option that a driver accepts can be met."""


class Room(Protocol):
    """Says for how many trials at a time there is room."""

    def __call__(self, options: Any) -> int:
        """Return the number of workers where the study file says `auto`.

        Args:
            options: What the driver declares as its options.
        """


def _cores_here(options: Any) -> int:
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Driver:
    """A way to run trials.

    Attributes:
        name: Name in the catalogue and in study files.
        run: Runs the trials.
        options: What the driver can be told, such as the address of a cluster.
        check: Refuses options that cannot be met, such as a cluster that nobody answers at.
        room: Says for how many trials at a time there is room: one for each core of this machine, where not given.
    """

    name: str
    run: RunQueue
    options: type[DriverOptions] = DriverOptions
    check: Check = _check_nothing
    room: Room = _cores_here

    def checked(self, given: Mapping[str, Any], where: str) -> DriverOptions:
        """Return the options of the driver.

        Args:
            given: Values by name.
            where: How messages name the study file.

        Raises:
            ConfigError: There is no such option, or its value is not allowed; the message says what is.
        """
        try:
            return self.options.model_validate(dict(given))
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(str(part) for part in problem["loc"])
            said = "no such option" if problem["type"] == "extra_forbidden" else problem["msg"]
            allowed = ", ".join(self.options.model_fields) or "none"
            message = (
                f"{where}: driver {self.name}: {key}={given.get(key)!r}: {said}; options of this driver: {allowed}"
            )
            raise ConfigError(message) from None


@dataclass(frozen=True)
class Job:
    """A trial to run, as plain data that crosses processes.

    Attributes:
        number: Number of the trial.
        candidate: What to build.
        plan: How, with the baseline where that is finished.
        slack: By how much it may be worse than the baseline; see `Judge.slack`.
    """

    number: int
    candidate: Candidate
    plan: TrialPlan
    slack: Mapping[str, float] | None = None

    @property
    def epochs(self) -> int:
        """Number of epochs planned for the trial."""
        return self.plan.epochs(self.candidate)

    @property
    def spared(self) -> bool:
        """Whether the trial runs to its end whatever it shows: it is the baseline."""
        return self.plan.is_baseline


def next_job(queue: TrialQueue, plan: TrialPlan, *, beside: bool = False) -> Job | None:
    """Return a trial to start now; None to wait, or for good where `queue.stopped` says why.

    Args:
        queue: Trials and budget.
        plan: How a trial runs.
        beside: Whether trials may start while the baseline runs: the driver hands it to them later.
    """
    pending = queue.next(beside=beside)
    if pending is None:
        return None
    counted = tuple(queue.counted(pending.candidate).items())  # so that the trial need not build and count it again
    plan = replace(with_reference(plan, queue.baseline), counted=counted, seconds_left=queue.seconds_left)
    if plan.baseline is None:
        plan = replace(plan, awaits_baseline=not queue.is_baseline(pending.number))
    else:
        plan = replace(plan, least_accuracy=queue.judge.least_accuracy(plan.objectives))
    return Job(pending.number, pending.candidate, plan, queue.judge.slack)


def with_reference(plan: TrialPlan, baseline: Model | None) -> TrialPlan:
    """Return the plan with the finished baseline in it, and with the limits that follow from it as numbers.

    Raises:
        SearchAborted: No network can keep one of them.
    """
    if baseline is None:
        return plan
    file = Path(plan.folder, baseline.artifact, MODEL_FILE)
    shape = input_shape(baseline.candidate, load_task(plan.task))
    reference = Baseline(file, shape, baseline["latency_ms"])
    objectives = resolved_objectives(plan.objectives, baseline.values)
    for one in objectives:
        if one.limit is not None and one.limit > one.metric.highest:
            raise SearchAborted(
                f"limits.{one.metric.name}: {one.relative} is {one.limit:g}, since the baseline has "
                f"{baseline[one.metric.name]:g}: no network can have more than {one.metric.highest:g}; begin a study "
                "with a lower limit"
            )
    return replace(plan, baseline=reference, objectives=objectives)
