"""Trials through Ray Tune, on this machine or on a cluster.

Ray has a process of its own: where a cluster is lost, Ray ends the process that uses it; and the token of a search,
which Ray reads from the environment, belongs to no other process. This process alone speaks to the database.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from paredown.search.drivers.driver import Driver, DriverOptions, RunTrial, next_job
from paredown.search.drivers.process_server import main_module_hidden, worker_context
from paredown.search.drivers.ray_access import check_cluster, machines_of, ray_environment
from paredown.search.drivers.ray_actor import UNSEEN
from paredown.search.drivers.ray_process import BUG, NEXT, NO_MORE, OVER, REMARK, TICK, TuneRun, tune
from paredown.search.drivers.ray_resources import reserved_for, room
from paredown.search.drivers.shared_folder import Digests, differing, marked
from paredown.search.drivers.trial_host import EPOCHS, KILLED
from paredown.search.drivers.worker_process import CUT, DIED, RESULT
from paredown.search.errors import ClusterLost, ConfigError, SearchAborted
from paredown.search.study_file.sections import ResourcesSection
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial_queue import TrialQueue
from paredown.studies.result import TrialResult

POLL_S = 0.5
"""Seconds between two looks at whether the search is to stop."""
SILENCE_S = 180.0
"""Seconds without a word of Ray's process after which the cluster is taken for lost."""
LEAVE_S = 15.0
"""Seconds in which Ray's process has to end by itself."""
LOG = "ray.log"
"""File in the study's folder for what Ray says."""


class RayOptions(DriverOptions):
    """Where Ray runs, and what a trial gets there.

    Attributes:
        address: Address of a cluster; None starts Ray on this machine.
        resources: What is reserved for each trial.
    """

    address: str | None = Field(default_factory=lambda: os.environ.get("RAY_ADDRESS") or None)
    resources: ResourcesSection = ResourcesSection()


def check_ray(options: RayOptions, where: str) -> None:
    """Refuse what Ray could not do; see `Check`."""
    if options.address is not None:
        return check_cluster(options.address)
    resources, gpus = options.resources, torch.cuda.device_count()
    if resources.custom:
        names = ", ".join(resources.custom)
        raise ConfigError(
            f"{where}: resources.custom: {names}: only a cluster has resources of its own (--ray-address)"
        )
    if resources.gpu > gpus:
        raise ConfigError(
            f"{where}: resources.gpu: {resources.gpu:g} is more than this machine has; allowed: 0 to {gpus}"
        )
    return None


def room_on_ray(options: RayOptions) -> int:
    """Return the number of trials for which Ray has room; on a cluster, where now there is none, one."""
    if options.address is not None:
        machines = machines_of(options.address)
    else:
        machines = [{"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}]
    return max(1, room(machines, reserved_for(options.resources)))


def run_on_ray(queue: TrialQueue, plan: TrialPlan, workers: int, run: RunTrial, options: RayOptions) -> None:
    """Run trials as Ray Tune trials; see `RunQueue`.

    On a cluster of several machines, the folder of the plan must be shared by all of them.

    Raises:
        ClusterLost: Ray or its cluster is gone; running trials are given back.
    """
    resources = options.resources
    if resources.cpu is not None:
        plan = replace(plan, threads=max(1, int(resources.cpu)))
    with marked(plan.folder) as marker:
        settings = TuneRun(
            run, workers, options.address, resources, queue.halving, marker, ray_environment(options.address)
        )
        with _ray_process(settings, plan.folder / LOG) as pipe:
            _serve(pipe, queue, plan)


@contextmanager
def _ray_process(settings: TuneRun, log: Path) -> Iterator["Connection[Any, Any]"]:
    context = worker_context()
    ours, theirs = context.Pipe()
    process = context.Process(target=tune, args=(theirs, settings, log), daemon=True)
    with main_module_hidden():
        process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(LEAVE_S)
        process.kill()
        process.join()


def _serve(pipe: "Connection[Any, Any]", queue: TrialQueue, plan: TrialPlan) -> None:
    """Answer Ray's process until there are no more trials, or the search must end."""
    heard = time.monotonic()
    while True:
        if queue.must_cut:
            for number in queue.running:
                queue.cut(number)
            queue.next()  # says why there is no more
            return
        if not pipe.poll(POLL_S):
            if time.monotonic() - heard > SILENCE_S:
                raise _lost(f"no word for {SILENCE_S:g} s", plan.folder)
            continue
        heard = time.monotonic()
        kind, *content = _received(pipe, plan.folder)
        if kind == OVER:
            return
        _answer(pipe, queue, plan, kind, content)


def _answer(pipe: "Connection[Any, Any]", queue: TrialQueue, plan: TrialPlan, kind: str, content: list[Any]) -> None:
    passed_on: dict[str, Callable[..., None]] = {
        DIED: queue.retry,
        KILLED: queue.lose,
        CUT: queue.cut,
        TICK: queue.renew,
        REMARK: queue.listener.remark,
        EPOCHS: partial(_show_epochs, queue),
        RESULT: partial(_tell, queue, plan.folder),
    }
    if kind == NEXT:
        job = next_job(queue, plan)
        _send(pipe, NO_MORE if job is None and queue.stopped else job, plan.folder)
    elif kind == UNSEEN:
        raise SearchAborted(
            f"the Ray worker on {content[0]} does not see the study's folder {plan.folder}; share it with all "
            "machines of the cluster, under one path (--out)"
        )
    elif kind == BUG:
        raise RuntimeError(f"Ray's process failed:\n{content[0]}")
    else:
        passed_on[kind](*content)


def _show_epochs(queue: TrialQueue, number: int, epochs: list[tuple[int, dict[str, float]]]) -> None:
    for epoch, metrics in epochs:
        queue.listener.epoch(number, epoch, metrics)


def _tell(queue: TrialQueue, folder: Path, number: int, node: str, data: dict[str, Any], written: Digests) -> None:
    result = TrialResult.from_json(data)
    result = replace(result, facts={**result.facts, "node": node})
    if broken := differing(folder, written):
        reason = f"its files are not in {folder} as its worker wrote them: {', '.join(broken)}"
        result = TrialResult("failed", reason, facts=result.facts, curve=result.curve)
    queue.tell(number, result)


def _received(pipe: "Connection[Any, Any]", folder: Path) -> tuple[Any, ...]:
    try:
        received: tuple[Any, ...] = pipe.recv()
        return received
    except (EOFError, ConnectionResetError):
        raise _lost("its process ended", folder) from None


def _send(pipe: "Connection[Any, Any]", answer: Any, folder: Path) -> None:
    try:
        pipe.send(answer)
    except (BrokenPipeError, ConnectionResetError):
        raise _lost("its process ended", folder) from None


def _lost(how: str, folder: Path) -> ClusterLost:
    return ClusterLost(
        f"Ray was lost ({how}; {folder / LOG} says more); all that is finished is saved, and the same "
        "command goes on once Ray can be used again"
    )


RAY = Driver("ray", run_on_ray, RayOptions, check_ray, room_on_ray)
