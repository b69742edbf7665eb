"""The page: whole, self-contained, safe."""

import base64
import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from toy_study import CONFIG, open_study, outcome, run, sample

from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.measurement import Objective
from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.studies.report import write_report
from paredown.studies.result import TrialResult
from paredown.studies.study import Study


def page(folder: Path, trials: int) -> str:
    study = open_study(folder)
    if trials:
        run(study, trials)
        asked = study.ask(sample)
        while asked is None:
            asked = study.ask(sample)
        study.tell(asked.number, TrialResult("failed", "<script>alert(1)</script>"))
    write_report(study, folder / "deep" / "report.html")
    return (folder / "deep" / "report.html").read_text()


def packed(text: str, name: str) -> str:
    """Return what the page unpacks."""
    found = re.search(rf'<script type="application/gzip" id="{name}">([A-Za-z0-9+/=]+)</script>', text)
    assert found is not None
    return gzip.decompress(base64.b64decode(found[1])).decode()


def test_an_empty_study_has_a_page(tmp_path: Path) -> None:
    assert "No trial has finished yet" in page(tmp_path, 0)


def test_the_page_shows_all_and_needs_no_network(tmp_path: Path) -> None:
    text = page(tmp_path, 10)
    for title in ("The front", "Hypervolume over trials", "Which knobs matter", "side by side", "Learning curves"):
        assert f"{title}</h2>" in text
    assert text.count('<div class="plotly-graph-div"') == 5
    assert len(text) < 2_500_000, "plotly.js is compressed"
    drawn = packed(text, "figures-packed")
    assert [len(figure["data"]) > 0 for figure in json.loads(drawn)] == [True] * 5
    assert "plotly.js v" in packed(text, "plotly-packed")[:200]
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=.https?:", text)
    assert "{{" not in text.partition("<script")[0]
    assert "Failed and rejected" in text


@pytest.mark.parametrize(("first", "second", "shown"), [(0.05, 0.0115, ">-60%<"), (0.012, 0.0115, ">+0%<")])
def test_the_best_latency_is_no_less_than_the_floor(tmp_path: Path, first: float, second: float, shown: str) -> None:
    objectives = [Objective(EVALUATORS[name].metric) for name in ("accuracy", "latency_ms")]
    study = Study.create(f"sqlite:///{tmp_path / 'studies.db'}", "toy", CONFIG, objectives, str(tmp_path / "out"))
    study.use(SAMPLERS["random"](Problem(0, 20)))
    for latency_ms in (first, second):
        asked = study.ask(sample)
        assert asked is not None
        study.tell(asked.number, outcome(asked.candidate, latency_ms=latency_ms))
    write_report(study, tmp_path / "report.html")
    (tile,) = re.findall(r"<b>([^/]*)</small></b><span>best latency_ms", (tmp_path / "report.html").read_text())
    assert tile.startswith("≤ 0.0200 ms")
    assert shown in tile + "<"


def test_reasons_cannot_run(tmp_path: Path) -> None:
    text = page(tmp_path, 2)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>alert(1)" not in text


@pytest.mark.slow
def test_a_browser_unpacks_and_draws_the_figures(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no browser")
    page(tmp_path, 10)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000", "--dump-dom"]
    command = [browser, *options, (tmp_path / "deep" / "report.html").as_uri()]
    drawn = subprocess.run(command, capture_output=True, text=True, timeout=280, check=True).stdout
    assert drawn.count("js-plotly-plot") >= 5
    assert "scatterlayer" in drawn
