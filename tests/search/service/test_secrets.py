"""Passwords and tokens stand nowhere but where they belong, while a study runs and after it has failed and ended."""

import json
import secrets
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from command_lines import command_lines
from servers import STUDY, Running, server
from sqlalchemy import make_url

pytest.importorskip("fastapi")


def files_with(folder: Path, secret: str) -> list[str]:
    """Return the files below a folder that hold a secret, plain or quoted."""
    return [str(file.relative_to(folder)) for file in folder.rglob("*") if holds(file, secret.encode())]


def holds(file: Path, secret: bytes) -> bool:
    if not file.is_file() or file.is_symlink():
        return False
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(secret in archive.read(name) for name in archive.namelist()):
                return True
    return secret in file.read_bytes()


def arguments(process: "subprocess.Popen[str]") -> str:
    """Return the arguments of a process and of all that it started, which every user of the machine can read."""
    return "\n".join(" ".join(words) for words in command_lines(process.pid))


QUICK = ("", "/trials", "/front", "/select", "/select?max=x", "/log", "/log?kind=output", "/models/7")


def answers(running: Running, token: str, study: str, *more: str) -> str:
    """Return what a server says of a study, of itself, and of requests that make no sense."""
    paths = [f"/v1/studies/{study}{part}" for part in (*QUICK, *more)]
    paths += ["/v1/studies", "/v1/ready", "/v1/metrics", "/v1/audit?limit=1000", "/v1/openapi.json", "/nowhere"]
    return "\n".join(str(vars(running.ask(path, token))) for path in paths)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_password_of_the_database_and_tokens_stay_secret(postgres: str, tmp_path: Path) -> None:
    password, owner = f"hunter2{secrets.token_hex(8)}", f"o{secrets.token_hex(4)}"
    url = make_url(postgres).set(password=password)  # the server of the tests asks nobody for one
    storage = url.render_as_string(hide_password=False)
    assert password in storage
    Running("", storage, None).token("someone", "admin")  # type: ignore[arg-type]
    with server(tmp_path, storage) as running:
        token, admin = running.token(owner, "submit"), running.token("root", "admin")
        client = running.client(owner)
        study = client.submit(STUDY | {"trials": 3})
        seen, during = "", ""
        for _ in study.progress():
            seen += arguments(running.process) + "\n"
            during += answers(running, admin, f"{owner}.digits")
        assert study.wait(300) == "done", study.details()
        assert f"{owner}.digits" in seen, "the process of the search was among them"
        for query in (f"?token={token}", f"?access_token={token}", "/cancel"):
            running.ask(f"/v1/studies/digits{query}", token, "POST", b"")
        study.export(out=tmp_path / "exported")
        said = during + answers(running, admin, f"{owner}.digits", "/report") + answers(running, token, "digits")
        assert "trial 1 done" in said
        assert "/v1/studies/digits/cancel" in said, "the audit log was among the answers"
    secret = token.split("_", 2)[2]
    for hidden in (password, secret, admin.split("_", 2)[2]):
        assert hidden not in seen
        assert hidden not in said
        assert files_with(tmp_path, hidden) == []
    manifests = list(tmp_path.rglob("manifest.json"))
    assert manifests, "models were exported"
    assert (tmp_path / "standard-error").exists()
    shutil.rmtree(tmp_path / "paredown-out")


def test_a_token_is_in_no_file_of_the_server_but_that_which_it_was_written_to(tmp_path: Path) -> None:
    with server(tmp_path, f"sqlite:///{tmp_path / 's.db'}", "--no-worker", "--token-file", "t") as running:
        secret = (tmp_path / "t").read_text().strip().split("_", 2)[2]
        token = (tmp_path / "t").read_text().strip()
        assert running.ask("/v1/studies", token, "POST", json.dumps(STUDY).encode()).status == 201
        assert running.ask(f"/v1/studies/digits/cancel?token={token}", token, "POST", b"").status == 200
        audit = running.ask("/v1/audit", token).text
        assert secret not in arguments(running.process) + audit
        assert "/cancel" in audit
    assert files_with(tmp_path, secret) == ["t"]
    (tmp_path / "leak.zip").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "leak.zip", "w") as archive:
        archive.writestr("inside", secret)
    assert files_with(tmp_path, secret) == ["t", "leak.zip"] or files_with(tmp_path, secret) == ["leak.zip", "t"]
