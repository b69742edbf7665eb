"""What convolutions on blocks of channels do, counted by hand from ONNX Runtime's kernels for AVX-512."""

import numpy as np
import pytest

from paredown.evaluators.latency.instructions import AVX2, AVX512, Instructions
from paredown.evaluators.latency.node_counts import AHEAD, counts_of
from paredown.evaluators.latency.node_features import AT, AT_CLASS, MEASURES


def counted(
    name: str,
    side: int,
    channels: tuple[int, int],
    window: tuple[int, int],
    stride: int = 1,
    weights: int = 0,
    instructions: Instructions = AVX512,
) -> dict[str, float]:
    """Return the counts of a convolution whose output is `side x side`."""
    given = {
        **{"class": AT_CLASS[name], "groups": 1, "window": window[0] * window[1], "side": window[1], "stride": stride},
        **{"height": side, "width": side, "rows": side * side, "columns": channels[1]},
        **{"channels_in": channels[0], "channels_out": channels[1], "depth": channels[0] * window[0] * window[1]},
        **{"elements_out": channels[1] * side * side, "weights": weights},
    }
    read = np.zeros((1, len(MEASURES)))
    for key, value in given.items():
        read[0, AT[key]] = value
    return {key: float(values[0]) for key, values in counts_of(read, instructions).items()}


def test_positions_are_computed_by_six_three_two_and_one() -> None:
    counts = counted("blocked_pointwise", 38, (16, 32), (1, 1))
    # 38 x 38 = 240 times six positions and four more: three, and one; two blocks of outputs, 16 channels deep
    assert counts["tiles"] == 242
    assert counts["steps"] == 240 * 6 * 16 + (3 + 1) * 16, "two blocks on two units; short tiles do not wait"
    assert counts["waits"] == 0
    assert counts["calls"] == 1, "all lines at once"


def test_avx2_computes_three_two_and_one_positions_of_blocks_of_eight() -> None:
    counts = counted("blocked_pointwise", 38, (16, 32), (1, 1), instructions=AVX2)
    # 1444 = 481 times three positions and one; 32 outputs are four blocks, 16 channels deep; no tile waits
    assert counts["tiles"] == 482
    assert counts["steps"] == 16 * (481 * 6 + 2)
    assert counts["calls"] == 1, "128 channels are 16 blocks of 8"
    assert counted("blocked_pointwise", 38, (256, 32), (1, 1), instructions=AVX2)["calls"] == 2


def test_a_long_tile_of_few_results_waits_for_them_while_the_next_one_begins() -> None:
    counts = counted("blocked_pointwise", 2, (128, 32), (1, 1))
    # Four positions: three, and one; two blocks of outputs, 128 channels deep
    three, one = (4 / (1 + AHEAD / (2 * positions * 128)) for positions in (3, 1))
    assert counts["steps"] == 0
    assert counts["waits"] == pytest.approx(128 * (three + one))
    assert 3 < three < 4


def test_each_line_is_a_call_where_positions_are_skipped() -> None:
    assert counted("blocked_pointwise", 10, (16, 32), (1, 1), stride=2)["calls"] == 10


def test_a_line_ends_in_positions_that_see_less_of_the_window() -> None:
    counts = counted("blocked_convolution", 14, (16, 64), (3, 3))
    inside = 1 - 2 / 42  # of the first and last line, a row of the window is outside
    assert counts["single"] == 2
    assert counts["tiles"] == 14 * (2 + 2)
    assert counts["steps"] == pytest.approx(14 * 16 * 3 * inside * (2 * 3 * 12))
    chain = 4 * 1 * 16 * 9 * inside
    assert counts["waits"] == pytest.approx(14 * 16 * 3 * inside * (2 * 2) * 4 / (1 + AHEAD / chain)), (
        "two positions see two of three columns"
    )


