"""The plan of a study's trials: plain data that crosses processes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from paredown.evaluators.device import Device, this_device
from paredown.evaluators.devices.costs import refused_format
from paredown.evaluators.devices.profile import DeviceProfile
from paredown.evaluators.latency.sent_model import timed_metrics
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import Baseline
from paredown.evaluators.metrics.measurement import Metric, Objective, optimised_metrics
from paredown.evaluators.tasks.spec import TaskSpec
from paredown.evaluators.training.fit import TrainingPlan
from paredown.evaluators.training.teacher import TeacherSpec
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.errors import InfeasibleCandidate
from paredown.studies.result import PARKED, Outcome


@dataclass(frozen=True)
class TrialPlan:
    """All that a trial needs besides the candidate.

    Attributes:
        task: The task.
        objectives: Metrics that are optimised or limited; limits that follow from the baseline are numbers once it
            is in the plan.
        training: Plan of the training.
        folder: Folder of the study.
        baseline: The finished baseline; None while it runs.
        reference_network: The baseline's network, for which a trial that shares it waits instead of training it again;
            None: no trial does.
        awaits_baseline: Whether the trial begins while the baseline runs, and waits where it needs it.
        reference: Waits for the baseline and returns it with the objectives; a driver sets it in the worker where the
            trial awaits the baseline.
        timeout_s: Seconds after which the trial fails.
        seconds_left: Seconds after which the search ends, and a running trial with it; None for no limit.
        memory_bytes: Memory of a worker process above which its trial fails; None for its share of the machine's.
        threads: Maximum number of PyTorch's threads; a small network trains on fewer.
        judged: Whether trials are judged while they run; the costs among the objectives are then measured
            before training.
        teacher: Teacher of distillation; None for the baseline.
        keeps_features: Whether the baseline's features are stored beside its logits, for hints.
        space: Section `space` of the study file, as JSON: what a supernet is trained for.
        swept: Knobs of early exits with the values to try on a trained network without training; empty for the
            candidate's own setting alone.
        counted: Costs of the candidate's untrained network by metric, where they were counted before.
        least_accuracy: Accuracy below which a trial is hopeless: right after compression, and after the first of
            several epochs of fine-tuning; 0 stops none.
        device: The device that files are made for; the same on every machine that runs trials of the study.
        target: The device for which models are searched, where the study file names one.
        measured_on: Resource of the machine that measures the timed metrics once a trial is over; empty where the
            machine of the trial measures them itself.
    """

    task: TaskSpec
    objectives: tuple[Objective, ...]
    training: TrainingPlan
    folder: Path
    baseline: Baseline | None = None
    reference_network: Candidate | None = None
    awaits_baseline: bool = False
    reference: Callable[[], tuple[Baseline, tuple[Objective, ...]]] | None = None
    timeout_s: float = 3600.0
    seconds_left: float | None = None
    memory_bytes: float | None = None
    threads: int = 1
    judged: bool = False
    teacher: TeacherSpec | None = None
    keeps_features: bool = True
    space: str = "{}"
    swept: tuple[tuple[str, tuple[float, ...]], ...] = ()
    counted: tuple[tuple[str, float], ...] = ()
    least_accuracy: tuple[float, float] = (0.0, 0.0)
    device: Device = field(default_factory=this_device)
    target: DeviceProfile | None = None
    measured_on: str = ""

    @property
    def left_out(self) -> tuple[str, ...]:
        """The metrics that the trial does not measure itself."""
        return timed_metrics([o.metric.name for o in self.objectives]) if self.measured_on else ()

    @property
    def measured_here(self) -> tuple[Objective, ...]:
        """The objectives whose metrics the trial measures itself."""
        return tuple(o for o in self.objectives if o.metric.name not in self.left_out)

    @property
    def ending(self) -> tuple[Outcome, str]:
        """Outcome and reason of a trial that has come to its end."""
        if not self.measured_on:
            return "done", ""
        return PARKED, f"{', '.join(self.left_out)}: {self.measured_on} has still to measure it"

    @property
    def optimised_metrics(self) -> tuple[Metric, ...]:
        """The metrics that span the front, in order."""
        return optimised_metrics(self.objectives)

    @property
    def is_baseline(self) -> bool:
        """Whether this is the plan of the baseline itself."""
        return self.baseline is None and not self.awaits_baseline

    def with_baseline(self) -> "TrialPlan":
        """Return the plan with the baseline in it, after a wait where that still runs; the same for the baseline."""
        if self.reference is None:
            return self
        baseline, objectives = self.reference()
        return replace(self, baseline=baseline, objectives=objectives, awaits_baseline=False, reference=None)

    def before_training(self, candidate: Candidate) -> "TrialPlan":
        """Return the plan with which a candidate begins: with the baseline where it needs that to begin.

        It does for a teacher, for limits that follow from the baseline, and where it goes on from the same network.
        """
        learns = self.teacher is None and any(STEPS[name].teacher_loss for name in candidate.steps)
        costs = [o for o in self.measured_here if o.is_limited and o.metric.untrained_tolerance is not None]
        judged = any(o.limit is None or EVALUATORS[o.metric.name].needs == "file" for o in costs)
        refuses = any(EVALUATORS[o.metric.name].refuses for o in self.objectives)
        goes_on = bool(self.training.cache_bytes) and candidate.uncompressed == self.reference_network
        return self.with_baseline() if learns or judged or refuses or goes_on else self

    def epochs(self, candidate: Candidate) -> int:
        """Return the maximum number of epochs for which a candidate is trained, fine-tuning included."""
        finetune = self.training.finetune_epochs if self.finetunes(candidate) else 0
        return self.training.first_epochs + finetune

    def finetunes(self, candidate: Candidate) -> bool:
        """Return whether a candidate is fine-tuned: it is restructured, or nothing else trains its attached layers."""
        return is_restructured(candidate) or (not self.training.first_epochs and bool(attaching(candidate)))

    def check_trained(self, candidate: Candidate) -> None:
        """Refuse a candidate that the target does not execute, or with attached layers that no epoch would train.

        The baseline is but the reference: the target need not execute it.

        Raises:
            InfeasibleCandidate: The target does not execute it, or no epoch trains it; the message says what to do.
        """
        refusal = refused_format(candidate, self.target) if self.target and not self.is_baseline else ""
        if refusal:
            raise InfeasibleCandidate(refusal)
        if (names := attaching(candidate)) and not self.epochs(candidate):
            first = "inherit_epochs" if self.training.mode == "inherit" else "epochs"
            raise InfeasibleCandidate(
                f"{names[0]}: exits start from random weights, and no epoch would train them: training.{first} and "
                "training.finetune_epochs are 0; allowed: 1 or more of either"
            )


def attaching(candidate: Candidate) -> list[str]:
    """Return the steps of a candidate that attach layers to its network."""
    return [name for name in candidate.steps if STEPS[name].attach is not None]


def is_restructured(candidate: Candidate) -> bool:
    """Return whether a compression step changes the trained network, so that it is fine-tuned."""
    steps = [(STEPS[name], knobs) for name, knobs in candidate.steps.items()]
    return any(step.transform or (step.finetuning and step.finetunes(knobs)) for step, knobs in steps)
