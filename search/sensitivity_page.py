"""The sensitivity map as one page that needs no network: a heat map of layers and strengths."""

import html
from pathlib import Path

import plotly.graph_objects as go
import plotly.io

from paredown.search.sensitivity import SensitivityMap

ROW_PX, LEAST_PX = 22, 320
COLOURS = ((0.0, "#f7f7f7"), (0.1, "#fde0c5"), (0.4, "#eb7f54"), (1.0, "#8c1d2f"))


def heat_map(found: SensitivityMap) -> go.Figure:
    """Return the figure: a row a layer, in the order of the network; a column a method and strength."""
    layers = list(found.layers)
    figure = go.Figure()
    for method, strengths in found.strengths.items():
        cells, texts = [], []
        for layer in layers:
            drops = found.drops[method].get(layer)
            reason = found.skipped.get(method, {}).get(layer, "")
            cells.append([None] * len(strengths) if drops is None else [100 * drop for drop in drops])
            texts.append(
                [
                    f"{layer} ({found.layers[layer]:,} weights)<br>{method} {strength:g}, {found.units[method]}<br>"
                    + (f"left alone: {reason}" if drops is None else f"{0.0 - 100 * drops[at]:+.2f} points of accuracy")
                    for at, strength in enumerate(strengths)
                ]
            )
        figure.add_trace(
            go.Heatmap(
                z=cells,
                x=[[method] * len(strengths), [f"{strength:g}" for strength in strengths]],
                y=layers,
                text=texts,
                hovertemplate="%{text}<extra></extra>",
                coloraxis="coloraxis",
                xgap=1,
                ygap=1,
            )
        )
    figure.update_layout(
        coloraxis={"colorscale": [list(stop) for stop in COLOURS], "cmin": 0, "colorbar": {"title": "points lost"}},
        height=max(LEAST_PX, ROW_PX * len(layers) + 140),
        margin={"l": 10, "r": 10, "t": 20, "b": 60},
        plot_bgcolor="#d9d9d9",
        template="plotly_white",
    )
    figure.update_yaxes(autorange="reversed", automargin=True, dtick=1, showgrid=False)
    figure.update_xaxes(showgrid=False)
    return figure


def write_page(found: SensitivityMap, title: str, file: Path) -> None:
    """Write the page.

    Args:
        found: The map.
        title: Names network and task.
        file: Overwritten; its folder is made.
    """
    drawing = plotly.io.to_html(
        heat_map(found), full_html=False, include_plotlyjs=True, config={"displaylogo": False, "responsive": True}
    )
    explained = (
        f"Accuracy {found.accuracy:.2%} on {found.images} validation images. Each cell is what is lost, in points, "
        "when this layer alone is compressed that far, without fine-tuning. Grey: the method leaves the layer alone."
    )
    page = (
        "<!doctype html>\n<html lang=en><meta charset=utf-8>"
        f"<title>{html.escape(title)}</title>"
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem}</style>"
        f"<h1>{html.escape(title)}</h1><p>{explained}</p>{drawing}</html>\n"
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page)
