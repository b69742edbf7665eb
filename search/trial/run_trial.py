"""One trial: from a candidate and a plan to measured numbers and files. No database, no global state.

The one place that decides what an error means: a candidate that cannot be or breaks a known limit is
rejected, everything else that goes wrong is a failure with its reason, and the search goes on.
"""

import contextlib
import json
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from torch import nn

from paredown.evaluators.build import DECIDED, Compressed, build, compress
from paredown.evaluators.errors import EvaluationError, TaskError, TrialInterrupted, TrialStopped
from paredown.evaluators.files.exit_runtime import BatchRuntime
from paredown.evaluators.files.file_export import FileExport
from paredown.evaluators.files.names import MODEL_FILE, PACKED_FILE, TEACHER_FILE, WEIGHTS_FILE
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import EvaluationInput, Reference
from paredown.evaluators.metrics.macs import exit_macs
from paredown.evaluators.metrics.measurement import Measurement, broken_limits
from paredown.evaluators.tasks.spec import load_task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.features import predict_with_features
from paredown.evaluators.training.fit import OnEpoch
from paredown.evaluators.training.precision import effect
from paredown.search.trial.exit_settings import STEP, best_settings, exit_facts, with_setting
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.training_stages import Stages
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.early_exit import rule_of
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.exits.network import MultiExit
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.families.family import ImageShape
from paredown.studies.result import UNTRAINED, Derived, TrialResult, stopped_early

MEASURED = ("model", "file", "data")
"""What evaluators of a trained network may need: all there is."""


def run_trial(candidate: Candidate, plan: TrialPlan, on_epoch: OnEpoch = lambda epoch, metrics: "") -> TrialResult:
    """Build, train, compress, export and measure a candidate.

    Args:
        candidate: What to build.
        plan: How.
        on_epoch: Told after each epoch, with the costs among the objectives where the plan has trials judged;
            answers why the trial ends there, or nothing.

    Raises:
        TrialInterrupted: `on_epoch` raised it.
    """
    run = _Run(candidate, plan, on_epoch)
    try:
        return run.result()
    except InfeasibleCandidate as error:
        return TrialResult("rejected", str(error), run.measurements, "", run.facts, tuple(run.curve))
    except TrialStopped as stop:
        return run.stopped(str(stop))
    except TrialInterrupted:
        raise
    except (EvaluationError, TaskError) as error:
        return TrialResult("failed", str(error), {}, "", run.facts, tuple(run.curve))
    except Exception as error:  # whatever breaks in one candidate must not end the night
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        facts = run.facts | {"traceback": traceback.format_exc()[-4000:]}
        return TrialResult("failed", reason, {}, "", facts, tuple(run.curve))


