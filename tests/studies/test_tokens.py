"""Tokens: what they allow, and when they are refused."""

import time

import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from paredown.studies.access.tokens import TokenRefused, Tokens
from paredown.studies.database import open_storage
from paredown.studies.tables import TokenRow


@pytest.fixture
def tokens(database: str) -> Tokens:
    engine = open_storage(database).engine
    with Session(engine) as session:
        session.execute(delete(TokenRow))
        session.commit()
    return Tokens(engine)


def test_a_token_is_known_by_its_text_alone_which_is_not_stored(tokens: Tokens, database: str) -> None:
    text = tokens.create("laptop", "alice", ["submit"])
    found = tokens.check(text)
    assert found is not None
    assert (found.name, found.owner, found.scopes) == ("laptop", "alice", ("submit",))
    with Session(open_storage(database).engine) as session:
        stored = " ".join(str(value) for row in session.execute(select(TokenRow.__table__)) for value in row)
    assert text not in stored
    assert text.split("_", 2)[2] not in stored
    assert len(text.split("_", 2)[2]) >= 43, "256 random bits"


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1] + "A" * (t[-1] != "A") + "B" * (t[-1] == "A"), str.upper, lambda t: ""]
)
def test_another_text_is_unknown(tokens: Tokens, change: object) -> None:
    text = tokens.create("laptop", "alice", ["read"])
    assert tokens.check(change(text)) is None  # type: ignore[operator]
    assert tokens.check(text) is not None


def test_scopes_hold_what_is_before_them(tokens: Tokens) -> None:
    allowed = {}
    for scope in ("read", "submit", "admin"):
        found = tokens.check(tokens.create("t", "alice", [scope]))
        assert found is not None
        allowed[scope] = [one for one in ("read", "submit", "admin") if found.allows(one)]
    assert allowed == {"read": ["read"], "submit": ["read", "submit"], "admin": ["read", "submit", "admin"]}


def test_an_expired_and_a_revoked_token_are_refused(tokens: Tokens) -> None:
    brief, kept = tokens.create("brief", "alice", ["read"], 0.2), tokens.create("kept", "alice", ["read"], 3600)
    assert tokens.check(brief) is not None
    time.sleep(0.4)
    assert tokens.check(brief) is None
    assert tokens.any_valid()
    key = kept.split("_")[1]
    tokens.revoke(key)
    assert tokens.check(kept) is None
    assert not tokens.any_valid()
    with pytest.raises(TokenRefused, match=f"no token '{key}' can be revoked"):
        tokens.revoke(key)


def test_what_is_not_allowed_is_named(tokens: Tokens) -> None:
    with pytest.raises(TokenRefused, match="scope 'write' does not exist; allowed: read, submit, admin"):
        tokens.create("t", "alice", ["write"])
    with pytest.raises(TokenRefused, match=r"owner 'a\.b': allowed"):
        tokens.create("t", "a.b", ["read"])
    assert tokens.list() == []
