"""Trials in processes of this machine, one process for each worker.

A worker that crashes, hangs, or is killed because memory is short costs its trial and nothing else: it is replaced.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

from paredown.evaluators.errors import TrialInterrupted
from paredown.search.drivers.driver import Driver, DriverOptions, Job, RunTrial, next_job, with_reference
from paredown.search.drivers.memory import held_bytes
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial_queue import TrialQueue
from paredown.studies.result import CAUSE, Cause

POLL_S = 0.5
"""Seconds between two looks at whether a worker hangs, and whether the search is to stop."""
GRACE = 1.5
"""Multiple of the trial's timeout after which a worker that does not stop by itself is killed."""
LEAVE_S = 5.0
"""Seconds in which an idle worker has to end by itself."""
START_S = 120.0
"""Further seconds for the first trial of a process, which loads PyTorch before it begins."""

PRELOADED = ["paredown.search.drivers.in_process", "paredown.search.trial.run_trial", "torch._dynamo"]
"""What trials need; PyTorch itself would load the last one, for a second, in the first trial of every process."""


@dataclass
class _Worker:
    process: BaseProcess
    pipe: "Connection[Any, Any]"
    job: Job | None = None
    started: float = 0.0
    loaded: bool = False
    awaits: bool = False


def run_in_processes(queue: TrialQueue, plan: TrialPlan, workers: int, run: RunTrial, options: DriverOptions) -> None:
    """Run trials in worker processes; see `RunQueue`."""
    pool = [_spawn(run) for _ in range(workers)]
    try:
        while True:
            for worker in [worker for worker in pool if worker.job is None]:
                _give(worker, queue, plan)
            if queue.stopped:
                return
            queue.renew()
            if queue.must_cut:
                _cut(pool, queue)
                continue
            busy = [worker.pipe for worker in pool if worker.job is not None]
            # A single worker waits for the sampler, which then knows all that came before.
            waiting = len(busy) < len(pool) and queue.baseline is not None
            if len(pool) > 1 and not waiting and not wait(busy, timeout=0):
                queue.prepare(1)
            for pipe in wait(busy, timeout=POLL_S):
                at = next(i for i, worker in enumerate(pool) if worker.pipe is pipe)
                if not _receive(pool[at], queue):
                    pool[at] = _spawn(run)
            _hand_out_baseline(pool, queue)
            for at, worker in enumerate(pool):
                if (excess := _excess(worker, plan)) is not None:
                    _end(worker)
                    queue.lose(_taken(worker).number, *excess)
                    pool[at] = _spawn(run)
    finally:
        _end_all(pool)


def _hand_out_baseline(pool: list[_Worker], queue: TrialQueue) -> None:
    """Give the baseline, once it is done, to the trials that wait for it."""
    for worker in [worker for worker in pool if worker.awaits and queue.baseline is not None]:
        job = _running(worker)
        plan = with_reference(replace(job.plan, awaits_baseline=False), queue.baseline)
        worker.job, worker.awaits = replace(job, plan=plan), False
        with contextlib.suppress(BrokenPipeError):  # it has died since; the next message will be its end
            worker.pipe.send((plan.baseline, plan.objectives))


def _cut(pool: list[_Worker], queue: TrialQueue) -> None:
    """End the workers that still run a trial."""
    for worker in [worker for worker in pool if worker.job is not None]:
        _end(worker)
        queue.cut(_taken(worker).number)


def _give(worker: _Worker, queue: TrialQueue, plan: TrialPlan) -> None:
    if (job := next_job(queue, plan, beside=True)) is not None:
        worker.job, worker.started = job, time.monotonic()
        worker.pipe.send(job)


def _spawn(run: RunTrial) -> _Worker:
    # Threads that spin while they wait starve whoever shares their core: training took up to 30 times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    context = worker_context()
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, run), daemon=True)
    with main_module_hidden():
        process.start()
    theirs.close()
    return _Worker(process, ours)


def worker_context() -> ForkServerContext | SpawnContext:
    """Return how worker processes start: as forks of a server that has loaded PyTorch, whose memory they share."""
    if sys.platform != "linux":  # elsewhere PyTorch does not outlive a fork
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@contextlib.contextmanager
def main_module_hidden() -> Iterator[None]:
    """Keep a worker from importing the program that searches.

    Nothing in it is needed, and a script that is not guarded by `if __name__ == "__main__"` would search again in each
    worker.
    """
    names: dict[str, Any] = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {name: names[name] for name in ("__spec__", "__file__") if name in names}
    names.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        names.update(hidden)


