"""The accuracy on test images is in no answer before its model is exported: nobody can choose by it."""

import json
import re
from pathlib import Path

import pytest
from servers import STUDY, Running, server, wait_until

pytest.importorskip("fastapi")

from paredown.search.api.client import RemoteStudy
from paredown.search.service.api.application import api
from paredown.search.service.service import Service
from paredown.search.service.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]
PROGRESS = "/v1/studies/{study}/progress"
"""Goes on as long as the study does."""
WORDS = re.compile(r"test[ _-]*(accuracy|score)", re.IGNORECASE)


def answers(running: Running, token: str, folder: Path) -> dict[str, str]:
    """Return what each route that only looks answers of the study, by its path."""
    app = api(Service(Settings(f"sqlite:///{folder / 'routes.db'}", folder)))
    found = {}
    for path, methods in app.openapi()["paths"].items():
        if "get" not in methods or path in ("/v1/openapi.json", PROGRESS):
            continue
        concrete = path.format(study="digits", trial="1", device="f746", dataset="none")
        queries = [""]
        queries += ["?kind=output"] if path.endswith("/log") else []
        queries += ["?device=host"] if path.endswith("/select") else []
        for query in queries:
            found[path + query] = running.ask(concrete + query, token).text
    events = running.client("alice").open_study("digits").progress()
    return {**found, PROGRESS: json.dumps(next(events))}


def exported(running: Running, token: str, trial: int) -> bool:
    return running.ask(f"/v1/studies/digits/models/{trial}", token).status == 200


def scored(study: RemoteStudy) -> set[int]:
    """Return the trials of which an answer says how good they are on the test images."""
    return {one["trial"] for one in study.trials(limit=1000)["trials"] if "test_accuracy" in one["metrics"]}


def test_no_answer_holds_a_test_score_before_its_model_is_exported(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    with server(tmp_path, storage, "--token-file", "t") as running:
        token, wanted = running.token("alice", "submit"), {"objectives": ["accuracy", "size_bytes"], "trials": 500}
        study = running.client("alice").submit(STUDY | wanted)
        wait_until(lambda: study.counts.get("done", 0) >= 2, "two trials")
        early = answers(running, token, tmp_path)
        assert study.state == "running", "the end of a run exports the front"
        assert len(early) >= 18
        assert "trial 1 done" in early["/v1/studies/{study}/log"]
        assert "accuracy" in early["/v1/studies/{study}/report"]
        assert [path for path, text in early.items() if WORDS.search(text)] == []

        study.pause()
        wait_until(lambda: study.state == "paused", "paused")
        trials = {one["trial"]: one["metrics"] for one in study.trials(state="done", limit=1000)["trials"]}
        kept = {number for number in trials if exported(running, token, number)}
        assert scored(study) == kept != set(), "the end of a run exports the front"
        left = sorted(trials.keys() - kept)
        assert left, "and the front alone"
        late = answers(running, token, tmp_path)
        assert WORDS.search(late["/v1/studies/{study}/front"]), "positive control: exported models say it"

        (folder,) = study.export(left[0], tmp_path / "mine")
        score = json.loads((folder / "manifest.json").read_text())["metrics"]["test_accuracy"]["value"]
        assert scored(study) == kept | {left[0]}
        others = {value for metrics in trials.values() for value in metrics.values()}
        if score not in others:  # the same number may be another model's accuracy
            assert [path for path, text in late.items() if str(score) in text] == []
        for query in ("trials?sort=test_accuracy", "select?min=test_accuracy=0", "devices?max=test_accuracy=1"):
            answer = running.ask(f"/v1/studies/digits/{query}", token)
            assert answer.status == 422, f"nothing is sorted or chosen by it: {answer.text}"
