"""A page that shows some images of each class, without anything outside of it."""

import base64
import html
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from paredown.evaluators.tasks.data_summary import DataSummary
from paredown.evaluators.tasks.normalisation import ValueRange
from paredown.evaluators.tasks.task import SPLITS, Task, split_at

EACH = 8
"""Images of each class and split."""
LEAST_ROWS = 24
"""Inputs of fewer rows, such as signals, are drawn this high, in pixels."""
STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em;text-align:right}td:first-child,th:first-child{text-align:left}"
    "img{height:72px;margin:2px;image-rendering:pixelated;max-width:20em}h2{margin:1.2em 0 .2em}"
)


def write_contact_sheet(task: Task, summary: DataSummary, file: Path) -> None:
    """Write the page.

    Args:
        task: The data.
        summary: What it is.
        file: HTML, is overwritten.
    """
    side = int(task.resolutions.high)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{html.escape(task.name)}</title><style>{STYLE}</style>",
        f"<h1>Data of {html.escape(task.name)}</h1>",
        *(f"<p>{html.escape(line)}</p>" for line in summary.lines),
        _table(summary),
    ]
    splits = {name: split_at(task, name, side) for name in SPLITS}
    for label, name in enumerate(task.classes):
        parts.append(f"<h2>{html.escape(name)}</h2>")
        for split in SPLITS:
            rows = np.flatnonzero(splits[split].labels == label)
            chosen = rows[np.linspace(0, len(rows) - 1, min(EACH, len(rows))).astype(int)] if len(rows) else rows
            pictures = [_picture(image, task.values) for image in splits[split].images[chosen]]
            parts.append(f"<div>{split}: {''.join(pictures)}</div>")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*parts, "</html>", ""]))


def _table(summary: DataSummary) -> str:
    head = "".join(f"<th>{html.escape(split)}" for split in summary.counts)
    rows = [
        f"<tr><td>{html.escape(name)}" + "".join(f"<td>{counts[name]:,}" for counts in summary.counts.values())
        for name in summary.counts["train"]
    ]
    return f"<table><tr><th>class{head}{''.join(rows)}</table>"


def _picture(image: NDArray[Any], values: ValueRange) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png_of(image, values)).decode()}">'


def png_of(image: NDArray[Any], values: ValueRange) -> bytes:
    """Return an input of a task, `c x h x w`, as a PNG file."""
    scaled = (image.astype(np.float64) - values.low) / (values.high - values.low)
    pixels = np.round(scaled.clip(0, 1) * 255).astype(np.uint8)
    if len(pixels) == 3:
        drawn = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    else:  # channels below each other
        drawn = Image.fromarray(pixels.reshape(-1, pixels.shape[2]))
    if drawn.height < LEAST_ROWS:
        is_signal = drawn.width > LEAST_ROWS * drawn.height
        width = drawn.width if is_signal else round(drawn.width * LEAST_ROWS / drawn.height)
        drawn = drawn.resize((width, LEAST_ROWS), Image.Resampling.NEAREST)
    file = io.BytesIO()
    drawn.save(file, "PNG")
    return file.getvalue()
