"""Models as rows of a table, for the terminal and for notebooks."""

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.markup import escape

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Comparison, Metric
from paredown.spaces.compression.step_label import StepLabel
from paredown.studies.front import Model
from paredown.studies.latency_remarks import Fp32Models, latency_remarks
from paredown.studies.study import Study

COLOURS: dict[Comparison, str] = {"better": "green", "same": "dim", "worse": "red"}
HTML_COLOURS: dict[Comparison, str] = {"better": "#16803c", "same": "#666", "worse": "#c0262d"}
TEXT_WIDTH = 200
"""Width of the table as plain text."""


@dataclass(frozen=True)
class ModelTable:
    """Head and rows for models of one study: the baseline first, each other model with its changes against it.

    Attributes:
        metrics: The columns.
        baseline: The reference network; None as long as it has not finished.
        labels: How tables call each compression step, by name.
        fp32_models: Models of the study with which remarks compare those in int8.
    """

    metrics: tuple[Metric, ...]
    baseline: Model | None
    labels: Mapping[str, StepLabel]
    fp32_models: Fp32Models = field(default_factory=Fp32Models)

    @classmethod
    def of(cls, study: Study, models: Sequence[Model] = ()) -> "ModelTable":
        """Return the table of a study: the metrics that it measured, objectives first.

        Args:
            study: The study.
            models: Its models, as remarks need them.
        """
        baseline, known = study.baseline(), known_metrics()
        measured = [known[name] for name in (baseline.measurements if baseline else ()) if name in known]
        order = [o.metric.name for o in study.objectives]
        measured.sort(key=lambda m: order.index(m.name) if m.name in order else len(order))
        shown = [metric for metric in measured if metric.name != "test_accuracy"]
        return cls(tuple(shown), baseline, study.step_labels or _catalogue_labels(), Fp32Models(models))

    @property
    def head(self) -> list[str]:
        """Names of the columns."""
        return ["trial", *(metric.name for metric in self.metrics), "compression"]

    def rows(self, models: Sequence[Model]) -> list[list[str]]:
        """Return cells with the terminal's markup; one with a change holds it behind a line break."""
        if self.baseline is None:
            return []
        return [self._row(model) for model in [self.baseline, *self._others(models)]]

    def text(self, models: Sequence[Model]) -> str:
        """Return the table as plain text."""
        from rich.console import Console
        from rich.table import Table

        table = Table(*self.head, box=None, pad_edge=False)
        for row in self.rows(models):
            table.add_row(*(cell.replace("\n", " ") for cell in row))
        console = Console(file=io.StringIO(), width=TEXT_WIDTH, color_system=None, highlight=False)
        with console.capture() as captured:
            console.print(table)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())

    def html(self, models: Sequence[Model]) -> str:
        """Return the table as HTML, for notebooks."""
        if self.baseline is None:
            return "<p>No trial has finished yet.</p>"
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.head)
        body = "".join(self._html_row(model) for model in [self.baseline, *self._others(models)])
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def compression(self, model: Model) -> str:
        """Return in words which steps compress a model, such as `distil 0.3, bits fp16`."""
        steps = model.candidate.steps.items()
        return ", ".join(self._step(name, knobs) for name, knobs in steps) or "none"

    def step_name(self, step: str) -> str:
        """Return how tables call a step."""
        return self.labels[step].label if step in self.labels else step

    def _others(self, models: Sequence[Model]) -> list[Model]:
        return [model for model in models if self.baseline is None or model.trial != self.baseline.trial]

    def _row(self, model: Model) -> list[str]:
        cells = [f"{model.trial}"]
        for metric in self.metrics:
            if metric.name not in model.measurements:
                cells.append("")
            elif not self._has_reference(metric) or self._is_baseline(model):
                cells.append(metric.format(model[metric.name]))
            else:
                value, reference = model[metric.name], self._reference(metric)
                cells.append(f"{metric.format(value)}\n{coloured_change(metric, value, reference)}")
        return [*cells, escape(self._note(model))]

    def _html_row(self, model: Model) -> str:
        cells = [f"<td>{model.trial}</td>"]
        for metric in self.metrics:
            if metric.name not in model.measurements:
                cells.append("<td></td>")
                continue
            value, change = model[metric.name], ""
            if self._has_reference(metric) and not self._is_baseline(model):
                reference = self._reference(metric)
                colour = HTML_COLOURS[metric.compare(value, reference)]
                change = f" <small style='color:{colour}'>{metric.format_change(value, reference)}</small>"
            cells.append(f"<td>{html.escape(metric.format(value))}{change}</td>")
        return f"<tr>{''.join(cells)}<td>{html.escape(self._note(model))}</td></tr>"

    def _note(self, model: Model) -> str:
        remarks = latency_remarks(model, self.baseline, self.fp32_models)
        called = "baseline" if self._is_baseline(model) else self.compression(model)
        return f"{called} ({'; '.join(remarks)})" if remarks else called

    def _has_reference(self, metric: Metric) -> bool:
        """Return whether the baseline has the metric: on another device it may have no cost."""
        return self.baseline is not None and metric.name in self.baseline.measurements

    def _reference(self, metric: Metric) -> float:
        assert self.baseline is not None
        return self.baseline[metric.name]

    def _is_baseline(self, model: Model) -> bool:
        return self.baseline is not None and model.trial == self.baseline.trial

    def _step(self, name: str, knobs: Mapping[str, Any]) -> str:
        if name not in self.labels:
            return name
        label = self.labels[name]
        details = " + ".join(str(knobs[knob]) for knob in label.details if knobs.get(knob))
        return f"{label.label} {knobs[label.switch]}" + (f" at {details}" if details else "")


def coloured_change(metric: Metric, value: float, reference: float) -> str:
    """Return how a value differs from the baseline's, with the terminal's markup: green where it is better."""
    return f"[{COLOURS[metric.compare(value, reference)]}]{metric.format_change(value, reference)}[/]"


def _catalogue_labels() -> dict[str, StepLabel]:
    """Return the labels of all steps, for a study that was made before studies kept them; this loads PyTorch."""
    from paredown.spaces.compression.catalogue import STEPS

    return {name: step.table_label for name, step in STEPS.items()}
