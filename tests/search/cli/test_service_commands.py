"""The commands of the service: tokens, and studies of a server."""

import json
from pathlib import Path

import pytest
from commands import Said
from servers import STUDY, server

pytest.importorskip("fastapi")


def test_a_token_is_made_listed_and_revoked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAREDOWN_STORAGE", f"sqlite:///{tmp_path / 's.db'}")
    made = Said(capsys, "token", "create", "laptop", "--owner", "alice", "--scope", "read", "--expires", "12h")
    assert made.out.startswith("pd_")
    key = made.out.split("_")[1]
    (listed,) = Said(capsys, "token", "list", "--json").document()["tokens"]
    assert (listed["key"], listed["owner"], listed["scopes"], listed["revoked_at"]) == (key, "alice", ["read"], None)
    assert listed["expires_at"] - listed["created_at"] == pytest.approx(12 * 3600)
    table = Said(capsys, "token", "list").out
    assert "laptop" in table
    assert made.out.strip() not in table
    assert Said(capsys, "token", "revoke", key).out == f"token {key} is revoked\n"
    again = Said(capsys, "token", "revoke", key)
    assert (again.code, again.err) == (2, f"paredown: no token '{key}' can be revoked; tokens that can: none\n")
    for options, said in (
        (("--scope", "write"), "scope 'write' does not exist; allowed: read, submit, admin"),
        (("--expires", "soon"), "--expires soon: "),
        (("--owner", "A"), "owner 'A': allowed: up to 32 small letters"),
    ):
        refused = Said(capsys, "token", "create", "t", *options)
        assert refused.code == 2
        assert said in refused.err


def test_without_a_token_or_a_server_the_commands_say_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PAREDOWN_TOKEN", raising=False)
    said = Said(capsys, "jobs")
    assert (said.code, "PAREDOWN_TOKEN is not set" in said.err) == (2, True)
    monkeypatch.setenv("PAREDOWN_TOKEN", "pd_x")
    said = Said(capsys, "jobs", "--url", "http://127.0.0.1:1")
    assert (said.code, "http://127.0.0.1:1: cannot be reached" in said.err) == (2, True)
    said = Said(capsys, "jobs", "--url", "file:///etc/passwd")
    assert (said.code, "no address of a server" in said.err) == (2, True)


def test_a_study_is_submitted_listed_and_cancelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.yaml").write_text(json.dumps(STUDY))
    with server(tmp_path, f"sqlite:///{tmp_path / 'x.db'}", "--no-worker", "--token-file", "t") as running:
        monkeypatch.setenv("PAREDOWN_URL", running.url)
        monkeypatch.setenv("PAREDOWN_TOKEN", running.token("alice", "submit"))
        said = Said(capsys, "submit", str(tmp_path / "s.yaml"), "--study", "mine", "--trials", "7")
        assert (said.code, said.out) == (0, "mine  queued, number 1 in the queue\n"), said.err
        said = Said(capsys, "submit", str(tmp_path / "s.yaml"), "--study", "mine")
        assert said.code == 2
        assert "study 'mine' exists; extend or retry it" in said.err
        (listed,) = Said(capsys, "jobs", "--json").document()["studies"]
        assert (listed["study"], listed["trials"], listed["position"]) == ("mine", 7, 1)
        assert "0 of 7" in Said(capsys, "jobs").out
        assert Said(capsys, "cancel", "mine").out == "mine  cancelled\n"
        said = Said(capsys, "cancel", "mine")
        assert said.code == 2
        assert "study 'mine' is cancelled; cancel is possible when it is queued or running or paused" in said.err
        assert Said(capsys, "logs", "mine", "--follow").out == "", "it never ran, and rests"
        assert Said(capsys, "logs", "yours").err == "paredown: no study 'yours'\n"
