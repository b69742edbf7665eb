"""The audit log: every request that was to change something, and how it was answered."""

from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from paredown.studies.access.tokens import Token
from paredown.studies.ownership import database_time
from paredown.studies.tables import AuditRow


class Audit:
    """The audit log of a database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._now = database_time(engine.dialect)

    def write(self, token: Token | None, method: str, path: str, status: int, address: str) -> None:
        """Append a request."""
        with Session(self._engine) as session:
            row = AuditRow(method=method[:16], path=path[:2000], status=status, address=address[:64])
            row.token, row.owner = ("", "") if token is None else (token.key, token.owner)
            row.at = session.scalar(select(self._now)) or 0.0
            session.add(row)
            session.commit()

    def latest(self, number: int) -> list[dict[str, Any]]:
        """Return the latest entries as plain data, the newest first."""
        names = ("at", "token", "owner", "method", "path", "status", "address")
        with Session(self._engine) as session:
            rows = session.scalars(select(AuditRow).order_by(AuditRow.id.desc()).limit(number))
            return [{name: getattr(row, name) for name in names} for row in rows]
