"""Every route of the application, also those of what is mounted on it, before and behind the guard.

The routes are taken from the application itself, so that nobody can add one that these tests do not know.
"""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from fastapi import FastAPI
from servers import STUDY
from service_routes import METHODS, ask, detail, filled, same, walk
from sqlalchemy import insert
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from paredown.search.service.api.application import api, application
from paredown.search.service.held_upload import HeldUploads
from paredown.search.service.rate_limit import RateLimit
from paredown.search.service.service import MAX_QUEUED, Service
from paredown.search.service.settings import Settings
from paredown.studies.database import open_storage
from paredown.studies.tables import JobRow

OPEN = {"/health", "/sign-in"}
OPEN_FOLDER = "/assets/"
"""What this test lets be reached without a token; the guard's own list is not asked."""


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(Settings(f"sqlite:///{tmp_path / 'routes.db'}", tmp_path / "out"))


@pytest.fixture
def guarded(service: Service) -> HeldUploads:
    return application(service)


def addresses() -> Iterator[str]:
    """Yield addresses of clients: each may guess a few times only."""
    number = 0
    while True:
        number += 1
        yield f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def found(app: Any) -> list[tuple[str, str]]:
    return [(method, filled(path)) for method, path in walk(app.routes)]


def test_the_walk_finds_routes_of_every_kind() -> None:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/one/{study}", lambda study: study, methods=["DELETE"])

    def dashboard(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    app.mount("/wsgi", dashboard)
    app.router.routes.append(Mount("/pages", Starlette(routes=[Route("/inner", lambda r: PlainTextResponse("x"))])))
    paths = found(app)
    assert ("DELETE", "/one/digits") in paths
    assert {("GET", "/wsgi/anything"), ("POST", "/wsgi/"), ("GET", "/pages/inner")} <= set(paths)


def test_the_walk_finds_what_the_document_describes(service: Service) -> None:
    app = api(service)
    described = {(m.upper(), filled(path)) for path, methods in app.openapi()["paths"].items() for m in methods}
    assert len(described) >= 20
    assert described <= set(found(app))


@pytest.mark.parametrize("kind", ["none", "unknown", "malformed", "expired", "revoked"])
def test_no_route_answers_without_a_token_that_is_valid(service: Service, guarded: HeldUploads, kind: str) -> None:
    """Access control: 401 on every route, for every reason for which a token is no token."""
    token = {
        "none": "",
        "unknown": f"pd_{'0' * 12}_{secrets.token_urlsafe(32)}",
        "malformed": "' OR 1=1--",
        "expired": service.tokens.create("t", "alice", ["admin"], -1.0),
        "revoked": service.tokens.create("t", "alice", ["admin"]),
    }[kind]
    if kind == "revoked":
        service.tokens.revoke(token.split("_")[1])
    clients = addresses()
    asked = [*found(api(service)), *((method, "/no/such/path") for method in METHODS)]
    reached = {
        (method, path, status)
        for method, path in asked
        if (status := ask(guarded, method, path, token, client=next(clients))[0]) != 401
    }
    assert {path for _, path, _ in reached if not path.startswith(OPEN_FOLDER)} == OPEN
    assert {status for _, _, status in reached} <= {200, 404, 405}


@pytest.mark.parametrize("path", ["../v1/studies", "..%2fv1/studies", "/v1/studies", "..", "../health/../v1/studies"])
def test_the_open_folder_leads_to_nothing_else(guarded: HeldUploads, path: str) -> None:
    for method in METHODS:
        assert ask(guarded, method, f"/assets/{path}")[0] in (404, 405)


def test_no_route_changes_anything_for_a_reader(service: Service, guarded: HeldUploads) -> None:
    reader = service.tokens.create("t", "alice", ["read"])
    changing = [(m, path) for m, path in found(api(service)) if m not in ("GET", "HEAD", "OPTIONS")]
    api_alone = [one for one in changing if one[1].startswith("/v1/")]
    assert len(api_alone) >= 11
    assert {ask(guarded, method, path, reader)[0] for method, path in api_alone} == {403}
    pages = {(method, path): ask(guarded, method, path, reader)[0] for method, path in changing if "/v1/" not in path}
    expected = {("POST", "/sign-in"): 401, ("POST", "/sign-out"): 303, ("POST", "/_dash-update-component"): 400}
    assert expected.items() <= pages.items()
    assert {status for one, status in pages.items() if one not in expected} <= {405}


STEPS = ("/", "\\")
OUT = [
    "..",
    *(f"..{step}..{step}canary" for step in STEPS),
    "%2e%2e%2fcanary",
    "..%2fcanary",
    "%252e%252e%252fcanary",
    "..%5c..%5ccanary",
    "%2fetc%2fpasswd",
    "/etc/passwd",
    "\\\\host\\share\\canary",
    "canary\0",
    "canary%00.txt",
    "..;/canary",
    "%c0%ae%c0%ae/canary",
    "\u2025/canary",
    "file:///etc/passwd",
    "x" * 5000,
]


@pytest.mark.parametrize("out", OUT, ids=range(len(OUT)))
def test_no_route_leads_out_of_its_folder(service: Service, guarded: HeldUploads, tmp_path: Path, out: str) -> None:
    """Path traversal in every encoding, in place of every part of a path that is a parameter."""
    (tmp_path / "canary").write_text("the canary")
    (tmp_path / "canary.txt").write_text("the canary")
    service.jobs.add("alice", "digits", {"study": "digits"}, str(tmp_path / "out/alice/digits"))
    token = service.tokens.create("t", "alice", ["admin"])
    templates = sorted({(m, path) for m, path in walk(api(service).routes) if "{" in path})
    assert len(templates) >= 15
    for method, template in templates:
        for study, value in ((out, "0"), ("digits", out)):
            path = filled(template, value.replace("\\", "\\\\"), study.replace("\\", "\\\\"))
            if path == filled(template):  # it has no such parameter
                continue
            status, body = ask(guarded, method, path, token)
            assert status in (200, 204, 303, 307, 400, 404, 405, 422), (method, path, status)
            if status in (200, 204):  # the frame of the pages, the same for every address
                assert same(body) == same(ask(guarded, method, filled(template), token)[1]), (method, path)
            assert b"the canary" not in body
            assert b"root:" not in body
    assert (tmp_path / "canary").exists()


def test_an_unknown_study_and_one_of_another_owner_are_answered_alike(
    service: Service, guarded: HeldUploads, tmp_path: Path
) -> None:
    """Isolation of owners, on every route that names a study: the same status and the same body."""
    service.jobs.add("alice", "digits", {"study": "digits"}, str(tmp_path / "out/alice/digits"))
    mallory = service.tokens.create("t", "mallory", ["submit"])
    compared, frame = 0, same(ask(guarded, "GET", "/", mallory)[1])
    for method, template in walk(api(service).routes):
        if "{study" not in template:
            continue
        theirs = ask(guarded, method, filled(template), mallory)
        nowhere = ask(guarded, method, filled(template, study="digitz"), mallory)
        assert theirs[0] == nowhere[0], (method, template)
        assert theirs[0] in (404, 405, 422) or same(theirs[1]) == frame, (method, template, theirs)
        assert same(theirs[1]) == same(nowhere[1]).replace(b"digitz", b"digits")
        compared += theirs[0] == 404
    assert compared >= 12
    assert service.jobs.find("alice", "digits") is not None


def test_a_token_that_asks_too_often_is_slowed_down_and_no_other(service: Service, guarded: HeldUploads) -> None:
    token, other = (service.tokens.create("t", "alice", ["read"]) for _ in range(2))
    guard: Any = guarded._application
    guard._requests = RateLimit(per_s=0, burst=2)
    said = [ask(guarded, "GET", "/v1/studies/digits", one)[0] for one in (token, token, token, other)]
    assert said == [404, 404, 429, 404]


@pytest.mark.parametrize(
    "name", ["digi%25", "digi%", "d_gits", "digit_", "' OR '1'='1", "digits' --", "DIGITS", "d\u0131gits"]
)
def test_a_name_is_compared_as_it_is(service: Service, guarded: HeldUploads, tmp_path: Path, name: str) -> None:
    """Databases: nothing in a name is a pattern or a part of a query."""
    service.jobs.add("alice", "digits", {"study": "digits"}, str(tmp_path / "out/alice/digits"))
    token = service.tokens.create("t", "alice", ["submit"])
    assert ask(guarded, "GET", "/v1/studies/digits", token)[0] == 200
    assert ask(guarded, "GET", f"/v1/studies/{name}", token)[0] == 404
    assert ask(guarded, "DELETE", f"/v1/studies/{name}", token)[0] == 404
    assert service.jobs.find("alice", "digits") is not None


def test_a_document_that_is_nested_without_end_is_refused(
    service: Service, guarded: HeldUploads, tmp_path: Path
) -> None:
    service.jobs.add("alice", "digits", {"study": "digits"}, str(tmp_path / "out/alice/digits"))
    token = service.tokens.create("t", "alice", ["submit"])
    asked = 0
    for method, template in walk(api(service).routes):
        if method not in ("GET", "HEAD", "OPTIONS", "DELETE") and template.endswith(("extend", "retry", "enqueue")):
            for content in (b"[" * 200_000, b'{"knobs":' * 100_000, b'{"trials": 1' + b"0" * 100_000 + b"}"):
                asked += 1
                assert ask(guarded, method, filled(template), token, content)[0] in (400, 422), template
    assert asked >= 9


def test_an_owner_may_let_a_thousand_studies_wait(service: Service, guarded: HeldUploads, tmp_path: Path) -> None:
    names = [{"owner": "alice", "study": f"s{n}"} for n in range(MAX_QUEUED)]
    rows = [
        {**one, "payload": {}, "folder": str(tmp_path), "state": "queued", "created_at": 0.0, "request_digest": ""}
        for one in names
    ]
    engine = open_storage(service.settings.storage).engine
    with engine.begin() as connection:
        connection.execute(insert(JobRow), rows)
    text = json.dumps(STUDY).encode()
    status, body = ask(guarded, "POST", "/v1/studies", service.tokens.create("t", "alice", ["submit"]), text)
    assert (status, detail(body)) == (409, "1000 studies of yours wait already")


def test_refusals_say_why(guarded: HeldUploads) -> None:
    status, body = ask(guarded, "GET", "/v1/studies")
    assert (status, detail(body)) == (401, "needed: the header Authorization: Bearer TOKEN, with a token that is valid")
    status, body = ask(guarded, "GET", "/v1/studies", "pd_mistyped")
    assert (status, detail(body)) == (401, "this token is unknown, expired or revoked")
