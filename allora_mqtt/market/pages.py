"""Histories that the exchange gives in pages, each from a moment on and oldest first."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page: what was read of it, how many rows it had, and the newest time in it (unix milliseconds)."""

    found: list[T]
    rows: int
    newest_ms: int


def parse_page(parse: Callable[[list[Any]], list[T]], raw: object) -> Page[T]:
    """Read one page; rows that `parse` leaves out count towards its size all the same.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: the answer has another shape.
    """
    if not isinstance(raw, list):
        raise TypeError("not a list")
    return Page(parse(raw), len(raw), max((int(row["time"]) for row in raw), default=0))


async def read_pages(ask: Callable[[int], Awaitable[Page[T]]], since_ms: int, full: int, most: int) -> list[T]:
    """Read page after page; what happened in the millisecond where two of them meet comes twice.

    Args:
        ask: returns the page that begins at a time.
        since_ms: where the first one begins.
        full: how many rows a page has when there are more.
        most: how many pages are read.
    """
    found: list[T] = []
    start_ms = since_ms
    for _ in range(most):
        page = await ask(start_ms)
        found += page.found
        if page.rows < full or page.newest_ms <= start_ms:
            break
        start_ms = page.newest_ms
    return found
