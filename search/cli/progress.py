"""The live display of a search; plain lines where standard error is no terminal."""

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from paredown.evaluators.metrics.accuracy import METRIC as ACCURACY
from paredown.evaluators.metrics.measurement import Metric
from paredown.search.trial_queue import Budget
from paredown.studies.front import Model, front, hypervolume
from paredown.studies.result import FINISHED, PendingTrial, TrialResult


class ProgressDisplay:
    """Shows what a search does: trials by state, the best so far, hypervolume, time left.

    Attributes:
        showing_s: Time spent on the display.
    """

    def __init__(
        self,
        console: Console,
        name: str,
        metrics: Sequence[Metric],
        budget: Budget,
        before: Sequence[Model],
        counts: dict[str, int],
    ) -> None:
        self._console, self._metrics, self._budget = console, tuple(metrics), budget
        self._models = list(before)
        self._baseline = self._models[0] if self._models else None
        self._counts = Counter(counts)
        self._counts.pop("running", None)
        self._counts.pop("waiting", None)
        self._running: dict[int, tuple[PendingTrial, str]] = {}
        self._began, self._finished_now = time.monotonic(), 0
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn(f"[bold]{name}[/]"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("trials"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._task = self._bar.add_task(name, total=budget.trials, completed=self._spent, left="")
        self._live = Live(console=console, get_renderable=self._view, refresh_per_second=2)
        self.showing_s = 0.0

    def __enter__(self) -> "ProgressDisplay":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def started(self, asked: PendingTrial) -> None:
        """Show a trial that starts."""
        self._running[asked.number] = (asked, "builds")

    def epoch(self, number: int, epoch: int, metrics: dict[str, float]) -> None:
        """Show how far a trial is."""
        if number in self._running:
            text = f"epoch {epoch + 1}"
            if ACCURACY.name in metrics:
                text += f", {ACCURACY.name} {ACCURACY.format(metrics[ACCURACY.name])}"
            self._running[number] = (self._running[number][0], text)

    def skipped(self) -> None:
        """Count a candidate that was known."""
        self._counts["duplicate"] += 1

    def finished(self, number: int, result: TrialResult) -> None:
        """Show what became of a trial."""
        start = time.perf_counter()
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
        if not self._console.is_terminal:
            self._console.print(self._line(number, result), highlight=False, soft_wrap=True, markup=False)
        self.showing_s += time.perf_counter() - start

    @property
    def _spent(self) -> int:
        return sum(self._counts[state] for state in FINISHED)

    def _left(self) -> str:
        if not self._finished_now:
            return ""
        rate = (time.monotonic() - self._began) / self._finished_now
        left = rate * max(0, self._budget.trials - self._spent)
        if self._budget.deadline is not None:
            left = min(left, max(0.0, self._budget.deadline - time.monotonic()))
        minutes, seconds = divmod(round(left), 60)
        return f"{minutes // 60} h {minutes % 60} min left" if minutes >= 60 else f"{minutes}:{seconds:02d} left"

    def _line(self, number: int, result: TrialResult) -> str:
        values = ", ".join(
            f"{m.name} {m.format(result.measurements[m.name].value)}"
            for m in self._metrics
            if m.name in result.measurements
        )
        said = result.reason.splitlines()[0] if result.reason else values
        return f"trial {number} {result.outcome}: {said} [{self._spent} of {self._budget.trials}, {self._left()}]"

    def _view(self) -> Group:
        table = Table.grid(padding=(0, 2))
        counts = [f"{self._counts[s]} {s}" for s in (*FINISHED, "derived", "rejected", "duplicate") if self._counts[s]]
        table.add_row("trials", ", ".join([*counts, f"{len(self._running)} running"]))
        if self._baseline is not None:
            best = front(self._models, self._metrics)
            for metric in self._metrics:
                model = min(best, key=lambda m: metric.loss(m[metric.name]))
                value, reference = metric.format(model[metric.name]), metric.format(self._baseline[metric.name])
                table.add_row(f"best {metric.name}", f"{value} (trial {model.trial}; baseline {reference})")
            share = hypervolume(self._models, self._metrics, self._baseline)
            table.add_row("front", f"{len(best)} models, hypervolume {share:.4f}")
        for number, (_, text) in sorted(self._running.items()):
            table.add_row(f"trial {number}", text)
        return Group(self._bar, table)
