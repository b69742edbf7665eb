"""Draws the figures of a study from plain data, so that they can be checked without a browser."""

from collections.abc import Collection, Sequence
from typing import Any

import plotly.graph_objects as go

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Metric
from paredown.studies.front import Model

BLUE, ORANGE, GREY, GREEN = "#2563eb", "#ea580c", "#9ca3af", "#059669"
MAX_AXES = 14
"""Maximum number of axes with which parallel coordinates are readable."""


def front_figure(
    models: Sequence[Model], best: Sequence[Model], baseline: Model, metrics: Sequence[Metric]
) -> go.Figure:
    """Return the first objective against each other objective, which a menu chooses."""
    figure = go.Figure()
    y, others = metrics[0], metrics[1:]
    numbers = {m.trial for m in best} | {baseline.trial}
    rest = [m for m in models if m.trial not in numbers]
    traces = [
        ("other trials", rest, GREY, 7, "circle"),
        ("front", best, BLUE, 10, "circle"),
        ("baseline", [baseline], ORANGE, 14, "star"),
    ]
    for x in others:
        for name, some, colour, size, symbol in traces:
            figure.add_scatter(
                x=[m[x.name] for m in some],
                y=[m[y.name] for m in some],
                error_y={"array": [m.measurements[y.name].spread for m in some], "thickness": 0.6, "width": 0}
                if name == "front"
                else None,
                mode="markers",
                name=name,
                marker={
                    "color": colour,
                    "size": size,
                    "symbol": symbol,
                    "line": {"width": 1, "color": "white"},
                },
                text=[_hover(m) for m in some],
                customdata=[m.trial for m in some],
                hovertemplate="%{text}<extra></extra>",
                visible=x is others[0],
            )
    buttons = [
        {
            "label": f"{y.name} against {x.name}",
            "method": "update",
            "args": [
                {"visible": [at // 3 == i for at in range(3 * len(others))]},
                {"xaxis.title.text": x.title},
            ],
        }
        for i, x in enumerate(others)
    ]
    figure.update_layout(xaxis_title=others[0].title, yaxis_title=y.title)
    figure.update_xaxes(type="log", minorloglabels="complete", exponentformat="SI")
    shown = [m[y.name] for m in (*best, baseline)]
    room = max(0.35 * (max(shown) - min(shown)), 0.02 * abs(max(shown)))
    # The first view shows the front; a double click shows far worse trials.
    figure.update_yaxes(range=[min(shown) - room, max(shown) + 0.4 * room])
    if len(others) > 1:
        figure.update_layout(updatemenus=[{"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.16, "yanchor": "top"}])
    return _styled(figure)


def front_figure_3d(
    models: Sequence[Model], best: Sequence[Model], baseline: Model, metrics: Sequence[Metric]
) -> go.Figure:
    """Return three objectives in a figure of three dimensions."""
    figure = go.Figure()
    numbers = {m.trial for m in best} | {baseline.trial}
    z, x, y = metrics
    for name, some, colour, size in (
        ("other trials", [m for m in models if m.trial not in numbers], GREY, 3),
        ("front", best, BLUE, 5),
        ("baseline", [baseline], ORANGE, 7),
    ):
        figure.add_scatter3d(
            x=[m[x.name] for m in some],
            y=[m[y.name] for m in some],
            z=[m[z.name] for m in some],
            mode="markers",
            name=name,
            marker={"color": colour, "size": size},
            text=[_hover(m) for m in some],
            customdata=[m.trial for m in some],
            hovertemplate="%{text}<extra></extra>",
        )
    axes = {f"{axis}axis": {"title": {"text": m.title}} for axis, m in (("x", x), ("y", y), ("z", z))}
    figure.update_layout(scene=axes, height=620)
    return _styled(figure)


def hypervolume_figure(history: Sequence[tuple[int, float]]) -> go.Figure:
    """Return the hypervolume over trials as a step curve; trials without a gain need no point of their own."""
    ends = {0, len(history) - 1}
    kept = [point for at, point in enumerate(history) if at in ends or point[1] != history[at - 1][1]]
    numbers, shares = zip(*kept, strict=True)
    figure = go.Figure(go.Scatter(x=numbers, y=shares, mode="lines", line={"shape": "hv", "color": GREEN, "width": 3}))
    figure.update_layout(xaxis_title="trial", yaxis_title="hypervolume")
    return _styled(figure)


def importances_figure(importances: dict[str, dict[str, float]]) -> go.Figure:
    """Return a bar chart with one group per knob and one colour per objective."""
    total = {k: sum(shares.get(k, 0) for shares in importances.values()) for s in importances.values() for k in s}
    knobs = sorted(total, key=lambda k: total[k])[-10:]
    figure = go.Figure()
    for metric, shares in importances.items():
        figure.add_bar(y=knobs, x=[shares.get(k, 0) for k in knobs], name=metric, orientation="h")
    figure.update_layout(xaxis_title="importance", height=max(360, 42 * len(knobs)))
    return _styled(figure)


def parallel_figure(models: Sequence[Model], metrics: Sequence[Metric]) -> go.Figure:
    """Return parallel coordinates of the metrics and of the knobs that vary."""
    colour = [model[metrics[0].name] for model in models]
    figure = go.Figure(
        go.Parcoords(
            dimensions=parallel_axes(models, metrics),
            line={
                "color": colour,
                "colorscale": "Viridis",
                "showscale": True,
                "colorbar": {"title": {"text": metrics[0].name}},
            },
            labelangle=-25,
        )
    )
    figure.update_layout(height=520)
    return _styled(figure, top=130)


def parallel_axes(models: Sequence[Model], metrics: Sequence[Metric]) -> list[dict[str, Any]]:
    """Return the axes of parallel coordinates as Plotly takes them; those of choices have `ticktext`."""
    axes: list[dict[str, Any]] = [{"label": m.name, "values": [model[m.name] for model in models]} for m in metrics]
    flat = [_flat(model) for model in models]
    for knob in sorted({k for row in flat for k in row}):
        values = [row.get(knob) for row in flat]
        if len({str(value) for value in values if value is not None}) > 1:
            axes.append(_axis(knob, values))
    return axes[:MAX_AXES]


def curves_figure(
    curves: dict[int, list[tuple[int, dict[str, float]]]], highlighted: set[int], stopped: Collection[int] = ()
) -> go.Figure:
    """Return validation accuracy over epochs, one line per trial: the front in colour, stopped trials dashed."""
    figure = go.Figure()
    for number, points in curves.items():
        on_front, ends_early = number in highlighted, number in stopped
        figure.add_scatter(
            x=[epoch + 1 for epoch, _ in points],
            y=[metrics.get("accuracy") for _, metrics in points],
            mode="lines+markers" if ends_early else "lines",
            line={
                "color": BLUE if on_front else GREY,
                "width": 1.8 if on_front else 0.8,
                "dash": "dash" if ends_early else "solid",
            },
            marker={"symbol": "x", "color": GREY, "size": [0] * (len(points) - 1) + [6]},
            opacity=0.9 if on_front else 0.5,
            name=f"trial {number}",
            showlegend=False,
        )
    figure.update_layout(xaxis_title="epoch", yaxis_title="validation accuracy")
    return _styled(figure)


def _flat(model: Model) -> dict[str, Any]:
    candidate = model.candidate
    flat = {f"{candidate.family}.{k}": v for k, v in candidate.knobs.items()}
    for name, knobs in candidate.steps.items():
        flat |= {f"{name}.{k}": v for k, v in knobs.items()}
    return flat


def _axis(knob: str, values: Sequence[Any]) -> dict[str, Any]:
    label = knob.replace(".", "<br>", 1)
    if all(_is_number(v) for v in values):
        return {"label": label, "values": list(values)}
    numbers = {str(v): v for v in values if _is_number(v)}
    names = sorted(numbers, key=numbers.__getitem__)
    names += sorted({("off" if v is None else str(v)) for v in values} - set(names))
    places = {name: at for at, name in enumerate(names)}
    return {
        "label": label,
        "values": [places["off" if v is None else str(v)] for v in values],
        "tickvals": list(range(len(names))),
        "ticktext": names,
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _styled(figure: go.Figure, top: int = 60) -> go.Figure:
    return figure.update_layout(
        template="plotly_white",
        margin={"l": 60, "r": 30, "t": top, "b": 50},
        legend={"orientation": "h", "y": 1.08, "x": 1, "xanchor": "right"},
        font={"family": "system-ui, sans-serif", "size": 13},
    )


def _hover(model: Model) -> str:
    known = [metric for metric in known_metrics().values() if metric.name in model.measurements]
    values = "<br>".join(f"{metric.name}: {metric.format(model[metric.name])}" for metric in known)
    return f"<b>trial {model.trial}</b><br>{values}<br>" + str(model.candidate).replace(" + ", "<br>+ ").replace(
        ", ", ",<br>  "
    )
