"""What a node does, counted from its sizes: steps of its innermost loop, elements that it moves, calls.

The counts follow how ONNX Runtime's kernels work: blocks of channels, some positions of a row and four blocks of
outputs at a time where numbers are blocked; products of matrices, whose sides are padded, elsewhere; integers in
vectors with slower code for what is left over, and in up to five tasks, each with a product for every group. How many
at a time, the instructions of the processor say.

Source:
    ONNX Runtime 1.32, core/mlas/lib (snchwc.cpp, sgemm.cpp, qgemm.cpp, convsym.cpp, qdwconv.cpp, quantize.cpp) and
    core/providers/cpu/quantization/qlinearconv.cc.
"""

import numpy as np
from numpy.typing import NDArray

from paredown.evaluators.latency.instructions import Instructions
from paredown.evaluators.latency.node_features import ACTIVATIONS, AT_CLASS, CLASSES, MEASURES, Array

Flags = NDArray[np.bool_]
FILTERS, POINTWISE_CHANNELS = 4, 128
"""Blocks of outputs that one step of a convolution computes, and inputs that a call of a pointwise one reads."""
FEWEST = 4
"""Results that must be under way in a step for arithmetic units not to wait."""
AHEAD = 100
"""Multiplications that a processor looks ahead: a short tile is computed while the one before it still waits."""
KEPT_BYTES = 500_000
"""Weights that the second-level cache keeps from line to line."""
PAGE = 1024
"""Positions whose multiples lie at the same places of the first-level cache for all channels."""
MOVED_INTEGERS = 16
"""Integers that one step converts, adds or moves, whatever the registers."""
OF_BLOCKS = ("steps", "waits", "tiles", "streamed", "calls", "traffic", "single", "checked", "fetched")
"""What is counted of convolutions on blocks of channels alone."""
MOST_TASKS, LEAST_TASK_MACS, INTEGER_TASK_ROWS = 5, 65536, 6
"""Parts into which the rows of a convolution of integers are cut for one thread, their least size, and what the rows of
one are a multiple of where the convolution is not symmetric."""


def counts_of(read: Array, by: Instructions) -> dict[str, Array]:
    """Return what each node does, by what was read of it; all measures are among the counts.

    Args:
        read: What `paredown.evaluators.latency.node_features.measures` returns.
        by: Instructions of the processor.
    """
    m = {name: read[:, at] for at, name in enumerate(MEASURES)}
    is_convolution, integer = m["class"] <= AT_CLASS["direct"], m["is_int8"] > 0
    is_blocked = is_convolution & (m["class"] >= AT_CLASS["blocked_convolution"])
    inside = _inside(m)
    counts = m | _in_blocks(m, is_blocked, inside, by) | {"inside": inside}
    # Channels are the rows of a product, positions its columns; for integers it is the other way round.
    channels_first = is_convolution & ~integer
    rows = np.where(channels_first, m["columns"], m["rows"])
    columns = np.where(channels_first, m["rows"], m["columns"])
    plain = m["groups"] * m["depth"] * np.ceil(columns / by.columns) * _filled(rows, by.rows, FEWEST)
    integers = _of_integers(m, is_convolution & integer, by)
    unrolled = (m["window"] > 1) | (m["stride"] > 1)
    is_plain = is_convolution & ~is_blocked
    is_copied = is_plain & (integers.pop("in_place") == 0) & unrolled
    is_strided = is_copied & ~integer & (m["stride"] > 1)
    copied = m["rows"] * m["depth"] * m["groups"]
    # Channels last, a row of the window is one piece, unless groups divide it; channels first, a row of the output is.
    windows = m["rows"] * m["window"] / np.where(m["groups"] > 1, 1, m["side"]) * inside
    pieces = np.where(integer, windows, m["height"] * m["depth"])
    return counts | {
        "fetched": np.where(is_blocked & ~_is(m, "blocked_depthwise"), counts["fetched"], m["weights"]),
        "macs": m["rows"] * m["columns"] * m["depth"] * m["groups"],
        "steps": np.where(is_blocked, counts["steps"], np.where(integer, integers.pop("steps"), plain)),
        "unrolled": copied * is_copied,
        "strided": copied * is_strided,
        "far": m["groups"] * np.maximum(0, m["rows"] * m["depth"] - by.near_bytes / 4) * is_strided,
        "copies": pieces * m["groups"] * is_copied,
        "windows": np.where(integer, m["rows"] * m["side"], m["depth"]) * m["groups"] * is_copied,
        **integers,
        "packed": np.where(channels_first, copied * is_plain, integers["packed"]),
        "runs": m["elements_out"] / np.maximum(m["run"], 1) * (m["run"] > 1),
        "one_by_one": m["elements_out"] * (m["run"] == 1),
        "narrow": m["elements_out"] / np.maximum(m["channels_out"], 1) * (m["channels_out"] % 8) * (m["run"] == 1),
        "pooled": m["elements_out"] * (m["window"] - 1) * ~is_convolution,
        **_lines(m, is_plain, is_blocked, by),
    }


