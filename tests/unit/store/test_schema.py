from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from allora_mqtt.store.database import Database
from allora_mqtt.store.schema import Moment, Money, equity
from allora_mqtt.store.upsert import add_if_new, put
from tests.unit.store.conftest import Place, rows

DIALECT = sqlite.dialect()

decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal("-1e20"), max_value=Decimal("1e20"))
times = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - the zones come from the next strategy
    max_value=datetime(9998, 1, 1),  # noqa: DTZ001 - as above
    timezones=st.integers(-840, 840).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


@settings(max_examples=100, deadline=None)
@given(amount=decimals)
def test_money_keeps_every_digit(amount: Decimal) -> None:
    stored = Money().process_bind_param(amount, DIALECT)
    assert stored is not None
    assert "E" not in stored
    assert Money().process_result_value(stored, DIALECT) == amount


@settings(max_examples=100, deadline=None)
@given(one=times, other=times)
def test_times_keep_their_instant_and_sort_as_text(one: datetime, other: datetime) -> None:
    texts = [Moment().process_bind_param(moment, DIALECT) for moment in (one, other)]
    first, second = texts
    assert first is not None
    assert second is not None
    read = Moment().process_result_value(first, DIALECT)
    assert read == one
    assert read is not None
    assert read.tzinfo is UTC
    assert (first < second) is (one < other)


def test_nothing_is_stored_as_nothing() -> None:
    assert Money().process_bind_param(None, DIALECT) is None
    assert Money().process_result_value(None, DIALECT) is None
    assert Moment().process_bind_param(None, DIALECT) is None
    assert Moment().process_result_value(None, DIALECT) is None


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2025-12-31T23:00:00.000000+00:00"),
        (datetime(2026, 1, 1, 0, 0, 0, 1, UTC), "2026-01-01T00:00:00.000001+00:00"),
    ],
)
def test_times_are_stored_in_utc_with_microseconds(moment: datetime, text: str) -> None:
    assert Moment().process_bind_param(moment, DIALECT) == text


async def test_a_row_is_put_over_the_one_with_its_key_or_kept(database: Database, path: Place) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)

    def row(amount: int) -> dict[str, object]:
        return {"at": at, "equity_usd": Decimal(amount), "exposure_usd": Decimal(0)}

    await database.write(lambda connection: put(connection, equity, row(1)))
    await database.write(lambda connection: put(connection, equity, row(2)))
    assert rows(path, "SELECT equity_usd FROM equity") == [("2",)]
    assert not await database.write(lambda connection: add_if_new(connection, equity, row(3)))
    assert rows(path, "SELECT equity_usd FROM equity") == [("2",)]
    new = {**row(4), "at": at + timedelta(seconds=1)}
    assert await database.write(lambda connection: add_if_new(connection, equity, new))
    assert rows(path, "SELECT equity_usd FROM equity ORDER BY at") == [("2",), ("4",)]
