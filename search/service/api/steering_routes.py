"""Routes that steer a study that was submitted: pause, resume, extend, retry, enqueue, cancel, delete."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from paredown.search.service.api.access import PROBLEMS, StudyName, needs
from paredown.search.service.api.documents import Candidate, Extension, Retry, StudyDocument
from paredown.search.service.api.study_routes import study_document
from paredown.search.service.service import Service
from paredown.studies.access.tokens import Token
from paredown.studies.queue.job import Job

Submitter = Annotated[Token, Depends(needs("submit"))]


def steering_routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1/studies/{study}", tags=["studies"], responses=PROBLEMS)

    def document(job: Job) -> StudyDocument:
        return study_document(service.overview.look(job))

    @router.post("/pause")
    def pause(token: Submitter, study: StudyName) -> StudyDocument:
        """Stop a study within a batch, with all that is finished saved."""
        return document(service.jobs.stop(service.find(token, study), "pause"))

    @router.post("/cancel")
    def cancel(token: Submitter, study: StudyName) -> StudyDocument:
        """End a study within a batch; what is finished stays."""
        return document(service.jobs.stop(service.find(token, study), "cancel"))

    @router.post("/resume")
    def resume(token: Submitter, study: StudyName) -> StudyDocument:
        """Let a study that was paused, cancelled or failed go on."""
        allowed = ("paused", "cancelled", "failed")
        return document(service.jobs.requeue(service.find(token, study), "to resume it", allowed))

    @router.post("/extend")
    def extend(token: Submitter, study: StudyName, wanted: Extension) -> StudyDocument:
        """Let a study go on to a larger number of trials."""
        return document(service.extend(service.find(token, study), wanted.trials))

    @router.post("/retry")
    def retry(token: Submitter, study: StudyName, wanted: Retry) -> StudyDocument:
        """Run the failed trials of a study again, all or those of some causes."""
        return document(service.retry(service.find(token, study), tuple(wanted.causes)))

    @router.post("/enqueue")
    def enqueue(token: Submitter, study: StudyName, wanted: Candidate) -> dict[str, Any]:
        """Put a candidate first in line; a study that rests runs it when it goes on."""
        return service.enqueue(service.find(token, study), wanted.knobs, wanted.like)

    @router.delete("", status_code=204)
    def delete(token: Submitter, study: StudyName) -> None:
        """Delete a study that does not run, with its trials and its files."""
        service.delete(service.find(token, study))

    return router
