"""The live display of a search; plain lines where standard error is no terminal."""

import importlib.util
import time
from collections import Counter
from collections.abc import Mapping

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

from paredown.evaluators.metrics.accuracy import METRIC as ACCURACY
from paredown.search.listener import ProgressListener, SearchStart
from paredown.studies.front import Model, front, hypervolume
from paredown.studies.result import FINISHED, PendingTrial, TrialResult


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
        self._supernets = _SupernetBars(console)
        self._start = SearchStart("", (), 0, None, (), {})
        self._models: list[Model] = []
        self._baseline: Model | None = None
        self._counts: Counter[str] = Counter()
        self._running: dict[int, tuple[PendingTrial, str]] = {}
        self._began, self._finished_now = time.monotonic(), 0
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

    def supernet_epoch(self, family: str, epoch: int, epochs: int) -> None:
        """Show how far a supernet is."""
        self._supernets.show(family, epoch, epochs)

    def supernet_awaited(self, family: str) -> None:
        """Say whose supernet is awaited."""
        self._supernets.stop()
        self._console.print(f"supernet of {family}: another process trains it; waiting", highlight=False)

    def supernet_finished(self, family: str, epochs: int, seconds: float) -> None:
        """Say what training took."""
        self._supernets.stop()
        self._console.print(f"supernet of {family}: {epochs} epochs in {seconds:.0f} s", highlight=False)

    def remark(self, text: str) -> None:
        """Print it."""
        self._console.print(text, markup=False, highlight=False)

    def search_started(self, start: SearchStart) -> None:
        """Begin the display, with what earlier runs came to."""
        self._start = start
        self._models = list(start.models)
        self._baseline = self._models[0] if self._models else None
        self._counts = Counter({state: n for state, n in start.counts.items() if state not in ("running", "waiting")})
        self._began = time.monotonic()
        self._task = self._bar.add_task(start.study, total=start.trials, completed=self._spent, left="")
        if _redraws(self._console):
            self._live.start()

    def search_ended(self) -> None:
        """Leave the last state on the terminal."""
        self._supernets.stop()
        if self._live.is_started:
            self._live.stop()

    def started(self, trial: PendingTrial) -> None:
        """Show a trial that starts."""
        self._running[trial.number] = (trial, "builds")

    def epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Show how far a trial is."""
        if number in self._running:
            text = f"epoch {epoch + 1}"
            if ACCURACY.name in metrics:
                text += f", {ACCURACY.name} {ACCURACY.format(metrics[ACCURACY.name])}"
            self._running[number] = (self._running[number][0], text)

    def cut(self, number: int) -> None:
        """Show a trial no more."""
        self._running.pop(number)

    def skipped(self) -> None:
        """Count a candidate that was known."""
        self._counts["duplicate"] += 1

    def finished(self, number: int, result: TrialResult) -> None:
        """Show what became of a trial."""
        asked, _ = self._running.pop(number)
        self._counts[result.outcome] += 1
        self._finished_now += result.outcome != "rejected"
        if result.outcome == "done":
            model = Model(number, asked.candidate, result.measurements, result.artifact)
            self._models.append(model)
            self._models += [Model(number, d.candidate, d.measurements, d.artifact) for d in result.derived]
            self._counts["derived"] += len(result.derived)
            self._baseline = self._baseline or model
        self._bar.update(self._task, completed=self._spent, left=self._left())
        if not _redraws(self._console):
            self._console.print(self._line(number, result), highlight=False, soft_wrap=True, markup=False)

    @property
    def _spent(self) -> int:
        return sum(self._counts[state] for state in FINISHED)

    def _left(self) -> str:
        if not self._finished_now:
            return ""
        rate = (time.monotonic() - self._began) / self._finished_now
        left = rate * max(0, self._start.trials - self._spent)
        if self._start.deadline is not None:
            left = min(left, max(0.0, self._start.deadline - time.monotonic()))
        minutes, seconds = divmod(round(left), 60)
        return f"{minutes // 60} h {minutes % 60} min left" if minutes >= 60 else f"{minutes}:{seconds:02d} left"

    def _line(self, number: int, result: TrialResult) -> str:
        values = ", ".join(
            f"{m.name} {m.format(result.measurements[m.name].value)}"
            for m in self._start.metrics
            if m.name in result.measurements
        )
        said = result.reason.splitlines()[0] if result.reason else values
        return f"trial {number} {result.outcome}: {said} [{self._spent} of {self._start.trials}, {self._left()}]"

    def _view(self) -> Group:
        table = Table.grid(padding=(0, 2))
        counts = [f"{self._counts[s]} {s}" for s in (*FINISHED, "derived", "rejected", "duplicate") if self._counts[s]]
        table.add_row("trials", ", ".join([*counts, f"{len(self._running)} running"]))
        if self._baseline is not None:
            best = front(self._models, self._start.metrics)
            for metric in self._start.metrics:
                model = min(best, key=lambda m: metric.loss(m[metric.name]))
                value, reference = metric.format(model[metric.name]), metric.format(self._baseline[metric.name])
                table.add_row(f"best {metric.name}", f"{value} (trial {model.trial}; baseline {reference})")
            share = hypervolume(self._models, self._start.metrics, self._baseline)
            table.add_row("front", f"{len(best)} models, hypervolume {share:.4f}")
        for number, (_, text) in sorted(self._running.items()):
            table.add_row(f"trial {number}", text)
        return Group(self._bar, table)


class _SupernetBars:
    """A bar for the supernet in training, on a terminal; nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._family = ""
        self._bar: Progress | None = None

    def show(self, family: str, epoch: int, epochs: int) -> None:
        """Show the bar of a family, in place of any other."""
        if self._bar is None or self._family != family:
            self.stop()
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("epochs"), TimeElapsedColumn())
            text = TextColumn("{task.description}", style="bold", markup=False)
            self._bar = Progress(
                text, *columns, TimeRemainingColumn(), console=self._console, disable=not _redraws(self._console)
            )
            self._family, self._task = family, self._bar.add_task(f"supernet of {family}", total=epochs)
            self._bar.start()
        self._bar.update(self._task, completed=epoch)

    def stop(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
