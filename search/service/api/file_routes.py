"""Routes to files: exported models as zip files, and the report."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from paredown.search.service.api.access import PROBLEMS, Responses, StudyName, TrialNumber, needs
from paredown.search.service.model_archive import model_archive
from paredown.search.service.service import Service
from paredown.studies.access.tokens import Token
from paredown.studies.queue.job import Job

Reader = Annotated[Token, Depends(needs("read"))]
Submitter = Annotated[Token, Depends(needs("submit"))]
PAGE: Responses = {200: {"content": {"text/html": {}}}}
ARCHIVE: Responses = {200: {"content": {"application/zip": {}}}}


def file_routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1/studies/{study}", tags=["files"], responses=PROBLEMS)

    @router.get("/report", response_class=FileResponse, responses=PAGE)
    def report(token: Reader, study: StudyName) -> FileResponse:
        """Download the report, one self-contained page."""
        return report_file(service, service.find(token, study), study)

    @router.get("/models/{trial}", response_class=FileResponse, responses=ARCHIVE)
    def model(token: Reader, study: StudyName, trial: TrialNumber) -> FileResponse:
        """Download an exported model as a zip file."""
        job = service.find(token, study)
        archive = model_archive(Path(job.folder, "models"), trial)
        return attached(archive, f"{study}-trial-{trial:04d}.zip", "application/zip")

    @router.post("/models/{trial}/export")
    def export(token: Submitter, study: StudyName, trial: TrialNumber) -> dict[str, Any]:
        """Export a model that the end of the search did not, which measures its accuracy on the test images."""
        job = service.find(token, study)
        service.begun(job)
        service.command("export", job.stored_name, "--trial", str(trial), "--out", str(Path(job.folder, "models")))
        return {"study": study, "trial": trial, "model": f"models/{trial}"}

    return router


def report_file(service: Service, job: Job, name: str) -> FileResponse:
    """Return the report of a study under a name; a process of its own writes it."""
    service.begun(job)
    with tempfile.NamedTemporaryFile(prefix="paredown-report-", suffix=".html", delete=False) as opened:
        target = Path(opened.name)
    service.command("report", job.stored_name, "--out", str(target))
    return attached(target, f"{name}.html", "text/html")


def attached(file: Path, name: str, kind: str) -> FileResponse:
    """Send a temporary file, and delete it then."""
    return FileResponse(file, filename=name, media_type=kind, background=BackgroundTask(file.unlink))
