"""A transaction that idles, as that of a search that is suspended in it, ends and holds up nobody."""

import uuid

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError
from toy_study import CONFIG, objectives

from paredown.studies.database_address import IDLE, IDLE_TIMEOUT_S
from paredown.studies.reconnecting import is_away
from paredown.studies.study import Study


@pytest.fixture
def name(connections_closed: None) -> str:
    return f"toy-{uuid.uuid4().hex[:8]}"


def idle_timeout(study: Study) -> str:
    with study.runner.transaction() as session:
        return str(session.scalar(text(f"SELECT current_setting('{IDLE}')")))


def test_every_connection_has_a_limit(postgres: str, name: str) -> None:
    assert idle_timeout(Study.create(postgres, name, CONFIG, objectives(), "out")) == f"{IDLE_TIMEOUT_S}s"


def test_what_the_address_says_stands(postgres: str, name: str) -> None:
    address = (
        make_url(postgres).update_query_dict({"options": f"-c {IDLE}=90000"}).render_as_string(hide_password=False)
    )
    assert idle_timeout(Study.create(address, name, CONFIG, objectives(), "out")) == "90s"


def test_another_runner_goes_on(postgres: str, name: str) -> None:
    suspended, other = (Study.create(postgres, name, CONFIG, objectives(), "out") for _ in range(2))
    suspended.runner.renew()
    with suspended.runner.transaction() as session:
        session.execute(text(f"SET LOCAL {IDLE} = 500"))  # in place of half a minute
        other.runner.renew()
        with pytest.raises(SQLAlchemyError) as ended:
            session.execute(text("SELECT 1"))
    assert is_away(ended.value)
    suspended.runner.renew()
