"""Every way in which a trial can break, in one search of each driver: the cause is told, and the search goes on."""

import uuid
from pathlib import Path

import pytest
import toy_trials
from odd_trials import EXPECTED, each_breaks_otherwise, met
from toy_searches import read_meanwhile

from paredown.search.drivers.catalogue import DRIVERS
from paredown.search.run import search
from paredown.spaces.candidate import Candidate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

TRIALS = 1 + len(EXPECTED) + 3
"""The baseline, one trial for each fault, and a few that show that the search goes on."""


def search_through_all(folder: Path, database: str, driver: str) -> None:
    study = f"toy-{uuid.uuid4().hex[:8]}"
    setup = toy_trials.toy_setup(
        folder,
        sampler="random",
        driver=driver,
        study=study,
        trials=TRIALS,
        workers=2,
        max_failures=TRIALS,
        trial_timeout=4,
        trial_memory="900MB",
    )
    setup.plan.folder.mkdir(parents=True)
    with read_meanwhile(database, study) as reads:
        summary = search(setup, database, run=each_breaks_otherwise)
    assert summary.reason == f"{TRIALS} trials are done"
    assert len(reads) > 2
    of = summary.study
    rows = [row for row in of.rows() if row["state"] != "duplicate"]
    by_digest = {Candidate.from_json(row["candidate"]).digest: row for row in rows}
    assert len(by_digest) == len(rows) == TRIALS
    assert [row["number"] for row in of.rows()] == list(range(len(of.rows())))
    assert {trial.state.name for trial in of._study.trials} == {"COMPLETE", "FAIL"}
    faults = met(setup.plan.folder)
    for fault, (digest, _) in faults.items():
        row = by_digest.pop(digest)
        cause, reason = EXPECTED[fault]
        assert (row["state"], row["facts"]["cause"]) == ("failed", cause), (fault, row)
        assert row["reason"].startswith(reason), fault
        assert row["attempt"] == (3 if cause == "killed" else 1), fault
    assert {row["state"] for row in by_digest.values()} == {"done"}
    later = {row["facts"]["pid"] for row in by_digest.values() if row["number"] > max(r["number"] for r in rows) - 2}
    assert faults["device lost"][1] not in later, "a process that lost its device runs no other trial"


def test_every_fault_costs_its_trial_only(database: str, tmp_path: Path) -> None:
    search_through_all(tmp_path, database, "local")


@pytest.mark.usefixtures("one_ray")
@pytest.mark.parametrize("driver", [name for name in DRIVERS if name != "local"])
def test_every_fault_costs_its_trial_only_on_other_drivers(driver: str, tmp_path: Path) -> None:
    search_through_all(tmp_path, f"sqlite:///{tmp_path / 'studies.db'}", driver)
