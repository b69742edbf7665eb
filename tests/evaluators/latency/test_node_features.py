"""What is read of nodes, beside sizes known by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from paredown.evaluators.files.onnx_graph import read_graph
from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.latency.instructions import AVX2, AVX512, AVX_VNNI, Instructions, read_instructions
from paredown.evaluators.latency.node_features import AT, CLASSES, measures
from paredown.evaluators.latency.random_networks import in_format
from paredown.evaluators.latency.runtime_nodes import runtime_nodes

Sizes = dict[str, float]


def read_of(model: bytes, by: Instructions = AVX512) -> list[tuple[str, Sizes]]:
    """Return the class of each node with its measures."""
    graph = read_graph(model)
    rows = measures(graph, runtime_nodes(graph, by), by)
    return [(CLASSES[int(row[0])], dict(zip(AT, row, strict=True))) for row in rows]


def test_on_blocks_of_channels_the_last_block_is_whole() -> None:
    network = nn.Sequential(nn.Conv2d(3, 20, 3, padding=1), nn.SiLU(), nn.Conv2d(20, 20, 1)).eval()
    found = read_of(export(network, (3, 8, 8)))
    assert [(name, each["elements_in"], each["elements_out"]) for name, each in found if name != "reorder_out"] == [
        ("direct", 3 * 64, 32 * 64),
        ("gelu", 32 * 64, 32 * 64),
        ("blocked_pointwise", 20 * 64, 32 * 64),
    ]
    assert found[-1][1]["elements_out"] == 20 * 64, "what leaves the blocks has no more channels than there are"


def test_blocks_have_eight_channels_by_avx2() -> None:
    model = export(nn.Sequential(nn.Conv2d(3, 20, 3, padding=1), nn.SiLU(), nn.Conv2d(20, 20, 1)).eval(), (3, 8, 8))
    found = [(name, each["elements_out"]) for name, each in read_of(model, AVX2) if name != "reorder_out"]
    assert found == [("direct", 24 * 64), ("gelu", 24 * 64), ("blocked_pointwise", 24 * 64)]
    few = export(nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 8, 1)).eval(), (3, 8, 8))
    names = [[name for name, _ in read_of(few, by) if "pointwise" in name] for by in (AVX512, AVX2)]
    assert names == [["direct_pointwise"], ["blocked_pointwise"]]


@pytest.mark.parametrize(
    ("flags", "machine", "expected"),
    [
        ("flags : avx2 avx512f", "x86_64", AVX512),
        ("flags : avx2 fma", "x86_64", AVX2),
        ("flags : avx2 avx_vnni", "x86_64", AVX_VNNI),
        (None, "AMD64", AVX2),  # Windows has no such file
        ("Features : asimd", "aarch64", AVX512),
    ],
)
def test_instructions_are_those_of_the_processor(
    flags: str | None, machine: str, expected: Instructions, tmp_path: Path
) -> None:
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(flags)
    assert read_instructions(tmp_path / "cpuinfo", machine) is expected


@pytest.mark.parametrize(("channels", "run"), [(1, 256), (3, 1)])
def test_a_transpose_of_one_channel_moves_all_at_once(channels: int, run: int) -> None:
    torch.manual_seed(0)
    shape = (channels, 16, 16)
    found = read_of(in_format(export(nn.Conv2d(channels, 16, 3).eval(), shape), "int8", shape))
    assert [each["run"] for name, each in found if name == "transpose"][:1] == [run]


def test_a_transpose_moves_what_stays_side_by_side_at_once() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.rand(4, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.permute(0, 2, 1, 3) * self.scale

    (name, each), *_ = read_of(export(Turned().eval(), (4, 6, 8)))
    assert (name, each["run"], each["elements_out"]) == ("transpose", 8, 4 * 6 * 8)
    assert np.isfinite(list(each.values())).all()
