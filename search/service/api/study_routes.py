"""Routes that submit, list and show studies."""

import re
from dataclasses import asdict
from typing import Annotated

import yaml
from fastapi import APIRouter, Depends, Header, Query, Request, Response

from paredown.search.errors import ConfigError
from paredown.search.service.api import examples
from paredown.search.service.api.access import PROBLEMS, Responses, StudyName, needs
from paredown.search.service.api.documents import EstimateDocument, StudyDetail, StudyDocument, StudyList
from paredown.search.service.overview import Seen
from paredown.search.service.service import Service
from paredown.studies.access.tokens import Token
from paredown.studies.queue.workers import names_in

Reader = Annotated[Token, Depends(needs("read"))]
Submitter = Annotated[Token, Depends(needs("submit"))]
SUBMITTED: Responses = {200: {"description": "An earlier request with the key made it"}}

STUDY_FILE = {
    "required": True,
    "description": "A study file",
    "content": {
        "application/yaml": {"schema": {"type": "string"}, "example": examples.STUDY_FILE},
        "application/json": {"schema": {"type": "object"}, "example": yaml.safe_load(examples.STUDY_FILE)},
    },
}


async def study_text(request: Request) -> str:
    """Return the body of a request, which is a study file whatever its type is said to be."""
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"the study file is no text: {error}") from None


def study_document(seen: Seen) -> StudyDocument:
    """Return what the API says of a study."""
    job = seen.job
    return StudyDocument(
        study=job.study,
        owner=job.owner,
        state=seen.state,
        stop_requested=job.stop_requested,
        position=seen.position,
        estimate=None if seen.estimate is None else EstimateDocument(**asdict(seen.estimate)),
        needs=sorted(names_in(job.needs)),
        priority=job.priority,
        trials=job.trials,
        counts=seen.figures.counts,
        best=seen.figures.best,
        attempts=job.attempts,
        error=job.error,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def study_routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1/studies", tags=["studies"], responses=PROBLEMS)

    @router.post("", status_code=201, responses=SUBMITTED, openapi_extra={"requestBody": STUDY_FILE})
    def submit(
        token: Submitter,
        response: Response,
        text: Annotated[str, Depends(study_text)],
        file: Annotated[str, Query(max_length=200, description="How messages name the study file")] = "study file",
        name: Annotated[str | None, Query(max_length=100, description="Name, in place of the file's")] = None,
        trials: Annotated[int | None, Query(ge=1, description="Number of trials, in place of the file's")] = None,
        priority: Annotated[int, Query(ge=-100, le=100)] = 0,
        delay_s: Annotated[float, Query(ge=0, le=30 * 86400, description="Seconds before which it does not start")] = 0,
        idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
    ) -> StudyDocument:
        """Submit a study; it is checked as `paredown search` checks its study file, and waits for a worker."""
        given = {key: value for key, value in (("study", name), ("trials", trials)) if value is not None}
        where = re.sub(r"[^\w .-]", "_", file)
        options = {"priority": priority, "delay_s": delay_s, "given": given}
        job, is_new = service.submit(token, text, where, idempotency_key, **options)
        response.status_code = 201 if is_new else 200
        return study_document(service.overview.look(job))

    @router.get("")
    def list_studies(token: Reader) -> StudyList:
        """List your studies; an administrator sees those of all owners."""
        owner = None if token.allows("admin") else token.owner
        return StudyList(studies=[study_document(seen) for seen in service.overview.all(owner)])

    @router.get("/{study}")
    def get_study(token: Reader, study: StudyName) -> StudyDetail:
        """Show a study."""
        job = service.find(token, study)
        search = service.progress(job)["search"]
        return StudyDetail(**study_document(service.overview.look(job)).model_dump(), config=job.payload, search=search)

    return router
