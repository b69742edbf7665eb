"""A study of a server, with the methods of a study of this machine."""

import json
import tempfile
import time
import urllib.parse
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from paredown.search.api.connection import Connection, ServerRefused

PENDING = ("queued", "waiting for device", "running")
"""States from which a study goes on by itself."""


class RemoteStudy:
    """A study of a server; its methods are those of `paredown.Study`, with plain data in place of objects.

    Attributes:
        name: Its name among your studies.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.name, self._connection = name, connection

    @property
    def state(self) -> str:
        """State: queued, waiting for device, running, paused, cancelled, failed or done."""
        return str(self.details()["state"])

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials by state."""
        return dict(self.details()["counts"])

    def details(self) -> dict[str, Any]:
        """Return all that the server says of it."""
        return self._ask("GET")

    def front(self) -> dict[str, Any]:
        """Return the Pareto front as it is now: the document that `paredown front --json` prints."""
        return self._ask("GET", "/front")

    def select(
        self,
        *,
        max: Mapping[str, float | str] | None = None,
        min: Mapping[str, float | str] | None = None,
        device: str | None = None,
    ) -> dict[str, Any]:
        """Return the best model that keeps the limits; see `paredown.Study.select`.

        Args:
            max: Metric to the largest value allowed.
            min: Metric to the smallest value allowed.
            device: Name of a device whose memory and number formats are kept, too.
        """
        on = "" if device is None else f"&device={urllib.parse.quote(device, safe='')}"
        model: dict[str, Any] = self._ask("GET", f"/select?{_limits(max, min)}{on}")["model"]
        return model

    def devices(
        self, *, max: Mapping[str, float | str] | None = None, min: Mapping[str, float | str] | None = None
    ) -> list[dict[str, Any]]:
        """Return the best model for each device: what `paredown select --all-devices --json` prints."""
        found: list[dict[str, Any]] = self._ask("GET", f"/devices?{_limits(max, min)}")["devices"]
        return found

    def trials(self, **query: Any) -> dict[str, Any]:
        """Return a page of trials; the arguments are those of the API: state, feasible, sort, order, offset, limit."""
        return self._ask("GET", f"/trials?{urllib.parse.urlencode(query, doseq=True)}")

    def log(self, offset: int = 0) -> dict[str, Any]:
        """Return the log from an offset on."""
        return self._ask("GET", f"/log?offset={offset}")

    def progress(self) -> Iterator[dict[str, Any]]:
        """Yield the progress at each change, until the study rests."""
        with self._connection.answer("GET", f"{self._path}/progress") as lines:
            for line in lines:
                if line.startswith(b"data: "):
                    yield dict(json.loads(line[6:]))

    def wait(self, timeout_s: float | None = None) -> str:
        """Wait until the study rests, and return its state.

        Args:
            timeout_s: Seconds after which to return in any case; None for never.
        """
        began = time.monotonic()
        while (state := self.state) in PENDING:
            if timeout_s is not None and time.monotonic() - began > timeout_s:
                break
            time.sleep(0.5)
        return state

    def export(self, models: Sequence[int] | int | None = None, out: str | Path | None = None) -> list[Path]:
        """Download exported models into folders, and return these.

        Args:
            models: Numbers of trials; None for the whole front.
            out: Folder in which each model gets its own; None for `paredown-out/NAME/models`.
        """
        if models is None:
            models = [model["trial"] for model in self.front()["models"]]
        folder = Path(out) if out is not None else Path("paredown-out", self.name, "models")
        return [self._downloaded(one, folder) for one in ([models] if isinstance(models, int) else models)]

    def report(self, file: str | Path | None = None) -> Path:
        """Download the report, and return its path; None for `paredown-out/NAME/report.html`."""
        target = Path(file) if file is not None else Path("paredown-out", self.name, "report.html")
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._connection.answer("GET", f"{self._path}/report") as answer:
            target.write_bytes(answer.read())
        return target

    def pause(self) -> None:
        """Stop it within a batch; `resume` goes on."""
        self._ask("POST", "/pause")

    def resume(self) -> None:
        """Let it go on."""
        self._ask("POST", "/resume")

    def cancel(self) -> None:
        """End it within a batch; what is finished stays."""
        self._ask("POST", "/cancel")

    def extend(self, trials: int) -> None:
        """Let it go on to a larger number of trials."""
        self._ask("POST", "/extend", {"trials": trials})

    def retry(self, causes: Sequence[str] = ()) -> None:
        """Run its failed trials again, all or those of some causes."""
        self._ask("POST", "/retry", {"causes": list(causes)})

    def enqueue(self, knobs: Mapping[str, Any], like: int | None = None) -> dict[str, Any]:
        """Put a candidate first in line: the baseline, or another trial's, with some knobs changed.

        Args:
            knobs: Knobs under their dotted names, such as `{"mbconv.kernel": 5}`.
            like: Number of the trial whose knobs hold where none is named; None for the baseline.
        """
        return self._ask("POST", "/enqueue", {"knobs": dict(knobs), "like": like})

    def delete(self) -> None:
        """Delete it on the server, with its trials and its files."""
        self._ask("DELETE")

    @property
    def _path(self) -> str:
        return f"/v1/studies/{urllib.parse.quote(self.name, safe='')}"

    def _ask(self, method: str, path: str = "", document: Mapping[str, Any] | None = None) -> dict[str, Any]:
        body = None if document is None else json.dumps(document).encode()
        return self._connection.json(
            method, self._path + path, body, {"Content-Type": "application/json"} if body else {}
        )

    def _downloaded(self, trial: int, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = f"{self._path}/models/{trial}"
        try:
            answer = self._connection.answer("GET", path)
        except ServerRefused as refused:
            if refused.status != 404:
                raise
            self._connection.json("POST", f"{path}/export", b"")
            answer = self._connection.answer("GET", path)
        with answer, tempfile.TemporaryFile() as file:
            file.write(answer.read())
            with zipfile.ZipFile(file) as archive:
                archive.extractall(folder)
        return folder / f"trial-{trial:04d}"


def _limits(largest: Mapping[str, float | str] | None, smallest: Mapping[str, float | str] | None) -> str:
    """Return limits as a query."""
    limits = [("max", f"{name}={value}") for name, value in (largest or {}).items()]
    limits += [("min", f"{name}={value}") for name, value in (smallest or {}).items()]
    return urllib.parse.urlencode(limits)