def _work(pipe: "Connection[Any, Any]", run: RunTrial) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_the_search, daemon=True).start()
    while True:
        try:
            job: Job = pipe.recv()
        except (EOFError, OSError):
            return  # the parent is gone
        try:
            pipe.send(("begins",))
            pipe.send(_outcome(run, job, pipe))
        except BrokenPipeError:
            return


def _outcome(run: RunTrial, job: Job, pipe: "Connection[Any, Any]") -> tuple[Any, ...]:
    try:
        plan = replace(job.plan, reference=partial(_baseline_of, pipe)) if job.plan.awaits_baseline else job.plan
        return "result", run(job.candidate, plan, partial(_report, pipe, plan.judged))
    except TrialInterrupted:
        return ("cut",)


def _end_with_the_search() -> None:
    """End this process as soon as that of the search has ended, whatever a trial is doing."""
    search = multiprocessing.parent_process()
    if search is not None:
        wait([search.sentinel])
        os._exit(1)


def _baseline_of(pipe: "Connection[Any, Any]") -> tuple[Any, Any]:
    """Wait for the baseline, and return it with the objectives that follow from it."""
    try:
        pipe.send(("awaits",))
        baseline, objectives = pipe.recv()
    except (EOFError, OSError):
        raise TrialInterrupted("the search has ended") from None
    return baseline, objectives


def _report(pipe: "Connection[Any, Any]", judged: bool, epoch: int, metrics: dict[str, float]) -> str:
    try:
        pipe.send(("epoch", epoch, metrics))
        return str(pipe.recv()) if judged else ""
    except (EOFError, OSError):
        raise TrialInterrupted("the search has ended") from None


def _receive(worker: _Worker, queue: TrialQueue) -> bool:
    """Take one message of a worker and answer it; return whether the worker is still alive."""
    try:
        kind, *content = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        queue.retry(_taken(worker).number, _death(worker.process.exitcode))
        return False
    if kind == "result":
        queue.tell(_taken(worker).number, content[0])
        if content[0].facts.get(CAUSE) == "device_lost":  # for this process: another one may have it again
            _end(worker)
            return False
        return True
    if kind == "cut":
        queue.cut(_taken(worker).number)
        return True
    if kind == "begins":
        worker.started, worker.loaded = time.monotonic(), True
        return True
    if kind == "awaits":
        worker.awaits = True
        return True
    epoch, metrics = content
    job = _running(worker)
    reason = queue.report(job.number, epoch, job.epochs, metrics, spared=job.spared)
    if job.plan.judged:
        with contextlib.suppress(BrokenPipeError):  # it has died since; the next message will be its end
            worker.pipe.send(reason)
    return True


def _running(worker: _Worker) -> Job:
    assert worker.job is not None, "messages come from workers that run a trial"
    return worker.job


def _taken(worker: _Worker) -> Job:
    job = _running(worker)
    worker.job = None
    return job


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        hint = "; the machine may be out of memory" if -code == signal.SIGKILL else ""
        return f"its process was killed by {signal.Signals(-code).name}{hint}"
    return f"its process ended with exit code {code}"


def _excess(worker: _Worker, plan: TrialPlan) -> tuple[str, Cause] | None:
    """Return why a worker is to be killed, and what kind of failure that is; None where it takes what it may."""
    if worker.job is None:
        return None
    allowed_s = GRACE * plan.timeout_s + (0 if worker.loaded else START_S)
    if time.monotonic() - worker.started > allowed_s:
        return f"timeout: no end after {GRACE * plan.timeout_s:g} s; its process was killed", "timeout"
    if plan.memory_bytes is not None and (held := held_bytes(worker.process.pid)) > plan.memory_bytes:
        limit = f"trial_memory of {plan.memory_bytes / 1e6:,.0f} MB"
        return f"out of memory: its process held {held / 1e6:,.0f} MB, above {limit}, and was killed", "out_of_memory"
    return None


def _end_all(pool: list[_Worker]) -> None:
    """Close the pipes of idle workers, so that they end and clean up by themselves, and kill the others."""
    idle = [worker for worker in pool if worker.job is None]
    for worker in idle:
        worker.pipe.close()
    for worker in idle:
        worker.process.join(LEAVE_S)
    for worker in pool:
        _end(worker)


def _end(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


LOCAL = Driver("local", run_in_processes)
