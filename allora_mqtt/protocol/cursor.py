"""Where one page of an answer ends and the next begins."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from pydantic import StringConstraints

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Cursor = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,17}_[0-9A-Za-z+-]{1,64}$")]
"""Where a page ends: what the answer before called `next`."""


def cursor(at: datetime, row_id: str) -> str:
    """Return the place after a row, for the page that follows: its time in microseconds since 1970, and its id."""
    return f"{(at - _EPOCH) // timedelta(microseconds=1)}_{row_id}"


def read_cursor(text: str) -> tuple[datetime, str]:
    """Return time and id of the row that a page comes after."""
    microseconds, _, row_id = text.partition("_")
    return _EPOCH + timedelta(microseconds=int(microseconds)), row_id
