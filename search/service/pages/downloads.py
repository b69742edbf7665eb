"""Files for a browser: what the API also gives, which takes no cookies."""

import io
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.responses import FileResponse

from paredown.search.service.api.file_routes import attached, report_file
from paredown.search.service.model_archive import model_archive
from paredown.search.service.service import Service
from paredown.studies.csv_export import write_csv
from paredown.studies.exporters.catalogue import trial_folder


def add_downloads(application: FastAPI, service: Service) -> None:
    """Add the routes, which answer with what the API answers."""
    router = APIRouter(prefix="/download/{study}", include_in_schema=False)

    @router.get("/report")
    def report(request: Request, study: str) -> FileResponse:
        return report_file(service, service.find(request.state.token, study), study)

    @router.get("/models/{trial}/{format_name}")
    def model(request: Request, study: str, trial: int, format_name: str) -> FileResponse:
        job = service.find(request.state.token, study)
        archive = model_archive(Path(job.folder, "models"), trial, format_name)
        return attached(archive, f"{study}-{trial_folder(trial, format_name)}.zip", "application/zip")

    @router.get("/trials.csv")
    def trials(request: Request, study: str) -> Response:
        reader = service.begun(service.find(request.state.token, study))
        text = io.StringIO(newline="")
        write_csv(reader, text)
        headers = {"content-disposition": 'attachment; filename="trials.csv"'}
        return Response(text.getvalue(), media_type="text/csv", headers=headers)

    @application.get("/thumbnail/{dataset}", include_in_schema=False)
    def thumbnail(
        request: Request,
        dataset: str,
        of_class: Annotated[str, Query(alias="class")],
        number: Annotated[int, Query(ge=0, le=1000)] = 0,
    ) -> FileResponse:
        file = service.datasets.thumbnail(request.state.token, dataset, of_class, number)
        return FileResponse(file, media_type="image/png")

    application.include_router(router)
