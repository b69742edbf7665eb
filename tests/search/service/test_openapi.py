"""The application answers what its OpenAPI document promises, whatever it is asked, and never with a 500."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
import toy_trials
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from servers import STUDY
from third_driver import IN_TURN
from zip_files import images, zipped

pytest.importorskip("fastapi")
pytest.importorskip("schemathesis")

import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from paredown.search.drivers.catalogue import DRIVERS
from paredown.search.run import search
from paredown.search.service.api.application import application
from paredown.search.service.service import Service
from paredown.search.service.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
KNOWN = {"study": "digits", "dataset": "flowers", "trial": 0, "device": "f746"}
"""Parameters of paths that lead somewhere."""
SLOW = {
    ("POST", "/v1/studies"),
    ("POST", "/v1/studies/{study}/retry"),
    ("POST", "/v1/studies/{study}/enqueue"),
    ("POST", "/v1/studies/{study}/models/{trial}/export"),
    ("GET", "/v1/studies/{study}/report"),
    ("GET", "/v1/studies/{study}/devices"),
    ("GET", "/v1/studies/{study}/select"),
    ("PUT", "/v1/datasets/{dataset}"),
}
"""Requests that may start a process, which loads PyTorch."""


UPLOADS = [zipped(images()), zipped(images("flowers/") | {"flowers/train/cat/../x.png": b""}), b"no zip"]
STUDIES = [json.dumps(STUDY | {"study": "fresh"}).encode(), b"study: [", json.dumps(STUDY | {"trials": "x"}).encode()]
schemathesis.openapi.media_type("application/zip", st.sampled_from(UPLOADS))
schemathesis.openapi.media_type("application/yaml", st.sampled_from(STUDIES))


@schemathesis.serializer("application/zip", "application/yaml")
def as_it_is(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@dataclass
class Promise:
    """A server that has a finished study and a data set, and its document.

    Attributes:
        schema: The document, as schemathesis reads it.
        headers: Headers of a request with a token.
    """

    schema: Any
    headers: dict[str, str]


@pytest.fixture(scope="module")
def promise(tmp_path_factory: pytest.TempPathFactory) -> Promise:
    folder = tmp_path_factory.mktemp("server")
    storage = f"sqlite:///{folder / 'studies.db'}"
    service = Service(Settings(storage, folder, hosts=("testserver",)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DRIVERS, IN_TURN.name, IN_TURN)
        setup = toy_trials.toy_setup(folder, study="alice.digits", driver=IN_TURN.name)
        search(setup, storage, run=toy_trials.good)
    service.jobs.add("alice", "digits", STUDY, str(folder / "out"))
    claimed = service.jobs.claim("w")
    assert claimed is not None
    service.jobs.finish(claimed, "done")
    with service.datasets.place("alice", "flowers") as file:
        file.write_bytes(zipped(images()))
        service.datasets.add("alice", "flowers", file, "0" * 64)
    headers = {"Authorization": f"Bearer {service.tokens.create('test', 'alice', ['admin'])}"}
    app = application(service)
    return Promise(schemathesis.openapi.from_asgi("/v1/openapi.json", app, headers=headers), headers)


def asked(operation: Any, headers: dict[str, str], examples: int) -> dict[int, int]:
    """Ask what the document allows and what it does not; return how often each status code came."""
    modes, names = schemathesis.GenerationMode, {one.name for one in operation.path_parameters}
    known = {name: value for name, value in KNOWN.items() if name in names}
    cases = [
        operation.as_strategy(modes.POSITIVE, path_parameters=known or None, headers=headers),
        operation.as_strategy(modes.POSITIVE, headers=headers),
        operation.as_strategy(modes.NEGATIVE, headers=headers),
    ]
    found: dict[int, int] = {}

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # a failure is shown as it came: to shrink it would ask for minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(cases))
    def ask(case: Any) -> None:
        answer = case.call(headers=headers, timeout=120)
        found[answer.status_code] = found.get(answer.status_code, 0) + 1
        case.validate_response(answer, checks=CHECKS)

    ask()
    return found


def test_every_route_keeps_what_the_document_promises(promise: Promise) -> None:
    operations = [one.ok() for one in promise.schema.get_all_operations()]
    assert len(operations) >= 25
    broken, answers = [], {}
    # Looks come first, while the study is done: what follows its progress then ends at once.
    for operation in sorted(operations, key=lambda one: ("get", "put", "post", "delete").index(one.method)):
        name = operation.method.upper(), operation.path
        try:
            answers[name] = asked(operation, promise.headers, 4 if name in SLOW else 20)
        except (FailureGroup, AssertionError) as failure:
            broken.append(f"{name}: {failure}")
    assert broken == []
    codes = {code for found in answers.values() for code in found}
    assert {200, 201, 204, 404, 409, 422} <= codes, answers
