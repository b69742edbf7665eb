"""Optuna's dashboard at the service's second port: who reaches it, and that nothing is changed through it."""

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import psutil
import pytest
import toy_study
from commands import Said
from servers import Running, server, wait_until

pytest.importorskip("fastapi")
pytest.importorskip("optuna_dashboard")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Running]]:
    """A service and its dashboard, over a study of twelve trials."""
    folder = tmp_path_factory.mktemp("server")
    toy_study.run(toy_study.open_study(folder, objectives=["accuracy", "size_bytes"], limits={}), 12)
    storage = f"sqlite:///{folder / 'studies.db'}"
    with server(folder, storage, "--no-worker", "--token-file", "t", "--dashboard-port", "0") as service:
        assert service.process.stdout is not None
        line = service.process.stdout.readline().strip()
        assert line.startswith("Optuna's dashboard: http://127.0.0.1:")
        dashboard = replace(service, url=line.partition(": ")[2])
        token = service.token("root", "admin")
        wait_until(lambda: dashboard.ask("/api/studies", token).status == 200, "the dashboard answers")
        yield service, dashboard


def test_it_shows_the_studies_to_an_administrator_alone(both: tuple[Running, Running]) -> None:
    dashboard = both[1]
    for path in ("/", "/dashboard", "/dashboard/studies/1", "/api/studies", "/api/studies/1", "/static/bundle.js"):
        assert dashboard.ask(path).status == 401, path
        assert dashboard.ask(path, f"pd_{'0' * 12}_{'x' * 43}").status == 401, path
        for scope in ("read", "submit"):
            refused = dashboard.ask(path, dashboard.token("alice", scope))
            assert (refused.status, refused.document()["detail"]) == (
                403,
                f"this token allows {scope}; Optuna's dashboard shows the studies of all: admin",
            )
    token = dashboard.token("root", "admin")
    page = dashboard.ask("/dashboard", token)
    assert (page.status, "<title>" in page.text) == (200, True)
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe-inline" not in page.headers["content-security-policy"].partition("script-src")[2].partition(";")[0]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in page.headers
    listed = dashboard.ask("/api/studies", token).document()["study_summaries"]
    assert [one["study_name"] for one in listed] == ["toy"]
    assert len(dashboard.ask("/api/studies/1", token).document()["trials"]) == 12
    assert dashboard.ask("/api/meta", token).document()["llm_is_available"] is False


def test_it_cannot_be_asked_by_pages_of_others(both: tuple[Running, Running]) -> None:
    dashboard = both[1]
    token = dashboard.token("root", "admin")
    assert dashboard.ask("/api/studies", token, Host="evil.com").status == 400
    assert dashboard.ask("/api/studies", token, Origin="http://evil.com").status == 403
    assert dashboard.ask("/api/studies", token, Origin=dashboard.url).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("PUT", "/api/studies/1/note"),
        ("POST", "/api/trials/1/tell"),
        ("POST", "/api/llm/generate_trial_filtering"),
        ("POST", "/api/artifacts/1/1"),
    ],
)
def test_nothing_is_changed_through_it(both: tuple[Running, Running], method: str, path: str) -> None:
    service, dashboard = both
    token = dashboard.token("root", "admin")
    assert dashboard.ask(path, "", method, b"{}").status == 401
    refused = dashboard.ask(path, token, method, b"{}")
    assert (refused.status, "by the commands of paredown alone" in refused.text) == (403, True)
    wait_until(lambda: service.ask("/v1/audit?limit=1", token).document()["entries"][0]["path"] == path, "written down")
    summaries = optuna.get_all_study_summaries(service.storage)
    assert [(one.study_name, one.n_trials) for one in summaries] == [("toy", 12)]


def test_the_service_answers_as_ever_beside_it(both: tuple[Running, Running]) -> None:
    service, dashboard = both
    token = service.token("root", "admin")
    assert service.ask("/api/studies", token).status == 404
    assert dashboard.ask("/v1/studies", token).status == 404
    assert service.ask("/v1/studies", token).document() == {"studies": []}
    assert service.ask("/health").text == dashboard.ask("/health").text


def test_nobody_gets_past_the_guard(both: tuple[Running, Running]) -> None:
    """Its own process has no port, and its socket lies where no other user of this machine gets to."""
    process = psutil.Process(both[0].process.pid)
    (child,) = process.children()
    assert [c for c in child.net_connections("inet") if c.status == psutil.CONN_LISTEN] == []
    place = Path(child.cmdline()[-1])
    assert stat.S_ISSOCK(place.stat().st_mode)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert place.parent.stat().st_uid == os.getuid()


def test_it_is_started_again_after_a_kill(both: tuple[Running, Running]) -> None:
    service, dashboard = both
    token = dashboard.token("root", "admin")
    psutil.Process(service.process.pid).children()[0].kill()
    wait_until(lambda: dashboard.ask("/api/studies", token).status == 503, "it is away")
    assert service.ask("/v1/studies", token).status == 200
    wait_until(lambda: dashboard.ask("/api/studies", token).status == 200, "it is back")


def test_what_cannot_be_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = f"sqlite:///{tmp_path / 's.db'}"
    options = ("serve", "--storage", storage, "--port", "0", "--no-worker", "--dashboard-port", "0")
    said = Said(capsys, *options, "--root-path", "/x")
    assert (said.code, "works at / alone, not below --root-path /x" in said.err) == (2, True)
    (tmp_path / "file").write_text("kept")
    said = Said(capsys, "dashboard", "--storage", storage, "--socket", str(tmp_path / "file"))
    assert (said.code, "--socket" in said.err) == (2, True)
    assert (tmp_path / "file").read_text() == "kept"
    said = Said(capsys, "dashboard", "--write", "--storage", storage, "--socket", str(tmp_path / "socket"))
    assert (said.code, "it goes without a study and --write" in said.err) == (2, True)
