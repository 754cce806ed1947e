"""Where one page of an answer ends and the next begins."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints

_SEPARATOR: Final = "_"


def _is_cursor(text: str) -> str:
    read_cursor(text)
    return text


Cursor = Annotated[
    str,
    StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00_[0-9A-Za-z+-]{1,64}$"),
    AfterValidator(_is_cursor),
]
"""Where a page ends: what the answer before called `next`."""


def cursor(at: datetime, row_id: str) -> str:
    """Return the place after a row, for the page that follows."""
    return f"{at.isoformat()}{_SEPARATOR}{row_id}"


def read_cursor(text: str) -> tuple[datetime, str]:
    """Return time and id of the row that a page comes after.

    Raises:
        ValueError: it names no time.
    """
    moment, _, row_id = text.partition(_SEPARATOR)
    return datetime.fromisoformat(moment), row_id
