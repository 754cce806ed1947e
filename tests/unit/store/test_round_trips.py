"""Round trips against an independent bookkeeper, and the books in whatever order the exchange tells."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.pool import StaticPool

from allora_mqtt.store import booking
from allora_mqtt.store.schema import day_results, fills, funding, metadata, trades

START = datetime(2026, 11, 20, 23, 50, tzinfo=UTC)
CENT = Decimal("0.000001")


@dataclass
class Bookkeeper:
    """Keeps the position of one coin by average cost, as the exchange does, and notes what it says of each fill."""

    symbol: str
    size: Decimal = Decimal(0)
    entry: Decimal = Decimal(0)
    fills: list[dict[str, Any]] = field(default_factory=list)
    payments: list[dict[str, Any]] = field(default_factory=list)
    round_trips: list[Decimal] = field(default_factory=list)
    """What each position that ended brought."""
    running: Decimal = Decimal(0)

    def trade(self, change: Decimal, price: Decimal, fee: Decimal, at: datetime) -> None:
        start, closing = self.size, Decimal(0)
        if start * change < 0:
            closing = min(abs(change), abs(start))
        pnl = (closing * (price - self.entry) * (1 if start > 0 else -1)).quantize(CENT)
        opening = abs(change) - closing
        self.size += change
        if opening and not closing:
            self.entry = (self.entry * abs(start) + price * opening) / (abs(start) + opening)
        elif opening:
            self.entry = price
        closing_fee = fee if not opening else (fee * closing / abs(change)).quantize(Decimal("1e-9"))
        self.running += pnl - (closing_fee if closing else Decimal(0))
        if closing and self.size * start <= 0:
            self.round_trips.append(self.running)
            self.running = Decimal(0)
        self.running -= fee - (closing_fee if closing else Decimal(0))
        number = len(self.fills)
        self.fills.append(
            {
                "fill_id": f"{self.symbol}{number}-1",
                "oid": 1,
                "order_id": None,
                "symbol": self.symbol,
                "side": "BUY" if change > 0 else "SELL",
                "direction": "Somehow",
                "size": abs(change),
                "price": price,
                "fee_usd": fee,
                "closed_pnl_usd": pnl,
                "at": at,
                "start_position": start,
            }
        )

    def pay(self, amount: Decimal, at: datetime) -> None:
        if self.size:
            self.running += amount
            row = {"symbol": self.symbol, "amount_usd": amount, "rate": Decimal("1e-5"), "size": self.size, "at": at}
            self.payments.append({"funding_id": f"{len(self.payments)}-{self.symbol}", **row})


AMOUNTS = st.integers(1, 9)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["BTC", "ETH"]),
        st.sampled_from(["buy", "sell", "pay"]),
        AMOUNTS,
        st.integers(9_000, 11_000),
        # Several fills in one millisecond, or some time apart: past midnight too.
        st.sampled_from([0, 0, 1, 40_000, 400_000]),
    ),
    max_size=16,
)


@pytest.fixture(scope="module")
def engine() -> Engine:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    return engine


def _kept(steps: list[tuple[str, str, int, int, int]]) -> dict[str, Bookkeeper]:
    keepers = {symbol: Bookkeeper(symbol) for symbol in ("BTC", "ETH")}
    now = START
    for symbol, what, amount, price, pause_ms in steps:
        now += timedelta(milliseconds=pause_ms)
        keeper = keepers[symbol]
        if what == "pay":
            # An hour ends at a moment of its own.
            now += timedelta(milliseconds=1)
            keeper.pay(Decimal(amount - 5) / 1000, now)
            now += timedelta(milliseconds=1)
        else:
            change = Decimal(amount) / 10 * (1 if what == "buy" else -1)
            keeper.trade(change, (Decimal(price) / 7).quantize(CENT), (Decimal(amount) / 700).quantize(CENT), now)
    return keepers


def _told(keepers: dict[str, Bookkeeper], rng: random.Random | None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """All rows in parts, as they happened or in any order, some of them twice."""
    rows = [("fill", row) for keeper in keepers.values() for row in keeper.fills]
    rows += [("pay", row) for keeper in keepers.values() for row in keeper.payments]
    rows.sort(key=lambda told: told[1]["at"])
    if rng is not None:
        rng.shuffle(rows)
        rows += rows[: len(rows) // 3]
    for kind, row in rows:
        yield kind, [row]


def _book(engine: Engine, told: Iterator[tuple[str, list[dict[str, Any]]]]) -> dict[str, list[dict[str, Any]]]:
    with engine.connect() as connection:
        for kind, rows in told:
            (booking.add_fills if kind == "fill" else booking.add_funding)(connection, rows)
        found = {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in (trades, fills, funding, day_results)
        }
        connection.rollback()
    return {name: sorted(rows, key=lambda row: str(list(row.values())[:2])) for name, rows in found.items()}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, seed=st.integers(0, 1000))
def test_trades_add_up_to_what_the_exchange_said_in_whatever_order(engine: Engine, steps: Any, seed: int) -> None:
    keepers = _kept(steps)
    books = _book(engine, _told(keepers, None))
    said = sum((row["closed_pnl_usd"] - row["fee_usd"] for row in books["fills"]), Decimal(0))
    said += sum((row["amount_usd"] for row in books["funding"]), Decimal(0))
    assert sum((row["pnl_nano_usd"] for row in books["trades"]), Decimal(0)) == said
    by_day = (
        row["closed_pnl_nano_usd"] - row["fees_nano_usd"] + row["funding_nano_usd"] for row in books["day_results"]
    )
    assert sum(by_day, Decimal(0)) == said
    for symbol, keeper in keepers.items():
        own = sorted((row for row in books["trades"] if row["symbol"] == symbol), key=lambda row: row["opened_at"])
        assert all(row["is_whole"] for row in own)
        ended = [row["pnl_nano_usd"] for row in own if row["closed_at"] is not None]
        assert sorted(ended) == sorted(keeper.round_trips)
        still = [row for row in own if row["closed_at"] is None]
        assert sum((row["open_size"] for row in still), Decimal(0)) == abs(keeper.size)
        assert len(still) == (1 if keeper.size else 0)
        assert all(row["entry_size"] == row["exit_size"] + row["open_size"] for row in own)
    assert all(row["trade_id"] for row in books["fills"] + books["funding"])
    shuffled = _told(keepers, random.Random(seed))  # noqa: S311 - not for secrets
    assert _book(engine, shuffled) == books


FILL = {
    "oid": 1, "order_id": None, "symbol": "BTC", "direction": "", "fee_usd": Decimal("0.01"), "start_position": None,
}  # fmt: skip


def _fill(number: int, change: str, start: str | None, pnl: str = "0", **more: Any) -> dict[str, Any]:
    size = Decimal(change)
    return FILL | {
        "fill_id": f"{number}-1", "side": "BUY" if size > 0 else "SELL", "size": abs(size), "price": Decimal(100),
        "closed_pnl_usd": Decimal(pnl), "at": START + timedelta(seconds=number),
        "start_position": None if start is None else Decimal(start), **more,
    }  # fmt: skip


def _trades(engine: Engine, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(_book(engine, iter([("fill", list(rows))]))["trades"], key=lambda row: row["opened_at"])


def test_a_position_from_before_the_books_is_no_whole_trade_and_its_result_counts(engine: Engine) -> None:
    (trade,) = _trades(engine, _fill(1, "-0.4", "1", "2"), _fill(2, "-0.6", "0.6", "3"))
    assert (trade["is_whole"], trade["side"], trade["entry_size"]) == (False, "LONG", 0)
    assert (trade["exit_size"], trade["pnl_nano_usd"]) == (1, Decimal("4.98"))
    assert trade["closed_at"] == START + timedelta(seconds=2)


def test_fills_that_are_missing_in_between_are_seen_by_what_was_held(engine: Engine) -> None:
    grown, ended, after = _trades(
        engine,
        _fill(1, "1", "0"),
        _fill(2, "-1", "3", "1"),  # 2 more were bought
        _fill(3, "-0.5", "0"),  # and all was sold
        _fill(4, "1", "2", "0"),  # the short one was closed, and a long one opened
    )
    assert (grown["is_whole"], grown["closed_at"]) == (False, START + timedelta(seconds=2))
    assert (ended["side"], ended["is_whole"], ended["open_size"]) == ("SHORT", False, 0)
    assert (after["side"], after["is_whole"], after["open_size"], after["closed_at"]) == ("LONG", False, 3, None)


def test_without_the_exchanges_word_the_books_own_position_is_taken(engine: Engine) -> None:
    short, late = _trades(engine, _fill(1, "-1", None), _fill(2, "1", None, "-3"), _fill(3, "1", None, "-1"))
    assert (short["side"], short["is_whole"], short["open_size"]) == ("SHORT", True, 0)
    assert (late["side"], late["is_whole"], late["open_size"]) == ("SHORT", False, 0)


def test_an_hour_that_is_told_before_the_fills_goes_to_the_trade_that_was_open_then(engine: Engine) -> None:
    paid = {
        "funding_id": "f", "symbol": "BTC", "amount_usd": Decimal("-0.5"), "rate": Decimal("1e-5"), "size": Decimal(1),
        "at": START + timedelta(seconds=4),
    }  # fmt: skip
    told: list[tuple[str, list[dict[str, Any]]]] = [
        ("fill", [_fill(1, "1", "0")]),
        ("pay", [paid]),
        ("fill", [_fill(2, "-1", "1", "3"), _fill(3, "1", "0")]),
    ]
    books = _book(engine, iter(told))
    assert {row["trade_id"]: row["funding_nano_usd"] for row in books["trades"]} == {"1-1": 0, "3-1": Decimal("-0.5")}
    assert books["funding"][0]["trade_id"] == "3-1"
    told[2] = ("fill", [_fill(2, "-1", "1", "3")])
    books = _book(engine, iter(told))
    assert [row["funding_nano_usd"] for row in books["trades"]] == [0]
    assert books["funding"][0]["trade_id"] is None


def test_a_liquidation_is_marked(engine: Engine) -> None:
    (trade,) = _trades(engine, _fill(1, "1", "0"), _fill(2, "-1", "1", "-50", direction="Liquidated Cross Long"))
    assert trade["is_liquidated"]


def test_fills_of_an_older_database_become_daily_results_and_trades(tmp_path: Path) -> None:
    path = tmp_path / "bot.db"
    config = Config()
    config.set_main_option("script_location", "allora_mqtt.store:migrations")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with closing(sqlite3.connect(path)) as old, old:
        at = START.isoformat(timespec="microseconds")
        for number, side, pnl in ((1, "BUY", "0"), (2, "SELL", "1.25")):
            row = (f"{number}-1", 1, None, "BTC", side, "", "1", "100", "0.05", pnl, at)
            old.execute("INSERT INTO fills VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        (day,) = connection.execute(select(day_results)).mappings()
        assert dict(day) == {
            "day": "2026-11-20", "symbol": "BTC", "fills": 2, "closed_pnl_nano_usd": Decimal("1.25"),
            "fees_nano_usd": Decimal("0.10"), "funding_nano_usd": 0,
        }  # fmt: skip
        assert booking.unbooked_symbols(connection) == ["BTC"]
        booking.book_symbol(connection, "BTC")
        assert booking.unbooked_symbols(connection) == []
        (trade,) = connection.execute(select(trades)).mappings()
        assert trade["pnl_nano_usd"] == Decimal("1.15")
    engine.dispose()
