"""What every model of the contract shares: strictness, immutability, and how money and times look as JSON."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
)


class Model(BaseModel):
    """A frozen model that refuses unknown fields, NaN and infinities."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="null", use_attribute_docstrings=True
    )


def rfc3339(moment: datetime) -> str:
    """Write a time as RFC 3339 in UTC with milliseconds: `2026-11-20T10:00:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("this time does not exist in UTC") from error


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is wanted, not true or false")  # noqa: TRY004 - pydantic turns ValueError into its own
    return value


NOT_BOOL: Final = BeforeValidator(_not_bool)
"""Refuses true and false where a number is wanted; Python takes them for 1 and 0. It goes after a number's bounds."""

Amount = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json-unless-none")]
"""Money, a price, a size or a percentage: exact inside, a JSON number outside (dashboards want numbers)."""

Timestamp = Annotated[
    AwareDatetime,
    AfterValidator(_in_utc),
    PlainSerializer(rfc3339, return_type=str, when_used="json-unless-none"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A point in time, read in any zone and kept in UTC; RFC 3339 with milliseconds as JSON."""
