"""Two figures for the page of a study, thinned: the dashboard sends them again with every look at the study."""

from collections.abc import Sequence

import plotly.graph_objects as go

from paredown.evaluators.metrics.measurement import Metric
from paredown.studies.figures import front_figure
from paredown.studies.front import Model

MAX_DRAWN = 200
"""Maximum number of models beside the front that a figure draws."""


def study_figures(
    models: Sequence[Model], best: Sequence[Model], baseline: Model | None, metrics: Sequence[Metric]
) -> dict[str, str]:
    """Return the JSON of each figure by its id; none without a baseline or a second metric."""
    if baseline is None or len(metrics) < 2:
        return {}
    best = _evenly(best)
    kept = {model.trial for model in best} | {baseline.trial}
    others = {model.trial for model in _evenly([model for model in models if model.trial not in kept])}
    shown = [model for model in models if model.trial in others | kept]
    cost = next((metric for metric in metrics if metric.name == "size_bytes"), metrics[1])
    drawn = front_figure(shown, best, baseline, metrics)
    for trace in drawn.select_traces({"name": "other trials"}):  # their candidates would take most of the room
        trace.text = [f"trial {model.trial}" for model in shown if model.trial in others]
    figures = {
        "Front and baseline": drawn,
        f"{metrics[0].name} and {cost.name} over trials": _over_trials(shown, metrics[0], cost),
    }
    return {title.replace(" ", "-"): _titled(figure, title).to_json() for title, figure in figures.items()}


def _titled(figure: go.Figure, title: str) -> go.Figure:
    """Return a figure with its title, since the dashboard shows none, and without a template, which is sent as well."""
    return figure.update_layout(
        title={"text": title, "x": 0.01, "xanchor": "left", "y": 0.98, "yanchor": "top"}, margin_t=100, template="none"
    )


def _evenly(models: Sequence[Model]) -> list[Model]:
    step = max(1, -(-len(models) // MAX_DRAWN))
    return list(models[::step])


def _over_trials(models: Sequence[Model], value: Metric, cost: Metric) -> go.Figure:
    """Return one metric against another, coloured by the number of the trial; crosses break a limit."""
    numbers = [model.trial for model in models] or [0]
    figure = go.Figure()
    for name, is_feasible, symbol in (("keeps the limits", True, "circle"), ("breaks a limit", False, "x-thin-open")):
        some = [model for model in models if model.feasible == is_feasible]
        figure.add_scatter(
            x=[model[cost.name] for model in some],
            y=[model[value.name] for model in some],
            mode="markers",
            name=name,
            text=[f"trial {model.trial}" for model in some],
            marker={
                "symbol": symbol,
                "color": [model.trial for model in some],
                "colorscale": "Viridis",
                "cmin": min(numbers),
                "cmax": max(numbers),
                "showscale": is_feasible,
                "colorbar": {"title": {"text": "trial"}},
                "size": 8,
            },
        )
    figure.update_xaxes(title=cost.title, type="log", minorloglabels="complete", exponentformat="SI")
    figure.update_yaxes(title=value.title)
    return figure.update_layout(
        margin={"l": 60, "r": 30, "b": 50},
        legend={"orientation": "h", "y": 1.08, "x": 1, "xanchor": "right"},
    )
