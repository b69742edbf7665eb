"""The dashboard as a browser sees it: over HTTP, from a server with a real database."""

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
import toy_study
from commands import COMMAND, ENVIRONMENT, Said

from paredown.search.dashboard.server import serving
from paredown.studies.front import front
from paredown.studies.result import CAUSE, TrialResult
from paredown.studies.study import Study

pytest.importorskip("optuna_dashboard")
LIMIT = 5000
MODEL = b"the bytes of a model"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study whose baseline has the best accuracy and breaks the limit on bytes; its last trial has failed."""
    study = toy_study.open_study(
        tmp_path, limit=LIMIT, objectives=["accuracy", "size_bytes"], limits={"size_bytes": LIMIT}
    )
    toy_study.run(study, 12)
    asked = None
    while asked is None:
        asked = study.ask(toy_study.sample)
    study.tell(asked.number, TrialResult("failed", "a bad day", facts={CAUSE: "exception"}))
    folder = tmp_path / "out"
    (folder / "trials/x").mkdir(parents=True)
    (folder / "trials/x/model.onnx").write_bytes(MODEL)
    return study


@contextmanager
def served(folder: Path, **options: Any) -> Iterator[str]:
    """Serve the studies of a folder from a thread, and yield the address."""
    with serving(f"sqlite:///{folder / 'studies.db'}", **options) as (server, address):
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield address.partition("/dashboard")[0]
        finally:
            server.shutdown()
            thread.join()


def answer(address: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes, Any]:
    """Return status, body and headers."""
    request = urllib.request.Request(address, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read(), response.headers
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read(), refused.headers


def page(address: str, after: int = 0) -> dict[str, Any]:
    """Return the JSON behind the page of the first study."""
    status, body, _ = answer(f"{address}/api/studies/1?after={after}")
    assert status == 200
    return dict(json.loads(body))


def attributes(trial: dict[str, Any]) -> dict[str, str]:
    return {attribute["key"]: attribute["value"] for attribute in trial["user_attrs"]}


def test_a_trial_that_breaks_a_limit_is_shown_as_such_and_is_not_among_the_best(study: Study, tmp_path: Path) -> None:
    expected = {model.trial: model["size_bytes"] / LIMIT - 1 for model in study.models()}
    best = [model.trial for model in front(study.models(), study.optimised_metrics)]
    with served(tmp_path) as address:
        found = page(address)
    trials = {trial["number"]: trial for trial in found["trials"]}
    assert expected[0] == 1.0, "the baseline breaks the limit"
    assert 0 < sum(violation > 0 for violation in expected.values()) < len(expected)
    assert {number: trials[number]["constraints"] for number in expected} == {
        number: [pytest.approx(violation)] for number, violation in expected.items()
    }
    assert sorted(trial["number"] for trial in found["best_trials"]) == sorted(best)
    assert 0 not in best
    assert (found["objective_names"], found["directions"]) == (["accuracy", "size_bytes"], ["maximize", "minimize"])


def test_nothing_of_it_is_stored(study: Study, tmp_path: Path) -> None:
    def stored() -> str:
        with sqlite3.connect(tmp_path / "studies.db") as connection:
            text = "\n".join(connection.iterdump())
        connection.close()
        return text

    before = stored()
    with served(tmp_path) as address:
        page(address)
    assert stored() == before
    assert study._study.trials[0].constraints == {"size_bytes": 1.0}


def test_each_trial_shows_metrics_changes_limits_and_reasons(study: Study, tmp_path: Path) -> None:
    with served(tmp_path) as address:
        found = page(address)
    baseline, failed = found["trials"][0], found["trials"][-1]
    good = found["best_trials"][0]
    assert attributes(baseline)["role"] == "baseline"
    assert attributes(baseline)["limits"] == "broken: size_bytes 10000 B is above the limit 5000"
    assert (failed["state"], attributes(failed)["outcome"]) == ("Fail", "failed")
    assert (attributes(failed)["reason"], attributes(failed)["cause"]) == ("a bad day", "exception")
    shown = attributes(good)
    assert (shown["role"], shown["limits"]) == ("on the front", "kept")
    size = float(shown["size_bytes (B)"])
    assert size == good["values"][1]
    assert float(shown["size_bytes: change from the baseline (%)"]) == pytest.approx(size / 100 - 100)
    sortable = {attribute["key"]: attribute["sortable"] for attribute in found["union_user_attrs"]}
    assert (sortable["size_bytes (B)"], sortable["role"]) == (True, False)


def test_models_of_the_front_have_a_card_and_the_study_a_summary_and_figures(study: Study, tmp_path: Path) -> None:
    best = {model.trial for model in front(study.models(), study.optimised_metrics)}
    exported = min(best)
    card = tmp_path / f"out/models/trial-{exported:04d}/README.md"
    card.parent.mkdir(parents=True)
    card.write_text("# as it was exported")
    with served(tmp_path) as address:
        found = page(address)
    notes = {trial["number"]: trial["note"]["body"] for trial in found["trials"]}
    assert {number for number, note in notes.items() if note} == best
    assert notes.pop(exported) == "# as it was exported"
    for number in best - {exported}:
        assert f"# toy, trial {number}" in notes[number]
        assert "| size_bytes |" in notes[number]
    assert "12 done" in found["note"]["body"]
    assert "| 0 (baseline) | 0.9500 | 10.0 kB |" in found["note"]["body"]
    figures = {figure["id"]: json.loads(figure["graph_object"]) for figure in found["plotly_graph_objects"]}
    assert set(figures) == {"Front-and-baseline", "accuracy-and-size_bytes-over-trials"}
    crosses = figures["accuracy-and-size_bytes-over-trials"]["data"][1]
    assert (crosses["name"], 10_000 in crosses["x"]) == ("breaks a limit", True)


def test_files_are_the_same_bytes_and_no_other_files_are_served(study: Study, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    outside = b"1/../secret".hex()
    with served(tmp_path) as address:
        assert page(address)["artifacts"] == [], "there is no report yet"
        (tmp_path / "out/report.html").write_text("<script>alert(1)</script>")
        found = page(address)
        (model,), (report,) = found["best_trials"][0]["artifacts"], found["artifacts"]
        trial_id = found["best_trials"][0]["trial_id"]
        status, body, headers = answer(f"{address}/artifacts/1/{trial_id}/{model['artifact_id']}")
        shown = answer(f"{address}/artifacts/1/{report['artifact_id']}")
        refused = [answer(f"{address}/artifacts/1/{trial_id}/{outside}"), answer(f"{address}/artifacts/1/{outside}")]
        (tmp_path / "out/trials/x/model.onnx").unlink()
        (tmp_path / "out/trials/x/model.onnx").symlink_to(tmp_path / "secret")
        linked = answer(f"{address}/artifacts/1/{trial_id}/{model['artifact_id']}")
    assert (status, body, model["filename"]) == (200, MODEL, "model.onnx")
    assert headers["Access-Control-Allow-Origin"] is None
    assert (shown[0], report["mimetype"]) == (200, "text/html")
    assert shown[2]["Content-Security-Policy"] == "sandbox allow-scripts", "its scripts have no access to the dashboard"
    assert [one[0] for one in refused] == [404, 404]
    assert linked[0] == 404
    assert all(b"secret" not in one[1] for one in (*refused, linked))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("POST", "/api/trials/1/tell"),
        ("POST", "/api/trials/1/user-attrs"),
        ("PUT", "/api/studies/1/note"),
        ("PUT", "/api/studies/1/1/note"),
        ("PATCH", "/api/studies/1"),
        ("POST", "/api/artifacts/1/1"),
        ("DELETE", "/api/artifacts/1/31"),
        ("POST", "/incompatible-rdb-schema"),
        ("OPTIONS", "/api/studies/1"),
        ("BREW", "/api/studies/1"),
    ],
)
@pytest.mark.usefixtures("study")
def test_what_would_change_a_study_is_refused(method: str, path: str, tmp_path: Path) -> None:
    with served(tmp_path) as address:
        before = page(address)
        assert answer(address + path, method, b"{}")[0] == 403
        assert page(address) == before


@pytest.mark.usefixtures("study")
def test_other_hosts_and_pages_of_others_are_refused(tmp_path: Path) -> None:
    with served(tmp_path) as address:
        listed, port = f"{address}/api/studies", address.rpartition(":")[2]
        assert [
            answer(listed, Host=host)[0] for host in ("evil.com", f"evil.com:{port}", "", "localhost.evil.com")
        ] == ([400] * 4)
        assert [answer(listed, Host=host)[0] for host in (f"localhost:{port}", "127.0.0.1:9999", "[::1]:80")] == [
            200
        ] * 3
        assert answer(listed, Origin="http://evil.com")[0] == 403
        assert answer(listed, Origin="null")[0] == 403
        assert answer(listed, Origin=f"http://127.0.0.1:{int(port) + 1}")[0] == 403
        assert answer(listed, Origin=address)[0] == 200


def test_with_write_notes_can_be_changed_and_nothing_else(study: Study, tmp_path: Path) -> None:
    with served(tmp_path, can_write_notes=True) as address:
        trial = page(address)["best_trials"][0]
        path = f"{address}/api/studies/1/{trial['trial_id']}/note"
        body = json.dumps({"version": trial["note"]["version"] + 1, "body": "mine"}).encode()
        headers = {"Content-Type": "application/json", "Origin": address}
        assert answer(path, "PUT", body, **headers)[0] == 204
        assert answer(path, "PUT", body, **headers)[0] == 409, "the version of before"
        changed = {trial["number"]: trial["note"] for trial in page(address)["trials"]}
        assert changed[trial["number"]] == {"version": 2, "body": "mine"}
        assert answer(path, "PUT", body, Origin="http://evil.com")[0] == 403
        assert answer(f"{address}/api/studies/1", "DELETE", b"{}")[0] == 403
        assert answer(path, "PUT", b"{}", **{"Content-Length": "2000000"})[0] == 413
    with served(tmp_path) as address:
        assert {trial["number"]: trial["note"] for trial in page(address)["trials"]} == changed
    assert len(study.models()) == 12


def test_later_looks_bring_what_is_new(study: Study, tmp_path: Path) -> None:
    with served(tmp_path) as address:
        before = page(address)
        toy_study.run(study, 1)
        count = len(before["trials"])
        later = page(address, after=count)
        assert [trial["number"] for trial in later["trials"]] == list(range(count, len(study.rows())))
        whole = page(address)
    assert whole["trials"][:count] != [], "those of before are still there"
    best = {model.trial for model in front(study.models(), study.optimised_metrics)}
    assert {trial["number"] for trial in whole["best_trials"]} == best


@pytest.mark.usefixtures("study")
def test_a_study_of_optuna_alone_is_shown_by_the_dashboard_itself(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    storage = optuna.storages.RDBStorage(url)
    other = optuna.create_study(storage=storage, study_name="other", directions=["minimize", "minimize"])
    trial = other.ask()
    trial.set_constraint("c", 2.0)
    other.tell(trial, [1.0, 2.0])
    storage.engine.dispose()
    with served(tmp_path) as address:
        status, body, _ = answer(f"{address}/api/studies/2")
        missing = answer(f"{address}/api/studies/3")
    assert status == 200
    assert json.loads(body)["trials"][0]["constraints"] == [2.0]
    assert missing[0] == 404


@pytest.mark.usefixtures("study")
def test_the_other_pages_of_the_dashboard_work(tmp_path: Path) -> None:
    with served(tmp_path) as address:
        for path in ("/", "/dashboard/studies/1", "/api/meta", "/csv/1", "/api/studies/1/plot/pareto_front"):
            assert answer(address + path)[0] == 200, path
        assert json.loads(answer(f"{address}/api/meta")[1])["llm_is_available"] is False
        assert b"size_bytes: change from the baseline" in answer(f"{address}/csv/1")[1]
        assert answer(f"{address}/dashboard")[2]["X-Frame-Options"] == "SAMEORIGIN"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org"])
@pytest.mark.usefixtures("study")
def test_an_address_that_others_reach_is_refused(host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, "dashboard", "--host", host, "--storage", f"sqlite:///{tmp_path / 'studies.db'}")
    assert said.code == 2
    assert f"--host {host}: allowed: 127.0.0.1, localhost, ::1" in said.err
    assert "ssh -L" in said.err


@pytest.mark.usefixtures("study")
def test_wrong_input_ends_in_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = ("--storage", f"sqlite:///{tmp_path / 'studies.db'}", "--port", "0")
    said = Said(capsys, "dashboard", "nope", *storage)
    assert (said.code, "no study 'nope'" in said.err, "toy" in said.err) == (2, True, True)
    said = Said(capsys, "dashboard", "--storage", f"sqlite:///{tmp_path / 'none.db'}")
    assert (said.code, "there is no file" in said.err) == (2, True)
    with served(tmp_path) as address:
        said = Said(capsys, "dashboard", *storage, "--port", address.rpartition(":")[2])
    assert (said.code, "--port 0 takes a free one" in said.err) == (2, True)
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    said = Said(capsys, "dashboard", *storage)
    assert (said.code, "pip install 'paredown[dashboard]'" in said.err) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("study")
def test_the_command_prints_its_address_and_ends_with_a_signal(number: int, tmp_path: Path) -> None:
    command = [*COMMAND, "dashboard", "toy", "--port", "0", "--storage", "sqlite:///studies.db"]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.endswith("/dashboard/studies/1")
        assert answer(address)[0] == 200
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stdout.read() == ""
