"""Who reaches the pages: sessions and their cookies, every route of Dash, the policy, a path prefix."""

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from servers import STUDY, Answer, Running, server

pytest.importorskip("dash")

from paredown.search.service.api.application import api
from paredown.search.service.pages.sign_in import _local
from paredown.search.service.service import Service
from paredown.search.service.sessions import COOKIE, Sessions
from paredown.search.service.settings import Settings

HTML = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    with server(folder, f"sqlite:///{folder / 's.db'}", "--no-worker", "--token-file", "t") as found:
        yield found


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *request: Any) -> None:
        return None


def signed_in(running: Running, token: str, path: str = "/sign-in", **headers: str) -> Answer:
    """Send the form; return the answer, which is not followed."""
    body = urllib.parse.urlencode({"token": token}).encode()
    request = urllib.request.Request(running.url + path, data=body, headers={"Origin": base(running), **headers})
    try:
        with urllib.request.build_opener(NoRedirect).open(request, timeout=60) as answer:
            return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read().decode())


def base(running: Running) -> str:
    return "/".join(running.url.split("/")[:3])


def session(running: Running, token: str) -> str:
    """Return the header `Cookie` of a new session."""
    return signed_in(running, token).headers["set-cookie"].partition(";")[0]


def callback(path: str, search: str = "") -> bytes:
    """Return the request of Dash that asks for a page."""
    outputs = [{"id": "page", "property": "children"}, {"id": "header", "property": "children"}]
    outputs.append({"id": "said", "property": "children@97d5cb7b"})
    inputs = [{"id": "url", "property": "pathname", "value": path}]
    state = [{"id": "url", "property": "search", "value": search}]
    return json.dumps({"output": "", "outputs": outputs, "inputs": inputs, "state": state}).encode()


def dash_routes(folder: Path) -> list[tuple[str, str]]:
    app = api(Service(Settings(f"sqlite:///{folder / 'routes.db'}", folder)))
    found = [(route.path, method) for route in app.routes if hasattr(route, "methods") for method in route.methods]
    assert {"/", "/_dash-layout", "/_dash-dependencies", "/_dash-update-component"} <= {path for path, _ in found}
    assert not [route for route in app.routes if "websocket" in type(route).__name__.lower()]
    return found


def test_every_route_of_dash_refuses_who_has_not_signed_in(running: Running, tmp_path: Path) -> None:
    cookies = {"none": "", "made up": f"{COOKIE}={'x' * 43}", "broken": f'{COOKIE}="\\; ;;=', "empty": f"{COOKIE}="}
    reached = []
    for path, method in [*dash_routes(tmp_path), ("/download/digits/report", "GET"), ("/sign-out", "POST")]:
        concrete = path.replace("{package_name}", "dash").replace("{fingerprinted_path:path}", "x.js")
        concrete = concrete.replace("{study}", "digits").replace("{part}", "log").replace("{trial}", "0")
        for kind, cookie in cookies.items():
            for accept in ("*/*", "text/html"):
                body = callback("/") if method == "POST" else None
                headers = {"Cookie": cookie, "Accept": accept, "Content-Type": "application/json"}
                answer = running.ask(concrete, method=method, body=body, **headers)
                if answer.status != 401 or "DashRenderer" in answer.text or '"props"' in answer.text:
                    reached.append((concrete, method, kind, answer.status))
    assert reached == []


def test_what_needs_no_session_holds_nothing_private(running: Running) -> None:
    css = running.ask("/assets/pages.css")
    assert (css.status, css.text[:5]) == (200, ":root")
    for path in (
        "/assets/../_dash-layout",
        "/assets/%2e%2e/_dash-layout",
        "/assets/..%2fshell.py",
        "/assets/../shell.py",
    ):
        assert running.ask(path).status == 404, path
    page = running.ask("/studies/secret-name", **HTML)
    assert (page.status, "Access token" in page.text, "<script" in page.text) == (401, True, False)
    assert running.ask("/v1/studies", **HTML).headers["content-type"] == "application/json", "the API stays an API"


def test_a_page_that_does_not_exist_is_a_page_to_a_browser_and_json_to_a_program(running: Running) -> None:
    cookie = {"Cookie": session(running, running.token("alice", "read"))}
    for path in ("/nowhere", "/studies/a/b/c/d", "/v2"):
        page = running.ask(path, **cookie, **HTML)
        assert (page.status, "DashRenderer" in page.text) == (404, True), path
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert running.ask(path, **cookie).text == '{"detail":"Not Found"}'
    owner = {"Authorization": f"Bearer {running.token('alice', 'read')}"}
    assert running.ask("/v1/nowhere", **owner, **HTML).text == '{"detail":"Not Found"}'
    download = running.ask("/download/nowhere/report", **cookie, **HTML)
    assert (download.status, "no study 'nowhere'" in download.text) == (404, True), "what was said before is kept"
    assert "DashRenderer" not in running.ask("/assets/nowhere.js", **HTML).text, "nobody has signed in"


