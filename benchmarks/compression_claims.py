"""What benchmarks/compression.py makes of its rows: means over seeds, claims, a plot."""

import importlib.util
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plotly.subplots import make_subplots

Row = dict[str, Any]
BASELINE = "not compressed"
THEIRS = "torch-pruning, MagnitudePruner"
COSTS = ("size_bytes", "onnx_bytes", "macs", "params")
LIMITS: dict[str, tuple[str, float, tuple[str, ...]]] = {
    "int8 loses at most 1 point": ("points_lost", 1.0, ("int8", "7 bits")),
    "int8 loses at most 1 point, without integer kernels": ("emulated_points_lost", 1.0, ("int8", "7 bits")),
    "4-bit weights with aware fine-tuning lose at most 3 points": ("points_lost", 3.0, ("4 bits, aware",)),
    "80 % unstructured, fine-tuned, loses at most 2 points": (
        "points_lost",
        2.0,
        ("80 % zeros, one-shot", "80 % zeros, gradual"),
    ),
    "int8 is at least 1.5 times as fast at 5 MMAC or more": ("latency_ratio", 1 / 1.5, ("int8", "7 bits")),
}
"""Figure, its largest mean, methods."""
COMPARED = {
    "channel pruning to half the MACs loses at most what torch-pruning's recipe loses": (
        ("channel_pruning, layer, l2", "channel_pruning, layer, l2, multiple 1", "channel_pruning, global, taylor"),
        (THEIRS,),
    ),
    "DCT at 50 % energy loses at most what zeroing as many raw weights loses": (
        ("DCT, 50 % energy",),
        ("raw zeros by filter, as many as DCT", "raw zeros over all, as many as DCT"),
    ),
}
"""Methods that claim to lose at most what each of the others loses."""


def summarised(rows: Sequence[Row], order: Sequence[str]) -> dict[str, Any]:
    """Return a table, one entry a data set, network and method, and the claims judged on it.

    Points lost are those of the same seed's network without compression.

    Args:
        rows: One a run.
        order: Of the methods.
    """
    baselines = {(r["data"], r["network"], r["seed"]): r for r in rows if r["method"] == BASELINE}
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda r: (r["data"], r["network"], order.index(r["method"]), r["seed"])):
        groups.setdefault((row["data"], row["network"], row["method"]), []).append(row)
    table = [_entry(group, [baselines[d, n, r["seed"]] for r in group]) for (d, n, _), group in groups.items()]
    return {"claims": _limits(table) + _comparisons(table), "table": table}


def _entry(group: Sequence[Row], baselines: Sequence[Row]) -> Row:
    first = group[0]
    entry = {key: first[key] for key in ("data", "network", "method", "epochs", "finetune_epochs")}
    if reasons := [r["infeasible"] for r in group if "infeasible" in r]:
        return entry | {"infeasible": reasons[0]}
    for name, key in (("points_lost", "test_accuracy"), ("emulated_points_lost", "emulated_accuracy")):
        lost = [100 * (b["test_accuracy"] - r[key]) for r, b in zip(group, baselines, strict=True)]
        entry |= {name: round(statistics.mean(lost), 2), f"{name}_by_seed": [round(v, 2) for v in lost]}
        entry[f"{name}_spread"] = round(statistics.stdev(lost), 2) if len(lost) > 1 else None
    entry["test_accuracy"] = [round(r["test_accuracy"], 4) for r in group]
    entry["validation_accuracy"] = [round(r["accuracy"], 4) for r in group]
    for cost in COSTS:
        entry[cost] = round(statistics.mean(r[cost] for r in group))
        shares = [r[cost] / b[cost] for r, b in zip(group, baselines, strict=True)]
        entry[f"{cost}_share"] = round(statistics.mean(shares), 3)
    entry["latency_ratio"] = round(statistics.mean(r["latency_ratio"] for r in group), 3)
    return entry | {"seeds": [r["seed"] for r in group], "steps": [r["steps"] for r in group]}


