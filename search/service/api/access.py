"""What a route needs: a token with a scope, and one of the studies that it reaches."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import HTTPException, Path, Request, Security
from fastapi.security import HTTPBearer

from paredown.search.service.api.documents import Problem
from paredown.studies.access.tokens import Token

BEARER = HTTPBearer(auto_error=False, description="A token that `paredown token create` printed.")
"""For the OpenAPI document alone: the guard has checked the token before any route is reached."""
Responses = dict[int | str, dict[str, Any]]
"""Answers of a route beside that of success, for the OpenAPI document."""
PROBLEMS: Responses = {
    400: {"model": Problem, "description": "A host that is not this server, or a request that ended early"},
    401: {"model": Problem, "description": "No token, or one that is unknown, expired or revoked"},
    403: {"model": Problem, "description": "The scope of the token does not suffice, or a foreign origin"},
    404: {"model": Problem, "description": "No such study among those that the token may see"},
    409: {"model": Problem, "description": "The state of the study does not allow it"},
    413: {"model": Problem, "description": "More than a request may bring"},
    422: {"model": Problem, "description": "Refused, with the message of the command line"},
    429: {"model": Problem, "description": "Too many requests"},
    503: {"model": Problem, "description": "The database does not answer now"},
}

StudyName = Annotated[
    str, Path(description="Name of a study; an administrator writes OWNER.STUDY for another's", examples=["digits"])
]
TrialNumber = Annotated[int, Path(description="Number of a trial", examples=[3])]
DatasetName = Annotated[
    str, Path(description="Name of a data set; an administrator writes OWNER.NAME for another's", examples=["flowers"])
]
DeviceName = Annotated[str, Path(description="Name of a device of the catalogue", examples=["f746"])]


def answered(example: Any, description: str, kind: str = "application/json") -> Responses:
    """Return what the OpenAPI document says of an answer that has no model of its own."""
    return {200: {"description": description, "content": {kind: {"example": example}}}}


def needs(scope: str) -> Callable[..., Token]:
    """Return the dependency of a route that needs a scope."""

    def token(request: Request, checked: Annotated[Any, Security(BEARER)]) -> Token:
        del checked
        found: Token = request.state.token
        if not found.allows(scope):
            raise HTTPException(403, f"this token allows {', '.join(found.scopes)}; needed: {scope}")
        return found

    return token
