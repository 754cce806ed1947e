"""What every model of the contract shares: strictness, immutability, and how money and times look as JSON."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, PlainSerializer


class Model(BaseModel):
    """A frozen model that refuses unknown fields, NaN and infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="null")


def rfc3339(moment: datetime) -> str:
    """Write a time as RFC 3339 in UTC with milliseconds: `2026-11-20T10:00:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Amount = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json-unless-none")]
"""Money, a price, a size or a percentage: exact inside, a JSON number outside (dashboards want numbers)."""

Timestamp = Annotated[AwareDatetime, PlainSerializer(rfc3339, return_type=str, when_used="json-unless-none")]
"""A point in time with its zone; RFC 3339 UTC with milliseconds as JSON."""
