"""Histories that the exchange gives in pages, whichever end of the time asked for it begins with."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page: what was read of it, and how many rows it had.

    Attributes:
        oldest_ms: of all its rows, unix milliseconds.
        newest_ms: the same.
        is_newest_first: whether its rows run back in time.
    """

    found: list[T]
    rows: int
    oldest_ms: int
    newest_ms: int
    is_newest_first: bool


def parse_page(parse: Callable[[list[Any]], list[T]], raw: object) -> Page[T]:
    """Read one page; rows that `parse` leaves out count towards its size all the same.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: the answer has another shape.
    """
    if not isinstance(raw, list):
        raise TypeError("not a list")
    times = [int(row["time"]) for row in raw] or [0]
    return Page(parse(raw), len(raw), min(times), max(times), times[0] > times[-1])


async def read_pages(
    ask: Callable[[int, int | None], Awaitable[Page[T]]], since_ms: int, full: int, most: int
) -> list[T]:
    """Read page after page; what happened in the millisecond where two of them meet comes twice.

    Of a full page that is oldest first, as HyperLiquid documents it, the rest is newer. With one that is newest first,
    as its SDK recorded in 2023, the rest may be older, and is asked for as well.

    Args:
        ask: returns the page of the time from a moment to another, or to now.
        since_ms: where that time begins.
        full: how many rows a page has when there are more.
        most: how many pages are read.
    """
    found: list[T] = []
    left: list[tuple[int, int | None]] = [(since_ms, None)]
    for _ in range(most):
        if not left:
            break
        start_ms, end_ms = left.pop()
        page = await ask(start_ms, end_ms)
        found += page.found
        if page.rows < full:
            continue
        if page.newest_ms > start_ms and (end_ms is None or page.newest_ms < end_ms):
            left.append((page.newest_ms, end_ms))
        if page.is_newest_first and page.oldest_ms > start_ms:
            left.append((start_ms, page.oldest_ms))
    return found
