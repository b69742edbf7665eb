"""The sensitivity map as a self-contained page: a heat map of layers and strengths."""

import html
from pathlib import Path

import plotly.graph_objects as go
import plotly.io

from paredown.search.one_network.sensitivity import METHODS, SensitivityMap, change

ROW_PX, MIN_HEIGHT_PX = 22, 320
COLOUR_STOPS = ((0.0, "#f7f7f7"), (0.1, "#fde0c5"), (0.4, "#eb7f54"), (1.0, "#8c1d2f"))
LEFT_ALONE = "#d9d9d9"
MIN_SCALE_POINTS = 5.0
"""Minimum loss, in percentage points, of the darkest colour, so that noise does not look like a loss."""
GAP = 0.4
"""Gap between methods, in columns."""


def heat_map(found: SensitivityMap) -> go.Figure:
    """Return the figure: one row per layer, in the order of the network; one column per method and strength.

    Columns are placed by number: as categories of two levels, strengths that several methods share would be mixed up.
    """
    figure, layers = go.Figure(), list(found.layers)
    places: list[float] = []
    labels: list[str] = []
    for method, strengths in found.strengths.items():
        start = places[-1] + 1 + GAP if places else 0.0
        columns = [start + at for at in range(len(strengths))]
        places += columns
        labels += [_label(method, strength) for strength in strengths]
        drops, skipped = found.drops[method], found.skipped.get(method, {})
        rows = [drops.get(layer) for layer in layers]
        lost = [[None] * len(strengths) if row is None else [100 * drop for drop in row] for row in rows]
        left = [[None if layer in drops else 0] * len(strengths) for layer in layers]
        hover = [
            [
                f"{layer} ({found.layers[layer]:,} weights)<br>{method} {strength:g}, {found.units[method]}<br>"
                + (f"left alone: {skipped.get(layer, '')}" if row is None else f"{change(row[at], 2)} points")
                for at, strength in enumerate(strengths)
            ]
            for layer, row in zip(layers, rows, strict=True)
        ]
        cells = {"x": columns, "y": layers, "xgap": 1, "ygap": 1, "hovertext": hover, "hoverongaps": False}
        cells["hovertemplate"] = "%{hovertext}<extra></extra>"
        shown = [["" if row is None else change(drop) for drop in row or strengths] for row in rows]
        figure.add_heatmap(z=lost, coloraxis="coloraxis", text=shown, texttemplate="%{text}", name=method, **cells)
        if any(row is None for row in rows):
            grey = [[0, LEFT_ALONE], [1, LEFT_ALONE]]
            figure.add_heatmap(z=left, colorscale=grey, showscale=False, name=f"{method}, left alone", **cells)
        middle, above = (columns[0] + columns[-1]) / 2, {"y": 1, "yref": "paper", "yanchor": "bottom"}
        figure.add_annotation(text=f"<b>{method}</b><br>{found.units[method]}", x=middle, showarrow=False, **above)
    most = max((100 * drop for rows in found.drops.values() for row in rows.values() for drop in row), default=0.0)
    bar = {"title": {"text": "points lost"}, "thickness": 14, "outlinewidth": 0}
    scale = {
        "colorscale": [list(stop) for stop in COLOUR_STOPS],
        "cmin": 0,
        "cmax": max(MIN_SCALE_POINTS, most),
        "colorbar": bar,
    }
    figure.update_layout(
        coloraxis=scale,
        height=max(MIN_HEIGHT_PX, ROW_PX * len(layers) + 110),
        margin={"l": 10, "r": 10, "t": 50, "b": 40},
        template="plotly_white",
    )
    figure.update_yaxes(type="category", autorange="reversed", automargin=True, dtick=1, showgrid=False)
    figure.update_yaxes(ticks="outside", tickcolor="white")  # room between names and cells
    figure.update_xaxes(tickvals=places, ticktext=labels, showgrid=False, zeroline=False)
    return figure


def _label(method: str, strength: float) -> str:
    """Return a strength as text: a share in percent, bits as a plain number."""
    return f"{strength:g}" if METHODS[method].off > 1 else f"{100 * strength:g} %"


def write_page(found: SensitivityMap, title: str, file: Path) -> None:
    """Write the page.

    Args:
        found: The map.
        title: Title of the page; it names network and task.
        file: File to write; it is overwritten, and its folder is made.
    """
    drawing = plotly.io.to_html(
        heat_map(found), full_html=False, include_plotlyjs=True, config={"displayModeBar": False, "responsive": True}
    )
    explained = (
        f"Accuracy {found.accuracy:.2%} on {found.images} validation images. Each cell is the change, in points, when "
        "this layer alone is compressed that far, without fine-tuning. Grey: the method does not apply to the layer."
    )
    page = (
        "<!doctype html>\n<html lang=en><meta charset=utf-8>"
        f"<title>{html.escape(title)}</title>"
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem}</style>"
        f"<h1>{html.escape(title)}</h1><p>{explained}</p>{drawing}</html>\n"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page)
