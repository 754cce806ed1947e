"""Every row of a history is read, whichever way the exchange sorts it and whichever end of it fits into a page."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from allora_mqtt.market.pages import Page, parse_page, read_pages

FULL = 5


def server(times: list[int], *, gives_newest: bool, is_newest_first: bool, asked: list[int]) -> Any:
    rows = [{"time": at, "number": number} for number, at in enumerate(sorted(times))]

    async def ask(start_ms: int, end_ms: int | None) -> Page[int]:
        asked.append(start_ms)
        within = [row for row in rows if start_ms <= row["time"] and (end_ms is None or row["time"] <= end_ms)]
        page = within[-FULL:] if gives_newest else within[:FULL]
        return parse_page(lambda found: [row["number"] for row in found], page[::-1] if is_newest_first else page)

    return ask


@given(
    steps=st.lists(st.integers(1, 3), max_size=40),
    gives_newest=st.booleans(),
    is_newest_first=st.booleans(),
)
async def test_nothing_is_left_out(steps: list[int], *, gives_newest: bool, is_newest_first: bool) -> None:
    if gives_newest and not is_newest_first:
        return  # Nothing tells such pages from the documented ones.
    times = [1000 + sum(steps[:number]) for number in range(len(steps))]
    asked: list[int] = []
    ask = server(times, gives_newest=gives_newest, is_newest_first=is_newest_first, asked=asked)
    assert set(await read_pages(ask, 1000, FULL, 200)) == set(range(len(times)))
    assert len(asked) <= 2 + len(times)


async def test_a_page_of_one_moment_does_not_keep_it_going() -> None:
    for is_newest_first in (False, True):
        asked: list[int] = []
        ask = server([1000] * 9, gives_newest=False, is_newest_first=is_newest_first, asked=asked)
        assert len(await read_pages(ask, 1000, FULL, 50)) == FULL
        assert len(asked) == 1


async def test_it_reads_no_more_pages_than_it_may() -> None:
    asked: list[int] = []
    ask = server(list(range(1000, 1100)), gives_newest=False, is_newest_first=False, asked=asked)
    assert max(await read_pages(ask, 1000, FULL, 3)) == 12
    assert len(asked) == 3
