"""What all pages are made of: cards, tables, marks of a state, and what stands where there is nothing to show."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from paredown.evaluators.metrics.measurement import Metric
from paredown.studies.front import Model

Content = Any
"""What Dash takes as children: components, text, lists of both, or None."""
MARKS = {
    "running": "live",
    "waiting for device": "warm",
    "done": "good",
    "failed": "bad",
    "rejected": "bad",
    "cancelled": "quiet",
}


def aria(**said: object) -> dict[str, Any]:
    """Return attributes for screen readers, such as `aria-label`."""
    return {f"aria-{name}": str(value) for name, value in said.items()}


def dropdown_label(text: Content, of: str) -> Component:
    """Return the label of a dropdown, which names itself by its value and an element of this id alone."""
    return html.Label(text, id=f"{of}-value-count", htmlFor=of)


def pill(state: str, note: str = "") -> Component:
    """Return the mark of a state."""
    return html.Span(note or state, className=f"pill {MARKS.get(state, 'plain')}")


def card(label: str, value: Content, below: Content = None) -> Component:
    """Return a number with its name."""
    return html.Div(
        [html.Dt(label), html.Dd([value, html.Small(below) if below else None])],
        className="card",
    )


def cards(*shown: Component | None) -> Component:
    """Return cards side by side."""
    return html.Dl([one for one in shown if one is not None], className="cards")


def table(
    head: Sequence[Content], rows: Sequence[Sequence[Content]], caption: str, text_columns: Sequence[int] = ()
) -> Component:
    """Return a table; numbers stand on the right.

    Args:
        head: Heads of the columns.
        rows: Cells of each row; the first one names the row.
        caption: What it shows, for those who cannot see it.
        text_columns: Columns that hold words, beside the first.
    """
    words = {0, *text_columns}
    sides = ["words" if at in words else "number" for at in range(len(head))]
    header = html.Tr([html.Th(one, scope="col", className=side) for one, side in zip(head, sides, strict=True)])
    body = [
        html.Tr(
            [html.Th(row[0], scope="row", className="words")]
            + [html.Td(cell, className=side) for cell, side in zip(row[1:], sides[1:], strict=True)]
        )
        for row in rows
    ]
    shown = html.Table([html.Caption(caption, className="sr"), html.Thead(header), html.Tbody(body)])
    return html.Div(shown, className="scroll", role="region", tabIndex=0, **aria(label=caption))


def nothing(title: str, *what_to_do: Content) -> Component:
    """Return what stands where there is nothing to show, and what to do about it."""
    return html.Div([html.H2(title), html.P([*what_to_do])], className="nothing")


def problem(text: str, what_to_do: Content = None) -> Component:
    """Return what went wrong."""
    return html.Div([html.P(text), html.P(what_to_do) if what_to_do else None], className="problem", role="alert")


def panel(title: str, *content: Content, note: Content = None, wide: bool = False) -> Component:
    """Return a part of a page under its title."""
    head = [html.H2(title), html.P(note, className="note") if note else None]
    return html.Section([*head, *content], className="panel wide" if wide else "panel")


def change(metric: Metric, model: Model, baseline: Model | None) -> Component | None:
    """Return how a metric of a model differs from the baseline's."""
    if baseline is None or metric.name not in baseline.measurements or model.trial == baseline.trial:
        return None
    value, reference = model[metric.name], baseline[metric.name]
    return html.Small(metric.format_change(value, reference), className=metric.compare(value, reference))


def value_cell(metric: Metric, model: Model, baseline: Model | None) -> list[Any]:
    """Return a value with its spread and its change against the baseline; empty where it was not measured."""
    if metric.name not in model.measurements:
        return ["-"]
    found = model.measurements[metric.name]
    return [metric.format(found.value, found.spread), change(metric, model, baseline)]


def link(text: Content, href: str, **options: Any) -> Component:
    """Return a link to another page, which does not load everything again."""
    return dcc.Link(text, href=href, **options)


def duration(seconds: float | None) -> str:
    """Return a duration in words; empty where it is not known."""
    if seconds is None:
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            rest = divmod(seconds, size)
            smaller = {"d": ("h", 3600), "h": ("min", 60), "min": ("s", 1)}[unit]
            return f"{rest[0]:.0f} {unit} {rest[1] // smaller[1]:.0f} {smaller[0]}"
    return f"{seconds:.0f} s"


def moment(unix_time: float | None) -> str:
    """Return a moment in UTC; empty where there is none."""
    return "" if unix_time is None else datetime.fromtimestamp(unix_time, UTC).strftime("%Y-%m-%d %H:%M UTC")
