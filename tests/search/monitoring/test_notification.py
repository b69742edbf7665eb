"""Messages to services when a search ends, sent to a server on this machine."""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import toy_trials
from commands import Said

from paredown.search.api.run import run_study
from paredown.search.errors import ConfigError
from paredown.search.monitoring.notification import check_url, is_url, shown_url
from paredown.search.monitoring.shell_hooks import run_hook
from paredown.studies.errors import StudyError

pytest.importorskip("apprise")
pytestmark = pytest.mark.filterwarnings("ignore:'\\w+' is deprecated and slated:DeprecationWarning")  # in its services
SECRET = "s3cr3t-t0ken"
SPACE = {"knobs": toy_trials.KNOBS, "steps": ["quantization"]}


class Service:
    """A service that keeps what it is told, and refuses where it is said to."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.answer = 200
        outer = self

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(outer.answer)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"json://me:{SECRET}@127.0.0.1:{self.server.server_port}/{SECRET}"


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("json://127.0.0.1:80/", True),
        ("tgram://123:abc/456", True),
        ("  mailtos://me:x@example.com", True),
        ("curl -d done https://ntfy.example/me", False),
        ("mail -s done me@example.com", False),
        ("./told.sh", False),
        ("/usr/bin/told", False),
        ("", False),
    ],
)
def test_an_address_is_told_from_a_command(text: str, expected: bool) -> None:
    assert is_url(text) is expected


def test_an_address_is_shown_by_its_scheme_alone() -> None:
    assert shown_url(f"slack://{SECRET}/{SECRET}") == "slack://***"


def test_a_service_is_told_what_happened(service: Service, tmp_path: Path) -> None:
    assert run_hook("on_finish", service.url, "toy", "40 trials are done", tmp_path) == ""
    assert run_hook("on_failure", service.url, "toy", "the baseline <failed>", tmp_path) == ""
    titles, texts = zip(*((told["title"], told["message"]) for told in service.told), strict=True)
    assert titles == ("paredown: toy has ended", "paredown: toy has failed")
    assert texts == (f"40 trials are done\n{tmp_path}", f"the baseline <failed>\n{tmp_path}")


def test_a_service_that_refuses_is_remarked_without_secrets(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.answer = 403
    said = run_hook("on_finish", service.url, "toy", "done", tmp_path)
    assert said.startswith("on_finish: json://***: ")
    assert "403" in said
    assert SECRET not in said + "".join(capsys.readouterr())


def test_a_service_that_nobody_answers_for_is_remarked_without_secrets(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = run_hook("on_finish", f"json://{SECRET}@127.0.0.1:1/{SECRET}", "toy", "done", tmp_path)
    assert said.startswith("on_finish: json://***: ")
    assert SECRET not in said + "".join(capsys.readouterr())


def test_a_service_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server takes the connection, and never reads."""
    import socket

    monkeypatch.setattr("paredown.search.monitoring.notification.LIMIT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"json://127.0.0.1:{deaf.getsockname()[1]}/?rto=8"
        assert run_hook("on_finish", url, "toy", "done", tmp_path) == "on_finish: json://*** did not answer within 1 s"


def test_searches_tell_it(service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = {"study": "toy", "task": "digits", "space": SPACE, "on_finish": service.url, "on_failure": service.url}
    where = {"storage": f"sqlite:///{tmp_path}/s.db", "out": tmp_path / "out", "progress": False}
    run_study(study, timeout=0.001, **where)
    with pytest.raises(StudyError):
        run_study(study | {"objectives": ["accuracy", "macs"]}, **where)
    assert [told["title"] for told in service.told] == ["paredown: toy has ended", "paredown: toy has failed"]
    assert service.told[0]["message"].startswith("the time is up\n")
    assert "another objectives" in service.told[1]["message"]
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {"s.db", "search.log"} <= {file.name for file in written}
    assert all(SECRET.encode() not in file.read_bytes() for file in written), "neither in files nor in the database"
    assert SECRET not in "".join(capsys.readouterr())


@pytest.mark.parametrize("url", [f"nosuchservice://{SECRET}", f"tgram://{SECRET}"], ids=["unknown", "half"])
def test_an_address_that_nothing_can_be_sent_to_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"^s\.yaml: on_finish: \w+://\*\*\* is no address of a service") as refused:
        check_url(url, "s.yaml: on_finish")
    assert SECRET not in str(refused.value) + "".join(capsys.readouterr())


def test_without_apprise_a_search_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "apprise", None)
    (tmp_path / "s.yaml").write_text(
        f"study: s\ntask: digits\nobjectives: [accuracy, size_bytes]\non_failure: 'json://{SECRET}.example'\n"
    )
    said = Said(capsys, "search", "s.yaml")
    assert said.code == 2
    assert said.err.strip().splitlines()[-1] == (
        "paredown: s.yaml: on_failure: json://*** needs apprise; install it: pip install 'paredown[notify]'"
    )
    assert SECRET not in said.err
    assert not (tmp_path / "paredown.db").exists(), "nothing is stored"
