"""Runs trials in a worker process on whatever machine Ray has chosen, as the local driver does on this one.

The trial has a process of its own, so that one which hangs, crashes or holds too much memory is ended from outside and
its cause is known; the host lives on and starts the next trial in a moment.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from paredown.search.drivers.driver import Job, RunTrial
from paredown.search.drivers.shared_folder import Digests, digests
from paredown.search.drivers.worker_process import CUT, DIED, EPOCH, RESULT, Worker, must_be_replaced
from paredown.studies.result import TrialResult

POLL_S = 0.5
"""Seconds between two looks at whether the trial hangs."""
KILLED, EPOCHS = "killed", "epochs"
"""What a host reports beside `RESULT`, `CUT` and `DIED`: why it has killed the process of its trial; epochs of the
trial that have ended."""

JudgeEpoch = Callable[[Job, int, Mapping[str, float]], str]
"""Returns why a trial ends after an epoch; empty: it goes on."""


class TrialHost:
    """Keeps one worker process and gives it one trial after the other.

    Args:
        run: Runs one trial.
        limit_bytes: Memory that a trial may hold where its plan does not limit it.
        judge: Says whether a trial goes on.
    """

    def __init__(self, run: RunTrial, limit_bytes: float, judge: JudgeEpoch) -> None:
        self._run, self._limit_bytes, self._judge = run, limit_bytes, judge
        self._worker: Worker | None = None

    def begin(self, job: Job) -> None:
        """Let the worker process run a trial."""
        if self._worker is None:
            self._worker = Worker(self._run)
        self._worker.give(job)

    def news(self) -> dict[str, str]:
        """Wait until the trial has something to report, and return all of it, by kind, as text.

        The trial has ended where there is more than `EPOCHS`.
        """
        epochs: list[tuple[int, Mapping[str, float]]] = []
        end: dict[str, str] = {}
        assert self._worker is not None, "a trial has begun"
        # What has been said by now is one report, so that short epochs do not wait for whom they are reported to.
        while not end and not (epochs and not self._worker.pipe.poll(0)):
            end = self._heard(self._worker, epochs)
        return end | ({EPOCHS: json.dumps(epochs)} if epochs else {})

    def close(self) -> None:
        """End the worker process, whatever it does."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def _heard(self, worker: Worker, epochs: list[tuple[int, Mapping[str, float]]]) -> dict[str, str]:
        """Take a message of the worker, or end it where it takes too much; return how the trial ended, if it did."""
        if (excess := worker.excess(self._limit_bytes)) is not None:
            self.close()
            return {KILLED: json.dumps(excess)}
        if not worker.pipe.poll(POLL_S):
            return {}
        kind, *content = worker.receive()
        if kind == EPOCH:
            job, (epoch, metrics) = worker.running, content
            epochs.append((epoch, metrics))
            if job.plan.judged:
                worker.answer(self._judge(job, epoch, metrics))
        elif kind == RESULT:
            folder, result = worker.taken().plan.folder, content[0]
            if must_be_replaced(result):
                self.close()
            return {RESULT: json.dumps([result.to_json(), _written(folder, result)])}
        elif kind == CUT:
            worker.taken()
            return {CUT: ""}
        elif kind == DIED:
            self._worker = None
            return {DIED: content[0]}
        return {}


def _written(folder: Path, result: TrialResult) -> Digests:
    """Return the digests of the files of a result, by which others see whether they have arrived."""
    return digests(folder, [result.artifact, *(derived.artifact for derived in result.derived)])
