"""What a trial needs besides its candidate: plain data that crosses processes."""

from dataclasses import dataclass, field
from pathlib import Path

from paredown.evaluators.device import Device, this_device
from paredown.evaluators.metrics.evaluation_input import Baseline
from paredown.evaluators.metrics.measurement import Metric, Objective, optimised_metrics
from paredown.evaluators.tasks.spec import TaskSpec
from paredown.evaluators.training.fit import TrainingPlan
from paredown.evaluators.training.teacher import TeacherSpec
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.errors import InfeasibleCandidate


@dataclass(frozen=True)
class TrialPlan:
    """All that a trial needs besides the candidate.

    Attributes:
        task: Which data.
        objectives: Metrics optimised and limited.
        training: How to train.
        folder: The study's folder.
        baseline: None while the baseline itself runs.
        timeout_s: The trial fails after so long.
        threads: Of PyTorch; 0 leaves its own choice.
        judged: Whether trials are judged while they run; the costs among the objectives are then measured
            before training.
        teacher: Of distillation; None: the baseline.
        keeps_features: Whether the baseline's features are stored beside its logits, for hints.
        space: Section `space` of the study file, as JSON: what a supernet is trained for.
        swept: Knobs of early exits and their values, tried on a trained network without training; empty for its own
            alone.
        counted: Costs of the candidate's untrained network by metric, where they were counted before.
        device: The device that files are made for; the same on every machine that runs trials of the study.
    """

    task: TaskSpec
    objectives: tuple[Objective, ...]
    training: TrainingPlan
    folder: Path
    baseline: Baseline | None = None
    timeout_s: float = 3600.0
    threads: int = 0
    judged: bool = False
    teacher: TeacherSpec | None = None
    keeps_features: bool = True
    space: str = "{}"
    swept: tuple[tuple[str, tuple[float, ...]], ...] = ()
    counted: tuple[tuple[str, float], ...] = ()
    device: Device = field(default_factory=this_device)

    @property
    def optimised_metrics(self) -> tuple[Metric, ...]:
        """The metrics that span the front, in order."""
        return optimised_metrics(self.objectives)

    def epochs(self, candidate: Candidate) -> int:
        """Return for how many epochs a candidate is trained at most, fine-tuning included."""
        finetune = self.training.finetune_epochs if self.finetunes(candidate) else 0
        return self.training.first_epochs + finetune

    def finetunes(self, candidate: Candidate) -> bool:
        """Return whether a candidate is fine-tuned: it is restructured, or nothing else trains what is attached."""
        return is_restructured(candidate) or (not self.training.first_epochs and bool(attaching(candidate)))

    def check_trained(self, candidate: Candidate) -> None:
        """Refuse layers that a step attaches and no epoch would train.

        Raises:
            InfeasibleCandidate: Says which epochs are missing.
        """
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
