"""The application: routes, what their errors look like, and the guard before all of them."""

import socket
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from paredown.search.service.api.dataset_routes import dataset_routes
from paredown.search.service.api.device_routes import device_routes
from paredown.search.service.api.file_routes import file_routes
from paredown.search.service.api.result_routes import result_routes
from paredown.search.service.api.steering_routes import steering_routes
from paredown.search.service.api.study_routes import study_routes
from paredown.search.service.api.system_routes import system_routes
from paredown.search.service.dashboard_port import DashboardPort
from paredown.search.service.datasets import DatasetConflict, DatasetNotFound, UploadTooLarge
from paredown.search.service.guard import DATABASE_GONE, Guard
from paredown.search.service.held_upload import HeldUploads, UploadStalled
from paredown.search.service.pages.shell import add_pages
from paredown.search.service.service import Service
from paredown.spaces.errors import ParedownError
from paredown.studies.errors import DatabaseUnusable, StudyNotFound
from paredown.studies.queue.jobs import JobConflict

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
ROUTES = (
    *(study_routes, steering_routes, result_routes, file_routes),
    *(dataset_routes, device_routes, system_routes),
)
UNPROCESSABLE = 422
STATUSES = {
    (StudyNotFound, DatasetNotFound): 404,
    (UploadStalled,): 408,
    (JobConflict, DatasetConflict): 409,
    (UploadTooLarge,): 413,
}
"""Errors with another status code than that of refused input."""


def api(service: Service) -> FastAPI:
    """Return the API without its guard."""
    app = FastAPI(
        title="Paredown",
        version=version("paredown"),
        description="Studies that wait in a queue, run on workers, and give a front of small, fast models.",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        openapi_url=None,  # our own route needs a token
        servers=[{"url": service.settings.root_path or "/"}],  # the guard removes the prefix of a proxy
    )
    for routes in ROUTES:
        app.include_router(routes(service))
    add_pages(app, service)
    app.add_exception_handler(ParedownError, _refused)
    app.add_exception_handler(SQLAlchemyError, _unavailable)
    app.add_exception_handler(RequestValidationError, _invalid)
    return app


def application(service: Service, dashboard: tuple[int, Path] | None = None) -> HeldUploads:
    """Return the API behind its guard, which uploads pass without their bodies.

    Args:
        service: The service.
        dashboard: Port and Unix socket of Optuna's dashboard; None where there is none.
    """
    settings = service.settings
    guarded = api(service) if dashboard is None else DashboardPort(api(service), *dashboard)
    hosts = (*LOOPBACK_NAMES, socket.gethostname(), *settings.hosts)
    guard = Guard(guarded, service.checked_tokens, service.sessions, service.audit, hosts, settings.root_path)
    return HeldUploads(guard, settings.root_path)


def _refused(request: Request, error: Exception) -> JSONResponse:
    """Answer with the message that the command line would show."""
    if isinstance(error, DatabaseUnusable):
        return _unavailable(request, error)
    status = next((code for kinds, code in STATUSES.items() if isinstance(error, kinds)), UNPROCESSABLE)
    return JSONResponse({"detail": str(error)}, status)


def _unavailable(request: Request, error: Exception) -> JSONResponse:
    """Answer without details, which may name the database's address."""
    return JSONResponse({"detail": DATABASE_GONE}, 503)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Answer in one sentence for each value that is not allowed; what was given is not repeated."""
    assert isinstance(error, RequestValidationError)
    lines = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
    return JSONResponse({"detail": "\n".join(lines)}, UNPROCESSABLE)
