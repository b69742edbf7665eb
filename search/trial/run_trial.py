"""Runs one trial: from a candidate and a plan to measurements and files, without a database or global state.

This is the one place that decides the meaning of an error: a candidate that cannot be built or breaks a known limit is
rejected; any other error is a failure with its reason, and the search goes on.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paredown.evaluators.build import COUNTED, Compressed, apply_structural_steps, build, input_shape
from paredown.evaluators.errors import TrialInterrupted, TrialStopped
from paredown.evaluators.files.exit_runtime import BatchRuntime
from paredown.evaluators.files.model_writer import ModelWriter, Skipped, WrittenModel
from paredown.evaluators.files.names import MODEL_FILE, PACKED_FILE
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.evaluators.metrics.macs import exit_macs
from paredown.evaluators.metrics.measurement import Measurement, broken_limits
from paredown.evaluators.rehearsal import check_loads
from paredown.evaluators.tasks.spec import load_task
from paredown.evaluators.tasks.task import Task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import OnEpoch
from paredown.evaluators.training.precision import effect
from paredown.search.trial.artifact_folder import keep, save_teacher, save_weights
from paredown.search.trial.epoch_checkpoint import TrialCheckpoints
from paredown.search.trial.evaluating import evaluated, judged_by_file
from paredown.search.trial.exit_settings import EXIT_STEP, best_settings, exit_facts, with_setting
from paredown.search.trial.failure_cause import cause_of, failure
from paredown.search.trial.fitted_plan import fitted_plan
from paredown.search.trial.measuring_pause import MeasuringPause
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.pretraining import pretraining_digest
from paredown.search.trial.recovering import Recovering
from paredown.search.trial.stopwatch import Stopwatch
from paredown.search.trial.training_stages import TrainingStages
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.early_exit import rule_of
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.exits.network import MultiExit
from paredown.spaces.families.family import ImageShape, longer_side
from paredown.spaces.families.imported import NAME as IMPORTED
from paredown.studies.result import CAUSE, UNTRAINED_KEY, Derived, TrialResult, stopped_early

MEASURED = ("model", "file", "data")
"""Inputs that evaluators of a trained network may need: all of them."""


def run_trial(candidate: Candidate, plan: TrialPlan, on_epoch: OnEpoch = lambda epoch, metrics: "") -> TrialResult:
    """Build, train, compress, export and measure a candidate.

    Args:
        candidate: Candidate to build.
        plan: Plan of the trials.
        on_epoch: Called after each epoch, with the costs among the objectives where the plan has trials judged;
            returns why the trial stops there, or an empty text.

    Raises:
        TrialInterrupted: `on_epoch` raised it, or the plan's seconds are over.
    """
    trial = _Trial(candidate, plan, on_epoch)
    result = _result_of(trial)
    trial.remove_checkpoints()  # of no use from here; a trial that is interrupted or killed does not come here
    return result


def _result_of(trial: "_Trial") -> TrialResult:
    try:
        return trial.result()
    except InfeasibleCandidate as error:
        facts = trial.facts | {CAUSE: cause_of(error)}
        return TrialResult("rejected", str(error), trial.measurements, "", facts, tuple(trial.curve))
    except TrialStopped as stop:
        return trial.stopped(str(stop))
    except TrialInterrupted:
        raise
    except Exception as error:  # an error in one candidate must not end the search
        return failure(error, trial.facts, tuple(trial.curve))


@dataclass
class _Trial:
    """A running trial, with all that it has found so far, which it reports even if it ends early."""

    candidate: Candidate
    plan: TrialPlan
    on_epoch: OnEpoch
    measurements: dict[str, Measurement] = field(default_factory=dict)
    curve: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    known: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stopwatch = Stopwatch(self.plan.timeout_s, self.plan.seconds_left)
        self.pause = MeasuringPause(self.stopwatch.check, self.plan.training.device)
        self.recovering = Recovering(self.plan.least_accuracy, self.plan.training.finetune_epochs)

    @property
    def facts(self) -> dict[str, Any]:
        precision = self.plan.training.precision
        return {
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.stopwatch.seconds.items()},
            "paused_s": round(self.pause.paused_s, 3),
            UNTRAINED_KEY: self.known,
            "skipped": self.skipped,
            **self.recovering.facts,
            "notes": {name: m.note for name, m in self.measurements.items() if m.note},
            "precision": f"{precision}: {effect(precision, self.plan.training.device)}",
            **self.notes,
        }

    @cached_property
    def task(self) -> Task:
        return load_task(self.plan.task)

    @cached_property
    def shape(self) -> ImageShape:
        return input_shape(self.candidate, self.task)

    @cached_property
    def data(self) -> TrainingData:
        return TrainingData.of(self.task, longer_side(self.shape))

    @cached_property
    def writer(self) -> ModelWriter:
        return ModelWriter(self.candidate, self.task, self.shape, self.plan.device)

    @cached_property
    def checkpoints(self) -> TrialCheckpoints:
        return TrialCheckpoints(self.plan.folder, self.candidate, pretraining_digest(self.candidate, self.plan))

    def remove_checkpoints(self) -> None:
        """Remove what was kept, where training began."""
        if "checkpoints" in vars(self):
            self.checkpoints.remove()

    def stopped(self, reason: str) -> TrialResult:
        """Return the result of a trial that ends early."""
        first = self.plan.optimised_metrics[0].name
        share = len(self.curve) / max(1, self.plan.epochs(self.candidate))
        values = self.known | (self.curve[-1][1] if self.curve else {}) | self.recovering.at_stop
        return stopped_early(reason, share, values[first], self.measurements, self.facts, self.curve)

    def result(self) -> TrialResult:
        """Run the trial to its end."""
        self.plan = self.plan.before_training(self.candidate)
        with self.stopwatch.timed("build"):
            model = self._built()
            self._check_before_training(model)
        compressed = self._trained(model)
        self.plan = self.plan.with_baseline()
        with tempfile.TemporaryDirectory(prefix="paredown-") as name:
            folder = Path(name)
            written = self._export(compressed, folder)
            inputs = self._evaluation_input(compressed.network, written.file)
            with self.stopwatch.timed("measure"):
                self._measure(inputs, MEASURED)
            artifact = keep(folder, self.plan.folder, self.candidate)
            derived: list[Derived] = []
            if isinstance(compressed.network, MultiExit):
                self.notes["exits"] = exit_facts(compressed.network, inputs)
                with self.stopwatch.timed("thresholds"):
                    derived = list(self._derived(compressed.network, written, inputs))
        return TrialResult(
            *self.plan.ending, self.measurements, artifact, self.facts, tuple(self.curve), tuple(derived)
        )

    def check(self) -> None:
        """Build the network and measure what needs no training; raise an error where it breaks a limit."""
        self._check_before_training(self._built())

    def _built(self) -> nn.Module:
        torch.set_num_threads(1)
        torch.manual_seed(self.plan.training.seed)
        self.plan.check_trained(self.candidate)
        return build(self.candidate, self.shape, len(self.task.classes))

    def _check_before_training(self, model: nn.Module) -> None:
        """Measure what the untrained network already shows, and reject it where that breaks a limit."""
        counted = dict(self.plan.counted)
        # Our own networks can be exported; for imported ones, an export has to show it.
        is_imported = self.candidate.family == IMPORTED
        of_file = judged_by_file(self.plan.measured_here, self.plan.judged)
        needs_file = is_imported or bool(of_file)
        if counted.keys() >= {*COUNTED, *of_file} and not is_imported:  # the sampler or the check of limits knows them
            self.measurements |= {n: Measurement(n, v, how=EVALUATORS[n].metric.how) for n, v in counted.items()}
            self._reject_if_broken()
            return
        with torch.random.fork_rng(devices=[]):  # training draws alike whether this ran or not
            compressed = apply_structural_steps(model, self.candidate, self.shape).network
        self._measure(EvaluationInput(compressed, self.shape), ("model",))
        self._reject_if_broken()
        if needs_file:
            with tempfile.TemporaryDirectory(prefix="paredown-") as folder:
                written = self.writer.write(compressed, Path(folder, MODEL_FILE), trained=False)
                if is_imported and self.candidate.steps:
                    check_loads(written.file)
                self._measure(self._evaluation_input(compressed, written.file), ("file",))
            self._reject_if_broken()

    def _reject_if_broken(self) -> None:
        self.known = {name: m.value for name, m in self.measurements.items()}
        shapes_known = all(STEPS[name].knows_shapes(knobs) for name, knobs in self.candidate.steps.items())
        holds = not self.plan.is_baseline and shapes_known  # the baseline may break limits
        if holds and (broken := broken_limits(self.plan.objectives, self.known, untrained=True)):
            raise InfeasibleCandidate("; ".join(broken))

    def _trained(self, model: nn.Module) -> Compressed:
        """Train, compress and fine-tune an untrained network."""
        self.plan = fitted_plan(self.plan, model, self.shape, len(self.data.train.labels))
        self.notes |= {"batch_size": self.plan.training.batch_size, "threads": self.plan.threads}
        torch.set_num_threads(self.plan.threads)
        stages = TrainingStages(
            self.candidate, self.plan, self.shape, self.data, self._after_epoch, self.pause, self.checkpoints
        )
        with self.stopwatch.timed("train"):
            pretraining = stages.pretrain(model)
        self.notes |= pretraining.facts
        compressed = Compressed(model, {}, {})
        if self.plan.finetunes(self.candidate):
            with self.stopwatch.timed("compress"):
                compressed = stages.compress(model)
            self._note_skipped(compressed.skipped)
            with self.stopwatch.timed("finetune"):
                self._note_skipped(stages.finetune(compressed, pretraining, self.recovering.begin))
        stages.recalibrate(compressed.network)
        return compressed

    def _after_epoch(self, epoch: int, metrics: dict[str, float]) -> str:
        self.curve.append((epoch, metrics))
        self.stopwatch.check()
        if reason := self.recovering.after_epoch(epoch, metrics):
            return reason
        costs = {m.name for m in self.plan.optimised_metrics if self.plan.judged}
        return self.on_epoch(epoch, {name: v for name, v in self.known.items() if name in costs} | metrics)

    def _export(self, compressed: Compressed, folder: Path) -> WrittenModel:
        """Write the model's files, its weights and, for the baseline, its outputs as a teacher."""
        model = compressed.network
        with self.stopwatch.timed("export"):
            written = self.writer.write(model, folder / MODEL_FILE)
            self._note_skipped(written.skipped)
            save_weights(compressed, folder)
            if self.plan.baseline is None:
                save_teacher(model, self.data, folder, self.plan.keeps_features)
        return written

    def _note_skipped(self, skipped: Skipped) -> None:
        for step, layers in skipped.items():
            self.skipped[step] = self.skipped.get(step, {}) | dict(layers)

    def _derived(self, model: MultiExit, written: WrittenModel, inputs: EvaluationInput) -> Iterator[Derived]:
        """Measure the trained network at other settings of its exits, rewriting the file for each one in turn."""
        file, images, labels = written.file, self.data.inputs("validation"), self.data.validation.labels
        logits, macs = BatchRuntime(file, exact=inputs.exact).all_logits(images), exit_macs(model, self.shape)
        for setting in best_settings(self.candidate.steps[EXIT_STEP], dict(self.plan.swept), logits, labels, macs):
            candidate = with_setting(self.candidate, setting)
            self.writer.write_stages(written.stages, rule_of(candidate.steps[EXIT_STEP]), file)
            measurements = evaluated(self.plan.objectives, inputs, MEASURED)
            facts = {"exits": exit_facts(model, inputs)}
            changed = {f"{EXIT_STEP}.{knob}": value for knob, value in setting.items()}
            yield Derived(candidate, changed, measurements, keep(file.parent, self.plan.folder, candidate), facts)

    def _evaluation_input(self, model: nn.Module, file: Path) -> EvaluationInput:
        plan, device, packed = self.plan, self.plan.device, file.with_name(PACKED_FILE)
        images, labels = self.data.inputs("validation"), self.data.validation.labels
        on = (plan.baseline, device.threads, plan.target, device.batch_size, plan.left_out, device.is_exact)
        return EvaluationInput(model, self.shape, file, packed, images, labels, *on)

    def _measure(self, inputs: EvaluationInput, needs: tuple[str, ...]) -> None:
        self.measurements |= evaluated(self.plan.objectives, inputs, needs)


def check_untrained(candidate: Candidate, plan: TrialPlan) -> None:
    """Build, compress, export and measure a candidate without training it.

    Raises:
        InfeasibleCandidate: A step cannot apply, or a limit is broken.
        EvaluationError: It cannot be exported or measured.
    """
    _Trial(candidate, plan, lambda epoch, metrics: "").check()


def measure_untrained(candidate: Candidate, plan: TrialPlan) -> dict[str, float]:
    """Return the metrics of a candidate that are known before training and that the plan's limits judge."""
    trial = _Trial(candidate, plan, lambda epoch, metrics: "")
    with contextlib.suppress(InfeasibleCandidate):
        trial.check()
    return trial.known
