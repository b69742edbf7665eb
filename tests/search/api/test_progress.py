"""What a search shows while it runs."""

import io
import time

from rich.console import Console

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.measurement import Measurement
from paredown.search.api.progress import ProgressDisplay
from paredown.search.listener import SearchStart
from paredown.spaces.candidate import Candidate
from paredown.studies.front import Model
from paredown.studies.result import PendingTrial, TrialResult

METRICS = [EVALUATORS[name].metric for name in ("accuracy", "size_bytes")]


def asked(number: int) -> PendingTrial:
    return PendingTrial(number, Candidate("mbconv", {"width": float(number)}))


def done(accuracy: float, size: float) -> TrialResult:
    values = {"accuracy": Measurement("accuracy", accuracy), "size_bytes": Measurement("size_bytes", size)}
    return TrialResult("done", "", values)


def display_on(console: Console, *before: Model, deadline: float | None = None) -> ProgressDisplay:
    counts = {"done": len(before), "waiting": 1, "running": 1}
    display = ProgressDisplay(console)
    display.search_started(SearchStart("name", METRICS, 4, deadline, before, counts))
    return display


def test_a_pipe_gets_one_line_a_trial() -> None:
    file = io.StringIO()
    results = [
        done(0.9, 1000),
        TrialResult("failed", "it broke [red]here[/]\nmore"),
        TrialResult("rejected", "macs 7 MAC is above the limit 5"),
        TrialResult("stopped", "stopped at epoch 2 of 8: rank 3"),
    ]
    display = display_on(Console(file=file))
    for number, result in enumerate(results):
        display.started(asked(number))
        display.epoch(number, 0, {"accuracy": 0.5})
        display.finished(number, result)
    display.skipped()
    display.search_ended()
    lines = file.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("trial 0 done: accuracy 0.9000, size_bytes 1.0 kB [1 of 4, ")
    assert lines[1].startswith("trial 1 failed: it broke [red]here[/] [2 of 4, ")
    assert lines[2].startswith("trial 2 rejected: macs 7 MAC is above the limit 5 [2 of 4, ")
    assert lines[3].startswith("trial 3 stopped: stopped at epoch 2 of 8: rank 3 [3 of 4, ")
    assert all(line.endswith(" left]") for line in lines)


def test_a_terminal_gets_a_live_view() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120, color_system=None)
    known = Model(0, asked(0).candidate, done(0.9, 2000).measurements, "")
    display = display_on(console, known, deadline=time.monotonic() + 7500)
    display.started(asked(1))
    display.started(asked(2))
    display.epoch(1, 2, {"accuracy": 0.125})
    display.epoch(9, 0, {})
    display.finished(2, done(0.95, 1000))
    display.skipped()
    display.search_ended()
    text = file.getvalue()
    for part in (
        "2/4",
        "2 done, 1 duplicate, 1 running",
        "epoch 3, accuracy 0.1250",
        "0.9500 (trial 2; baseline 0.9000)",
        "1.0 kB (trial 2; baseline 2.0 kB)",
        "1 models, hypervolume 0.5182",
    ):
        assert part in text, part


def test_a_terminal_gets_a_bar_for_each_supernet_and_a_line_when_it_is_trained() -> None:
    file = io.StringIO()
    display = ProgressDisplay(Console(file=file, force_terminal=True, width=120, color_system=None))
    for family in ("mbconv", "resnet"):
        for epoch in (0, 1, 2):
            display.supernet_epoch(family, epoch, 2)
        display.supernet_finished(family, 2, 3.4)
    display.supernet_epoch("vit", 0, 2)
    display.search_ended()
    text = file.getvalue()
    for part in ("supernet of mbconv", "2/2 epochs", "supernet of resnet: 2 epochs in 3 s", "supernet of vit"):
        assert part in text, part


def test_a_pipe_gets_no_bar_of_a_supernet() -> None:
    file = io.StringIO()
    display = ProgressDisplay(Console(file=file))
    display.supernet_epoch("mbconv", 0, 2)
    display.supernet_awaited("mbconv")
    display.supernet_epoch("mbconv", 2, 2)
    display.supernet_finished("mbconv", 2, 61.0)
    display.search_ended()
    assert file.getvalue().splitlines() == [
        "supernet of mbconv: another process trains it; waiting",
        "supernet of mbconv: 2 epochs in 61 s",
    ]
