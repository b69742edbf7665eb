"""Curves of a race: share of the hypervolume over evaluations, mean and 95 % interval."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
from plotly.colors import hex_to_rgb, qualitative

from paredown.search.bench.share import estimate
from paredown.search.bench.standing import Standing
from paredown.search.errors import ConfigError

COLOURS = qualitative.D3


def checked_plot(file: Path) -> None:
    """Check that a plot can be written before a race begins.

    Raises:
        ConfigError: The suffix is not known, the folder is not there, or what it needs is not installed.
    """
    if file.suffix not in {".html", ".svg"}:
        raise ConfigError(f"--plot: {file} is not allowed; allowed: a file that ends in .html or .svg")
    if not file.absolute().parent.is_dir():
        raise ConfigError(f"--plot: {file}: there is no folder {file.parent}")
    if file.suffix == ".svg" and importlib.util.find_spec("kaleido") is None:
        raise ConfigError(f"--plot: {file}: .svg needs kaleido: pip install 'paredown[docs]'; .html does not")


def race_figure(places: Sequence[Standing], title: str) -> go.Figure:
    """Return mean curves with bands."""
    figure = go.Figure()
    for number, place in enumerate(places):
        colour = COLOURS[number % len(COLOURS)]
        points = [estimate(values) for values in zip(*place.curves, strict=True)]
        at = list(range(1, len(points) + 1))
        upper = [min(1.0, p.mean + (p.half_width or 0.0)) for p in points]
        lower = [max(0.0, p.mean - (p.half_width or 0.0)) for p in points]
        shade = f"rgba({', '.join(map(str, hex_to_rgb(colour)))}, 0.15)"
        band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        figure.add_scatter(x=at, y=upper, legendgroup=place.sampler, **band)
        figure.add_scatter(x=at, y=lower, legendgroup=place.sampler, fill="tonexty", fillcolor=shade, **band)
        means = [p.mean for p in points]
        line = {"color": colour, "width": 2}
        figure.add_scatter(x=at, y=means, name=place.sampler, legendgroup=place.sampler, mode="lines", line=line)
    figure.update_layout(
        title=title,
        template="plotly_white",
        width=900,
        height=520,
        xaxis_title="evaluations",
        yaxis_title="share of the true front's hypervolume",
        hovermode="x unified",
    )
    starts = [curve[min(9, len(curve) - 1)] for place in places for curve in place.curves]
    figure.update_yaxes(range=[max(0.0, min(starts) - 0.02), 1.005], tickformat=".3~g")
    return figure


def write_plot(places: Sequence[Standing], title: str, file: Path) -> None:
    """Write the curves as one page or as a picture."""
    figure = race_figure(places, title)
    if file.suffix == ".svg":
        figure.write_image(file)
    else:
        figure.write_html(file)
