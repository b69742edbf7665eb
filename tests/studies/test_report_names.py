"""Names that people choose cannot change the page."""

from pathlib import Path

import pytest
from toy_study import CONFIG, objectives

from paredown.studies.report import write_report
from paredown.studies.study import Study


@pytest.mark.parametrize(("name", "shown"), [("<script>x</script>", "&lt;script&gt;x"), ("{{table}}", "{{table}}")])
def test_a_studys_name_is_shown_as_it_is(tmp_path: Path, name: str, shown: str) -> None:
    study = Study.create(f"sqlite:///{tmp_path / 'studies.db'}", name, CONFIG, objectives(), "out")
    write_report(study, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert f"<h1>{shown}" in text
    assert "<script>x" not in text
    assert text.count("No trial has finished yet") == 1
