"""What comes in from the market: quotes of everything in one request, and the predictions of the active topics."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

from allora_mqtt.market.budget import Use
from allora_mqtt.market.catalog import Asset, Catalog, Topic, assets_from_meta, topics_from_api
from allora_mqtt.market.dependency import Dependency
from allora_mqtt.market.hyperliquid import QUOTES_WEIGHT, Hyperliquid
from allora_mqtt.market.predictions import Inference, Prediction, is_same_value, to_prediction
from allora_mqtt.market.quotes import Quote, quotes_from_contexts
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.settings import PREDICTIONS_PER_MINUTE

log = logging.getLogger(__name__)

_CATALOG_RETRY_S: Final = 2.0
_BREAKER_LOOK_S: Final = 0.5
_CATALOG_REFRESH_S: Final = 3600.0
_MIN_POLL_S: Final = 2.0
_MAX_POLL_S: Final = 30.0
_CONCURRENT_REQUESTS: Final = 8
_LOOKS: Final = 3
"""At each value, or in each horizon where that is shorter."""
_JITTER: Final = 0.1
"""Part of a pause by which it may be longer, so that topics and bots do not keep step."""


class PredictionSource(Protocol):
    """Where topics and inferences are read. Raises BotError PREDICTION_UNAVAILABLE."""

    async def topics(self) -> list[dict[str, Any]]:
        """Every topic, for `topics_from_api`."""

    async def inference(self, topic_id: int) -> Inference:
        """The latest inference of a topic."""


def poll_pause_s(
    topic: Topic, followed: int, jitter: float, requests_per_minute: int = PREDICTIONS_PER_MINUTE
) -> float:
    """Return how long to wait between two looks at a topic, in seconds.

    Args:
        topic: the topic.
        followed: how many topics share the requests that are allowed.
        jitter: 0 to 1.
        requests_per_minute: over all topics.
    """
    newest_s = min(topic.epoch_s, topic.horizon_s or topic.epoch_s)
    wanted_s = min(_MAX_POLL_S, max(_MIN_POLL_S, newest_s / _LOOKS))
    return max(wanted_s, followed * 60 / requests_per_minute) * (1 + _JITTER * jitter)


class Feed:
    """Keeps quotes, predictions and the catalog up to date.

    Args:
        hyperliquid: where quotes come from.
        allora: where predictions come from.
        configured_topics: topics whose names cannot be read, from the settings.
        quote_interval_s: pause between two requests for all quotes, unless the request budget asks for a longer one.
        clock: unix seconds.
        jitter: a random number from 0 to 1.
        requests_per_minute: for predictions, over all topics.
    """

    def __init__(
        self,
        hyperliquid: Hyperliquid,
        allora: PredictionSource,
        configured_topics: list[Topic],
        quote_interval_s: float,
        clock: Callable[[], float],
        jitter: Callable[[], float] = random.random,
        requests_per_minute: int = PREDICTIONS_PER_MINUTE,
    ) -> None:
        self.hyperliquid = hyperliquid
        self._allora = allora
        self._configured = configured_topics
        self._quote_interval_s = quote_interval_s
        self._requests_per_minute = requests_per_minute
        self._clock = clock
        self._jitter = jitter
        self._assets: Mapping[str, Asset] = {}
        self._topics: dict[int, Topic] = {}
        self._wanted: Mapping[str, int] = {}
        self._inferences: dict[str, Inference] = {}
        self._polling: set[int] = set()
        self._next_poll: dict[int, float] = {}  # on the monotonic clock: the other may be set back by hours
        self._wanted_changed = asyncio.Event()
        self._limit = asyncio.Semaphore(_CONCURRENT_REQUESTS)
        self.hyperliquid_health = hyperliquid.info_health
        self.allora_health = Dependency("allora")
        self.catalog: Catalog | None = None
        """What can be traded and predicted; None until both sides have been asked."""
        self.catalog_ready = asyncio.Event()
        self.quotes: dict[str, Quote] = {}
        self.predictions: dict[str, Prediction] = {}
        """The newest prediction of each active symbol."""
        self.on_quotes: Callable[[], None] = _nothing
        self.on_prediction: Callable[[str], None] = _nothing_of
        self.on_catalog: Callable[[], None] = _nothing

    def want(self, active: Mapping[str, int]) -> None:
        """Follow the predictions of this active set from now on."""
        for symbol, prediction in list(self.predictions.items()):
            if active.get(symbol) != prediction.topic_id:
                del self.predictions[symbol]
        self._wanted = dict(active)
        self._wanted_changed.set()

    def asset(self, symbol: str) -> Asset:
        """Return how a symbol is traded; known as soon as the exchange has answered, whatever Allora does.

        Raises:
            BotError: `EXCHANGE_UNREACHABLE`, when the exchange has not named it yet.
        """
        asset = self._assets.get(symbol)
        if asset is None:
            message = f"HyperLiquid has not said yet how {symbol} is traded; try again later."
            raise BotError(ErrorCode.EXCHANGE_UNREACHABLE, message)
        return asset

    def reset_breakers(self, name: str | None) -> list[str]:
        """Close one breaker by hand, or all, and return the names of those that were open."""
        return [found.name for found in self.dependencies() if name in {None, found.name} and found.reset()]

    def dependencies(self) -> list[Dependency]:
        """Return everything that trading depends on and that has a breaker."""
        return [self.hyperliquid_health, self.hyperliquid.exchange_health, self.allora_health]

    async def run(self) -> None:
        """Keep everything fresh until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_catalog())
            tasks.create_task(self._follow_quotes())
            tasks.create_task(self._follow_predictions())

    async def refresh_catalog(self) -> None:
        """Ask both sides again what there is.

        Raises:
            BotError: one of them did not answer.
        """
        entries = await self._timed(self._allora.topics())
        self._topics = topics_from_api(entries) | {topic.id: topic for topic in self._configured}
        await self.refresh_quotes()
        self._renew_catalog()

    async def refresh_quotes(self) -> None:
        """Ask for all quotes now.

        Raises:
            BotError: HyperLiquid did not answer.
        """
        meta, contexts = await self.hyperliquid.meta_and_contexts()
        self._assets = assets_from_meta(meta)
        self.quotes = quotes_from_contexts(meta, contexts, self._clock())
        self.on_quotes()

    def _renew_catalog(self) -> None:
        self.catalog = Catalog(self._assets, self._topics)
        self.catalog_ready.set()
        self.on_catalog()

    async def _follow_catalog(self) -> None:
        while True:
            pause_s = _CATALOG_REFRESH_S
            try:
                if self.hyperliquid_health.is_open or not self.allora_health.admits(self._clock()):
                    await asyncio.sleep(_BREAKER_LOOK_S)
                    continue
                await self.refresh_catalog()
            except BotError as error:
                log.warning("The catalog could not be read: %s", error.message)
                pause_s = _CATALOG_RETRY_S if self.catalog is None else 60.0
            await asyncio.sleep(pause_s)

    async def _follow_quotes(self) -> None:
        while True:
            await asyncio.sleep(self.hyperliquid.quote_pause_s(self._quote_interval_s))
            await self.hyperliquid.room(Use.QUOTES, QUOTES_WEIGHT)
            if not self.hyperliquid_health.admits(self._clock()):
                continue
            try:
                await self.refresh_quotes()
            except BotError as error:
                log.debug("No quotes: %s", error.message)

    async def _follow_predictions(self) -> None:
        await self.catalog_ready.wait()
        async with asyncio.TaskGroup() as polls:
            while True:
                # Each topic is asked for by itself: one that hangs holds up no other.
                for symbol, topic_id in self._due().items():
                    self._polling.add(topic_id)
                    polls.create_task(self._poll(symbol, topic_id))
                self._wanted_changed.clear()
                try:
                    async with asyncio.timeout(0.5):
                        await self._wanted_changed.wait()
                except TimeoutError:
                    continue

    def _due(self) -> dict[str, int]:
        now_s = time.monotonic()
        return {
            symbol: topic_id
            for symbol, topic_id in self._wanted.items()
            if topic_id not in self._polling and self._next_poll.get(topic_id, now_s) <= now_s
        }

    async def _poll(self, symbol: str, topic_id: int) -> None:
        topic = self._topics.get(topic_id)
        try:
            if topic is None:
                return
            pause_s = poll_pause_s(topic, len(self._wanted), self._jitter(), self._requests_per_minute)
            self._next_poll[topic_id] = time.monotonic() + pause_s
            async with self._limit:
                if not self.allora_health.admits(self._clock()):
                    del self._next_poll[topic_id]
                    return
                inference = await self._timed(self._allora.inference(topic_id))
            self._take(symbol, topic, inference)
        except BotError as error:
            log.debug("No prediction of topic %s: %s", topic_id, error.message)
        finally:
            self._polling.discard(topic_id)

    def _take(self, symbol: str, topic: Topic, inference: Inference) -> None:
        known, quote = self.predictions.get(symbol), self.quotes.get(symbol)
        if quote is None or self._wanted.get(symbol) != topic.id:
            return
        if known is not None and known.topic_id == topic.id and known.at >= inference.timestamp:
            return
        seen = self._inferences.get(symbol)
        if known is not None and seen is not None and is_same_value(seen, inference):
            # The chain and the API have different times for one value, and it is one prediction all the same.
            return
        self._inferences[symbol] = inference
        # A log-return becomes a price once, against the mark at which it was first seen, and does not follow it.
        self.predictions[symbol] = to_prediction(inference, topic, quote.mark)
        self.on_prediction(symbol)

    async def _timed(self, call: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - what the call returns
        started = time.perf_counter()
        try:
            result = await call
        except BotError as error:
            self.allora_health.failed(self._clock(), error.message)
            raise
        self.allora_health.succeeded(self._clock(), (time.perf_counter() - started) * 1000)
        return result


def _nothing() -> None:
    pass


def _nothing_of(_symbol: str) -> None:
    pass
