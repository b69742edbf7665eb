"""The models of a study as pages show them, read once for as long as nothing new has come."""

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, cast

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.latency_again_ms import METRIC as AGAIN
from paredown.evaluators.metrics.measurement import Metric, Objective
from paredown.evaluators.metrics.test_accuracy import METRIC as TEST_ACCURACY
from paredown.search.service.pages.brushes import Axis
from paredown.search.service.service import Service
from paredown.studies.figures import parallel_axes
from paredown.studies.front import Model, front, hypervolume_history
from paredown.studies.latency_remarks import Fp32Models
from paredown.studies.queue.job import Job
from paredown.studies.reading import StudyReader

T = TypeVar("T")
KEPT = 3
"""Number of studies whose models are kept; those of ten thousand trials take some 65 MB."""
KEPT_ANSWERS = 12
"""Number of answers that took a process and are kept."""


@dataclass(frozen=True)
class Snapshot:
    """The models of a study at one moment.

    Attributes:
        reader: What reads the study.
        version: Text that differs where something new has come.
        models: Finished trials.
        baseline: The reference; None as long as it has not finished.
        metrics: The metrics that span the front.
        objectives: Metrics that are optimised or limited.
    """

    reader: StudyReader
    version: str
    models: tuple[Model, ...]
    baseline: Model | None
    metrics: tuple[Metric, ...]
    objectives: tuple[Objective, ...]

    @cached_property
    def best(self) -> list[Model]:
        """The front."""
        return front(self.models, self.metrics)

    @cached_property
    def measured(self) -> tuple[Metric, ...]:
        """Every metric that was measured before an export, those that span the front first."""
        known, names = known_metrics(), {name for model in self.models for name in model.measurements}
        names -= {TEST_ACCURACY.name, AGAIN.name, *(metric.name for metric in self.metrics)}
        return (*self.metrics, *(metric for name, metric in known.items() if name in names))

    @cached_property
    def axes(self) -> tuple[list[Axis], list[list[float]]]:
        """The metrics and the knobs that vary as axes, and the values of all models along each."""
        found = parallel_axes(self.models, self.metrics)
        values = [list(map(float, one["values"])) for one in found]
        axes = [Axis.of(one["label"], along, one.get("ticktext", ())) for one, along in zip(found, values, strict=True)]
        return axes, values

    @cached_property
    def fp32_models(self) -> Fp32Models:
        """Models with which remarks compare those in int8."""
        return Fp32Models(self.models)

    @cached_property
    def history(self) -> list[tuple[int, float]]:
        """The hypervolume after each trial; empty where there is no baseline."""
        if self.baseline is None:
            return []
        return hypervolume_history(self.models, self.metrics, self.baseline, self.reader.limits)

    def model(self, number: int) -> Model | None:
        """Return the model of a trial; None where it is none."""
        return next((model for model in self.models if model.trial == number), None)


class Snapshots:
    """The latest snapshots of a service.

    Args:
        service: The service.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._kept: OrderedDict[str, Snapshot] = OrderedDict()
        self._answers: OrderedDict[str, tuple[str, Any]] = OrderedDict()
        self._lock = threading.Lock()
        self._reading: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def of(self, job: Job) -> Snapshot | None:
        """Return the models of a study; None before its first run has begun."""
        reader = self._service.reader(job)
        if reader is None:
            return None
        version = f"{reader.made_at} {sorted(reader.counts().items())} {job.state}"
        with self._lock:
            reading = self._reading[job.stored_name]
        with reading:  # the parts of a page ask at the same moment
            kept = self._kept.get(job.stored_name)
            if kept is None or kept.version != version:
                known = self._service.models.of(job, reader)
                objectives = known.reader.objectives
                kept = Snapshot(reader, version, known.models, known.baseline, known.metrics, objectives)
        with self._lock:
            _keep(self._kept, job.stored_name, kept, KEPT)
        return kept

    def answer(self, job: Job, snapshot: Snapshot, what: str, find: Callable[[], T]) -> T:
        """Return what a process must find, which is asked once for as long as nothing new has come.

        Args:
            job: The study.
            snapshot: Its models.
            what: What is asked.
            find: Finds it.
        """
        key = f"{job.stored_name} {what}"
        with self._lock:
            reading = self._reading[key]
        with reading:  # a slider that is drawn asks many times before the first answer
            with self._lock:
                version, found = self._answers.get(key, ("", None))
            if version != snapshot.version:
                found = find()
                with self._lock:
                    _keep(self._answers, key, (snapshot.version, found), KEPT_ANSWERS)
            return cast(T, found)

    def forget(self, job: Job) -> None:
        """Read a study anew the next time: an export has added a measurement."""
        with self._lock:
            self._kept.pop(job.stored_name, None)


def _keep(kept: OrderedDict[str, T], name: str, value: T, most: int) -> None:
    kept[name] = value
    kept.move_to_end(name)
    if len(kept) > most:
        kept.popitem(last=False)
