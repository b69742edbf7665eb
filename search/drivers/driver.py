"""What a driver is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from paredown.evaluators.build import input_shape
from paredown.evaluators.files.names import MODEL_FILE
from paredown.evaluators.metrics.evaluation_input import Baseline
from paredown.evaluators.tasks.spec import load_task
from paredown.evaluators.training.fit import OnEpoch
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial_queue import ProgressListener, TrialQueue
from paredown.spaces.candidate import Candidate
from paredown.studies.front import Model
from paredown.studies.result import TrialResult

RunTrial = Callable[[Candidate, TrialPlan, OnEpoch], TrialResult]


class Driver(Protocol):
    """Runs trials until the supply ends.

    Raises:
        KeyboardInterrupt: The user or the system asked to stop; running trials are given back.
        SearchAborted: The supply says that going on makes no sense.
    """

    def __call__(
        self,
        supply: TrialQueue,
        plan: TrialPlan,
        workers: int,
        watcher: ProgressListener,
        run: RunTrial,
        address: str | None,
    ) -> None:
        """Run trials."""


def with_reference(plan: TrialPlan, baseline: Model | None) -> TrialPlan:
    """Return the plan with the finished baseline in it."""
    if baseline is None:
        return plan
    file = Path(plan.folder, baseline.artifact, MODEL_FILE)
    shape = input_shape(baseline.candidate, load_task(plan.task))
    return replace(plan, baseline=Baseline(file, shape, baseline["latency_ms"]))
