"""What the service does, independent of HTTP: studies of an owner, from the submission to the deletion."""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from paredown.search.errors import ConfigError
from paredown.search.monitoring.status_file import is_alive, read_statuses
from paredown.search.service.datasets import Datasets
from paredown.search.service.finished_process import output_of
from paredown.search.service.known_models import KnownModels
from paredown.search.service.overview import Overview
from paredown.search.service.sessions import Sessions
from paredown.search.service.settings import Settings
from paredown.search.study_file.objectives import stored_objectives
from paredown.studies.access.audit import Audit
from paredown.studies.access.tokens import Token, Tokens
from paredown.studies.database import open_storage
from paredown.studies.database_to_read import open_to_read
from paredown.studies.errors import StudyNotFound
from paredown.studies.housekeeping.deleting import delete_study
from paredown.studies.queue.job import Job
from paredown.studies.queue.jobs import JobConflict, JobQueue
from paredown.studies.reading import StudyReader

MAX_QUEUED = 1000
"""Maximum number of queued jobs of one owner."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,140}")
"""Names that a study may have, with its owner's before it; a database need not be asked for others."""
RESTING = ("done", "failed", "paused", "cancelled")


class Service:
    """The studies of a database, as those who have tokens see them.

    Attributes:
        settings: How the server is run.
        jobs: The queue.
        tokens: Who may ask.
        sessions: Browsers in which someone signed in.
        audit: What was changed.
        datasets: Uploaded data.
        overview: What is said of studies.
        models: The finished models of studies.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._storage = open_storage(settings.storage)
        self._reading = open_to_read(settings.storage)
        engine = self._storage.engine
        self.jobs, self.tokens, self.audit = JobQueue(engine), Tokens(engine), Audit(engine)
        self.sessions = Sessions()
        self._read_jobs, self._read_tokens = JobQueue(self._reading.engine), Tokens(self._reading.engine)
        self.overview = Overview(self._reading.engine)
        self.models = KnownModels()
        self.datasets = Datasets(settings.out, self._read_jobs, settings.upload_limit)

    @property
    def checked_tokens(self) -> Tokens:
        """The tokens over a connection that never waits for a writer."""
        return self._read_tokens

    def list(self, token: Token) -> list[Job]:
        """Return the jobs that a token may see."""
        return self._read_jobs.all(None if token.allows("admin") else token.owner)

    def find(self, token: Token, name: str) -> Job:
        """Return a job by the name of its study; an administrator reaches those of others as `OWNER.STUDY`.

        Raises:
            StudyNotFound: There is none, or it is someone else's: the two cannot be told apart.
        """
        job = self._read_jobs.find(token.owner, name) if NAME.fullmatch(name) else None
        if job is None and NAME.fullmatch(name) and token.allows("admin") and "." in name:
            job = self._read_jobs.find(*name.split(".", 1))
        if job is None:
            raise StudyNotFound(f"no study {name!r}")
        return job

    def reader(self, job: Job) -> StudyReader | None:
        """Return what reads the trials of a study; None before its first run has begun."""
        return StudyReader.of(self._reading, job.stored_name, stored_objectives)

    def begun(self, job: Job) -> StudyReader:
        """Return what reads the trials of a study.

        Raises:
            JobConflict: It has not begun.
        """
        reader = self.reader(job)
        if reader is None:
            raise JobConflict(f"study {job.study!r} has no trials yet; it is {job.state}")
        return reader

    def submit(self, token: Token, text: str, where: str, key: str | None = None, **options: Any) -> tuple[Job, bool]:
        """Put a study into the queue; return its job, and whether this request made it.

        Args:
            token: Token of its owner.
            text: The study file, as YAML or JSON.
            where: How messages name it.
            key: Idempotency key.
            options: `priority`, `delay_s` and `given`, top-level keys in place of the text's.

        Raises:
            ConfigError: The study says what cannot be, or what the server does not allow.
            JobConflict: The owner has a study of that name, or too many that wait.
        """
        digest = hashlib.sha256(json.dumps([text, options], sort_keys=True).encode()).hexdigest()
        if key is not None and (earlier := self.jobs.repeated(token.owner, key, digest)) is not None:
            return earlier, False
        if sum(job.state == "queued" for job in self.jobs.all(token.owner)) >= MAX_QUEUED:
            raise JobConflict(f"{MAX_QUEUED} studies of yours wait already")
        checked = self._checked(token.owner, text, where, options.pop("given", {}))
        options |= {"key": key, "digest": digest, "needs": checked["needs"]}
        job = self.jobs.add(token.owner, checked["study"], checked["payload"], checked["folder"], **options)
        return job, True

    def extend(self, job: Job, trials: int) -> Job:
        """Let a study that rests go on to a larger number of trials.

        Raises:
            ConfigError: The number is not larger.
            JobConflict: It runs or waits.
        """
        if trials <= job.trials:
            raise ConfigError(f"trials: {trials} is not more than {job.trials}, the number of trials of {job.study!r}")
        return self.jobs.requeue(job, "to extend it", RESTING, {**job.payload, "trials": trials})

    def retry(self, job: Job, causes: tuple[str, ...]) -> Job:
        """Put the failed trials of a study first in line, and the study into the queue.

        Raises:
            ConfigError: A cause does not exist.
            JobConflict: It runs or waits.
        """
        if job.state in RESTING and self.reader(job) is not None:
            self.command("retry", job.stored_name, *(part for cause in causes for part in ("--cause", cause)))
        return self.jobs.requeue(job, "to retry it", RESTING)

    def enqueue(self, job: Job, knobs: Mapping[str, Any], like: int | None) -> dict[str, Any]:
        """Put a candidate first in line; see the command `enqueue`.

        Raises:
            ConfigError: A knob or a value does not exist.
            JobConflict: The study has not begun.
        """
        self.begun(job)
        changes = [f"{name}={json.dumps(value) if value is None else value}" for name, value in knobs.items()]
        start = [] if like is None else ["--like", str(like)]
        document = json.loads(self.command("enqueue", *start, "--json", "--", job.stored_name, *changes))
        return {**document, "study": job.study}

    def delete(self, job: Job) -> None:
        """Delete a study with its trials, its files and its job, which comes last: a deletion can be repeated.

        Raises:
            JobConflict: It runs.
        """
        if job.state in ("queued", "running", "paused"):
            job = self.jobs.stop(job, "cancel")
        if job.state == "running":
            raise JobConflict(f"study {job.study!r} is being cancelled; delete it when it has ended")
        if self.reader(job) is not None:
            options = {"artifacts": True, "keep_models": False}
            delete_study(self.settings.storage, job.stored_name, **options, confirmed=lambda deletion: True)
        folder = Path(job.folder)
        if folder.resolve().is_relative_to(self.settings.out.resolve()) and folder.exists():
            shutil.rmtree(folder)
        self.jobs.remove(job)

    def progress(self, job: Job) -> dict[str, Any]:
        """Return what a study does now."""
        seen = self.overview.look(job)
        alive = [status for _, status in read_statuses(Path(job.folder)) if is_alive(status)]
        shown = ("trials", "spent", "trial_s", "seconds_left", "supernet", "running", "updated_at")
        return {
            "study": job.study,
            "owner": job.owner,
            "state": seen.state,
            "stop_requested": job.stop_requested,
            "position": seen.position,
            "estimate": None if seen.estimate is None else asdict(seen.estimate),
            "counts": seen.figures.counts,
            "best": seen.figures.best,
            "search": {key: alive[-1][key] for key in shown} if alive else None,
        }

    def importances(self, job: Job) -> dict[str, dict[str, float]]:
        """Return the importance of each knob for each objective; empty where there are too few trials."""
        environment = {"PAREDOWN_STORAGE": self.settings.storage}
        text = output_of("paredown.search.service.importances", job.stored_name, environment=environment)
        found: dict[str, dict[str, float]] = json.loads(text)
        return found

    def device_models(self, job: Job, device: str) -> dict[str, Any]:
        """Return what the models of a study cost on a device; see the module `device_models`."""
        environment = {"PAREDOWN_STORAGE": self.settings.storage}
        text = output_of("paredown.search.service.device_models", job.stored_name, device, environment=environment)
        found: dict[str, Any] = json.loads(text)
        return found

    def command(self, *arguments: str) -> str:
        """Run a command of the command line in a process of its own, and return what it printed.

        Raises:
            ConfigError: It refused its input; the message is its own.
        """
        return output_of("paredown", *arguments, environment={"PAREDOWN_STORAGE": self.settings.storage})

    def describe_task(self, owner: str, task: object, where: str) -> dict[str, Any]:
        """Return what the data of a task is that a study would name, with some images; see `task_description`.

        Args:
            owner: Name of who would submit the study.
            task: The task, as a study file names it.
            where: How messages name the study file.

        Raises:
            ConfigError: The task says what cannot be, or what the server does not allow.
        """
        return self._answer_of("task_description", {"task": task, "where": where, "owner": owner})

    def _checked(self, owner: str, text: str, where: str, given: Mapping[str, Any]) -> dict[str, Any]:
        return self._answer_of("submission", {"text": text, "where": where, "given": dict(given), "owner": owner})

    def _answer_of(self, module: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON document with which a module of this package answers, in a process of its own."""
        data = self.settings.data
        rules = {
            "allow": self.settings.allow,
            "data": None if data is None else str(data.absolute()),
            "out": str(self.settings.out.absolute()),
        }
        text = output_of(f"paredown.search.service.{module}", given=json.dumps({**request, **rules}))
        answer: dict[str, Any] = json.loads(text)
        return answer
