"""The models of a study that wait for a device: it measures one after the other while trials run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paredown.evaluators.build import input_shape
from paredown.evaluators.files.names import MODEL_FILE
from paredown.evaluators.latency.sent_model import SentModel
from paredown.evaluators.metrics.latency_ms import METRIC
from paredown.evaluators.tasks.task import Task
from paredown.search.interruption import MEASURED_LATER
from paredown.search.remote_device.connection import DeviceConnection
from paredown.search.remote_device.measuring_process import AWAY, BACK, DESCRIBED, LATE, MEASURED, REFUSED
from paredown.search.trial.plan import TrialPlan
from paredown.studies.result import TrialResult
from paredown.studies.study import Study


class Bench:
    """Sends models to a device, and stores what it measures.

    Args:
        study: The study.
        task: Its data.
        plan: Plan of its trials.
        connection: The way to the device.

    Attributes:
        trouble: Why the device measures nothing; empty where it does.
    """

    def __init__(self, study: Study, task: Task, plan: TrialPlan, connection: DeviceConnection) -> None:
        self._study, self._task, self._plan, self._connection = study, task, plan, connection
        self._measured: int | None = None
        self._line = list(study.parked())
        self.trouble = connection.trouble

    @property
    def is_busy(self) -> bool:
        """Whether a model is measured now or will be soon."""
        return self._measured is not None or (bool(self._line) and not self.trouble)

    def take(self, number: int) -> None:
        """Put a trial that is stored as parked in line."""
        self._line.append(number)

    def news(self) -> Iterator[tuple[int, TrialResult]]:
        """Yield the trials that are measured now, or that have to wait for the device."""
        while (heard := self._connection.news()) is not None:
            yield from self._heard(*heard)
        if self.trouble:
            yield from self._parked(self._line)
            self._line = []
        elif self._measured is None and self._line:
            yield from self._sent(self._line.pop(0))

    def said(self, waiting: int) -> str:
        """Return in words that trials of the study wait for the device."""
        why = f" ({self.trouble})" if self.trouble else ""
        trials = "1 trial waits" if waiting == 1 else f"{waiting} trials wait"
        return f"{trials} for {self._device}{why}: {MEASURED_LATER}"

    @property
    def _device(self) -> str:
        return self._connection.device.resource

    def _heard(self, kind: str, content: Any) -> Iterator[tuple[int, TrialResult]]:
        if kind in (BACK, DESCRIBED):  # the latter where it took longer than the search waited for it
            self.trouble, self._line = "", list(self._study.parked())
            return
        number, self._measured = self._measured, None
        if kind == AWAY:
            self.trouble = content
        if number is None:
            return
        result = None
        if kind == MEASURED:
            measurements, node = content
            on = {name: m.on(self._device) for name, m in measurements.items()}
            result = self._study.complete(number, on, node)
        elif kind == REFUSED:
            reason, cause = content
            result = self._study.refuse(number, f"{self._device}: {reason}", cause)
        elif kind in (LATE, AWAY):
            yield from self._parked([number], content)
        if result is not None:
            yield number, result

    def _parked(self, numbers: list[int], why: str = "") -> Iterator[tuple[int, TrialResult]]:
        for number in numbers:
            reason = f"{', '.join(self._plan.left_out)}: {self._device} has still to measure it: {why or self.trouble}"
            if (result := self._study.park(number, reason)) is not None:
                yield number, result

    def _sent(self, number: int) -> Iterator[tuple[int, TrialResult]]:
        """Let the device measure a trial; yield its failure where its file is gone."""
        if (parked := self._study.parked().get(number)) is None:
            return  # another search of the study was faster
        device, baseline = self._plan.device, self._study.baseline()
        file = Path(self._plan.folder, parked.artifact, MODEL_FILE)
        beside: dict[str, Any] = {}
        try:
            onnx = file.read_bytes()
            if baseline is not None:
                beside["baseline_onnx"] = Path(self._plan.folder, baseline.artifact, MODEL_FILE).read_bytes()
                beside["baseline_shape"] = input_shape(baseline.candidate, self._task)
                beside["baseline_ms"] = baseline[METRIC.name]
        except OSError as error:
            if (
                result := self._study.refuse(number, f"a file to measure cannot be read: {error}", "exception")
            ) is None:
                return
            yield number, result
            return
        shape = input_shape(parked.candidate, self._task)
        self._connection.send(SentModel(self._plan.left_out, onnx, shape, device.threads, device.batch_size, **beside))
        self._measured = number
