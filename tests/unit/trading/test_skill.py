import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from allora_mqtt.market.predictions import Prediction
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.store.database import Database
from allora_mqtt.store.predictions import HitRate, PredictionBook
from allora_mqtt.store.schema import predictions
from allora_mqtt.trading.skill import Awaited, Skill, is_right
from allora_mqtt.trading.skill_keeper import SkillKeeper
from tests.unit.trading.things import NOW, NOW_S, quote

HORIZON_S = 3600
MARK = Decimal(2000)
LONG_AGO = NOW - timedelta(days=365)


def prediction(price: str = "2020", at: float = NOW_S, topic_id: int = 9, symbol: str = "ETH") -> Prediction:
    return Prediction(topic_id, symbol, Decimal(price), None, None, HORIZON_S, at)


@dataclass
class Exchange:
    """Gives candles, or fails."""

    closes: dict[int, Decimal] = field(default_factory=dict)
    asked: list[tuple[str, float, float]] = field(default_factory=list)
    fails_for: set[str] = field(default_factory=set)

    async def candles(self, symbol: str, since_s: float, until_s: float) -> Mapping[int, Decimal]:
        self.asked.append((symbol, since_s, until_s))
        if symbol in self.fails_for:
            raise BotError(ErrorCode.EXCHANGE_UNREACHABLE, "down")
        return self.closes


@dataclass
class Bench:
    """A keeper that runs on a real database."""

    database: Database
    exchange: Exchange
    now: float = NOW_S
    network: str = "sim"

    @asynccontextmanager
    async def keeper(self) -> AsyncIterator[SkillKeeper]:
        book = PredictionBook(self.database, self.network)
        keeper = SkillKeeper(book, self.exchange.candles, lambda: self.now)
        await keeper.load()
        task = asyncio.create_task(keeper.run())
        try:
            yield keeper
            await self.stored(keeper)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def stored(self, keeper: SkillKeeper) -> None:
        """Wait until everything that is to be stored has been handed to the database, and that is done with it."""
        async with asyncio.timeout(30):
            while not keeper._writes.empty():
                await asyncio.sleep(0)
            await self.database.write(lambda _connection: None)

    async def rows(self) -> list[dict[str, Any]]:
        return await self.database.read(
            lambda connection: [
                dict(row) for row in connection.execute(select(predictions).order_by(predictions.c.at)).mappings()
            ]
        )


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database, Exchange())


def marks(mark: str, at: float, symbol: str = "ETH") -> dict[str, Any]:
    return {symbol: replace(quote(mark, symbol), at=at)}


@pytest.mark.parametrize(
    ("predicted", "outcome", "right"),
    [
        ("2020", "2000.1", True),
        ("2020", "3000", True),
        ("2020", "1999.9", False),
        ("2020", "2000", False),
        ("1980", "1999.9", True),
        ("1980", "2000.1", False),
        ("1980", "2000", False),
        ("2000", "2001", None),
    ],
)
def test_right_is_who_named_the_direction(predicted: str, outcome: str, *, right: bool | None) -> None:
    awaited = Awaited(9, "ETH", NOW_S, Decimal(predicted), MARK, NOW_S + HORIZON_S)
    assert is_right(awaited, Decimal(outcome)) is right


def test_a_share_of_nothing_is_not_known() -> None:
    assert Skill(0, 0).accuracy_pct is None
    assert Skill(3, 2).accuracy_pct == Decimal("66.7")


async def test_a_prediction_is_stored_once_with_the_mark_it_met(bench: Bench) -> None:
    async with bench.keeper() as keeper:
        keeper.take(prediction(), MARK, NOW_S + 40)
        keeper.take(prediction(), Decimal(2001), NOW_S + 43)
        keeper.take(prediction(at=NOW_S - 60), Decimal(2001), NOW_S + 46)
    (row,) = await bench.rows()
    assert (row["network"], row["topic_id"], row["symbol"]) == ("sim", 9, "ETH")
    assert (row["price"], row["mark_price"], row["horizon_s"]) == (2020, 2000, HORIZON_S)
    assert (row["at"], row["seen_at"]) == (NOW, NOW + timedelta(seconds=40))
    assert row["due"] == NOW + timedelta(seconds=HORIZON_S)
    assert (row["resolved_at"], row["is_right"], row["review"]) == (None, None, None)


