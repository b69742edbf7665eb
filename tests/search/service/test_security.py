"""Who is let in, to what, and what the answers carry; against a real server, without a worker."""

import json
import os
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from commands import paredown
from servers import STUDY, Running, server, start

pytest.importorskip("fastapi")

from paredown.search.service.api.application import api
from paredown.search.service.service import Service
from paredown.search.service.settings import Settings

TEXT = json.dumps(STUDY).encode()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    storage = f"sqlite:///{folder / 'studies.db'}"
    with server(folder, storage, "--no-worker", "--token-file", "admin-token") as found:
        yield found


@pytest.fixture(scope="module")
def submitted(running: Running) -> Running:
    """A server with a study of alice's that waits."""
    running.client("alice").submit(STUDY)
    return running


JUNK = ["", "-1", "1e999", "nan", "9" * 400, "\\udcff", "%00", "{}", "a=b=c", "size_bytes=", "accuracy=\u00e9", "'; --"]


def test_no_request_breaks_the_server(submitted: Running, tmp_path: Path) -> None:
    """Every route with values that make no sense for each of its parameters and for its body."""
    token, broken, asked = submitted.token("alice", "admin"), [], 0
    app = api(Service(Settings(f"sqlite:///{tmp_path / 'routes.db'}", tmp_path)))
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"]
            assert operation["description"]
            if method == "delete" or path.endswith(("/progress", "/cancel", "/pause")):
                continue  # the study is still needed; the stream of one that waits has no end
            named = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
            for junk in JUNK:
                text = urllib.parse.quote(junk, errors="surrogatepass")
                concrete = path.replace("{study}", "digits").replace("{trial}", text or "0")
                query = "&".join(f"{name}={text}" for name in named)
                body = junk.encode(errors="replace") if method == "post" and path != "/v1/studies" else None
                answer = submitted.ask(f"{concrete}?{query}", token, method.upper(), body)
                asked += 1
                if answer.status >= 500:
                    broken.append((method, concrete, query, answer.text))
    assert broken == []
    assert asked > 150
    assert submitted.ask("/v1/studies/digits", token).document()["state"] == "queued"


def test_a_scope_that_does_not_suffice_is_told_so(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    with server(tmp_path, storage, "--no-worker", "--token-file", "t") as fresh:
        reader, submitter = fresh.token("alice", "read"), fresh.token("alice", "submit")
        refused = fresh.ask("/v1/studies", reader, "POST", TEXT)
        assert (refused.status, refused.document()["detail"]) == (403, "this token allows read; needed: submit")
        for method, path in (("DELETE", "/v1/studies/digits"), ("POST", "/v1/studies/digits/cancel")):
            assert fresh.ask(path, reader, method, b"").status == 403
        assert fresh.ask("/v1/metrics", submitter).status == 403
        assert fresh.ask("/v1/audit", submitter).status == 403
        assert fresh.ask("/v1/studies", reader).status == 200
        assert fresh.ask("/v1/studies").status == 401


def test_someone_elses_study_looks_like_none(submitted: Running) -> None:
    mallory, alice = submitted.token("mallory", "submit"), submitted.token("alice", "read")
    assert submitted.ask("/v1/studies/digits", alice).status == 200
    asked = [
        ("GET", part) for part in ("", "/trials", "/front", "/select", "/log", "/progress", "/report", "/models/0")
    ]
    asked += [("POST", part) for part in ("/pause", "/cancel", "/resume", "/models/0/export")]
    for method, part in [*asked, ("DELETE", "")]:
        body = b"" if method == "POST" else None
        theirs = submitted.ask(f"/v1/studies/digits{part}", mallory, method, body)
        nowhere = submitted.ask(f"/v1/studies/digitz{part}", mallory, method, body)
        assert theirs.status == nowhere.status == 404, (method, part)
        assert theirs.text == nowhere.text.replace("digitz", "digits")
        assert submitted.ask(f"/v1/studies/alice.digits{part}", mallory, method, body).status == 404
    assert submitted.ask("/v1/studies", mallory).document() == {"studies": []}
    assert submitted.ask("/v1/studies/alice.digits", submitted.token("root", "admin")).status == 200
    assert submitted.ask("/v1/studies/digits", alice).document()["state"] == "queued"


@pytest.mark.parametrize("host", ["evil.com", "localhost.evil.com", "127.0.0.1.evil.com:8000", ""])
def test_another_host_is_refused(running: Running, host: str) -> None:
    assert running.ask("/v1/studies", running.token("alice", "read"), Host=host).status == 400


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_page_of_another_origin_is_refused(running: Running, method: str) -> None:
    token = running.token("alice", "admin")
    for origin in ("http://evil.com", "null", "http://localhost:1"):
        assert running.ask("/v1/studies", token, method, Origin=origin).status == 403
    assert running.ask("/v1/studies", token, Origin=running.url).status == 200


def test_a_body_that_is_too_long_is_refused(running: Running) -> None:
    token = running.token("alice", "submit")
    host, port = running.url.removeprefix("http://").split(":")
    for promised in (1_000_001, 2**30):  # refused at its promise: what nobody reads would break the connection
        with socket.create_connection((host, int(port)), timeout=30) as raw:
            head = f"POST /v1/studies HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
            raw.sendall(f"{head}Content-Length: {promised}\r\n\r\n".encode())
            assert b" 413 " in raw.recv(200)
    with socket.create_connection((host, int(port)), timeout=30) as raw:  # a body that promises no length
        head = f"POST /v1/studies HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        raw.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(10):
            raw.sendall(b"186a0\r\n" + b" " * 100_000 + b"\r\n")
        raw.sendall(b"1\r\n \r\n")
        assert b" 413 " in raw.recv(200)


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../../etc/passwd",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "%252e%252e%252fetc",
        "..%5c..%5cetc",
        "%2fetc%2fpasswd",
        "digits%00",
        "' OR 1=1--",
        "digi%25",
        "x" * 3000,
        "<img src=x onerror=alert(1)>",
    ],
)
def test_a_name_that_is_no_study_leads_nowhere(submitted: Running, name: str) -> None:
    token = submitted.token("alice", "read")
    path = name.replace(" ", "%20").replace("<", "%3c").replace(">", "%3e")
    for rest in ("", "/models/0", "/log", "/report"):
        answer = submitted.ask(f"/v1/studies/{path}{rest}", token)
        assert answer.status in (404, 405), answer.text
        assert "root:" not in answer.text


