"""Tokens of the service: random, stored as hashes, with scopes and an end.

A token is `pd_KEY_SECRET`. The key finds its row; the whole is compared as a hash, in constant time.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, or_, select, update
from sqlalchemy.orm import Session

from paredown.studies.errors import StudyError
from paredown.studies.ownership import database_time
from paredown.studies.tables import TokenRow

SCOPES = ("read", "submit", "admin")
"""What a token may allow, each with all before it."""
OWNER = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
TOKEN = re.compile(r"pd_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
NOBODY = hashlib.sha256(secrets.token_bytes(32)).hexdigest()
"""Hash that no token has, for comparisons where there is no row."""


class TokenRefused(StudyError):
    """A token cannot be made or revoked."""


@dataclass(frozen=True)
class Token:
    """A token without its secret; see `TokenRow` for the attributes."""

    key: str
    name: str
    owner: str
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float | None
    revoked_at: float | None

    def allows(self, scope: str) -> bool:
        """Return whether it allows what needs a scope."""
        return any(SCOPES.index(held) >= SCOPES.index(scope) for held in self.scopes)


class Tokens:
    """The tokens of a database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._now = database_time(engine.dialect)

    def create(self, name: str, owner: str, scopes: Sequence[str], lifetime_s: float | None = None) -> str:
        """Make a token and return it; nobody can read it later.

        Args:
            name: What it is for, for people.
            owner: Name of the user whose studies it reaches.
            scopes: What it allows.
            lifetime_s: Seconds after which it is refused; None for never.

        Raises:
            TokenRefused: A scope or the name of the owner is not allowed.
        """
        if unknown := sorted(set(scopes) - set(SCOPES)):
            raise TokenRefused(f"scope {unknown[0]!r} does not exist; allowed: {', '.join(SCOPES)}")
        if not OWNER.fullmatch(owner):
            raise TokenRefused(f"owner {owner!r}: allowed: up to 32 small letters, digits and hyphens")
        key = secrets.token_hex(6)
        text = f"pd_{key}_{secrets.token_urlsafe(32)}"
        with Session(self._engine) as session:
            now = session.scalar(select(self._now)) or 0.0
            row = TokenRow(key=key, digest=_digest(text), name=name[:100], owner=owner, scopes=list(scopes))
            row.created_at, row.expires_at = now, None if lifetime_s is None else now + lifetime_s
            session.add(row)
            session.commit()
        return text

    def check(self, text: str) -> Token | None:
        """Return the token of that text; None where it is unknown, expired or revoked."""
        match = TOKEN.fullmatch(text)
        with Session(self._engine) as session:
            valid = or_(TokenRow.expires_at.is_(None), TokenRow.expires_at > self._now)
            key = match[1] if match else ""
            row = session.scalar(select(TokenRow).where(TokenRow.key == key, TokenRow.revoked_at.is_(None), valid))
            is_known = hmac.compare_digest(_digest(text), NOBODY if row is None else row.digest)
            return _token(row) if is_known and row is not None else None

    def list(self) -> list[Token]:
        """Return all tokens, revoked ones too, in order of their age."""
        with Session(self._engine) as session:
            return [_token(row) for row in session.scalars(select(TokenRow).order_by(TokenRow.created_at))]

    def any_valid(self) -> bool:
        """Return whether any token can be used."""
        valid = or_(TokenRow.expires_at.is_(None), TokenRow.expires_at > self._now)
        with Session(self._engine) as session:
            return session.scalar(select(TokenRow.key).where(TokenRow.revoked_at.is_(None), valid).limit(1)) is not None

    def revoke(self, key: str) -> None:
        """Refuse a token from now on.

        Raises:
            TokenRefused: There is none with that key that is not revoked.
        """
        revoked = update(TokenRow).where(TokenRow.key == key, TokenRow.revoked_at.is_(None))
        with Session(self._engine) as session:
            found = session.scalar(revoked.values(revoked_at=self._now).returning(TokenRow.key))
            session.commit()
        if found is None:
            known = ", ".join(token.key for token in self.list() if token.revoked_at is None) or "none"
            raise TokenRefused(f"no token {key!r} can be revoked; tokens that can: {known}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _token(row: TokenRow) -> Token:
    return Token(row.key, row.name, row.owner, tuple(row.scopes), row.created_at, row.expires_at, row.revoked_at)
