"""Routes to what studies have found and do: trials, front, the right model, log and progress."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from paredown.evaluators.devices.catalogue import device_ids
from paredown.search.api.limits import limits_of
from paredown.search.errors import ConfigError, check_name
from paredown.search.monitoring.search_log import LOG_FILE
from paredown.search.service.api import examples
from paredown.search.service.api.access import PROBLEMS, StudyName, answered, needs
from paredown.search.service.api.documents import LogPart, TrialList
from paredown.search.service.service import RESTING, Service
from paredown.search.service.worker import OUTPUT_FILE
from paredown.studies.access.tokens import Token
from paredown.studies.choice import choose
from paredown.studies.reading import SORTED_BY, STATES
from paredown.studies.summary import model_summary

Reader = Annotated[Token, Depends(needs("read"))]
LOG_BYTES = 1_000_000
"""Number of bytes of a log that one answer holds."""
PROGRESS_S = 1.0
"""Seconds between two looks at a study whose progress is followed."""
SILENCE_S = 15.0
"""Seconds without an event after which a comment shows that the connection lives."""
EVENTS = answered(examples.PROGRESS, "One event for each change", "text/event-stream")


def result_routes(service: Service) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1/studies/{study}", tags=["results"], responses=PROBLEMS)

    @router.get("/trials", response_model=TrialList)
    def trials(
        token: Reader,
        study: StudyName,
        state: Annotated[list[str] | None, Query(description="States; may be repeated")] = None,
        feasible: bool | None = None,
        sort: Annotated[str, Query(description=f"{', '.join(SORTED_BY)}, or a metric of the study")] = "number",
        order: Literal["asc", "desc"] = "asc",
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        """List trials, page by page."""
        reader = service.begun(service.find(token, study))
        for one in state or ():
            check_name(one, dict.fromkeys(STATES), "state")
        allowed = [*SORTED_BY, *reader.objective_names]
        if sort not in allowed:
            raise ConfigError(f"sort: {sort!r} is not allowed; allowed: {', '.join(allowed)}")
        options = {"sort": sort, "descending": order == "desc", "offset": offset, "limit": limit}
        total, page = reader.page(states=state or (), feasible=feasible, **options)  # type: ignore[arg-type]
        return Response(TrialList(total=total, trials=page).model_dump_json(), media_type="application/json")

    @router.get("/front", responses=answered(examples.FRONT, "The document of `paredown front --json`"))
    def front(token: Reader, study: StudyName) -> Response:
        """Show the Pareto front, as `paredown front --json` does."""
        job = service.find(token, study)
        known = service.models.of(job, service.begun(job))
        return Response(known.front_text(study), media_type="application/json")

    @router.get("/select", responses=answered(examples.SELECT, "The document of `paredown select --json`"))
    def selected(
        token: Reader,
        study: StudyName,
        largest: Annotated[list[str] | None, Query(alias="max", examples=[["size_bytes=60k"]])] = None,
        smallest: Annotated[list[str] | None, Query(alias="min", examples=[["accuracy=0.95"]])] = None,
        device: Annotated[str | None, Query(description="A name that `paredown device list` lists")] = None,
    ) -> dict[str, Any]:
        """Choose the best model that keeps the limits, each METRIC=VALUE, and name the limits that bind."""
        largest_values, smallest_values = _pairs(largest, "max"), _pairs(smallest, "min")
        job = service.find(token, study)
        reader = service.begun(job)
        if device is not None:
            check_name(device, dict.fromkeys(device_ids()), "device")
            given = [
                f"--{option}={one}" for option, texts in (("max", largest), ("min", smallest)) for one in texts or ()
            ]
            found = service.command("select", job.stored_name, "--device", device, "--json", *given)
            return {**json.loads(found), "study": study}
        known = service.models.of(job, reader)
        limits = limits_of(largest_values, smallest_values, known.baseline)
        objectives = known.reader.objectives  # limits that follow from the baseline are known to it
        choice = choose(known.shortlist.among(objectives, limits), objectives, limits)
        return {
            "study": study,
            "limits": {one.metric.name: one.limit for one in limits},
            "model": model_summary(choice.model, known.baseline, "", known.fp32_models),
            "next_best": choice.next_best.trial if choice.next_best else None,
            "binding": [
                {
                    "metric": one.limit.metric.name,
                    "trial": one.model.trial,
                    "value": one.model[one.limit.metric.name],
                    "excess": one.excess,
                }
                for one in choice.binding
            ],
        }

    @router.get("/log")
    def log(
        token: Reader,
        study: StudyName,
        offset: Annotated[int, Query(ge=0, le=2**62, description="Byte at which to begin")] = 0,
        kind: Annotated[
            Literal["search", "output"], Query(description="Events, or what the process printed")
        ] = "search",
    ) -> LogPart:
        """Read the log of a study from an offset on."""
        job = service.find(token, study)
        file = Path(job.folder, LOG_FILE if kind == "search" else OUTPUT_FILE)
        part = b""
        if file.exists():
            with file.open("rb") as opened:
                opened.seek(offset)
                part = opened.read(LOG_BYTES)
        text = part.decode(errors="replace")
        return LogPart(text=text, next_offset=offset + len(part), ended=job.state in RESTING and len(part) < LOG_BYTES)

    @router.get("/progress", responses=EVENTS, response_class=StreamingResponse)
    def progress(token: Reader, study: StudyName) -> StreamingResponse:
        """Follow a study as server-sent events, one for each change, until it rests."""
        service.find(token, study)
        return StreamingResponse(_events(service, token, study), media_type="text/event-stream")

    return router


async def _events(service: Service, token: Token, study: str) -> AsyncIterator[str]:
    said, said_at = "", time.monotonic()
    while True:
        now = await run_sync(lambda: service.progress(service.find(token, study)))
        text = json.dumps(now)
        if text != said:
            said, said_at = text, time.monotonic()
            yield f"event: progress\ndata: {text}\n\n"
        elif time.monotonic() - said_at > SILENCE_S:
            said_at = time.monotonic()
            yield ": still here\n\n"
        if now["state"] in RESTING:
            return
        await anyio.sleep(PROGRESS_S)


def _pairs(texts: list[str] | None, option: str) -> dict[str, float | str]:
    """Return metric and value of each `METRIC=VALUE`."""
    pairs: dict[str, float | str] = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not sign:
            raise ConfigError(f"{option} {text}: write it as METRIC=VALUE, e.g. size_bytes=60k")
        if name in pairs:
            raise ConfigError(f"{option} {text}: {option} {name}={pairs[name]} stands there too; leave one out")
        pairs[name] = value
    return pairs
