"""The finished models of studies, kept in memory and brought up to date by what is new: all that ask share them.

Reading ten thousand trials takes half a second of processor time, which every client of a study that runs would spend
anew after each of its trials.
"""

import json
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

from paredown.evaluators.metrics.measurement import Metric
from paredown.studies.front import Model, front
from paredown.studies.latency_remarks import Fp32Models
from paredown.studies.queue.job import Job
from paredown.studies.reading import DoneTrials, StudyReader
from paredown.studies.shortlist import Shortlist
from paredown.studies.summary import front_summary

KEPT = 8
"""Maximum number of studies whose models are kept; those of ten thousand trials take some 40 MB."""
KEPT_S = 1.0
"""Seconds after which the next request brings the models of a study that runs up to date."""
STALE_S = 5.0
"""Seconds up to which a request is answered from what is there while another one brings it up to date."""
MAX_NEW = 300
"""Number of new trials above which all trials are read, in one statement."""


@dataclass(frozen=True)
class Known:
    """The models of a study at one moment.

    Attributes:
        reader: What reads the study.
        models: Finished trials, in order of number.
        best: The front.
        baseline: The reference; None as long as it has not finished.
        done: What was known of the trials that are done.
        fp32_models: Models with which remarks compare those in int8; it grows with what is read later.
    """

    reader: StudyReader
    models: tuple[Model, ...]
    best: tuple[Model, ...]
    baseline: Model | None
    done: DoneTrials
    fp32_models: Fp32Models

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that span the front."""
        return self.reader.optimised_metrics

    @cached_property
    def shortlist(self) -> Shortlist:
        """What finds the few models that a choice comes down to."""
        return Shortlist(self.models)

    @cached_property
    def _front_text(self) -> str:
        names = [metric.name for metric in self.metrics]
        document = front_summary("", names, self.baseline, self.best, "", self.fp32_models)
        del document["study"]
        return json.dumps(document)

    def front_text(self, study: str) -> str:
        """Return the document of the front as JSON text, which is made once."""
        return f'{{"study": {json.dumps(study)}, {self._front_text[1:]}'


class KnownModels:
    """The models of the studies that were asked for last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Study] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, job: Job, reader: StudyReader) -> Known:
        """Return the models of a study, which are as new as the state of its job."""
        name = f"{job.stored_name} {reader.made_at}"
        with self._lock:
            study = self._kept.setdefault(name, _Study())
            self._kept.move_to_end(name)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return study.known(job, reader)


class _Study:
    """The models of one study; one request brings them up to date, while others are answered from what is there."""

    def __init__(self) -> None:
        self._latest: tuple[Known | None, float, tuple[str, int]] = (None, float("-inf"), ("", 0))
        self._lock = threading.Lock()

    def known(self, job: Job, reader: StudyReader) -> Known:
        known, at, state = self._latest
        if known is not None and job.state == "running" and state == (job.state, job.fencing_token):
            age_s = time.monotonic() - at
            if age_s <= KEPT_S or not self._lock.acquire(blocking=age_s > STALE_S):
                return known
        else:
            self._lock.acquire()
        try:
            looked = time.monotonic()
            known = _updated(self._latest[0], reader)
            self._latest = (known, looked, (job.state, job.fencing_token))
            return known
        finally:
            self._lock.release()


def _updated(known: Known | None, reader: StudyReader) -> Known:
    done = reader.done_trials()
    if known is not None and done == known.done:
        return known
    if known is not None and (added := _added(known, reader, done)) is not None:
        return added
    models = reader.models()
    best = front(models, reader.optimised_metrics)
    return Known(reader, tuple(models), tuple(best), reader.baseline(), done, Fp32Models(models))


def _added(known: Known, reader: StudyReader, done: DoneTrials) -> Known | None:
    """Return the models with those that are new; None where more has changed than that."""
    before = known.done
    new = done.feasible.keys() - before.feasible.keys()
    if len(new) > MAX_NEW or not before.feasible.items() <= done.feasible.items():
        return None
    added = reader.models_among(new)
    if before.measurements + sum(len(model.measurements) for model in added) != done.measurements:
        return None
    models = tuple(sorted((*known.models, *added), key=lambda model: model.trial))
    best = front([*known.best, *added], reader.optimised_metrics)  # what a model beats, a better one beats
    baseline = known.baseline or reader.baseline()
    known.fp32_models.add(added)
    return Known(reader, models, tuple(best), baseline, done, known.fp32_models)
