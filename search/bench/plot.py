"""Curves of a race: the missing share of the hypervolume over evaluations, mean and 95 % interval."""

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
from plotly.colors import hex_to_rgb, qualitative

from paredown.search.bench.share import estimate
from paredown.search.bench.standing import Standing
from paredown.search.errors import ConfigError

LINE_COLOURS = qualitative.D3
SMALLEST_GAP = 1e-6
"""A missing share below this counts as none."""


def checked_plot(file: Path) -> None:
    """Check that a plot can be written before a race begins.

    Raises:
        ConfigError: The suffix is not known, the folder does not exist, or a package that it needs is not installed.
    """
    if file.suffix not in {".html", ".svg"}:
        raise ConfigError(f"--plot: {file} is not allowed; allowed: a file that ends in .html or .svg")
    if not file.absolute().parent.is_dir():
        raise ConfigError(f"--plot: {file}: there is no folder {file.parent}")
    if file.suffix == ".svg" and importlib.util.find_spec("kaleido") is None:
        raise ConfigError(f"--plot: {file}: .svg needs kaleido: pip install 'paredown[docs]'; .html does not")


def race_figure(places: Sequence[Standing], title: str) -> go.Figure:
    """Return mean curves with bands, on a logarithmic scale, since the last hundredth of a front takes longest."""
    figure = go.Figure()
    gaps = {place.sampler: [estimate(values) for values in zip(*place.curves, strict=True)] for place in places}
    floor = 0.5 * min(
        (1 - p.mean for points in gaps.values() for p in points if p.mean < 1 - SMALLEST_GAP), default=SMALLEST_GAP
    )
    for number, (name, points) in enumerate(gaps.items()):
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        at = list(range(1, len(points) + 1))
        upper = [max(floor, 1 - p.mean + (p.half_width or 0.0)) for p in points]
        lower = [max(floor, 1 - p.mean - (p.half_width or 0.0)) for p in points]
        shade = f"rgba({', '.join(map(str, hex_to_rgb(colour)))}, 0.15)"
        band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": name}
        figure.add_scatter(x=at, y=upper, **band)
        figure.add_scatter(x=at, y=lower, fill="tonexty", fillcolor=shade, **band)
        means = [max(floor, 1 - p.mean) for p in points]
        line = {"color": colour, "width": 2}
        figure.add_scatter(x=at, y=means, name=name, legendgroup=name, mode="lines", line=line)
    figure.update_layout(
        title=f"{title}, {len(places[0].runs)} seeds",
        template="plotly_white",
        width=900,
        height=520,
        xaxis_title="evaluations",
        yaxis_title="missing share of the true front's hypervolume",
        hovermode="x unified",
    )
    figure.update_yaxes(type="log", range=[math.log10(floor), 0], tickformat=".1%", dtick="D2")
    return figure


def write_plot(places: Sequence[Standing], title: str, file: Path) -> None:
    """Write the curves as an HTML page or an SVG picture, as the suffix says."""
    figure = race_figure(places, title)
    if file.suffix == ".svg":
        figure.write_image(file)
    else:
        figure.write_html(file)
