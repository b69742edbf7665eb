"""What people and networks name cannot change the page."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from toy_study import BASELINE, CONFIG, objectives, outcome, run, sample

from paredown.search.samplers.catalogue import SAMPLERS
from paredown.search.samplers.sampler import Problem
from paredown.spaces.candidate import Candidate
from paredown.studies.report import write_report
from paredown.studies.result import TrialResult
from paredown.studies.study import Study

HOSTILE = "</script><script>stolen()</script><img src=x onerror=stolen()>\"'><svg onload=stolen()>"


class Dangers(HTMLParser):
    """What of a page a browser would run that names the text above, and how often the page shows it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.shown, self._inside = 0, ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.found += [f"<{tag} {name}={value}>" for name, value in attrs if name.startswith("on") or value == "x"]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.found += ["script: stolen()"] if data.startswith("stolen()") else []
        else:
            self.shown += data.count("stolen()")


@pytest.mark.parametrize(("name", "shown"), [("<script>x</script>", "&lt;script&gt;x"), ("{{table}}", "{{table}}")])
def test_a_studys_name_is_shown_as_it_is(tmp_path: Path, name: str, shown: str) -> None:
    study = Study.create(f"sqlite:///{tmp_path / 'studies.db'}", name, CONFIG, objectives(), "out")
    write_report(study, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert f"<h1>{shown}" in text
    assert "<script>x" not in text
    assert text.count("No trial has finished yet") == 1


def test_names_and_reasons_run_nothing(tmp_path: Path) -> None:
    """Names of studies, knobs and values, and the words of errors, in table, lists and figures."""
    study = Study.create(f"sqlite:///{tmp_path / 'studies.db'}", HOSTILE, CONFIG, objectives(), "out")
    study.use(SAMPLERS["random"](Problem(0, 20)))
    run(study, 10)

    def hostile(trial: Any) -> Candidate:
        candidate = sample(trial)
        return Candidate(HOSTILE, {**candidate.knobs, f"mbconv.{HOSTILE}": HOSTILE})

    asked = None
    while asked is None:
        asked = study.ask(hostile)
    study.tell(asked.number, outcome(BASELINE, accuracy=0.99, size_bytes=7))
    asked = None
    while asked is None:
        asked = study.ask(sample)
    study.tell(asked.number, TrialResult("failed", HOSTILE))
    write_report(study, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    seen = Dangers(page)
    assert seen.found == []
    assert seen.shown >= 4, "name, candidate and reason stand there as text"
    control = Dangers(page.replace("&lt;", "<").replace("&quot;", '"').replace("&gt;", ">"))
    assert {"<img onerror=stolen()>", "script: stolen()"} <= set(control.found), "what is not escaped would be found"
