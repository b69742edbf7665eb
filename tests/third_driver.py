"""A third driver, as its author would write it: one trial after the other, in the thread of the search."""

from functools import partial

from paredown.evaluators.errors import TrialInterrupted
from paredown.search.drivers.driver import Driver, DriverOptions, Job, RunTrial, next_job
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial_queue import TrialQueue


class Pauses(DriverOptions):
    """What it can be told.

    Attributes:
        every: Number of trials after which it looks at the leases.
    """

    every: int = 1


def _epoch_ended(queue: TrialQueue, job: Job, epoch: int, metrics: dict[str, float]) -> str:
    if queue.must_cut:
        raise TrialInterrupted("the search ends")
    return queue.report(job.number, epoch, job.epochs, metrics, spared=job.spared)


def _run(queue: TrialQueue, plan: TrialPlan, workers: int, run: RunTrial, options: Pauses) -> None:
    while not queue.stopped:
        if (job := next_job(queue, plan)) is None:
            continue
        if job.number % options.every == 0:
            queue.renew()
        try:
            result = run(job.candidate, job.plan, partial(_epoch_ended, queue, job))
        except TrialInterrupted:
            queue.cut(job.number)
        except ZeroDivisionError as error:
            queue.lose(job.number, repr(error))
        else:
            queue.tell(job.number, result)


IN_TURN = Driver("in_turn", _run, Pauses)
