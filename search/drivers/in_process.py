"""Trials in processes of this machine, one process for each worker."""

from dataclasses import replace
from multiprocessing.connection import wait

from paredown.search.drivers.driver import Driver, DriverOptions, RunTrial, next_job, with_reference
from paredown.search.drivers.memory import worker_limit_bytes
from paredown.search.drivers.process_server import is_loaded
from paredown.search.drivers.worker_process import AWAITS, CUT, DIED, EPOCH, RESULT, Worker, must_be_replaced
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial_queue import TrialQueue

POLL_S = 0.5
"""Seconds between two looks at whether a worker hangs, and whether the search is to stop."""


def run_in_processes(queue: TrialQueue, plan: TrialPlan, workers: int, run: RunTrial, options: DriverOptions) -> None:
    """Run trials in worker processes; see `RunQueue`."""
    limit_bytes = worker_limit_bytes(workers)
    if not _can_start(queue):
        return
    pool = [Worker(run) for _ in range(workers)]
    try:
        while True:
            for worker in [worker for worker in pool if worker.job is None]:
                if (job := next_job(queue, plan, beside=True)) is not None:
                    worker.give(job)
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
            spoke = wait(busy, timeout=POLL_S)
            for at, worker in enumerate(pool):
                if (worker.pipe in spoke and not _receive(worker, queue)) or _exceeds(worker, queue, limit_bytes):
                    pool[at] = Worker(run)
            _hand_out_baseline(pool, queue)
    finally:
        _end_all(pool)


def _can_start(queue: TrialQueue) -> bool:
    """Wait until processes start at once; return False where the search is to end before."""
    while not is_loaded(POLL_S):
        queue.renew()
        if queue.is_spent and queue.stopped:
            return False
    return True


def _hand_out_baseline(pool: list[Worker], queue: TrialQueue) -> None:
    """Give the baseline, once it is done, to the trials that wait for it."""
    awaiting = [worker for worker in pool if worker.awaits_baseline]
    if awaiting and (baseline := queue.find_baseline()) is not None:
        for worker in awaiting:
            worker.hand_over(with_reference(replace(worker.running.plan, awaits_baseline=False), baseline))


def _cut(pool: list[Worker], queue: TrialQueue) -> None:
    """End the workers that still run a trial."""
    for worker in [worker for worker in pool if worker.job is not None]:
        worker.kill()
        queue.cut(worker.taken().number)


def _receive(worker: Worker, queue: TrialQueue) -> bool:
    """Take one message of a worker and answer it; return whether the worker can run another trial."""
    kind, *content = worker.receive()
    if kind == DIED:
        queue.retry(worker.taken().number, *content)
        return False
    if kind == RESULT:
        queue.tell(worker.taken().number, content[0])
        if must_be_replaced(content[0]):
            worker.kill()
            return False
    elif kind == CUT:
        queue.cut(worker.taken().number)
    elif kind == AWAITS:
        worker.awaits_baseline = True
    elif kind == EPOCH:
        job, (epoch, metrics) = worker.running, content
        reason = queue.report(job.number, epoch, job.epochs, metrics, spared=job.spared)
        if job.plan.judged:
            worker.answer(reason)
    return True


def _exceeds(worker: Worker, queue: TrialQueue, limit_bytes: float) -> bool:
    """End a worker that takes more time or memory than it may; return whether there was reason to."""
    if (excess := worker.excess(limit_bytes)) is None:
        return False
    worker.kill()
    queue.lose(worker.taken().number, *excess)
    return True


def _end_all(pool: list[Worker]) -> None:
    """Let idle workers end and clean up by themselves, and kill the others."""
    idle = [worker for worker in pool if worker.job is None]
    for worker in idle:
        worker.leave()
    for worker in idle:
        worker.join()
    for worker in pool:
        worker.kill()


LOCAL = Driver("local", run_in_processes)
