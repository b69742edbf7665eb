"""Multiply-accumulates against numbers by hand, fused operators among them."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paredown.spaces.counting import counted

STEPS, WIDTH, HIDDEN = 5, 8, 16
SEQUENCE = torch.zeros(1, STEPS, WIDTH)
PROJECTIONS, ATTENTION = STEPS * WIDTH * 4 * WIDTH, 2 * STEPS * STEPS * WIDTH


@pytest.mark.parametrize(
    ("made", "inputs", "macs"),
    [
        (lambda: nn.Linear(WIDTH, 3), [SEQUENCE], STEPS * WIDTH * 3),
        (lambda: nn.LSTM(WIDTH, HIDDEN, batch_first=True), [SEQUENCE], STEPS * 4 * HIDDEN * (WIDTH + HIDDEN)),
        (lambda: nn.GRU(WIDTH, HIDDEN, batch_first=True), [SEQUENCE], STEPS * 3 * HIDDEN * (WIDTH + HIDDEN)),
        (lambda: nn.RNN(WIDTH, HIDDEN, batch_first=True), [SEQUENCE], STEPS * HIDDEN * (WIDTH + HIDDEN)),
        (
            lambda: nn.LSTM(WIDTH, HIDDEN, 2, bidirectional=True, batch_first=True),
            [SEQUENCE],
            STEPS * 4 * HIDDEN * 2 * (WIDTH + HIDDEN + 3 * HIDDEN),
        ),
        (lambda: nn.MultiheadAttention(WIDTH, 2, batch_first=True), [SEQUENCE] * 3, PROJECTIONS + ATTENTION),
        (
            lambda: nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=True),
            [SEQUENCE],
            PROJECTIONS + ATTENTION + 2 * STEPS * WIDTH * 32,
        ),
        (lambda: lambda x: F.scaled_dot_product_attention(x, x, x), [SEQUENCE[:, None]], ATTENTION),
        (lambda: nn.Bilinear(WIDTH, WIDTH, 4), [SEQUENCE, SEQUENCE], STEPS * 4 * WIDTH * WIDTH),
        (lambda: lambda x: torch.mv(x[0], torch.ones(WIDTH)), [SEQUENCE], STEPS * WIDTH),
        (lambda: nn.BatchNorm1d(STEPS), [SEQUENCE], 0),
    ],
)
def test_products_are_counted_where_a_fused_kernel_hides_them(
    made: Callable[[], Any], inputs: list[Tensor], macs: int
) -> None:
    network = made()
    if isinstance(network, nn.Module):
        network.eval()
    count = counted(network, *inputs)
    assert count.macs == macs
    assert count.unknown == ()


ACTIVATIONS = [
    kind
    for name in nn.modules.activation.__all__
    if issubclass(kind := getattr(nn, name), nn.Module)
    if kind not in (nn.MultiheadAttention, nn.Threshold)
]


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=lambda kind: kind.__name__)
def test_activations_have_no_products_and_make_no_lower_bound(kind: type[nn.Module]) -> None:
    made = kind(dim=1) if kind in (nn.Softmin, nn.Softmax, nn.LogSoftmax) else kind()  # without it they warn
    count = counted(made.eval(), torch.randn(2, 8, 4, 4))
    assert (count.macs, count.unknown) == (0, ())


def test_fused_kernels_are_on_again_afterwards() -> None:
    before = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    counted(nn.Linear(WIDTH, 3), SEQUENCE)
    assert before == (torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled())


@pytest.mark.parametrize(
    ("function", "name"),
    [(lambda x: torch.fft.rfft(x).abs(), "_fft_r2c"), (lambda x: torch.linalg.svdvals(x), "_linalg_svd")],
)
def test_an_operator_without_a_formula_is_named(function: Callable[[Tensor], Tensor], name: str) -> None:
    assert counted(function, SEQUENCE).unknown == (name,)


def test_counting_does_not_load_pytorchs_compiler() -> None:
    """It takes a second, in every process of a search."""
    code = "import sys, torch; from paredown.spaces.counting import counted; "
    code += "counted(torch.nn.Linear(2, 2), torch.zeros(1, 2)); sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=280, check=False).returncode == 0
