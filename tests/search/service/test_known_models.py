"""The models that a server keeps are those of the database, whatever has changed there."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import toy_study
from sqlalchemy import delete, insert, update

from paredown.search.service import known_models
from paredown.search.service.known_models import Known, KnownModels
from paredown.search.study_file.objectives import stored_objectives
from paredown.studies.database_to_read import open_to_read
from paredown.studies.front import front
from paredown.studies.latency_remarks import Fp32Models
from paredown.studies.queue.job import Job
from paredown.studies.queue.jobs import JobQueue
from paredown.studies.reading import DoneTrials, StudyReader
from paredown.studies.study import Study
from paredown.studies.summary import front_summary
from paredown.studies.tables import MeasurementRow, TrialRow


class Served:
    """A study, and what a server keeps of it."""

    def __init__(self, folder: Path) -> None:
        self.study: Study = toy_study.open_study(folder, objectives=["accuracy", "size_bytes"], limits={})
        self.engine = self.study._storage.engine
        self.job: Job = JobQueue(self.engine).add("alice", "toy", {}, str(folder))
        self.models = KnownModels()
        self._reading = open_to_read(f"sqlite:///{folder / 'studies.db'}")

    @property
    def reader(self) -> StudyReader:
        reader = StudyReader.of(self._reading, "toy", stored_objectives)
        assert reader is not None
        return reader

    def look(self) -> Known:
        """Return what is kept, after a comparison with what is stored."""
        known, reader = self.models.of(self.job, self.reader), self.reader
        assert list(known.models) == reader.models()
        assert list(known.best) == front(reader.models(), reader.optimised_metrics)
        assert known.baseline == reader.baseline()
        names = [metric.name for metric in reader.optimised_metrics]
        summary = front_summary("toy", names, reader.baseline(), known.best, "", Fp32Models(reader.models()))
        assert known.front_text("toy") == json.dumps(summary)
        return known


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def test_new_trials_are_added_to_those_that_are_kept(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert served.look().models == ()
    toy_study.run(served.study, 5)
    served.look()
    read = []
    monkeypatch.setattr(StudyReader, "models_among", watched(StudyReader.models_among, read))
    for count in (1, 3):
        toy_study.run(served.study, count)
        served.look()
    assert [len(numbers) for numbers in read] == [1, 3]


def watched(method: object, read: list[object]) -> object:
    def call(self: StudyReader, numbers: object) -> object:
        read.append(numbers)
        return method(self, numbers)  # type: ignore[operator]

    return call


def test_whatever_changes_is_seen(served: Served) -> None:
    toy_study.run(served.study, 8)
    served.look()
    changes = [
        insert(MeasurementRow).values(trial_id=3, metric="test_accuracy", value=0.5, spread=0.0, how="measured"),
        update(TrialRow).where(TrialRow.id == 2).values(feasible=False),
        update(TrialRow).where(TrialRow.id == 2).values(feasible=True),
        update(TrialRow).where(TrialRow.id == 4).values(state="retried"),
        delete(MeasurementRow).where(MeasurementRow.trial_id == 5, MeasurementRow.metric == "accuracy"),
    ]
    for change in changes:
        with served.engine.begin() as connection:
            connection.execute(change)
        served.look()
    toy_study.run(served.study, 2)
    served.look()


def test_models_of_a_study_that_runs_are_read_twice_a_second(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.job = replace(served.job, state="running")
    toy_study.run(served.study, 2)
    before = served.look()
    monkeypatch.setattr(known_models, "KEPT_S", 1e6)
    toy_study.run(served.study, 2)
    assert served.models.of(served.job, served.reader) is before
    served.job = replace(served.job, state="done")
    assert len(served.look().models) == 4, "what a client sees of a study that is done is all of it"
    served.job = replace(served.job, state="running", fencing_token=2)
    toy_study.run(served.study, 1)
    assert len(served.look().models) == 5


def test_what_is_old_is_never_shown_while_another_request_reads(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.job = replace(served.job, state="running")
    toy_study.run(served.study, 2)
    before = served.look()
    toy_study.run(served.study, 1)
    monkeypatch.setattr(known_models, "KEPT_S", -1.0)
    begun, may_end = threading.Event(), threading.Event()
    read = StudyReader.done_trials

    def slowly(self: StudyReader) -> DoneTrials:
        begun.set()
        assert may_end.wait(60)
        return read(self)

    with ThreadPoolExecutor(2) as pool:
        monkeypatch.setattr(StudyReader, "done_trials", slowly)
        first = pool.submit(served.models.of, served.job, served.reader)
        assert begun.wait(60)
        assert served.models.of(served.job, served.reader) is before, "a moment old: it need not wait"
        monkeypatch.setattr(known_models, "STALE_S", -1.0)
        second = pool.submit(served.models.of, served.job, served.reader)
        with pytest.raises(TimeoutError):
            second.result(0.2)
        may_end.set()
        assert len(first.result(60).models) == len(second.result(60).models) == 3


def test_few_studies_are_kept(served: Served) -> None:
    toy_study.run(served.study, 1)
    first = served.look()
    for number in range(known_models.KEPT):
        served.models.of(replace(served.job, study=f"s{number}"), served.reader)
    assert served.models.of(served.job, served.reader) is not first