@dataclass
class _Run:
    candidate: Candidate
    plan: TrialPlan
    on_epoch: OnEpoch
    measurements: dict[str, Measurement] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    known: dict[str, float] = field(default_factory=dict)
    compressed: Compressed | None = None
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        seconds = {k: round(v, 3) for k, v in self.seconds.items()}
        precision = self.plan.training.precision
        return {
            "seconds": seconds,
            UNTRAINED: self.known,
            "skipped": self.skipped,
            "precision": f"{precision}: {effect(precision, self.plan.training.device)}",
            **self.told,
        }

    def stopped(self, reason: str) -> TrialResult:
        """Return what is known of a trial that ends early."""
        first = next(o.metric.name for o in self.plan.objectives if o.optimised)
        share, values = len(self.curve) / self.plan.epochs(self.candidate), self.known | self.curve[-1][1]
        return stopped_early(reason, share, values[first], self.measurements, self.facts, self.curve)

    def result(self) -> TrialResult:
        self._prepare()
        with self._timed("build"):
            model = self._built()
            self._check_before_training(model)
            self.data = TrainingData.of(self.task, self.resolution)
        notes = (self.skipped, self.told)
        stages = Stages(self.candidate, self.plan, self.shape, self.data, self._after_epoch, self._timed, *notes)
        self.compressed = stages.run(model)
        model = self.compressed.network
        with tempfile.TemporaryDirectory(prefix="paredown-") as name:
            folder, derived = Path(name), []
            self._export(model, folder)
            with self._timed("measure"):
                self._measure(self._specimen(model, folder / MODEL_FILE), MEASURED)
            artifact = self._keep(folder, self.candidate)
            if isinstance(model, MultiExit):
                self.told["exits"] = exit_facts(model, folder / MODEL_FILE, self.shape, self._images()[0])
                with self._timed("thresholds"):
                    derived = list(self._derived(model, folder))
        return TrialResult("done", "", self.measurements, artifact, self.facts, tuple(self.curve), tuple(derived))

    def _derived(self, model: MultiExit, folder: Path) -> Iterator[Derived]:
        """Measure the trained network at other settings of its exits; the file in the folder is each one's in turn."""
        images, labels = self._images()
        logits = BatchRuntime(folder / MODEL_FILE).all_logits(images)
        macs = exit_macs(model, self.shape)
        for setting in best_settings(self.candidate.steps[STEP], dict(self.plan.swept), logits, labels, macs):
            candidate = with_setting(self.candidate, setting)
            self.files.write_with(rule_of(candidate.steps[STEP]), folder / MODEL_FILE)
            measurements = self._evaluated(self._specimen(model, folder / MODEL_FILE), MEASURED)
            facts = {"exits": exit_facts(model, folder / MODEL_FILE, self.shape, images)}
            changed = {f"{STEP}.{knob}": value for knob, value in setting.items()}
            yield Derived(candidate, changed, measurements, self._keep(folder, candidate), facts)

    def _images(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return self.data.normalise(self.data.validation.images), self.data.validation.labels

    def _prepare(self) -> None:
        self.started = time.monotonic()
        if self.plan.threads:
            torch.set_num_threads(self.plan.threads)
        torch.manual_seed(self.plan.training.seed)
        self.task = load_task(self.plan.task)
        self.resolution = FAMILIES[self.candidate.family].resolution(self.candidate.knobs)
        self.shape: ImageShape = (self.task.channels, self.resolution, self.resolution)
        self.files = FileExport(self.candidate, self.task, self.shape, self.skipped)

    def _built(self) -> nn.Module:
        self.plan.check_trained(self.candidate)
        return build(self.candidate, self.shape, len(self.task.classes))

    def _check_before_training(self, model: nn.Module) -> None:
        """Look at what the untrained network already shows, and reject it where that breaks a limit."""
        compressed = compress(model, self.candidate, self.shape).network
        self._measure(EvaluationInput(compressed, self.shape), ("model",))
        self._reject_if_broken()
        wanted = {o.metric.name for o in self.plan.objectives if o.limit is not None or self.plan.judged}
        if any(EVALUATORS[name].needs == "file" for name in wanted):
            with tempfile.TemporaryDirectory(prefix="paredown-") as folder:
                file = self.files.write(compressed, Path(folder, MODEL_FILE), trained=False)
                self._measure(self._specimen(compressed, file), ("file",))
            self._reject_if_broken()

    def look(self) -> None:
        """Build, and measure what needs no training; raise where it breaks a limit."""
        self._prepare()
        self._check_before_training(self._built())

    def _reject_if_broken(self) -> None:
        self.known = {name: m.value for name, m in self.measurements.items()}
        if not all(STEPS[name].knows_shapes(knobs) for name, knobs in self.candidate.steps.items()):
            return  # what the trained network will cost is not known yet
        if broken := broken_limits(self.plan.objectives, self.known, untrained=True):
            raise InfeasibleCandidate("; ".join(broken))

    def _after_epoch(self, epoch: int, metrics: dict[str, float]) -> str:
        self.curve.append((epoch, metrics))
        if (elapsed := time.monotonic() - self.started) > self.plan.timeout_s:
            raise EvaluationError(f"timeout: {elapsed:.0f} s are over the limit of {self.plan.timeout_s:g} s")
        costs = {o.metric.name for o in self.plan.objectives if self.plan.judged and o.optimised}
        return self.on_epoch(epoch, {name: v for name, v in self.known.items() if name in costs} | metrics)

    def _export(self, model: nn.Module, folder: Path) -> None:
        with self._timed("export"):
            self.files.write(model, folder / MODEL_FILE)
            # Copies: the names of a module that is used twice share their tensors, which the format refuses.
            state = {k: v.cpu().clone(memory_format=torch.contiguous_format) for k, v in model.state_dict().items()}
            decided = self.compressed.decided if self.compressed else {}
            save_tensors(state, folder / WEIGHTS_FILE, {DECIDED: json.dumps(decided)})
            if self.plan.baseline is None:
                logits, features = predict_with_features(model, self.data.normalise(self.data.train.images))
                said = {"logits": logits} | ({"features": features} if self.plan.keeps_features else {})
                save_file({name: array for name, array in said.items() if array is not None}, folder / TEACHER_FILE)

    def _specimen(self, model: nn.Module, file: Path) -> EvaluationInput:
        data = TrainingData.of(self.task, self.resolution)
        baseline, reference = self.plan.baseline, None
        if baseline is not None:
            shape = (self.task.channels, baseline.resolution, baseline.resolution)
            reference = Reference(baseline.artifact / MODEL_FILE, shape, baseline.latency_ms)
        images = data.normalise(data.validation.images)
        return EvaluationInput(
            model, self.shape, file, file.with_name(PACKED_FILE), images, data.validation.labels, reference
        )

    def _measure(self, specimen: EvaluationInput, needs: tuple[str, ...]) -> None:
        self.measurements |= self._evaluated(specimen, needs)

    def _evaluated(self, specimen: EvaluationInput, needs: tuple[str, ...]) -> dict[str, Measurement]:
        asked = {o.metric.name for o in self.plan.objectives}
        return {
            name: evaluator.evaluate(specimen)
            for name, evaluator in EVALUATORS.items()
            if evaluator.needs in needs and (name in asked or evaluator.applies(specimen))
        }

    def _keep(self, folder: Path, candidate: Candidate) -> str:
        """Copy the files to the study's folder under the candidate's digest, in one step."""
        artifact = f"trials/{candidate.digest[:16]}"
        target = self.plan.folder / artifact
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as stage:
            fresh = Path(stage, "files")
            shutil.copytree(folder, fresh)
            if target.exists():  # left by a run that was killed before its result was stored
                os.replace(target, Path(stage, "old"))
            os.replace(fresh, target)
        return artifact

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - start


def measure_untrained(candidate: Candidate, plan: TrialPlan) -> dict[str, float]:
    """Return what a candidate shows before training, by metric: all that the plan's limits judge."""
    run = _Run(candidate, plan, lambda epoch, metrics: "")
    with contextlib.suppress(InfeasibleCandidate):
        run.look()
    return run.known
