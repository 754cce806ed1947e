"""Each usable prediction is kept until it is due, and held against the price then: the skill of its topic."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from allora_mqtt.market.predictions import Prediction
from allora_mqtt.market.quotes import Quote
from allora_mqtt.protocol.errors import BotError
from allora_mqtt.store.predictions import HitRate, PredictionBook
from allora_mqtt.trading.skill import Awaited, Skill, is_right

log = logging.getLogger(__name__)

_TOLERANCE_S: Final = 60.0
"""A mark that came this long after a prediction was due still is the price then."""
_CATCH_UP_S: Final = 30.0
_CANDLES_KEPT_S: Final = 3 * 86_400.0
"""The exchange keeps 5000 candles, which are 3.4 days of minutes."""
_MAX_WINDOW: Final = 500
_REMEMBERED: Final = 50_000
_MINUTE_S: Final = 60

Candles = Callable[[str, float, float], Awaitable[Mapping[int, Decimal]]]
"""Closing prices by the unix second at which their minute began, of a symbol, between two times in unix seconds."""


class SkillKeeper:
    """Stores predictions, resolves them, and knows each topic's skill.

    Args:
        book: where they are stored.
        candles: asks the exchange for closing prices, for predictions that came due while the bot was away.
        clock: unix seconds.
    """

    def __init__(self, book: PredictionBook, candles: Candles, clock: Callable[[], float]) -> None:
        self._book = book
        self._candles = candles
        self._clock = clock
        self._awaited: dict[tuple[int, float], Awaited] = {}
        self._newest: dict[int, float] = {}
        self._outcomes: dict[int, deque[bool]] = {}
        self._writes: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()

    async def load(self) -> None:
        """Take over what an earlier run left."""
        for row in await self._book.unresolved():
            awaited = Awaited(
                row["topic_id"],
                row["symbol"],
                row["at"].timestamp(),
                row["price"],
                row["mark_price"],
                row["due"].timestamp(),
            )
            self._await(awaited)
        for topic_id, right in await self._book.outcomes(_REMEMBERED):
            self._outcomes_of(topic_id).append(right)

    async def run(self) -> None:
        """Store what is found, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write())
            tasks.create_task(self._catch_up())

    def take(self, prediction: Prediction, mark: Decimal, now: float) -> None:
        """Keep a usable prediction, once.

        Args:
            prediction: the newest of its topic.
            mark: the mark price now, USD.
            now: unix seconds.
        """
        if self._newest.get(prediction.topic_id, 0.0) >= prediction.at:
            return
        due = prediction.at + prediction.horizon_s
        self._await(Awaited(prediction.topic_id, prediction.symbol, prediction.at, prediction.price, mark, due))
        row = {
            "topic_id": prediction.topic_id,
            "symbol": prediction.symbol,
            "at": _moment(prediction.at),
            "price": prediction.price,
            "mark_price": mark,
            "seen_at": _moment(now),
            "horizon_s": prediction.horizon_s,
            "due": _moment(due),
        }
        self._writes.put_nowait(lambda: self._book.add(row))

    def resolve(self, quotes: Mapping[str, Quote]) -> None:
        """Hold the predictions that have come due against these quotes."""
        for awaited in list(self._awaited.values()):
            quote = quotes.get(awaited.symbol)
            if quote is not None and 0 <= quote.at - awaited.due <= _TOLERANCE_S:
                self._resolve(awaited, quote.mark, quote.at, None)

    def skill(self, topic_id: int, window: int) -> Skill:
        """Return how often a topic was right in its newest resolved predictions, at most `window` of them."""
        newest = list(self._outcomes.get(topic_id, ()))[-window:]
        return Skill(len(newest), sum(newest))

    async def hit_rates(self, since: datetime) -> list[HitRate]:
        """Return how often each topic was right, of the predictions made since a time."""
        return await self._book.hit_rates(since)

    def note_review(self, topic_id: int, at: float, review: Mapping[str, object]) -> None:
        """Store what became of asking the reviewers about a prediction."""
        self._writes.put_nowait(lambda: self._book.change(topic_id, _moment(at), {"review": dict(review)}))

    async def reviews(self, since: datetime) -> dict[tuple[str, int, float], Mapping[str, object]]:
        """Return what reviewers said, by symbol, topic and time of the prediction in unix seconds."""
        rows = await self._book.reviews(since)
        return {(row["symbol"], row["topic_id"], row["at"].timestamp()): row["review"] for row in rows}

    async def _catch_up(self) -> None:
        """Find out what became of predictions that came due while nobody looked."""
        while True:
            await self._look_back(self._clock())
            await asyncio.sleep(_CATCH_UP_S)

    async def _look_back(self, now: float) -> None:
        """Resolve those of one symbol by the exchange's candles: one request a round, however long the absence was."""
        missed = [awaited for awaited in self._awaited.values() if now - awaited.due > _TOLERANCE_S + _MINUTE_S]
        for symbol in dict.fromkeys(awaited.symbol for awaited in missed):
            waiting = [awaited for awaited in missed if awaited.symbol == symbol]
            recent = [awaited for awaited in waiting if now - awaited.due <= _CANDLES_KEPT_S]
            try:
                closes = await self._closes(symbol, recent)
            except BotError as error:
                log.debug("Predictions of %s that came due wait for the exchange: %s", symbol, error.message)
                continue
            for awaited in waiting:
                self._resolve_by_candle(awaited, closes, now)
            break

    async def _closes(self, symbol: str, waiting: list[Awaited]) -> Mapping[int, Decimal]:
        if not waiting:
            return {}
        first, last = min(one.due for one in waiting), max(one.due for one in waiting)
        return await self._candles(symbol, first - _MINUTE_S, last)

    def _resolve_by_candle(self, awaited: Awaited, closes: Mapping[int, Decimal], now: float) -> None:
        close = closes.get(int(awaited.due // _MINUTE_S) * _MINUTE_S)
        if close is not None:
            note = "by the candle of that minute: the bot was away when it was due"
        else:
            note = "not known: the bot was away when it was due, and the exchange has no candle of that minute"
        self._resolve(awaited, close, now, note)

    def _resolve(self, awaited: Awaited, outcome: Decimal | None, now: float, note: str | None) -> None:
        del self._awaited[awaited.topic_id, awaited.at]
        right = None if outcome is None else is_right(awaited, outcome)
        if right is not None:
            self._outcomes_of(awaited.topic_id).append(right)
        values = {"outcome_price": outcome, "is_right": right, "resolved_at": _moment(now), "note": note}
        self._writes.put_nowait(lambda: self._book.change(awaited.topic_id, _moment(awaited.at), values))

    def _await(self, awaited: Awaited) -> None:
        self._awaited[awaited.topic_id, awaited.at] = awaited
        self._newest[awaited.topic_id] = max(awaited.at, self._newest.get(awaited.topic_id, 0.0))

    def _outcomes_of(self, topic_id: int) -> deque[bool]:
        return self._outcomes.setdefault(topic_id, deque(maxlen=_MAX_WINDOW))

    async def _write(self) -> None:
        while True:
            write = await self._writes.get()
            try:
                await write()
            except BotError as error:
                log.warning("What became of a prediction could not be stored: %s", error.message)


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
