"""Figures of plotly inside of one page, with plotly.js compressed: plain, it alone takes 4.8 MB.

Browsers unpack it since 2023 (`DecompressionStream`: Chrome 80, Safari 16.4, Firefox 113), also in a page from a disk.
"""

import base64
import gzip
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

DRAW = """
(async () => {
  const figures = document.querySelectorAll(".plotly-graph-div");
  if (typeof DecompressionStream === "undefined") {
    figures.forEach((figure) => { figure.textContent = "Figures need a browser of 2023 or later."; });
    return;
  }
  const unpacked = async (id) => {
    const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
    return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  const script = document.createElement("script");
  script.textContent = await unpacked("plotly-packed");
  document.head.append(script);
  const specifications = JSON.parse(await unpacked("figures-packed"));
  const options = {displaylogo: false, responsive: true};
  for (const [at, {data, layout}] of specifications.entries()) {
    await Plotly.newPlot(figures[at], data, layout, options);
  }
})();
"""


def place(figure: go.Figure) -> str:
    """Return the element in which a figure is drawn; the figures of a page are drawn in the order of their places."""
    height = figure.layout.height or 450
    return f'<div class="plotly-graph-div" style="height:{height}px; width:100%;"></div>'


def drawing(figures: Sequence[go.Figure]) -> str:
    """Return what draws the figures of a page, to stand behind their places; an empty text where there are none."""
    if not figures:
        return ""
    specifications = "[" + ",".join(figure.to_json() for figure in figures) + "]"
    return (
        _packed("plotly-packed", get_plotlyjs())
        + _packed("figures-packed", specifications)
        + f"<script>{DRAW}</script>\n<noscript><p>Figures need JavaScript.</p></noscript>"
    )


def _packed(name: str, text: str) -> str:
    """Return a text compressed inside of an element that no browser executes; base64 cannot end the element."""
    packed = base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()
    return f'<script type="application/gzip" id="{name}">{packed}</script>\n'