def test_answers_carry_the_headers_that_browsers_obey(running: Running) -> None:
    for path, token in (("/v1/studies", running.token("alice", "read")), ("/v1/studies", "")):
        headers = running.ask(path, token).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_changes_are_written_down_without_secrets(submitted: Running) -> None:
    token = submitted.token("bob", "submit")
    submitted.ask("/v1/studies/nothing/cancel", token, "POST", b"")
    text = submitted.ask("/v1/audit", submitted.token("root", "admin")).text
    (entry,) = [one for one in json.loads(text)["entries"] if one["path"].endswith("nothing/cancel")]
    assert (entry["owner"], entry["method"], entry["status"]) == ("bob", "POST", 404)
    assert entry["token"] == token.split("_")[1]
    assert token.split("_", 2)[2] not in text


def test_guessing_tokens_is_slowed_down(tmp_path: Path) -> None:
    with server(tmp_path, f"sqlite:///{tmp_path / 's.db'}", "--no-worker", "--token-file", "t") as fresh:
        said = [fresh.ask("/v1/studies", f"guess{n}").status for n in range(60)]
        assert said[0] == 401
        assert said[-1] == 429
        assert fresh.ask("/health").status == 200


def test_the_first_token_goes_into_a_file_of_its_owner_alone(running: Running) -> None:
    file = Path(running.storage.removeprefix("sqlite:///")).with_name("admin-token")
    assert file.stat().st_mode & 0o777 == 0o600
    assert running.ask("/v1/metrics", file.read_text().strip()).status == 200


def test_a_server_listens_to_this_machine_alone_and_loads_no_torch(running: Running) -> None:
    process = psutil.Process(running.process.pid)
    listening = [c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
    assert listening == ["127.0.0.1"]
    maps = {Path(m.path).name for m in process.memory_maps()}
    assert not [name for name in maps if "torch" in name or "raylet" in name]
    assert any(name.startswith("libc") for name in maps), "the list says what is loaded"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_another_address_without_a_token_is_refused(tmp_path: Path, host: str) -> None:
    done = paredown(tmp_path, "serve", "--host", host, "--port", "0", "--storage", f"sqlite:///{tmp_path / 's.db'}")
    assert done.returncode == 2
    assert "there is no token yet; make one first: paredown token create" in done.stderr


def test_a_port_that_is_taken_and_a_bad_token_file_are_said(running: Running, tmp_path: Path) -> None:
    port = running.url.rpartition(":")[2]
    done = paredown(tmp_path, "serve", "--port", port, "--no-worker")
    assert (done.returncode, "--port 0 takes a free port" in done.stderr) == (2, True)
    done = paredown(tmp_path, "serve", "--port", "0", "--no-worker", "--token-file", "no/such/file")
    assert (done.returncode, "--token-file no/such/file: No such file" in done.stderr) == (2, True)
    started = start("token", "list", "--json", folder=tmp_path)
    assert json.loads(started.communicate(timeout=60)[0]) == {"tokens": []}, "a token that nobody saw is none"


def test_behind_a_proxy_both_forms_of_the_path_are_known(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 's.db'}"
    options = ("--no-worker", "--token-file", "t", "--root-path", "/paredown", "--public-host", "models.example.com")
    with server(tmp_path, storage, *options) as proxied:
        base, token = proxied.url.removesuffix("/paredown"), proxied.token("alice", "read")
        for url in (base, proxied.url):
            proxied.url = url
            assert proxied.ask("/v1/studies", token, Host="models.example.com").status == 200
            assert proxied.ask("/v1/studies").status == 401
            assert proxied.ask("/health").status == 200


def test_the_password_of_the_database_is_nowhere(postgres: str, tmp_path: Path) -> None:
    secret = "hunter2secret"
    address = f"postgresql+psycopg://paredown:{secret}@127.0.0.1:1/none"
    done = paredown(tmp_path, "serve", "--port", "0", "--storage", address)
    assert done.returncode == 2
    assert secret not in done.stdout + done.stderr


def test_the_server_module_imports_neither_torch_nor_ray() -> None:
    modules = ", ".join(f"paredown.search.service.{name}" for name in ("server", "api.application", "worker"))
    code = f"import sys, {modules}; print({{'torch', 'ray'}} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert shown.stdout.strip() == "set()"
