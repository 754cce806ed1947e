import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from allora_mqtt.database_url import in_schema, schema_name
from allora_mqtt.store.postgres import schema_of

URL = "postgresql+psycopg://bot:a%3Fb@db.example:5433/bots"


@pytest.mark.parametrize(
    ("base_topic", "schema"), [("bot", "allora_bot"), ("bots/alice", "allora_bots/alice"), ("Bot", "allora_Bot")]
)
def test_a_schema_is_named_after_its_bot(base_topic: str, schema: str) -> None:
    assert schema_name(base_topic) == schema
    assert schema_of(in_schema(URL, base_topic)) == schema


@given(st.lists(st.text("abAB01_-/", min_size=1, max_size=100), min_size=2, max_size=20, unique=True))
def test_no_two_bots_have_the_same_schema_and_postgresql_cuts_none_off(base_topics: list[str]) -> None:
    names = [schema_name(each) for each in base_topics]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 63


def test_what_else_an_address_says_stays() -> None:
    url = make_url(in_schema(f"{URL}?sslmode=verify-full&options=-cwork_mem%3D8MB", "bot"))
    assert url.query == {"sslmode": "verify-full", "options": '-cwork_mem=8MB -csearch_path="allora_bot"'}
    assert (url.username, url.password, url.host, url.port, url.database) == (
        "bot", "a?b", "db.example", 5433, "bots"
    )  # fmt: skip


def test_sqlite_has_no_schemas() -> None:
    assert in_schema("sqlite:////data/bot.sqlite3", "bot") == "sqlite:////data/bot.sqlite3"
