"""A worker of the service: it claims jobs and runs each study in a child process, one after the other."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from paredown.search.cli.exit_codes import ABORTED, BUG, DONE, WRONG_INPUT
from paredown.search.cli.stop_signals import STOPPED
from paredown.search.interruption import MEASURED_LATER, TIME_IS_UP, StopRequest, stop_on_signals
from paredown.search.monitoring.status_file import read_statuses
from paredown.search.service.child_process import start_child
from paredown.studies.database import open_storage
from paredown.studies.ownership import LEASE_S
from paredown.studies.queue.job import Job
from paredown.studies.queue.jobs import STOPS, JobQueue
from paredown.studies.queue.workers import Presence
from paredown.studies.reconnecting import DATABASE_ERRORS

LOOK_S = 0.5
"""Seconds between two looks at the queue, and at what is asked of the job that runs."""
GRACE_S = 120.0
"""Seconds after which a search that was asked to stop is killed."""
OUTPUT_FILE = "output.log"
STUDY_FILE = "study.yaml"


class Worker:
    """Runs the jobs of a database.

    Args:
        storage: Address of the database.
        ray_address: Address of a Ray cluster that runs the trials; None for this machine.
        lease_s: Seconds after which other workers take its job over where it shows no sign of life.
        offers: Names of the resources that this machine or the cluster has, for studies that need them.
    """

    def __init__(
        self,
        storage: str,
        ray_address: str | None = None,
        lease_s: float = LEASE_S,
        offers: Collection[str] = (),
    ) -> None:
        engine = open_storage(storage).engine
        self._queue = JobQueue(engine)
        self._storage, self._ray_address, self._lease_s = storage, ray_address, lease_s
        self._token, self._offers = secrets.token_hex(16), frozenset(offers)
        self._presence = Presence(engine, self._token, self._offers, lease_s)

    def run(self, *, until_empty: bool = False) -> None:
        """Run jobs until a signal asks for the end; the job that runs then goes back into the queue.

        Args:
            until_empty: Whether it also ends where no job waits.
        """
        with stop_on_signals() as stop:
            while not stop.is_asked:
                job = self._claimed()
                if job is not None:
                    self._run(job, stop)
                elif until_empty:
                    break
                else:
                    time.sleep(LOOK_S)
        try:
            self._presence.leave()
        except DATABASE_ERRORS as error:  # its lease will lapse
            _say(f"the database did not answer: {getattr(error, 'orig', None) or type(error).__name__}")

    def _claimed(self) -> Job | None:
        try:
            self._presence.renew()
            return self._queue.claim(self._token, self._lease_s, self._offers)
        except DATABASE_ERRORS as error:  # such as a server that starts again: the next look tries again
            _say(f"the database did not answer: {getattr(error, 'orig', None) or type(error).__name__}")
            return None

    def _run(self, job: Job, stop: StopRequest) -> None:
        folder = Path(job.folder)
        folder.mkdir(parents=True, exist_ok=True)
        _say(f"study {job.stored_name} starts")
        with (folder / OUTPUT_FILE).open("wb") as output:
            child = start_child(
                self._arguments(job, folder),
                {"PAREDOWN_STORAGE": self._storage},  # not an argument: others can read those
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            asked = self._watched(job, child, stop)
        self._settle(job, child, asked, stop)

    def _arguments(self, job: Job, folder: Path) -> list[str]:
        file = folder / STUDY_FILE
        file.write_text(json.dumps(self._study(job), indent=2))  # JSON is YAML
        ray = [] if self._ray_address is None else ["--driver", "ray", "--ray-address", self._ray_address]
        return ["search", str(file), "--study", job.stored_name, "--out", str(folder), *ray]

    def _study(self, job: Job) -> dict[str, Any]:
        """Return the study file of a job: its own resources are for Ray; without it this machine is what it needs."""
        resources = dict(job.payload.get("resources") or {})
        if self._ray_address is not None or not resources.pop("custom", None):
            return job.payload
        others = {key: value for key, value in job.payload.items() if key != "resources"}
        return others | ({"resources": resources} if resources else {})

    def _watched(self, job: Job, child: "subprocess.Popen[bytes]", stop: StopRequest) -> str | None:
        """Wait for the end of a search; return what was asked of it, or None where another worker has it now."""
        asked: str | None = ""
        asked_at: float | None = None
        while child.poll() is None:
            if asked is not None:
                try:
                    self._presence.renew()
                    asked = self._queue.renew(job, self._lease_s)
                except DATABASE_ERRORS as error:
                    _say(f"the lease was not renewed: {getattr(error, 'orig', None) or type(error).__name__}")
            if asked_at is None and (asked or asked is None or stop.is_asked):
                asked_at = time.monotonic()
                child.send_signal(signal.SIGTERM)
            if asked_at is not None and time.monotonic() - asked_at > GRACE_S:
                child.kill()
            try:
                child.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                continue
        return asked

    def _settle(self, job: Job, child: "subprocess.Popen[bytes]", asked: str | None, stop: StopRequest) -> None:
        """Store how a job has ended, as soon as the database answers."""
        while asked is not None:
            try:
                self._store_end(job, child, asked, stop)
                return
            except DATABASE_ERRORS as error:
                _say(f"the end of {job.stored_name} is not stored yet: {getattr(error, 'orig', None) or error}")
                time.sleep(LOOK_S)

    def _store_end(self, job: Job, child: "subprocess.Popen[bytes]", asked: str, stop: StopRequest) -> None:
        code = child.returncode
        _say(f"study {job.stored_name} ended with code {code}")
        if code == DONE:
            self._queue.finish(job, "done")
        elif code in (BUG, WRONG_INPUT, ABORTED):
            self._queue.finish(job, "failed", last_words(Path(job.folder, OUTPUT_FILE)))
        elif asked:
            self._queue.finish(job, STOPS[asked])
        elif stop.is_asked:
            self._queue.release(job)
        elif code == STOPPED and (reason := _reason(job, child.pid)) == TIME_IS_UP:
            self._queue.finish(job, "done", reason)
        elif code == STOPPED and reason.endswith(MEASURED_LATER):
            self._queue.finish(job, "paused", reason)
        else:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self._queue.release(job, died=True, error=f"its process ended by itself with {how}")


def last_words(file: Path) -> str:
    """Return the message with which a command ended."""
    text = file.read_text(errors="replace")
    _, found, message = text.rpartition("paredown: ")
    return (message if found else text[-2000:]).strip()


def _reason(job: Job, pid: int) -> str:
    """Return why a search has ended, from its status file."""
    return next((str(s.get("ended", "")) for _, s in read_statuses(Path(job.folder)) if s["pid"] == pid), "")


def _say(text: str) -> None:
    sys.stderr.write(f"paredown worker [{os.getpid()}]: {text}\n")
