"""The live display of a search; plain lines where standard error is no terminal."""

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import replace

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from paredown.evaluators.metrics.measurement import Objective, resolved_objectives
from paredown.search.listener import ProgressListener, SearchStart
from paredown.search.monitoring.search_log import QUIET_S
from paredown.search.monitoring.search_progress import SearchProgress
from paredown.studies.front import Model, front, hypervolume
from paredown.studies.region import limit_texts, worst_violation
from paredown.studies.result import TRAINED, PendingTrial, TrialResult

PROBE = "looking for a network within the limits"
"""Title of the bar while the sample of untrained networks is measured."""


def display_console() -> Console:
    """Return the console for progress and remarks: standard error, or the cell of a notebook."""
    return Console(stderr=True)


def _redraws(console: Console) -> bool:
    """Return whether a console can redraw what it shows: a terminal can, and a notebook that has `ipywidgets`."""
    return console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)


class ProgressDisplay(ProgressListener):
    """Shows what a search does: supernets in training, trials by state, the best so far, hypervolume, time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._before = _Bars(console)
        self._start = SearchStart("", (), 0, None, (), {})
        self._models: list[Model] = []
        self._baseline: Model | None = None
        self._progress, self._printed = SearchProgress(), time.monotonic()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("trials"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._live = Live(console=console, get_renderable=self._view, refresh_per_second=2)

    def probed(self, done: int, total: int) -> None:
        """Show how far the look for a network within the limits is."""
        if done == 1:
            self._console.print(f"looking for a network that keeps the limits, among {total}", highlight=False)
        self._before.show(PROBE, done, total, "candidates")
        if done == total:
            self._before.stop()

    def supernet_epoch(self, family: str, epoch: int, epochs: int) -> None:
        """Show how far a supernet is."""
        self._before.show(f"supernet of {family}", epoch, epochs, "epochs")

    def supernet_awaited(self, family: str) -> None:
        """Say whose supernet is awaited."""
        self._before.stop()
        self._console.print(f"supernet of {family}: another process trains it; waiting", highlight=False)

    def supernet_finished(self, family: str, epochs: int, seconds: float) -> None:
        """Say what training took."""
        self._before.stop()
        self._console.print(f"supernet of {family}: {epochs} epochs in {seconds:.0f} s", highlight=False)

    def remark(self, text: str) -> None:
        """Print it."""
        self._console.print(text, markup=False, highlight=False)

    def search_started(self, start: SearchStart) -> None:
        """Begin the display, with what earlier runs came to."""
        self._start = start
        self._models = list(start.models)
        self._baseline = self._models[0] if self._models else None
        self._progress.search_started(start)
        spent, left = self._progress.spent, self._progress.left
        self._task = self._bar.add_task(start.study, total=start.trials, completed=spent, left=left)
        if _redraws(self._console):
            self._live.start()

    def search_ended(self) -> None:
        """Leave the last state on the terminal."""
        self._before.stop()
        if self._live.is_started:
            self._live.stop()

    def started(self, trial: PendingTrial) -> None:
        """Show a trial that starts."""
        self._progress.started(trial)

    def epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Show how far a trial is."""
        self._progress.epoch(number, epoch, metrics)

    def given_back(self, number: int, reason: str) -> None:
        """Print why a trial left."""
        self._progress.given_back(number, reason)
        self.remark(f"trial {number}: {reason}")

    def skipped(self) -> None:
        """Count a candidate that was known."""
        self._progress.skipped()

    def finished(self, number: int, result: TrialResult) -> None:
        """Show what became of a trial."""
        asked = self._progress.running[number].trial
        self._progress.finished(number, result)
        if result.outcome == "done":
            found = [Model(number, asked.candidate, result.measurements, result.artifact)]
            found += [Model(number, d.candidate, d.measurements, d.artifact) for d in result.derived]
            self._baseline = self._baseline or found[0]
            limits = self._limited()
            self._models += [replace(m, feasible=worst_violation(m, limits)[1] <= 0) for m in found]
        self._bar.update(self._task, completed=self._progress.spent, left=self._progress.left)
        if not _redraws(self._console):
            self._print(self._progress.ended_line(number, result))

    def counted(self, counts: Mapping[str, int]) -> None:
        """Count the trials of other searches too."""
        self._progress.counted(counts)

    def tick(self) -> None:
        """Show the time left; where the console cannot redraw, say what runs where nothing was printed for long."""
        if self._live.is_started:
            self._bar.update(self._task, completed=self._progress.spent, left=self._progress.left)
        elif time.monotonic() - self._printed > QUIET_S:
            self._print(self._progress.running_line)

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)
        self._printed = time.monotonic()

    def _limited(self) -> tuple[Objective, ...]:
        """Return the objectives with the limits that are known by now."""
        return resolved_objectives(self._start.objectives, self._baseline.values if self._baseline else {})

    def _view(self) -> Group:
        table = Table.grid(padding=(0, 2))
        states, counts = (*TRAINED, "derived", "rejected", "duplicate"), self._progress.counts
        shown = [f"{counts[state]} {state}" for state in states if counts[state]]
        table.add_row("trials", ", ".join([*shown, f"{len(self._progress.running)} running"]))
        if self._baseline is not None:
            best = front(self._models, self._start.metrics)
            for metric in self._start.metrics if best else ():
                model = min(best, key=lambda m: metric.loss(m[metric.name]))
                value, reference = metric.format(model[metric.name]), metric.format(self._baseline[metric.name])
                table.add_row(f"best {metric.name}", f"{value} (trial {model.trial}; baseline {reference})")
            limits = {o.metric.name: o.limit for o in self._limited() if o.limit is not None}
            share = hypervolume(self._models, self._start.metrics, self._baseline, limits)
            table.add_row("front", f"{len(best)} models, hypervolume {share:.4f}")
            if texts := limit_texts(self._limited()):
                table.add_row("limits", ", ".join(texts))
        for number, running in sorted(self._progress.running.items()):
            table.add_row(f"trial {number}", str(running))
        return Group(self._bar, table)


class _Bars:
    """A bar for what goes before the first trial, such as a supernet in training, on a terminal; nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title = ""
        self._bar: Progress | None = None

    def show(self, title: str, done: int, total: int, unit: str) -> None:
        """Show the bar of this title, in place of any other."""
        if self._bar is None or self._title != title:
            self.stop()
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeElapsedColumn())
            text = TextColumn("{task.description}", style="bold", markup=False)
            self._bar = Progress(
                text, *columns, TimeRemainingColumn(), console=self._console, disable=not _redraws(self._console)
            )
            self._title, self._task = title, self._bar.add_task(title, total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done)

    def stop(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