def test_a_vertical_window_has_no_padding_beside_a_line() -> None:
    counts = counted("blocked_convolution", 12, (16, 32), (3, 1))
    assert (counts["single"], counts["waits"]) == (0, 0)
    assert counts["steps"] == pytest.approx(12 * 16 * 3 * (1 - 2 / 36) * 2 * 6)


def test_an_image_that_is_not_blocked_is_read_channel_by_channel() -> None:
    counts = counted("direct", 12, (3, 16), (3, 3))
    assert counts["calls"] == 12 * 3
    assert counts["traffic"] == 144 * 16 * 3, "each of them adds to the results so far"


def test_weights_that_no_first_level_cache_holds_are_read_for_each_tile() -> None:
    assert counted("blocked_convolution", 14, (16, 64), (3, 3))["streamed"] == 0
    counts = counted("blocked_convolution", 14, (16, 64), (5, 5))
    inside = 1 - (2 + 1) * 2 / (14 * 5)  # of the first and last two lines, one or two rows of the window are outside
    # Ten inner positions, six and three and one, see five columns, of the others two see three and two see four.
    assert counts["streamed"] == pytest.approx(14 * 64 * 16 * 5 * inside * (3 * 5 + 2 * 3 + 2 * 4))


def test_weights_that_meet_no_image_are_not_read() -> None:
    """Where an image is smaller than a window, only some of its rows and columns ever meet it."""
    counts = counted("blocked_convolution", 2, (16, 16), (7, 7), weights=16 * 16 * 49)
    assert counts["fetched"] == pytest.approx(16 * 16 * 3 * 3), "of three rows and columns, two at each position"
    large = counted("blocked_convolution", 2, (256, 256), (7, 7), weights=256 * 256 * 49)
    assert large["fetched"] == pytest.approx(256 * 256 * 2 * 3 * 2), "no cache keeps them from line to line"
    assert counted("blocked_pointwise", 9, (64, 64), (1, 1), weights=4096)["fetched"] == 4096


def test_the_positions_at_the_border_look_at_each_column_of_the_window() -> None:
    counts = counted("blocked_depthwise", 4, (32, 32), (3, 3))
    inside = 1 - 2 / 12  # of the first and last line, a row of the window is outside
    assert counts["checked"] == pytest.approx(2 * 9 * inside * counts["calls"])
    assert counts["calls"] == 4 * 2, "a call for each line of each block"


@pytest.mark.parametrize(("is_last", "lines", "left"), [(0, 18, 0), (1, 2304, 2)])
def test_lines_are_those_of_what_lies_side_by_side(is_last: int, lines: int, left: int) -> None:
    read = np.zeros((1, len(MEASURES)))
    given = {
        "class": AT_CLASS["gather"],
        "groups": 1,
        "window": 1,
        "side": 1,
        "stride": 1,
        "height": 48,
        "width": 48,
        "channels_in": 18,
        "channels_out": 18,
    }
    sizes = {"elements_in": 18 * 2304, "elements_out": 18 * 2304, "is_last": is_last, "run": 2304}
    for key, value in (given | sizes).items():
        read[0, AT[key]] = value
    counts = {key: float(values[0]) for key, values in counts_of(read, AVX512).items()}
    assert (counts["lines"], counts["ones"]) == (lines, lines * left)


@pytest.mark.parametrize(("channels", "narrow"), [(3, 3), (8, 0), (20, 4)])
def test_channels_that_fill_no_vector_are_moved_one_by_one(channels: int, narrow: int) -> None:
    read = np.zeros((1, len(MEASURES)))
    given = {"class": AT_CLASS["transpose"], "groups": 1, "window": 1, "side": 1, "stride": 1, "height": 6, "width": 6}
    for key, value in (given | {"channels_out": channels, "elements_out": channels * 36, "run": 1}).items():
        read[0, AT[key]] = value
    counts = {key: float(values[0]) for key, values in counts_of(read, AVX512).items()}
    assert (counts["one_by_one"], counts["narrow"], counts["runs"]) == (channels * 36, narrow * 36, 0)