def _is(m: dict[str, Array], *names: str) -> Flags:
    """Return which nodes are of one of some classes."""
    return np.asarray(np.logical_or.reduce([m["class"] == AT_CLASS[name] for name in names]))


def _filled(rows: Array, most: int, fewest: int) -> Array:
    """Return the rows that steps of `most` rows cost: the last one at least `fewest`."""
    left = rows % most
    return rows - left + (left > 0) * np.maximum(left, fewest)


def _of_integers(m: dict[str, Array], is_convolution: Flags, by: Instructions) -> dict[str, Array]:
    """Return the steps, tasks, products, packed numbers and pointers of products and convolutions of integers."""
    symmetric = is_convolution & (m["class"] >= AT_CLASS["symmetric_convolution"])
    by_channel = is_convolution & np.isin(m["class"], (AT_CLASS["depthwise"], AT_CLASS["symmetric_depthwise"]))
    in_place = symmetric | by_channel
    columns, groups = np.where(by_channel, m["channels_out"], m["columns"]), np.where(by_channel, 1, m["groups"])
    depth = np.where(by_channel, m["window"], np.ceil(m["depth"] / 4))
    at_once = np.where(symmetric, by.symmetric_vectors, by.product_vectors)
    least = np.where(symmetric & by.symmetric_pairs, 2, 1)
    rows, vectors = (np.ceil(n / least) * least for n in (m["rows"], np.ceil(columns / by.vector)))
    most_rows = np.where(symmetric, by.symmetric_rows, by.integer_rows)
    task_rows = np.where(symmetric, by.symmetric_rows, INTEGER_TASK_ROWS)
    full, rest = vectors // at_once, vectors % at_once

    def step(rows: Array) -> Array:
        """Return what a step of some rows takes; two units multiply."""
        whole, last = (np.maximum(rows * n / 2, by.integer_latency) for n in (at_once, rest))
        return np.asarray((rows > 0) * (full * whole + (rest > 0) * last))

    weights = np.maximum(columns * np.where(by_channel, columns * m["window"], m["depth"]), 1)
    task, longer = (
        np.ceil(np.ceil(size) / task_rows) * task_rows for size in (LEAST_TASK_MACS / weights, m["rows"] / MOST_TASKS)
    )
    tasks = np.ceil(m["rows"] / np.maximum(np.maximum(task, longer), 1)) * is_convolution
    is_product = (m["is_int8"] > 0) & (m["depth"] > 0) & ~in_place
    is_spread = (m["window"] > 1) | (m["stride"] > 1) | by_channel
    return {
        "in_place": in_place.astype(float),
        "steps": groups * depth * (rows // most_rows * step(most_rows) + step(rows % most_rows)),
        "tasks": tasks,
        "products": np.where(symmetric, tasks * np.ceil(vectors / by.symmetric_vectors), tasks * groups),
        "packed": m["rows"] * np.ceil(m["depth"] / 4) * 4 * m["groups"] * is_product,
        "pointers": m["rows"] * m["window"] * (in_place & is_spread),
    }


def _inside(m: dict[str, Array]) -> Array:
    """Return the share of a window's rows that lie on the image, in the mean over all lines."""
    vertical, height, stride = m["window"] / m["side"], m["height"], m["stride"]
    above = (vertical - 1) // 2
    below = np.maximum(vertical - above - stride, 0)
    lines = [(most, np.minimum(height, np.ceil(most / stride))) for most in (above, below)]
    outside = sum(n * most - stride * n * (n - 1) / 2 for most, n in lines)
    return np.asarray(np.clip(1 - outside / np.maximum(height * vertical, 1), 1 / vertical, 1))


def _in_blocks(m: dict[str, Array], is_blocked: Flags, inside: Array, by: Instructions) -> dict[str, Array]:
    """Return the steps, waits, tiles and passes over the output of convolutions on blocks of channels."""
    if not is_blocked.any():
        return dict.fromkeys(OF_BLOCKS, np.zeros(len(is_blocked)))
    depthwise, direct = _is(m, "blocked_depthwise"), _is(m, "direct", "direct_pointwise")
    pointwise, groups = _is(m, "blocked_pointwise"), np.where(_is(m, "blocked_grouped"), m["groups"], 1)
    in_blocks = np.where(depthwise, 1, np.ceil(m["channels_in"] / groups / by.vector))
    out_blocks = np.ceil(m["channels_out"] / groups / by.vector)
    # A call of the kernel computes a line, for up to four blocks of outputs, from one block of inputs: of a pointwise
    # convolution all lines at once, from 128 channels, and of an image that is not blocked from one channel.
    is_whole = pointwise & (m["stride"] == 1)
    inputs = POINTWISE_CHANNELS / by.vector
    lines, width = np.where(is_whole, 1, m["height"]), np.where(is_whole, m["rows"], m["width"])
    passes = np.where(direct, m["channels_in"], np.where(pointwise, np.ceil(in_blocks / inputs), in_blocks))
    passes = np.where(depthwise, 1, passes)
    depth = np.where(direct, m["channels_in"], np.where(depthwise, 1, by.vector * in_blocks))
    depth = depth * m["window"] / m["side"] * inside
    border, seen = _borders(m, width)
    wide = _seen(m, m["side"], "width")
    inner = width - border
    tiles, left = dict[int, Array](), inner
    for positions in by.positions:
        tiles[positions], left = left // positions, left % positions
    full, rest = np.where(depthwise, 0, out_blocks // FILTERS), np.where(depthwise, 1, out_blocks % FILTERS)
    steps, waits, all_tiles, streamed = (np.zeros(len(width)) for _ in range(4))
    chain = (
        np.where(direct, 1, by.vector * np.where(pointwise, np.minimum(in_blocks, inputs), 1)) * m["window"] * inside
    )
    for filters, often in ((np.full(len(rest), FILTERS), full), (rest, rest > 0)):
        often = often * np.where(depthwise, out_blocks, 1)
        for positions, count in (*((n, m["side"] * c) for n, c in tiles.items()), (1, seen)):
            busy = np.where(depthwise, (positions + 1) / 2, filters * positions / 2)  # two arithmetic units
            latency = FEWEST / (1 + AHEAD / np.maximum(filters * positions * chain, 1))
            is_waiting = (busy < latency) & ~depthwise
            steps += often * count * busy * ~is_waiting
            waits += often * count * np.where(is_waiting | depthwise, latency, 0)
        each = often * (sum(tiles.values()) + border)
        column = filters * np.where(direct, 1, by.vector) * m["window"] / m["side"] * inside * by.vector
        is_far = 4 * column * np.where(inner > 0, m["side"], wide) > by.near_bytes
        all_tiles += each
        streamed += often * column * (sum(tiles.values()) * m["side"] + seen) * is_far * ~(depthwise | pointwise)
    of_all = lines * groups * is_blocked
    calls = passes * np.where(depthwise, out_blocks, full + (rest > 0)) * of_all
    return {
        "steps": steps * depth * of_all,
        "waits": waits * depth * of_all,
        "tiles": all_tiles * passes * of_all,
        "streamed": streamed * passes * of_all,
        "calls": calls,
        "traffic": m["rows"] * by.vector * out_blocks * groups * passes * is_blocked,
        "fetched": _fetched(m, inside, np.where(is_whole, 1, m["height"])) * is_blocked,
        "single": border * is_blocked,
        "checked": border * m["window"] * inside * calls,
    }


def _fetched(m: dict[str, Array], inside: Array, lines: Array) -> Array:
    """Return the weights that a convolution reads: those that meet the image, once a line where they are too many."""
    vertical = m["window"] / m["side"]
    across = m["weights"] * _seen(m, m["side"], "width") / m["side"]
    once, each = across * _seen(m, vertical, "height") / vertical, across * inside
    return np.asarray(np.where(4 * once > KEPT_BYTES, lines * each, once))


def _seen(m: dict[str, Array], side: Array, length: str) -> Array:
    """Return how many rows or columns of a window lie on the image at some position."""
    pad = (side - 1) // 2
    last = np.minimum(side, pad + m[length] * m["stride"])
    return np.asarray(last - np.maximum(0, pad - (m[length] - 1) * m["stride"]))


def _borders(m: dict[str, Array], width: Array) -> tuple[Array, Array]:
    """Return how many positions of a line touch its padding, and how many columns of the window they see in all."""
    side, stride = m["side"], m["stride"]
    pad, before = (side - 1) // 2, m["width"] * stride
    inner = np.where(before >= side, (before - side) // stride + 1, 0)
    with_left = np.where(before + pad >= side, (before + pad - side) // stride + 1, width)
    left = np.where(pad > 0, np.maximum(with_left - inner, 1), 0)
    right = np.where(pad > 0, np.maximum(width - with_left, 0), 0)
    over = np.maximum((m["width"] - 1) * stride - pad + side - before, 0)
    seen = [n * (side - most) + stride * n * (n - 1) / 2 for n, most in ((left, pad), (right, over))]
    border = np.minimum(left + right, width)
    return border, np.clip(seen[0] + seen[1], border, border * np.minimum(side, before))


def _lines(m: dict[str, Array], is_plain: Flags, is_blocked: Flags, by: Instructions) -> dict[str, Array]:
    """Return what each line of the output is made of: whole vectors, and what is left over."""
    integer, depthwise = m["is_int8"] > 0, _is(m, "depthwise", "symmetric_depthwise")
    pooled = _is(m, "global_pool", "blocked_global_pool")
    positions = np.where(pooled, m["elements_in"], m["elements_out"]) / np.maximum(m["channels_out"], 1)
    is_image, is_spanned = m["width"] < np.maximum(m["elements_out"], 2), _is(m, "broadcast", "global_pool")
    is_product = is_plain | _is(m, "linear", "product")
    own = np.where(integer, m["rows"], m["columns"]) * m["groups"]
    is_by_channel = is_image & (~(m["is_last"] > 0) | (m["channels_out"] == 1))
    others, of_others = (
        np.where(is_by_channel, *each) for each in ((m["channels_out"], positions), (positions, m["channels_out"]))
    )
    lines = ~is_blocked * np.where(is_product, np.where(depthwise, m["rows"] * m["window"], own), others)
    length = np.where(is_product & ~depthwise, np.where(integer, m["columns"], m["rows"]), of_others)
    vector = np.where(integer & (m["depth"] == 0), MOVED_INTEGERS, by.vector)
    left = length % vector
    return {
        "positions": positions,
        "aliased": m["elements_out"] * (positions > 0) * (positions % PAGE == 0),
        "spans": np.where(is_by_channel, m["channels_out"], positions) * is_spanned,
        "scattered": m["elements_out"] * m["window"] * _is(m, "pool") * integer * ~(m["is_last"] > 0),
        "lines": lines,
        "vectors": lines * (length // vector),
        "unaligned": lines * (length // vector) * (left > 0),
        "has_remainder": lines * (left > 0),
        "eights": lines * (left // 8),
        "fours": lines * (left % 8 // 4),
        "ones": lines * (left % 4),
        "depth_remainder": lines * (m["depth"] % 4) * is_product,
    }


LOGARITHMS = (
    *("rows", "columns", "depth", "groups", "width", "height", "channels_in", "channels_out"),
    *("elements_in", "elements_out", "smaller_in", "weights", "steps", "macs", "unrolled", "calls", "traffic"),
    *("waits", "tiles", "streamed", "checked", "fetched", "spans", "scattered", "recoded"),
    *("lines", "vectors", "positions", "run", "runs", "one_by_one", "copies"),
    *("tasks", "products", "packed", "pointers", "strided", "windows", "aliased"),
    *("network_weight_bytes", "network_largest_bytes", "network_nodes"),
)
AS_THEY_ARE = ("adds", "is_int8", "is_half", "is_last", "side", "stride", "is_first", "single", "inside")
REMAINDERS = (
    *(("channels_in", 4), ("channels_in", 16), ("channels_out", 4), ("channels_out", 8), ("channels_out", 16)),
    *(("columns", 4), ("columns", 8), ("columns", 16), ("rows", 16), ("depth", 4), ("depth", 16)),
)
FEATURES = (
    *(f"is {name}" for name in CLASSES),
    *(f"then {name}" for name in ACTIVATIONS),
    *(f"log {name}" for name in LOGARITHMS),
    *AS_THEY_ARE,
    *(f"{name} left of {size}" for name, size in REMAINDERS),
    *(f"{name} waste of {size}" for name, size in REMAINDERS),
    *("steps per mac", "channels left"),
)
"""Names of what the members of a predictor see; logarithms are of base 2."""


def features(counts: dict[str, Array], by: Instructions) -> Array:
    """Return what the members of a predictor see: one row a node, one column for each name in `FEATURES`."""
    sizes, of_size = np.stack([counts[name] for name, _ in REMAINDERS]), np.array([[size] for _, size in REMAINDERS])
    columns = [
        counts["class"] == np.arange(len(CLASSES))[:, None],
        counts["activation"] == np.arange(len(ACTIVATIONS))[:, None],
        _log(np.stack([counts[name] for name in LOGARITHMS])),
        np.stack([counts[name] for name in AS_THEY_ARE]),
        sizes % of_size > 0,
        _log(np.ceil(sizes / of_size) * of_size / np.maximum(sizes, 1)),
        [_log(counts["steps"] * by.vector) - _log(counts["macs"]), counts["channels_out"] % by.vector],
    ]
    return np.concatenate(columns).T.astype(np.float64, order="C")


def _log(values: Array) -> Array:
    return np.asarray(np.log2(np.maximum(values, 0) + 1))
