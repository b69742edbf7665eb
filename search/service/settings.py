"""What a server is started with."""

from dataclasses import dataclass
from pathlib import Path

MAX_TRIALS = 100_000
"""Maximum number of trials of a study."""


@dataclass(frozen=True)
class Settings:
    """How a server is run.

    Attributes:
        storage: Address of the database.
        out: Folder of the studies; workers on other machines must reach it by the same path.
        data: Folder in which the data of studies must lie; None where no study may name a path.
        allow: Modules from which a study may import functions, each with all below it.
        root_path: Path under which a reverse proxy serves it, such as `/paredown`.
        hosts: Names of this server beside those of this machine and IP addresses.
        upload_limit: Maximum size of the zip file of a data set, in bytes.
    """

    storage: str
    out: Path
    data: Path | None = None
    allow: tuple[str, ...] = ()
    root_path: str = ""
    hosts: tuple[str, ...] = ()
    upload_limit: int = 1_000_000_000
