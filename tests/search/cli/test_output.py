"""Tables on terminals: nothing is torn where there is little room."""

import re
from pathlib import Path

import pytest
from torch import nn

from paredown.evaluators.metrics.measurement import Measurement
from paredown.search.api.model_table import ModelTable
from paredown.search.cli import output as printing
from paredown.search.cli.compress import _print
from paredown.search.cli.output import fits, print_table, print_tall_table
from paredown.search.one_network.compress import Compression
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.knob import Value
from paredown.studies.front import Model

HEAD = ["trial", *(f"metric_{i}" for i in range(6)), "compression"]
ROWS = [
    ["0", *["0.3354 ms"] * 6, "baseline"],
    [
        "13",
        *["0.0330 ms\n[green]-82%[/]"] * 6,
        "distil 0.6, channels 0.125, rank 0.375, bits mixed (fewer MACs, not measurably faster)",
    ],
]


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))


def test_a_pipe_gets_one_line_a_model_without_blanks_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    print_tall_table(HEAD, ROWS)
    out = lines(capsys)
    assert len(out) == 3
    assert "0.0330 ms -82%  0.0330 ms -82%" in out[2]
    assert out[2].endswith("measurably faster)")
    assert not any(line.endswith(" ") for line in out)


@pytest.mark.parametrize("columns", [80, 100])
def test_a_narrow_terminal_gets_whole_cells_in_several_lines(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal(monkeypatch, columns)
    print_tall_table(HEAD, ROWS)
    out = lines(capsys)
    assert max(map(len, out)) <= columns
    assert out[0].split() == HEAD[:-1]
    assert out[1].split()[1:3] == ["0.3354", "ms"]
    assert out[2].strip() == "baseline"
    assert out[4].split() == ["-82%"] * 6
    assert " ".join(" ".join(out[5:]).split()) == ROWS[1][-1]


def test_what_fits_depends_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fits(["layer", "a\nb"], [["x" * 170, "1"]])
    terminal(monkeypatch, 80)
    assert fits(["layer", "a\nb"], [["x" * 58, "1"]])
    assert not fits(["layer", "a\nb"], [["x" * 59, "1"]])


def test_markup_in_cells_is_text_unless_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["a", "b"], [["1", "[red]2[/]"]], markup=True)
    assert lines(capsys)[1] == "1  2"
    print_table(["a", "b"], [["[bold]", "[/]"]])
    assert lines(capsys)[1] == "[bold]  [/]"
    assert printing.PIPE_WIDTH >= 200


def test_a_metric_that_only_the_compressed_network_has_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    before = Model(0, Candidate("mbconv", {}), {"macs": Measurement("macs", 2000)}, "")
    measured = {"macs": Measurement("macs", 1000), "exit_rate": Measurement("exit_rate", 0.5)}
    _print(Compression(before, Model(1, before.candidate, measured, ""), {}, Path("out"), {}, {}, (), nn.Identity()))
    assert [line.split() for line in lines(capsys)[1:3]] == [
        ["macs", "2.0", "kMAC", "1.0", "kMAC", "-50%"],
        ["exit_rate", "-", "0.5000"],
    ]


def said(step: str, knobs: dict[str, Value]) -> str:
    table = ModelTable((), None, {name: one.table_label for name, one in STEPS.items()})
    return table.compression(Model(0, Candidate("mbconv", {}, {step: knobs}), {}, ""))


def test_points_of_one_network_differ_by_what_the_table_says_of_them() -> None:
    assert said("early_exit", {"exits": 2, "rule": "confidence", "threshold": 0.65}) == "exits 2 at 0.65"
    twice: dict[str, Value] = {"exits": 2, "rule": "confidence", "threshold": 0.65, "first_margin": 0.3}
    assert said("early_exit", twice) == "exits 2 at 0.65 + 0.3"
    assert said("early_exit", {**twice, "first_margin": 0.0}) == "exits 2 at 0.65"
    assert said("early_exit", {"exits": 2, "rule": "patience"}) == "exits 2"
    assert said("low_rank", {"ratio": 0.5}) == "rank 0.5"