async def test_it_is_resolved_by_the_first_mark_when_it_is_due_and_not_before(bench: Bench) -> None:
    due = NOW_S + HORIZON_S
    async with bench.keeper() as keeper:
        keeper.take(prediction(), MARK, NOW_S)
        keeper.resolve(marks("1000", due - 0.1))
        assert keeper.skill(9, 50) == Skill(0, 0)
        keeper.resolve(marks("2001", due, "BTC"))
        keeper.resolve(marks("2001", due + 2))
        keeper.resolve(marks("1000", due + 5))
        assert keeper.skill(9, 50) == Skill(1, 1)
    (row,) = await bench.rows()
    assert (row["outcome_price"], row["is_right"], row["note"]) == (2001, True, None)
    assert row["resolved_at"] == NOW + timedelta(seconds=HORIZON_S + 2)


async def test_a_mark_that_comes_too_late_resolves_nothing(bench: Bench) -> None:
    async with bench.keeper() as keeper:
        keeper.take(prediction(), MARK, NOW_S)
        keeper.resolve(marks("2001", NOW_S + HORIZON_S + 61))
        assert keeper.skill(9, 50) == Skill(0, 0)


async def test_only_the_newest_of_each_topic_count(bench: Bench) -> None:
    async with bench.keeper() as keeper:
        for number, price in enumerate(("1980", "2020", "2020", "1980")):
            at = NOW_S + 300 * number
            keeper.take(prediction(price, at), MARK, at)
            keeper.resolve(marks("2001", at + HORIZON_S))
        keeper.take(prediction("1980", topic_id=1), MARK, NOW_S)
        keeper.resolve(marks("2001", NOW_S + HORIZON_S))
        assert [keeper.skill(9, window) for window in (1, 2, 3, 4, 50)] == [
            Skill(1, 0),
            Skill(2, 1),
            Skill(3, 2),
            Skill(4, 2),
            Skill(4, 2),
        ]
        assert keeper.skill(1, 50) == Skill(1, 0)


async def test_what_was_found_survives_a_restart_and_is_another_networks_business_no_more(bench: Bench) -> None:
    async with bench.keeper() as keeper:
        keeper.take(prediction(), MARK, NOW_S)
        keeper.resolve(marks("2001", NOW_S + HORIZON_S))
        keeper.take(prediction(at=NOW_S + 300), MARK, NOW_S + 300)
    async with bench.keeper() as keeper:
        assert keeper.skill(9, 50) == Skill(1, 1)
        keeper.take(prediction(at=NOW_S + 300), Decimal(5), NOW_S + 310)
        keeper.resolve(marks("1999", NOW_S + 300 + HORIZON_S))
        assert keeper.skill(9, 50) == Skill(2, 1)
    assert [row["mark_price"] for row in await bench.rows()] == [2000, 2000]
    bench.network = "allora-mainnet-1"
    async with bench.keeper() as keeper:
        assert keeper.skill(9, 50) == Skill(0, 0)


async def test_what_came_due_while_the_bot_was_away_is_found_in_the_candle_of_that_minute(bench: Bench) -> None:
    async with bench.keeper() as keeper:
        keeper.take(prediction(at=NOW_S + 90), MARK, NOW_S + 90)
        keeper.take(prediction("1980", at=NOW_S + 150), MARK, NOW_S + 150)
    minute = int(NOW_S) + HORIZON_S + 60
    bench.exchange.closes = {minute: Decimal(2100), minute + 60: Decimal(2001)}
    bench.now = NOW_S + 86_400
    async with bench.keeper() as keeper:
        async with asyncio.timeout(30):
            while keeper.skill(9, 50).samples < 2:
                await asyncio.sleep(0.01)
        assert keeper.skill(9, 50) == Skill(2, 1)
    rows = await bench.rows()
    assert [row["outcome_price"] for row in rows] == [2100, 2001]
    assert all("candle" in row["note"] for row in rows)
    assert bench.exchange.asked == [("ETH", NOW_S + 90 + HORIZON_S - 60, NOW_S + 150 + HORIZON_S)]


