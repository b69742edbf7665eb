"""What a trial needs besides its candidate: plain data that crosses processes."""

import functools
from dataclasses import dataclass
from pathlib import Path

from paredown.evaluators.measurement import Objective
from paredown.evaluators.tasks.catalogue import TASKS
from paredown.evaluators.tasks.task import Task
from paredown.evaluators.training import TrainingPlan
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS

MODEL_FILE, WEIGHTS_FILE, TEACHER_FILE = "model.onnx", "weights.safetensors", "teacher.safetensors"
"""Files of a trial: what ships, the trained weights, and the baseline's logits for distillation."""


@dataclass(frozen=True)
class TaskSpec:
    """Enough to load a task in another process.

    Attributes:
        name: In the catalogue.
        options: As JSON of its options.
        folder: Where relative paths start.
    """

    name: str
    options: str
    folder: Path


@dataclass(frozen=True)
class Baseline:
    """The finished reference trial.

    Attributes:
        artifact: Folder of its files.
        resolution: Side of its input, in pixels.
        latency_ms: Its median latency.
    """

    artifact: Path
    resolution: int
    latency_ms: float


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
        thresholds: Of early exits, tried on a trained network without training; empty for its own alone.
    """

    task: TaskSpec
    objectives: tuple[Objective, ...]
    training: TrainingPlan
    folder: Path
    baseline: Baseline | None = None
    timeout_s: float = 3600.0
    threads: int = 0
    judged: bool = False
    thresholds: tuple[float, ...] = ()

    def epochs(self, candidate: Candidate) -> int:
        """Return for how many epochs a candidate is trained at most, fine-tuning included."""
        finetune = self.training.finetune_epochs if is_restructured(candidate) else 0
        return self.training.epochs + finetune


def is_restructured(candidate: Candidate) -> bool:
    """Return whether a compression step changes the trained network, so that it is fine-tuned."""
    return any(STEPS[name].transform or STEPS[name].finetuning for name in candidate.steps)


@functools.lru_cache(maxsize=4)
def load_task(spec: TaskSpec) -> Task:
    """Return the task, loaded once a process."""
    loader = TASKS[spec.name]
    return loader.load(loader.options.model_validate_json(spec.options), spec.folder)
