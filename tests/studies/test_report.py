"""The page: whole, self-contained, safe."""

import re
from pathlib import Path

from toy_study import open_study, run, sample

from paredown.studies.report import write_report
from paredown.studies.result import TrialResult


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


def test_an_empty_study_has_a_page(tmp_path: Path) -> None:
    assert "No trial has finished yet" in page(tmp_path, 0)


def test_the_page_shows_all_and_needs_no_network(tmp_path: Path) -> None:
    text = page(tmp_path, 10)
    for title in ("The front", "Hypervolume over trials", "Which knobs matter", "side by side", "Learning curves"):
        assert f"{title}</h2>" in text
    assert text.count('class="plotly-graph-div"') == 5
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=.https?:", text)
    assert "{{" not in text.partition("<script")[0]
    assert "Failed and rejected" in text


def test_reasons_cannot_run(tmp_path: Path) -> None:
    text = page(tmp_path, 2)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>alert(1)" not in text