@pytest.mark.parametrize(("away_s", "asks"), [(86_400, 1), (4 * 86_400, 0)])
async def test_without_a_candle_it_stays_unresolved_and_says_why(bench: Bench, away_s: float, asks: int) -> None:
    async with bench.keeper() as keeper:
        keeper.take(prediction(), MARK, NOW_S)
    bench.now = NOW_S + HORIZON_S + away_s
    async with bench.keeper() as keeper:
        async with asyncio.timeout(30):
            while keeper._awaited:
                await asyncio.sleep(0.01)
        assert keeper.skill(9, 50) == Skill(0, 0)
    (row,) = await bench.rows()
    assert (row["outcome_price"], row["is_right"]) == (None, None)
    assert "the bot was away when it was due, and the exchange has no candle" in row["note"]
    assert len(bench.exchange.asked) == asks


async def test_an_exchange_that_is_down_is_asked_again_and_holds_up_no_other_coin(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allora_mqtt.trading.skill_keeper._CATCH_UP_S", 0.01)
    async with bench.keeper() as keeper:
        keeper.take(prediction(), MARK, NOW_S)
        keeper.take(prediction(symbol="BTC", topic_id=14), MARK, NOW_S)
    bench.exchange.fails_for = {"ETH"}
    bench.exchange.closes = {int(NOW_S) + HORIZON_S: Decimal(2001)}
    bench.now = NOW_S + 86_400
    async with bench.keeper() as keeper, asyncio.timeout(30):
        while keeper.skill(14, 50).samples < 1:
            await asyncio.sleep(0.01)
        assert keeper.skill(9, 50) == Skill(0, 0)
        bench.exchange.fails_for = set()
        while keeper.skill(9, 50).samples < 1:
            await asyncio.sleep(0.01)


async def test_hit_rates_are_counted_by_topic(bench: Bench) -> None:
    async with bench.keeper() as keeper:
        for number, price in enumerate(("1980", "2020", "2020")):
            at = NOW_S + 300 * number
            keeper.take(prediction(price, at), MARK, at)
            keeper.resolve(marks("2001", at + HORIZON_S))
        keeper.take(prediction(at=NOW_S + 900), MARK, NOW_S + 900)
        keeper.take(prediction(topic_id=14, symbol="BTC"), MARK, NOW_S)
        await bench.stored(keeper)
        assert await keeper.hit_rates(LONG_AGO) == [
            HitRate(9, "ETH", HORIZON_S, samples=3, right=2, unresolved=1),
            HitRate(14, "BTC", HORIZON_S, samples=0, right=0, unresolved=1),
        ]
        since = datetime.fromtimestamp(NOW_S + 300, UTC)
        assert await keeper.hit_rates(since) == [HitRate(9, "ETH", HORIZON_S, samples=2, right=2, unresolved=1)]


async def test_a_review_is_kept_with_its_prediction(bench: Bench) -> None:
    review = {"direction": "BUY", "approved": True, "reason": "why not"}
    async with bench.keeper() as keeper:
        keeper.take(prediction(), MARK, NOW_S)
        keeper.take(prediction(at=NOW_S + 300), MARK, NOW_S)
        keeper.note_review(9, NOW_S, review)
        await bench.stored(keeper)
        assert await keeper.reviews(LONG_AGO) == {("ETH", 9, NOW_S): review}
        assert await keeper.reviews(NOW + timedelta(seconds=1)) == {}


async def test_a_full_disk_ends_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_book: PredictionBook, _row: object) -> None:
        raise BotError(ErrorCode.STORE_UNAVAILABLE, "full")

    async with bench.keeper() as keeper:
        with monkeypatch.context() as patch:
            patch.setattr(PredictionBook, "add", refuse)
            keeper.take(prediction(), MARK, NOW_S)
            await bench.stored(keeper)
        keeper.take(prediction(at=NOW_S + 300), MARK, NOW_S)
    assert [row["at"] for row in await bench.rows()] == [NOW + timedelta(seconds=300)]
