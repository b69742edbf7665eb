"""What a database of SQLite holds, whichever of its files it stands in."""

import sqlite3
from pathlib import Path


def contents(file: Path) -> list[str]:
    """The statements that would make the database anew.

    The bytes of the file say less: what a log still holds moves into the file whenever a connection ends.
    """
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()
