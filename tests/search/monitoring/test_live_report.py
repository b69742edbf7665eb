"""The report of a running search, written again and again."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import toy_study
import toy_trials

from paredown.search.api.run import run_study
from paredown.search.listener import ProgressListener
from paredown.search.monitoring.live_report import LiveReport
from paredown.search.run import search
from paredown.studies.result import TrialResult


class Watches(ProgressListener):
    """Waits, while the second trial runs, for what a report becomes; keeps the remarks."""

    def __init__(self, folder: Path, seen: Callable[[Path], bool]) -> None:
        self._file, self._seen = folder / "out" / "report.html", seen
        self.remarks: list[str] = []
        self.has_seen = False

    def tick(self) -> None:
        self.has_seen = self.has_seen or self._seen(self._file)

    def remark(self, text: str) -> None:
        self.remarks.append(text)


def waits_for_a_report(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Trials after the baseline take a moment, until there is a report."""
    if plan.baseline is not None:
        for _ in range(600):
            if (plan.folder / "report.html").is_file():
                break
            threading.Event().wait(0.05)
    return toy_trials.good(candidate, plan, on_epoch)


def takes_a_moment(candidate: Any, plan: Any, on_epoch: Callable[..., str]) -> TrialResult:
    """Each trial takes seconds."""
    threading.Event().wait(2.0)
    return toy_trials.good(candidate, plan, on_epoch)


def test_a_report_appears_while_the_search_runs(tmp_path: Path) -> None:
    watches = Watches(tmp_path, lambda file: file.is_file() and file.read_text().rstrip().endswith("</html>"))
    setup = toy_trials.toy_setup(tmp_path, trials=3, sampler="random", report_every=0.2)
    search(setup, f"sqlite:///{tmp_path}/toy.db", run=waits_for_a_report, listener=watches)
    assert watches.has_seen
    assert watches.remarks == []
    assert [file.name for file in (tmp_path / "out").glob("*report*")] == ["report.html"], "nothing half written"


def test_a_report_that_cannot_be_written_is_remarked_once_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "out" / "report.html" / "in the way").mkdir(parents=True)
    watches = Watches(tmp_path, lambda file: False)
    setup = toy_trials.toy_setup(tmp_path, trials=4, sampler="random", report_every=0.1)
    summary = search(setup, f"sqlite:///{tmp_path}/toy.db", run=takes_a_moment, listener=watches)
    assert summary.reason == "4 trials are done"
    (remark,) = watches.remarks
    assert remark.startswith("the report could not be written, and is tried again: IsADirectoryError")
    assert (tmp_path / "out" / "search.log").read_text().count("could not be written") == 1


def test_a_report_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What writes it waits for the database, which this process holds."""
    monkeypatch.setattr("paredown.search.monitoring.live_report.LIMIT_S", 5.0)
    remarks: list[str] = []
    study = toy_study.open_study(tmp_path)
    live = LiveReport(f"sqlite:///{tmp_path}/studies.db", study.name, 0.01, remarks.append)
    with closing(sqlite3.connect(tmp_path / "studies.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        for _ in range(200):
            live.tick()
            if remarks:
                break
            threading.Event().wait(0.1)
        live.search_ended()
    assert remarks == ["the report could not be written, and is tried again: not written within 5 s"]


def test_a_search_from_python_writes_it_at_the_end_too(tmp_path: Path) -> None:
    study = {
        "study": "toy",
        "task": "digits",
        "space": {"knobs": toy_trials.KNOBS, "steps": ["quantization"]},
    }
    where = {"storage": f"sqlite:///{tmp_path}/s.db", "out": tmp_path / "out", "progress": False}
    run_study(study, timeout=0.001, report_every="10m", **where)
    assert "No trial has finished yet" in (tmp_path / "out" / "report.html").read_text()