def test_a_session_has_a_cookie_that_scripts_and_other_sites_cannot_use(running: Running) -> None:
    token = running.token("alice", "read")
    answer = signed_in(running, token, "/sign-in?next=%2Fqueue")
    assert (answer.status, answer.headers["location"]) == (303, "/queue")
    name, *flags = (part.strip() for part in answer.headers["set-cookie"].split(";"))
    assert {flag.lower() for flag in flags} >= {"httponly", "samesite=strict", "path=/"}
    assert "secure" not in answer.headers["set-cookie"].lower()
    assert token.split("_", 2)[2] not in name, "the token stays with the server"
    proxied = signed_in(running, token, Origin=base(running).replace("http:", "https:"))
    assert "secure" in proxied.headers["set-cookie"].lower(), "behind TLS it never goes out in the clear"

    cookie = {"Cookie": name}
    assert running.ask("/", **cookie).status == 200
    assert running.ask("/v1/studies", **cookie).status == 401, "the API takes no cookies"
    assert running.ask("/_dash-layout", **cookie, Origin="http://evil.com").status == 403
    posted = {**cookie, "Content-Type": "application/json"}
    assert (
        running.ask("/_dash-update-component", method="POST", body=callback("/"), **posted, Origin="null").status == 403
    )
    assert signed_in(running, "", "/sign-out", **cookie).headers["location"] == "/sign-in"
    assert running.ask("/", **cookie).status == 401, "signed out on the server, too"


def test_a_token_that_is_refused_opens_no_session(running: Running) -> None:
    for token in ("", "pd_000000000000_" + "a" * 43, running.token("alice", "read", -1.0), "x" * 5000, "\0"):
        answer = signed_in(running, token)
        assert answer.status in (401, 429)
        assert "set-cookie" not in answer.headers
        assert "unknown, expired or revoked" in answer.text
    assert signed_in(running, running.token("alice", "read"), Origin="http://evil.com").status == 403


@pytest.mark.parametrize(
    "wanted",
    ["//evil.com", "/\\evil.com", "https://evil.com", "javascript:alert(1)", "/a\r\nSet-Cookie: x=1", "", "/sign-in"],
)
def test_nobody_is_sent_elsewhere_after_signing_in(running: Running, wanted: str) -> None:
    quoted = urllib.parse.quote(wanted, safe="")
    answer = signed_in(running, running.token("alice", "read"), f"/sign-in?next={quoted}")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert "evil" not in running.ask(f"/sign-in?next={quoted}").text
    assert _local("/studies/a?limit_macs=1.0") == "/studies/a?limit_macs=1.0"


def test_pages_run_no_scripts_but_those_of_this_server(running: Running) -> None:
    page = running.ask("/", Cookie=session(running, running.token("alice", "read")))
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert "'unsafe" not in policy["script-src"]
    assert policy["script-src"].startswith("'self' 'sha256-")
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "//" not in page.text.partition("<body>")[0], "nothing comes from elsewhere"
    assert page.headers["cache-control"] == "no-store"


def test_sessions_end_and_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paredown.search.service.sessions.KEPT", 3)
    sessions = Sessions()
    names = [sessions.open(f"token {n}") for n in range(4)]
    assert [sessions.token(f"{COOKIE}={name}") for name in names] == ["", "token 1", "token 2", "token 3"]
    monkeypatch.setattr("paredown.search.service.sessions.LIFETIME_S", -1.0)
    assert sessions.token(f"{COOKIE}={sessions.open('late')}") == ""
    assert len(set(names)) == 4
    assert min(map(len, names)) >= 43


def test_a_path_prefix_is_kept_in_all_that_pages_refer_to(tmp_path: Path) -> None:
    options = ("--no-worker", "--token-file", "t", "--root-path", "/paredown")
    with server(tmp_path, f"sqlite:///{tmp_path / 's.db'}", *options) as proxied:
        token, inner = proxied.token("alice", "submit"), base(proxied)
        answer = signed_in(proxied, token, "/sign-in?next=%2Fqueue")
        assert answer.headers["location"] == "/paredown/queue"
        assert "path=/paredown/" in answer.headers["set-cookie"].lower()
        cookie = answer.headers["set-cookie"].partition(";")[0]
        for url in (inner, f"{inner}/paredown"):  # a proxy may remove the prefix or not
            proxied.url = url
            page = proxied.ask("/queue", Cookie=cookie)
            assert page.status == 200
            config = json.loads(page.text.partition('type="application/json">')[2].partition("</script>")[0])
            assert config["requests_pathname_prefix"] == "/paredown/"
            assert 'href="/assets' not in page.text
            assert proxied.ask("/_dash-layout", Cookie=cookie).status == 200
            assert proxied.ask("/assets/pages.css").status == 200
        proxied.url = f"{inner}/paredownish"
        assert proxied.ask("/queue", Cookie=cookie).status == 404


def test_the_server_with_pages_loads_no_torch_and_stays_small(running: Running) -> None:
    running.client("erin").submit(STUDY)
    cookie = session(running, running.token("erin", "read"))
    for path in ("/", "/new", "/devices", "/queue", "/studies/digits"):
        assert running.ask(path, Cookie=cookie).status == 200
    process = psutil.Process(running.process.pid)
    assert not [m.path for m in process.memory_maps() if "torch" in m.path or "raylet" in m.path]
    assert process.memory_info().rss < 400e6
