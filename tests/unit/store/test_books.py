"""What is read from the books, the plans by which it is read, and that reading holds nobody up."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert

from allora_mqtt.protocol.books import Performance
from allora_mqtt.store.books import Books
from allora_mqtt.store.database import Database
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.store.schema import equity
from tests.unit.store.conftest import NOW, Place, on_sqlite, put, rows

DAY = timedelta(days=1)
MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def books(database: Database) -> Books:
    return Books(database)


def _fill(number: int, at: datetime, symbol: str, change: str, start: str, pnl: str, order_id: str | None) -> Any:
    size = Decimal(change)
    return {
        "fill_id": f"{number}-1", "oid": number, "order_id": order_id, "symbol": symbol,
        "side": "BUY" if size > 0 else "SELL", "direction": "", "size": abs(size), "price": Decimal(100),
        "fee_usd": Decimal("0.5"), "closed_pnl_usd": Decimal(pnl), "at": at, "start_position": Decimal(start),
    }  # fmt: skip


def _position(position_id: str, symbol: str, topic_id: int, at: datetime) -> dict[str, Any]:
    one = Decimal(1)
    return {
        "position_id": position_id, "symbol": symbol, "side": "LONG", "size": one, "entry_price": one,
        "stop_price": one, "target_price": one, "topic_id": topic_id, "signal_id": f"s-{position_id}",
        "opened_at": at, "expires_at": at + DAY,
    }  # fmt: skip


async def _round_trip(ledger: Ledger, number: int, symbol: str, topic_id: int | None, at: datetime, pnl: str) -> None:
    order_id = None if topic_id is None else f"o{number}"
    if topic_id is not None:
        await ledger.put_position(_position(f"o{number}", symbol, topic_id, at))
    end = at + timedelta(hours=1)
    await ledger.add_fills(
        [_fill(number, at, symbol, "1", "0", "0", order_id), _fill(number + 1, end, symbol, "-1", "1", pnl, "x")]
    )
    if topic_id is not None:
        await ledger.close_position(f"o{number}", end, "target", Decimal(pnl))


async def _filled(ledger: Ledger) -> None:
    await _round_trip(ledger, 100, "BTC", 14, MIDNIGHT - DAY + timedelta(hours=3), "50")
    await _round_trip(ledger, 200, "BTC", 14, MIDNIGHT + timedelta(hours=1), "11")
    await _round_trip(ledger, 300, "ETH", 13, MIDNIGHT + timedelta(hours=2), "-4")
    await _round_trip(ledger, 400, "BTC", 14, MIDNIGHT + timedelta(hours=4), "1")
    await _round_trip(ledger, 500, "SOL", None, MIDNIGHT + timedelta(hours=5), "-7")
    await ledger.put_position(_position("o600", "ETH", 13, MIDNIGHT))
    await ledger.add_fills([_fill(600, MIDNIGHT + timedelta(hours=6), "ETH", "2", "0", "0", "o600")])
    payment = {"funding_id": "f", "symbol": "ETH", "rate": Decimal("1e-5"), "size": Decimal(1)}
    when = MIDNIGHT + timedelta(hours=2, minutes=30)
    await ledger.add_funding([payment | {"amount_usd": Decimal("-0.25"), "at": when}])
    for hour, value in enumerate(["90", "100", "95", "110", "88.5", "112", "111"]):
        await ledger.add_equity(MIDNIGHT + timedelta(hours=hour), Decimal(value), Decimal(0))


async def test_each_figure_of_performance_is_what_docs_books_says(ledger: Ledger, books: Books) -> None:
    await _filled(ledger)
    found = await books.performance(MIDNIGHT + timedelta(hours=9), MIDNIGHT + DAY)
    # BTC +10, ETH -5.25, BTC 0 and what was not the bot's: -8; the fee of what is still open counts too.
    assert (found.since, found.trades, found.wins, found.losses) == (MIDNIGHT, 3, 1, 1)
    assert (found.closed_pnl_usd, found.fees_usd, found.funding_usd) == (Decimal(1), Decimal("4.5"), Decimal("-0.25"))
    assert found.pnl_usd == Decimal("-3.75")
    assert found.win_rate_pct is not None
    assert round(found.win_rate_pct, 3) == Decimal("33.333")
    assert found.profit_factor == Decimal(10) / Decimal("5.25")
    assert found.expectancy_usd == Decimal("4.75") / 3
    assert found.average_holding_s == 3600
    assert found.best is not None
    assert found.worst is not None
    assert (found.best.trade_id, found.best.pnl_usd, found.best.pnl_pct) == ("200-1", Decimal(10), Decimal(10))
    assert (found.worst.trade_id, found.worst.funding_usd) == ("300-1", Decimal("-0.25"))
    assert (found.max_drawdown_usd, round(found.max_drawdown_pct, 4)) == (Decimal("21.5"), Decimal("19.5455"))
    assert [(day.key, day.pnl_usd, day.trades, day.fills) for day in found.days] == [
        ("2026-11-20", Decimal("-3.75"), 3, 9)
    ]
    assert {coin.key: (coin.pnl_usd, coin.wins, coin.losses) for coin in found.coins} == {
        "BTC": (Decimal(10), 1, 0), "ETH": (Decimal("-5.75"), 0, 1), "SOL": (Decimal(-8), 0, 0),
    }  # fmt: skip
    topics = {topic.topic_id: (topic.trades, topic.trade_hit_rate_pct, topic.pnl_usd) for topic in found.topics}
    assert topics == {13: (1, Decimal(0), Decimal("-5.25")), 14: (2, Decimal(50), Decimal(10))}
    assert (found.foreign.trades, found.foreign.pnl_usd) == (1, Decimal(-8))
    assert [point.equity_usd for point in found.equity][-1] == 111
    assert len(found.equity) == 7


async def test_without_trades_there_are_no_rates(books: Books) -> None:
    found = await books.performance(MIDNIGHT, MIDNIGHT)
    assert (found.trades, found.pnl_usd, found.max_drawdown_usd) == (0, Decimal(0), Decimal(0))
    rates = {found.win_rate_pct, found.profit_factor, found.expectancy_usd, found.average_holding_s}
    assert rates == {None}
    assert (found.best, found.days, found.coins, found.topics, found.equity) == (None, [], [], [], [])


async def test_pages_follow_one_another_without_a_gap(ledger: Ledger, books: Books) -> None:
    await _filled(ledger)
    for read, key in ((books.fills, "fills"), (books.trades, "trades")):
        whole = getattr(await read(500, None, None, None), key)
        seen, before = [], None
        while True:
            page = await read(2, None, None, before)
            seen += getattr(page, key)
            if page.next is None:
                break
            before = page.next
        assert seen == whole
    newest = (await books.trades(1, None, None, None)).trades
    assert newest is not None
    assert (newest[0].symbol, newest[0].closed_at) == ("ETH", None)
    assert (newest[0].pnl_usd, newest[0].open_size) == (Decimal("-0.5"), Decimal(2))
    only = (await books.trades(50, "BTC", MIDNIGHT, None)).trades or []
    assert [(trade.trade_id, trade.reason, trade.signal_id) for trade in only] == [
        ("400-1", "target", "s-o400"), ("200-1", "target", "s-o200"),
    ]  # fmt: skip
    theirs = (await books.trades(50, "SOL", None, None)).trades or []
    assert [(trade.ours, trade.reason, trade.topic_id) for trade in theirs] == [(False, "closed_elsewhere", None)]


async def test_a_long_equity_curve_is_thinned_to_its_end(database: Database, books: Books) -> None:
    points = [{"at": MIDNIGHT + timedelta(minutes=n), "equity_usd": Decimal(n), "exposure_usd": 0} for n in range(1234)]
    await database.write(lambda connection: connection.execute(insert(equity), points))
    curve = (await books.performance(MIDNIGHT, MIDNIGHT)).equity
    assert 400 < len(curve) <= 500
    assert curve[-1].equity_usd == 1233


async def test_old_signals_and_points_go_and_what_shows_a_drawdown_stays(ledger: Ledger, path: Place) -> None:
    for number, (age, acted) in enumerate([(31, False), (31, True), (29, False)]):
        signal = {
            "signal_id": f"s{number}", "symbol": "BTC", "topic_id": 14, "direction": "HOLD", "prediction": None,
            "prediction_at": None, "mark_price": None, "gap_pct": None, "acted": acted, "reasons": [],
            "at": NOW - age * DAY,
        }  # fmt: skip
        await ledger.add_signal(signal)
    hour = (NOW - 31 * DAY).replace(minute=0, second=0, microsecond=0)
    for minute, value in ((0, 5), (10, 7), (20, 9), (30, 2), (40, 4), (50, 6)):
        await ledger.add_equity(hour + timedelta(minutes=minute), Decimal(value), Decimal(0))
        await ledger.add_equity(NOW - timedelta(minutes=minute), Decimal(value), Decimal(0))
    assert await ledger.tidy(NOW) == 4
    assert rows(path, "SELECT signal_id FROM signals ORDER BY 1") == [("s1",), ("s2",)]
    kept = rows(path, f"SELECT equity_usd FROM equity WHERE at < '{NOW - DAY}' ORDER BY at")  # noqa: S608 - a time of ours
    assert kept == [("9",), ("2",), ("6",)]
    assert rows(path, "SELECT count(*) FROM equity") == [(9,)]
    assert await ledger.tidy(NOW) == 0


_NUMBERS = "WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < :most - 1) "
_AT = "strftime('%Y-%m-%dT%H:%M:%S.000000+00:00', 1795000000 - (:most - n) * 600, 'unixepoch')"
_TRADES = f"""{_NUMBERS} INSERT INTO trades
    SELECT n || '-1', '0x' || n, substr('BTCETHSOL', n % 3 * 3 + 1, 3), 'LONG', n % 5, 's', {_AT}, {_AT}, {_AT},
    'target', 600000, 1, 0, '0', '1', '100', '1', '100', 2, n % 1900 * 10000000 - 9000000000, 100000000, 0,
    n % 1900 * 10000000 - 9000000000 FROM number"""  # noqa: S608 - constants
_EQUITY = f"{_NUMBERS} INSERT INTO equity SELECT {_AT}, 10000 + n % 977 || '.5', '0', NULL FROM number"  # noqa: S608 - as above


def _generate(connection: Connection, count: int) -> None:
    """Write as many trades and points of the equity curve as a lively bot leaves in years."""
    for statement in (_TRADES, _EQUITY):
        connection.exec_driver_sql(statement, {"most": count})


@on_sqlite
async def test_no_query_reads_a_table_of_fills_or_trades_from_one_end_to_the_other(
    database: Database, ledger: Ledger, books: Books
) -> None:
    await _filled(ledger)
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, query: str, values: Any, _context: Any, is_many: bool) -> None:  # noqa: FBT001 - SQLAlchemy's signature
        if not is_many and query.startswith(("SELECT", "UPDATE", "DELETE")):
            asked.append((query, values))

    event.listen(database._engine, "before_cursor_execute", note)
    cursor = (await books.trades(1, None, None, None)).next
    for read in (books.fills, books.trades):
        for symbol in (None, "BTC"):
            await read(50, symbol, None, None)
            await read(50, symbol, MIDNIGHT, cursor)
    await books.performance(MIDNIGHT, MIDNIGHT + DAY)
    await ledger.fills(500, "BTC", MIDNIGHT)
    await ledger.newest_funding_at()
    await ledger.oldest_fill_at()
    await ledger.trade_of("o200")
    reading = len(asked)
    payment = {"funding_id": "g", "symbol": "BTC", "amount_usd": Decimal(1), "rate": Decimal(1), "size": Decimal(1)}
    await ledger.add_fills([_fill(700, MIDNIGHT, "BTC", "1", "0", "0", None)])
    await ledger.add_funding([payment | {"at": MIDNIGHT}])
    event.remove(database._engine, "before_cursor_execute", note)

    def plans(connection: Connection) -> list[list[str]]:
        explained = (connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values) for query, values in asked)
        return [[str(row[3]) for row in rows] for rows in explained]

    found = await database.read(plans)
    assert len(asked) > 25
    scans = [step for steps in found for step in steps if step.startswith("SCAN") and "INDEX" not in step]
    assert not [step for step in scans if step.split()[1] in {"fills", "trades", "funding", "positions", "signals"}]
    # Booking may not go through all that a symbol ever did either.
    of_a_symbol = [
        (query, step)
        for (query, _), steps in zip(asked[reading:], found[reading:], strict=True)
        for step in steps
        if step.endswith("(symbol=?)") and "LIMIT" not in query
    ]
    assert of_a_symbol == []


@on_sqlite
@pytest.mark.timeout(300)
async def test_a_heavy_question_holds_up_no_write_of_the_journal(database: Database, books: Books) -> None:
    await database.write(lambda connection: _generate(connection, 20_000))

    async def writes(count: int) -> list[float]:
        took = []
        for number in range(count):
            began = time.perf_counter()
            await database.write(put(f"{began}-{number}"))
            took.append(time.perf_counter() - began)
        return took

    async def ask() -> Performance:
        asked = time.perf_counter()
        found = await books.performance(MIDNIGHT - timedelta(days=3650), MIDNIGHT)
        questions.append(time.perf_counter() - asked)
        return found

    questions: list[float] = []
    assert (await ask()).trades == 20_000
    alone = median(await writes(30))
    asking = asyncio.create_task(ask())
    during: list[float] = []
    while not asking.done():
        during += await writes(1)
    await asking
    # The question is long and the write short: waiting for it would show as one write as long as the question.
    assert len(during) > 3, (during, questions)
    assert median(during) < max(questions) / 2, (median(during), alone, questions)
