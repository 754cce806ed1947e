import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated

import pytest
from hypothesis import given, settings
from pydantic import Field, ValidationError

from allora_mqtt.protocol.model import NOT_BOOL, Amount, Model, Timestamp, rfc3339
from tests.unit.protocol.strategies import amounts, moments, zoned_moments


class Sample(Model):
    amount: Amount | None = None
    at: Timestamp | None = None
    count: Annotated[int, Field(ge=0), NOT_BOOL] = 0


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 20, 10, 0, 0, 123456, UTC), "2026-11-20T10:00:00.123Z"),
        (datetime(2026, 11, 20, 10, 0, tzinfo=UTC), "2026-11-20T10:00:00.000Z"),
        (datetime(2026, 11, 20, 0, 30, tzinfo=timezone(timedelta(hours=5, minutes=45))), "2026-11-19T18:45:00.000Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_written_in_utc_with_milliseconds_and_z(moment: datetime, text: str) -> None:
    assert rfc3339(moment) == text
    assert json.loads(Sample(at=moment).model_dump_json())["at"] == text


@settings(max_examples=50, deadline=None)
@given(moment=zoned_moments)
def test_a_time_survives_json_to_the_millisecond(moment: datetime) -> None:
    read = Sample.model_validate_json(Sample(at=moment).model_dump_json()).at
    assert read is not None
    assert timedelta(0) <= moment - read < timedelta(milliseconds=1)
    assert read.utcoffset() == timedelta(0)


@settings(max_examples=50, deadline=None)
@given(moment=moments)
def test_a_time_to_the_millisecond_survives_json_exactly(moment: datetime) -> None:
    assert Sample.model_validate_json(Sample(at=moment).model_dump_json()).at == moment


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_a_time_that_has_no_place_in_utc_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="does not exist in UTC"):
        Sample.model_validate({"at": text})


@pytest.mark.parametrize("text", ["2026-11-20T10:00:00", "2026-11-20", "yesterday", "NaN", ""])
def test_a_time_without_a_zone_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Sample.model_validate({"at": text})


@settings(max_examples=50, deadline=None)
@given(amount=amounts)
def test_money_is_a_json_number_and_comes_back_as_it_was(amount: Decimal) -> None:
    written = Sample(amount=amount).model_dump_json()
    assert isinstance(json.loads(written)["amount"], float)
    assert Sample.model_validate_json(written).amount == amount


def test_money_is_exact_inside() -> None:
    assert Sample(amount=Decimal("0.1000000000000000000001")).amount == Decimal("0.1000000000000000000001")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", float("nan"), float("inf"), Decimal("sNaN")])
def test_money_is_finite(value: object) -> None:
    with pytest.raises(ValidationError):
        Sample.model_validate({"amount": value})


@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_are_no_numbers(value: object) -> None:
    with pytest.raises(ValidationError, match="a number is wanted"):
        Sample.model_validate({"count": value})


def test_models_refuse_unknown_fields_and_changes() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Sample.model_validate({"amounts": 1})
    with pytest.raises(ValidationError, match="frozen"):
        Sample().count = 1  # type: ignore[misc] # which is refused
