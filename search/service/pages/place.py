"""Where a browser is: the path and the query of the page that it shows."""

from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, unquote, urlencode

from paredown.search.service.service import Service
from paredown.studies.access.tokens import Token
from paredown.studies.queue.job import Job


@dataclass(frozen=True)
class Place:
    """The page that is shown.

    Attributes:
        service: The service.
        token: Token of whoever looks.
        parts: Parts of the path below the root.
        query: Last value of each key of the query.
    """

    service: Service
    token: Token
    parts: tuple[str, ...]
    query: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, service: Service, token: Token, path: str, search: str) -> "Place":
        """Return the place that an address names."""
        inner = path.removeprefix(service.settings.root_path)
        parts = tuple(unquote(part) for part in inner.split("/") if part)
        query = {key: values[-1] for key, values in parse_qs(search.removeprefix("?")).items()}
        return cls(service, token, parts, query)

    def href(self, *parts: object, **query: object) -> str:
        """Return the address of a page below the root."""
        return address(self.service, *parts, **query)

    def name_of(self, job: Job) -> str:
        """Return the name by which whoever looks reaches a study."""
        return name_of(self.token, job)

    def job(self) -> Job:
        """Return the job of the study that the path names.

        Raises:
            StudyNotFound: There is none that whoever looks may see.
        """
        return self.service.find(self.token, self.parts[1])


def address(service: Service, *parts: object, **query: object) -> str:
    """Return the address of a page below the root."""
    path = "/".join(quote(str(part), safe="") for part in parts)
    return f"{service.settings.root_path}/{path}" + (f"?{urlencode(query)}" if query else "")


def name_of(token: Token, job: Job) -> str:
    """Return the name by which a token reaches a study: that of another owner has the owner before it."""
    return job.study if job.owner == token.owner else job.stored_name
