"""`paredown bench samplers` as users and scripts call it."""

from pathlib import Path

import pytest
import yaml
from commands import Said, paredown

pytestmark = pytest.mark.slow

SPEC = {
    "knobs": {"depth": {"type": "int"}, "kernel": {"type": "choice", "values": [3, 5]}},
    "objectives": {
        "accuracy": {"direction": "maximise", "reference": 50},
        "macs": {"direction": "minimise", "known": True, "reference": "1.05 x max"},
    },
}


COMMAND = ("bench", "samplers", "--table", "t.csv", "--spec", "s.yaml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bench")
    lines = ["depth,kernel,accuracy,macs"]
    for depth in range(1, 11):
        for kernel in (3, 5):
            failed = depth == 7 and kernel == 5
            lines.append(f"{depth},{kernel},{'' if failed else 60 + 2 * depth + kernel / 2},{depth * kernel**2}")
    (made / "t.csv").write_text("\n".join(lines) + "\n")
    (made / "s.yaml").write_text(yaml.safe_dump(SPEC))
    return made


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def test_json_holds_shares_times_and_curves(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = Said(
        capsys, *COMMAND, "--samplers", "random,tpe", "--trials", "12", "--seeds", "3", "--at", "6,50", "--json"
    )
    document = done.document()
    assert (document["networks"], document["failing"], document["seeds"]) == (20, 1, [0, 1, 2])
    assert document["checkpoints"] == [6, 12]
    assert document["reference"] == [50.0, pytest.approx(1.05 * 250)]
    assert [s["sampler"] for s in document["samplers"]] == ["random", "tpe"]
    for sampler in document["samplers"]:
        assert [len(run["curve"]) for run in sampler["runs"]] == [12] * 3
        for at in ("6", "12"):
            share = sampler["share"][at]
            mean = sum(run["curve"][int(at) - 1] for run in sampler["runs"]) / 3
            assert share["mean"] == pytest.approx(mean, abs=1e-5)
            assert share["low"] < share["mean"] < share["high"]
            assert share["gap"] == pytest.approx(1 - mean, abs=1e-5)
        for run in sampler["runs"]:
            assert run["curve"] == sorted(run["curve"])
            assert 0 < run["curve"][-1] <= 1
        assert set(sampler["ask_seconds"]) == {"median", "mean", "last_10_median", "last_10_mean"}
        assert sampler["outside"] == 0
        assert sampler["duplicates"] > 0
    assert {p.name for p in here.iterdir()} == {"t.csv", "s.yaml"}


def test_the_table_and_the_plot(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "curves.html"
    done = Said(capsys, *COMMAND, "--samplers", "random", "--trials", "8", "--seeds", "2", "--plot", str(plot))
    assert done.code == 0, done.err
    assert "20 networks, 1 of them fail" in done.out
    assert "random" in done.out.splitlines()[4]
    assert f"plot  {plot}" in done.out
    assert "random" in plot.read_text()


def test_a_wrong_table_is_one_message_and_code_2(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(SPEC))
    (tmp_path / "t.csv").write_text("depth,kernel,accuracy,macs\n1,3,60,9\n1,3,61,9\n")
    done = paredown(tmp_path, *COMMAND)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "paredown: t.csv: line 2 and line 3 are the same network: depth=1, kernel=3\n"
