"""Trials in processes of this machine, one each worker.

A worker that crashes, is killed for want of memory or hangs costs its trial and nothing else: it is replaced.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

from paredown.evaluators.errors import TrialInterrupted
from paredown.search.drivers.driver import RunTrial, with_reference
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial_queue import ProgressListener, TrialQueue
from paredown.spaces.candidate import Candidate

POLL_S = 1.0
GRACE = 1.5
"""A worker that does not stop by itself is killed after so many times the trial's timeout."""
LEAVE_S = 5.0
"""So long may an idle worker take to end by itself."""
START_S = 120.0
"""So much longer may the first trial of a process take, which loads PyTorch before it begins."""

PRELOADED = ["paredown.search.drivers.in_process", "paredown.search.trial.run_trial", "torch._dynamo"]
"""What trials need; PyTorch itself would load the last one, for a second, in the first trial of every process."""


@dataclass
class _Worker:
    process: BaseProcess
    pipe: "Connection[Any, Any]"
    number: int | None = None
    epochs: int = 0
    started: float = 0.0
    loaded: bool = False


def run_in_processes(
    supply: TrialQueue,
    plan: TrialPlan,
    workers: int,
    watcher: ProgressListener,
    run: RunTrial,
    address: str | None = None,
) -> None:
    """Run trials in worker processes; see `Driver`."""
    del address
    pool = [_spawn(run) for _ in range(workers)]
    try:
        while True:
            for worker in [worker for worker in pool if worker.number is None]:
                _give(worker, supply, plan)
            if supply.stopped:
                return
            supply.renew()
            busy = [worker.pipe for worker in pool if worker.number is not None]
            # A single worker waits for the sampler, which then knows all that came before.
            waiting = len(busy) < len(pool) and supply.baseline is not None
            if len(pool) > 1 and not waiting and not wait(busy, timeout=0):
                supply.prepare(len(pool))
            for pipe in wait(busy, timeout=POLL_S):
                at = next(i for i, worker in enumerate(pool) if worker.pipe is pipe)
                if not _receive(pool[at], supply, watcher, plan.judged):
                    pool[at] = _spawn(run)
            for at, worker in enumerate(pool):
                if _hangs(worker, plan.timeout_s):
                    reason = f"timeout: no end after {GRACE * plan.timeout_s:g} s; its process was killed"
                    _end(worker)
                    supply.lose(_taken(worker), reason)
                    pool[at] = _spawn(run)
    finally:
        _end_all(pool)


def _give(worker: _Worker, supply: TrialQueue, plan: TrialPlan) -> None:
    if (asked := supply.next()) is not None:
        worker.number, worker.started = asked.number, time.monotonic()
        worker.epochs = plan.epochs(asked.candidate)
        worker.pipe.send((asked.candidate, with_reference(plan, supply.baseline)))


def _spawn(run: RunTrial) -> _Worker:
    # Threads that spin while they wait starve whoever shares their core: training took up to 30 times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    context = worker_context()
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, run), daemon=True)
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


def _work(pipe: "Connection[Any, Any]", run: RunTrial) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    while True:
        try:
            job: tuple[Candidate, TrialPlan] = pipe.recv()
        except (EOFError, OSError):
            return  # the parent is gone
        try:
            pipe.send(("begins",))
            pipe.send(("result", run(*job, partial(_report, pipe, job[1].judged))))
        except (TrialInterrupted, BrokenPipeError):
            return


def _report(pipe: "Connection[Any, Any]", judged: bool, epoch: int, metrics: dict[str, float]) -> str:
    try:
        pipe.send(("epoch", epoch, metrics))
        return str(pipe.recv()) if judged else ""
    except (EOFError, OSError):
        raise TrialInterrupted("the search has ended") from None


def _receive(worker: _Worker, supply: TrialQueue, watcher: ProgressListener, judged: bool) -> bool:
    """Take one message and answer it; return whether the worker still lives."""
    try:
        kind, *content = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        supply.lose(_taken(worker), _death(worker.process.exitcode))
        return False
    if kind == "result":
        supply.tell(_taken(worker), content[0])
        return True
    if kind == "begins":
        worker.started, worker.loaded = time.monotonic(), True
        return True
    epoch, metrics = content
    watcher.epoch(_running(worker), epoch, metrics)
    if judged:
        with contextlib.suppress(BrokenPipeError):  # it has died since; the next message will be its end
            worker.pipe.send(supply.judge(_running(worker), epoch, worker.epochs, metrics))
    return True


def _running(worker: _Worker) -> int:
    assert worker.number is not None, "messages come from workers that run a trial"
    return worker.number


def _taken(worker: _Worker) -> int:
    number = _running(worker)
    worker.number = None
    return number


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        hint = "; the machine may be out of memory" if -code == signal.SIGKILL else ""
        return f"its process was killed by {signal.Signals(-code).name}{hint}"
    return f"its process ended with exit code {code}"


def _hangs(worker: _Worker, timeout_s: float) -> bool:
    allowed = GRACE * timeout_s + (0 if worker.loaded else START_S)
    return worker.number is not None and time.monotonic() - worker.started > allowed


def _end_all(pool: list[_Worker]) -> None:
    """End idle workers by closing their pipes, so that they tidy up what killed ones would leave; kill the others."""
    idle = [worker for worker in pool if worker.number is None]
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


def threads_each(plan: TrialPlan, workers: int, cores: int) -> TrialPlan:
    """Return the plan with the machine's cores divided between the workers."""
    return replace(plan, threads=max(1, cores // workers))
