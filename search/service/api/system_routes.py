"""Routes about the server itself: whether it lives, what it counts, and its document of the API."""

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from paredown.search.service.api.access import PROBLEMS, needs
from paredown.search.service.service import Service
from paredown.studies.access.tokens import Token
from paredown.studies.queue.waiting import WAITING_FOR_DEVICE

Reader = Annotated[Token, Depends(needs("read"))]
Administrator = Annotated[Token, Depends(needs("admin"))]
STATES = ("queued", WAITING_FOR_DEVICE, "running", "paused", "cancelled", "failed", "done")


def system_routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["server"], responses=PROBLEMS)

    @router.get("/health")
    def health() -> dict[str, str]:
        """Say that the server lives; the one answer that needs no token."""
        return {"status": "ok"}

    @router.get("/v1/ready")
    def ready(token: Reader) -> dict[str, Any]:
        """Say whether the database answers, and how many studies run."""
        del token
        states = Counter(job.state for job in service.jobs.all())
        return {"status": "ok", "running": states["running"], "queued": states["queued"]}

    @router.get("/v1/metrics", response_class=PlainTextResponse)
    def metrics(token: Administrator) -> str:
        """Show counts of all owners in the format of Prometheus."""
        del token
        studies = service.overview.all()
        states: Counter[str] = Counter(seen.state for seen in studies)
        trials: Counter[str] = Counter()
        for seen in studies:
            trials.update(seen.figures.counts)
        lines = ["# HELP paredown_jobs Number of studies by state.", "# TYPE paredown_jobs gauge"]
        lines += [f'paredown_jobs{{state="{state}"}} {states[state]}' for state in STATES]
        lines += ["# HELP paredown_trials Number of trials by state.", "# TYPE paredown_trials gauge"]
        lines += [f'paredown_trials{{state="{state}"}} {number}' for state, number in sorted(trials.items())]
        return "\n".join(lines) + "\n"

    @router.get("/v1/audit")
    def audit(token: Administrator, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> dict[str, Any]:
        """List the latest requests that were to change something, the newest first."""
        del token
        return {"entries": service.audit.latest(limit)}

    @router.get("/v1/openapi.json")
    def openapi(token: Reader, request: Request) -> JSONResponse:
        """Describe the API as an OpenAPI document."""
        del token
        return JSONResponse(request.app.openapi())

    return router
