"""Training waits while another process measures, and goes on where that one is killed."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import toy_trials

from paredown.search.trial.measuring_pause import CAN_LOOK, MeasuringPause, is_measuring
from paredown.search.trial.run_trial import run_trial

pytestmark = pytest.mark.skipif(not CAN_LOOK, reason="this system cannot tell who holds a lock")
CPU = torch.device("cpu")
MEASURES = """
import time
from paredown.evaluators.measurement_lock import measurement_lock
with measurement_lock():
    print("measuring", flush=True)
    time.sleep(300)
"""


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody else of this machine measure here."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@contextmanager
def measurer(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run a process that holds the lock until it is killed."""
    command, env = [sys.executable, "-c", MEASURES], {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "measuring\n"
        try:
            yield process
        finally:
            process.kill()


class Trainer(threading.Thread):
    """Counts the batches that it may begin."""

    def __init__(self, pause: MeasuringPause) -> None:
        super().__init__(daemon=True)
        self._pause, self.batches, self.ended = pause, 0, False

    def run(self) -> None:
        while not self.ended:
            self._pause()
            self.batches += 1
            time.sleep(0.001)

    def wait_for_more(self) -> None:
        known, until = self.batches, time.monotonic() + 30
        while self.batches == known:
            assert time.monotonic() < until, "training stands still"
            time.sleep(0.01)


def test_no_batch_begins_while_another_process_measures_and_one_does_when_it_is_killed(tmp_path: Path) -> None:
    assert not is_measuring()
    pause = MeasuringPause(lambda: None, CPU)
    pause._began -= 1000  # it has trained for long
    trainer = Trainer(pause)
    trainer.start()
    try:
        trainer.wait_for_more()
        with measurer(tmp_path) as process:
            assert is_measuring()
            time.sleep(0.2)  # the batch that had begun ends
            before = trainer.batches
            time.sleep(1.0)
            assert trainer.batches == before
            process.kill()  # SIGKILL: it cannot release anything itself
            process.wait()
            trainer.wait_for_more()
        assert pause.paused_s >= 1.0
    finally:
        trainer.ended = True
        trainer.join()


def test_training_comes_to_its_end_beside_one_that_measures_for_ever(tmp_path: Path) -> None:
    with measurer(tmp_path):
        pause, checks = MeasuringPause(lambda: None, CPU), 0
        begun = time.monotonic()
        while checks < 5:
            pause()
            time.sleep(0.02)
            checks += 1
        assert 0 < pause.paused_s <= 0.5 * (time.monotonic() - begun) + 0.1


def test_training_elsewhere_than_on_the_processor_does_not_wait(tmp_path: Path) -> None:
    with measurer(tmp_path):
        pause = MeasuringPause(lambda: None, torch.device("cuda"))
        pause._began -= 1000
        pause()
        assert pause.paused_s == 0


def test_a_trial_waits_before_its_batches(tmp_path: Path) -> None:
    setup = toy_trials.toy_setup(tmp_path, training={"epochs": 1})
    with measurer(tmp_path) as process:

        def after_the_epoch(epoch: int, metrics: dict[str, float]) -> str:
            process.kill()  # or the trial's own measurement would wait for it
            process.wait()
            return ""

        result = run_trial(setup.space.baseline, setup.plan, after_the_epoch)
    assert result.outcome == "done"
    assert result.facts["paused_s"] > 0