def _limits(table: Sequence[Row]) -> list[Row]:
    claims = []
    for claim, (figure, most, methods) in LIMITS.items():
        for entry in (e for e in table if e["method"] in methods and "infeasible" not in e):
            if figure == "latency_ratio" and entry["macs"] < 5e6:
                continue
            found = {"figure": figure, "most": round(most, 3), "seen": entry[figure]}
            claims.append(_head(claim, entry) | found | {"holds": entry[figure] <= most})
    return claims


def _comparisons(table: Sequence[Row]) -> list[Row]:
    places = {(e["data"], e["network"], e["method"]): e for e in table if "infeasible" not in e}
    claims = []
    for claim, (methods, others) in COMPARED.items():
        for entry in (e for e in places.values() if e["method"] in methods):
            for other in others:
                beside = places.get((entry["data"], entry["network"], other))
                if beside is None or not (seeds := sorted({*entry["seeds"]} & {*beside["seeds"]})):
                    continue  # nothing to compare with was run
                lost = [
                    statistics.mean(e["points_lost_by_seed"][e["seeds"].index(s)] for s in seeds)
                    for e in (entry, beside)
                ]
                found = {"seeds": seeds, "beside": other, "points_lost": [round(v, 2) for v in lost]}
                found |= {key: [entry[key], beside[key]] for key in ("macs_share", "size_bytes_share")}
                claims.append(_head(claim, entry) | found | {"holds": lost[0] <= lost[1]})
    return claims


def _head(claim: str, entry: Row) -> Row:
    return {"claim": claim} | {key: entry[key] for key in ("data", "network", "method", "seeds")}


def markdown(table: Sequence[Row]) -> str:
    """Return the table as text: points lost, without integer kernels in brackets where that differs, and shares."""
    lines = ["| data | network | method | points lost | packed | ONNX | MACs | params | latency |"]
    lines.append("|---|---|---|---:|---:|---:|---:|---:|---:|")
    for e in table:
        cells = [e["data"], e["network"], e["method"]]
        if "infeasible" in e:
            lines.append(f"| {' | '.join(cells)} | {e['infeasible']} | | | | | |")
            continue
        lost = " / ".join(f"{v:+.1f}" for v in e["points_lost_by_seed"])
        if e["points_lost"] != e["emulated_points_lost"]:
            lost += f" ({' / '.join(f'{v:+.1f}' for v in e['emulated_points_lost_by_seed'])})"
        cells += [lost, *(f"{100 * e[f'{cost}_share']:.0f} %" for cost in COSTS), f"{e['latency_ratio']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_plot(table: Sequence[Row], stem: Path) -> None:
    """Draw points lost over packed bytes, one picture a data set and network; as svg where kaleido is installed."""
    places = list(dict.fromkeys((e["data"], e["network"]) for e in table))
    columns = 2
    rows = -(-len(places) // columns)
    figure = make_subplots(rows, columns, subplot_titles=[f"{n} on {d}" for d, n in places])
    for at, place in enumerate(places):
        mine = [e for e in table if (e["data"], e["network"]) == place and "infeasible" not in e]
        figure.add_scatter(
            x=[e["size_bytes_share"] for e in mine],
            y=[e["points_lost"] for e in mine],
            error_y={"array": [e["points_lost_spread"] or 0.0 for e in mine], "thickness": 1},
            text=[e["method"] for e in mine],
            mode="markers+text",
            textposition="top center",
            textfont={"size": 9},
            showlegend=False,
            row=at // columns + 1,
            col=at % columns + 1,
        )
    figure.update_xaxes(type="log", title_text="packed bytes, share of the network's")
    figure.update_yaxes(title_text="points of test accuracy lost")
    figure.update_layout(template="plotly_white", width=1500, height=600 * rows)
    if importlib.util.find_spec("kaleido"):
        figure.write_image(stem.with_suffix(".svg"))
    else:
        figure.write_html(stem.with_suffix(".html"), include_plotlyjs="cdn")
