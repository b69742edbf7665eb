"""The client of the service: what a program asks a server, in the words of the local API."""

import json
import secrets
import tempfile
import urllib.parse
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paredown.search.api.connection import Connection, ServerRefused
from paredown.search.api.remote_study import RemoteStudy


class Client(Connection):
    """A server, reached with a token.

    Args:
        url: Its address, such as `http://127.0.0.1:8000`.
        token: What `paredown token create` printed.
    """

    def submit(
        self,
        study: str | Path | Mapping[str, Any],
        *,
        name: str | None = None,
        trials: int | None = None,
        priority: int = 0,
        key: str | None = None,
    ) -> "RemoteStudy":
        """Submit a study, and return it at once; see `RemoteStudy.wait`.

        Args:
            study: Path of a study file, or the same as a mapping.
            name: Name of the study, in place of the file's.
            trials: Total number of trials, in place of the file's.
            priority: Your studies run in falling order of it.
            key: Idempotency key: a request that is repeated with it finds the study that it made; None for a new one.

        Raises:
            ServerRefused: The study is refused; the message is that of `paredown search`.
        """
        if isinstance(study, Mapping):
            file, text = "study", json.dumps(study)
        else:
            try:
                file, text = Path(study).name, Path(study).read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise ServerRefused(f"{study}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
        given = {"file": file, "name": name, "trials": trials, "priority": priority}
        query = urllib.parse.urlencode({key: value for key, value in given.items() if value is not None})
        headers = {"Content-Type": "application/yaml", "Idempotency-Key": key or secrets.token_hex(16)}
        document = self.json("POST", f"/v1/studies?{query}", text.encode(), headers)
        return RemoteStudy(self, document["study"])

    def studies(self) -> list[dict[str, Any]]:
        """Return your studies as plain data."""
        found: list[dict[str, Any]] = self.json("GET", "/v1/studies")["studies"]
        return found

    def open_study(self, name: str) -> "RemoteStudy":
        """Open a study that exists.

        Raises:
            ServerRefused: There is none of that name among yours.
        """
        study = RemoteStudy(self, name)
        study.details()
        return study

    def upload(self, name: str, folder: str | Path) -> dict[str, Any]:
        """Upload a folder of images, or a zip file of one, and return what the server says of it.

        A study names it as its data: `task: {image_folder: dataset:NAME}`.

        Args:
            name: Name of the data set.
            folder: Holds `train/CLASS/...`, `val/CLASS/...` and perhaps `test/CLASS/...`.

        Raises:
            ServerRefused: It is too large, holds something else than images, or another one has that name.
        """
        path = Path(folder)
        try:
            if not path.is_dir():
                return self._uploaded(name, path)
            with tempfile.TemporaryDirectory(prefix="paredown-upload-") as made:
                file = Path(made, "images.zip")
                with zipfile.ZipFile(file, "w") as archive:  # stored: images hardly shrink
                    for one in sorted(path.rglob("*")):
                        if one.is_file():
                            archive.write(one, one.relative_to(path))
                return self._uploaded(name, file)
        except OSError as error:
            raise ServerRefused(f"{folder}: cannot be read: {error.strerror or error}") from error

    def _uploaded(self, name: str, file: Path) -> dict[str, Any]:
        size, limit = file.stat().st_size, self.json("GET", "/v1/datasets")["upload_limit_bytes"]
        if size > limit:
            raise ServerRefused(f"{file.name}: {size:,} bytes as a zip file; the server takes {limit:,}")
        headers = {"Content-Type": "application/zip", "Content-Length": str(size)}
        with file.open("rb") as opened:
            return self.json("PUT", f"/v1/datasets/{urllib.parse.quote(name, safe='')}", opened, headers)

    def datasets(self) -> list[dict[str, Any]]:
        """Return your data sets as plain data."""
        found: list[dict[str, Any]] = self.json("GET", "/v1/datasets")["datasets"]
        return found

    def delete_dataset(self, name: str) -> None:
        """Delete a data set that no study names."""
        self.json("DELETE", f"/v1/datasets/{urllib.parse.quote(name, safe='')}")

    def devices(self) -> list[dict[str, Any]]:
        """Return what is known of each device of the catalogue: what `paredown device list --json` prints."""
        found: list[dict[str, Any]] = self.json("GET", "/v1/devices")["devices"]
        return found
