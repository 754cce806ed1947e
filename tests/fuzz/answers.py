"""Target `answers`: whatever the exchange and Allora answer is a checked value or a `BotError`, never anything else.

An input is the name of what was asked for, a line break, and the body of the answer. What is accepted must go through
everything that the bot makes of it: a value that breaks a dashboard's message or the trading cycle is none.
"""

import dataclasses
import json
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from pydantic import BaseModel

from allora_mqtt.control import views
from allora_mqtt.market.account import AccountState, PositionState
from allora_mqtt.market.allora_chain import parse_block_time, parse_chain_value
from allora_mqtt.market.catalog import Asset, Catalog, topics_from_api
from allora_mqtt.market.predictions import Inference, Origin, Prediction, to_prediction, unusable_because
from allora_mqtt.market.quotes import Quote, quotes_from_contexts
from allora_mqtt.market.topic_names import Topic, TopicKind, parse_configured_topics, parse_topic
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.protocol.messages import CatalogView, Direction, Positions, SignalView
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.trading.portfolio import Portfolio
from allora_mqtt.trading.review import Unusable, read_answer
from allora_mqtt.trading.risk import Book, plan_entry
from allora_mqtt.trading.settlement import fill_row, fill_view
from allora_mqtt.trading.strategy import Situation, judge, round_gap
from tests.fuzz.canned import NOW_S, CannedAllora, CannedExchange, allora, gateway

TOPIC_ID: Final = 14
NOW: Final = datetime.fromtimestamp(NOW_S, UTC)
_CLOID: Final = "0x" + "0" * 31 + "1"
_TOPIC: Final = Topic(TOPIC_ID, "BTC 8h", "BTC", TopicKind.PRICE, 8 * 3600, 300, is_active=True)
_ASSET: Final = Asset("BTC", 0, 5, 40, is_delisted=False, only_isolated=False)

_MAX_TEXT: Final = 300
_MAX_MESSAGE: Final = 1000
_BEYOND_INT64: Final = 2**63
_ABOVE_ZERO: Final = frozenset(
    {"mark", "mid", "oracle", "price", "average_price", "entry_price", "trigger_price"}
    | {"liquidation_price", "leverage", "max_leverage", "id", "topic_id", "horizon_s", "epoch_s", "at", "timestamp"}
)
_NOT_NEGATIVE: Final = frozenset(
    {"size", "filled_size", "limit_price", "spread_pct", "oid", "tid", "index", "sz_decimals"}
)
_INTERVALS: Final = frozenset({"interval_68", "interval_95"})
_FITS_A_TOPIC: Final = re.compile(r"[A-Za-z0-9:_-]{1,20}")
"""What a symbol may be: part of a topic that every broker routes, and of a length that the store has room for."""


class Answers:
    """The clients on canned answers, and what the bot makes of them."""

    def __init__(self) -> None:
        self._exchange = CannedExchange({"meta": b'{"universe":[{"name":"BTC","szDecimals":5,"maxLeverage":40}]}'})
        self._allora = CannedAllora()
        self._gateway = gateway(self._exchange)
        self._client = allora(self._allora)
        self._readers: Mapping[str, Callable[[bytes], Awaitable[Iterable[object]]]] = {
            "market": self._market,
            "account": self._account,
            "spot": self._spot,
            "mode": self._mode,
            "orders": self._orders,
            "fills": self._fills,
            "status": self._status,
            "sent": self._sent,
            "topics": self._topics,
            "inference": self._inference,
            "candles": self._candles,
            "chain": self._chain,
            "block": self._block,
            "review": self._review,
            "topic_name": self._topic_name,
            "configured": self._configured,
        }
        self.names = tuple(self._readers)

    async def close(self) -> None:
        await self._gateway.close()

    async def must_hold(self, data: bytes) -> bool:
        """Answer with these bytes and see that nothing unsound comes of it.

        Returns:
            Whether the answer was taken.
        """
        first, _, body = data.partition(b"\n")
        name = first.decode("ascii", errors="replace")
        reader = self._readers.get(name) or self._readers[self.names[len(name) % len(self.names)]]
        try:
            made = await reader(body)
        except BotError as error:
            is_readable(error)
            return False
        for value in made:
            is_sound(value)
        return True

    async def _market(self, body: bytes) -> Iterable[object]:
        self._exchange.answers["metaAndAssetCtxs"] = body
        meta, contexts = await self._gateway.meta_and_contexts()
        quotes = quotes_from_contexts(meta, contexts, NOW_S)
        catalog = Catalog(self._gateway._assets, {TOPIC_ID: _TOPIC})
        shown = [CatalogView(catalog.view())]
        traded = [
            made for quote in quotes.values() for made in consequences(quote, self._gateway._assets[quote.symbol])
        ]
        return [*self._gateway._assets.values(), *quotes.values(), *shown, *traded]

    async def _account(self, body: bytes) -> Iterable[object]:
        self._exchange.answers |= {"clearinghouseState": body}
        self._gateway._mode, self._gateway._mode_until_s = "default", float("inf")
        return _shown(await self._gateway.user_state())

    async def _spot(self, body: bytes) -> Iterable[object]:
        self._exchange.answers |= {"clearinghouseState": _ACCOUNT, "spotClearinghouseState": body}
        self._gateway._mode, self._gateway._mode_until_s = "unifiedAccount", float("inf")
        return _shown(await self._gateway.user_state())

    async def _mode(self, body: bytes) -> Iterable[object]:
        self._exchange.answers |= {"userAbstraction": body}
        self._gateway._mode = None
        return [await self._gateway.account_mode()]

    async def _orders(self, body: bytes) -> Iterable[object]:
        self._exchange.answers["frontendOpenOrders"] = body
        return await self._gateway.open_orders()

    async def _fills(self, body: bytes) -> Iterable[object]:
        self._exchange.answers["userFillsByTime"] = body
        fills = await self._gateway.fills(0)
        rows = [fill_row(fill, {}) for fill in fills]
        return [*fills, *rows, *(fill_view(row) for row in rows)]

    async def _status(self, body: bytes) -> Iterable[object]:
        self._exchange.answers["orderStatus"] = body
        return [await self._gateway.order_status(_CLOID)]

    async def _sent(self, body: bytes) -> Iterable[object]:
        self._exchange.answers["cancel"] = body
        self._gateway._assets = {"BTC": _ASSET}
        envelope = self._gateway.sign_cancels([("BTC", 1), ("BTC", 2)], 1_795_000_000_000)
        results = await self._gateway.send(envelope)
        assert len(results) == 2, results
        return results

    async def _topics(self, body: bytes) -> Iterable[object]:
        self._allora.body = body
        topics = topics_from_api(await self._client.topics())
        catalog = Catalog({"BTC": _ASSET}, topics)
        return [*topics.values(), CatalogView(catalog.view()), *catalog.topics_of("BTC")]

    async def _inference(self, body: bytes) -> Iterable[object]:
        self._allora.body = body
        inference = await self._client.inference(TOPIC_ID)
        return [inference, *_predicted(inference)]

    async def _candles(self, body: bytes) -> Iterable[object]:
        self._exchange.answers["candleSnapshot"] = body
        closes = await self._gateway.minute_closes("BTC", 0, NOW_S)
        return [{"price": close} for close in closes.values()]

    async def _chain(self, body: bytes) -> Iterable[object]:
        found = parse_chain_value(_json(body), TOPIC_ID)
        inference = Inference(TOPIC_ID, found.value, found.interval_68, found.interval_95, NOW_S, Origin.CHAIN)
        return [inference, {"oid": found.height}, *_predicted(inference)]

    async def _block(self, body: bytes) -> Iterable[object]:
        return [{"at": parse_block_time(_json(body), 360_000_000, "allora-mainnet-1")}]

    async def _review(self, body: bytes) -> Iterable[object]:
        try:
            answer = read_answer(body)
        except Unusable as error:
            raise BotError(ErrorCode.INTERNAL, str(error)) from error
        assert answer.reasoning.isprintable()
        return [answer]

    async def _topic_name(self, body: bytes) -> Iterable[object]:
        topic = parse_topic(TOPIC_ID, body.decode("utf-8", errors="replace"))
        return [dataclasses.replace(topic, name="")]

    async def _configured(self, body: bytes) -> Iterable[object]:
        try:
            return parse_configured_topics(body.decode("utf-8", errors="replace"))
        except ValueError as error:
            return [str(error)]


_ACCOUNT: Final = json.dumps(
    {
        "marginSummary": {"accountValue": "0", "totalMarginUsed": "10"},
        "withdrawable": "0",
        "assetPositions": [
            {
                "position": {
                    "coin": "BTC",
                    "szi": "-0.01",
                    "entryPx": "64000",
                    "positionValue": "640",
                    "unrealizedPnl": "-1.5",
                    "marginUsed": "10",
                    "leverage": {"type": "cross", "value": 20},
                    "liquidationPx": None,
                }
            }
        ],
    }
).encode()


def _json(body: bytes) -> object:
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        # The client says so before anything is parsed.
        raise BotError(ErrorCode.PREDICTION_UNAVAILABLE, "Not JSON.") from error
    return found


def _shown(state: AccountState) -> list[object]:
    """Return an account and all that is published of it."""
    portfolio = Portfolio()
    portfolio.take(state)
    portfolio.count(state.equity_usd, NOW)
    positions = Positions([views.position(position, portfolio, None) for position in state.positions.values()])
    shown = [positions, views.account(portfolio, NOW)]
    book = portfolio.book(0)
    plan = plan_entry(Direction.BUY, Decimal(1), _quote("64000"), _ASSET, RuntimeSettings(), book, NOW_S)
    results = portfolio.results
    tripped = None if results is None else results.tripped(state.equity_usd, RuntimeSettings())
    return [state, *state.positions.values(), *shown, plan, tripped]


def _predicted(inference: Inference) -> Iterator[object]:
    """Yield what becomes of an inference, as a price and as a log-return, beside marks near and far."""
    for kind in (TopicKind.PRICE, TopicKind.LOG_RETURN):
        for mark in ("64000", "0.00001", "1e15"):
            quote = _quote(mark)
            try:
                prediction = to_prediction(inference, dataclasses.replace(_TOPIC, kind=kind), quote.mark)
            except BotError as error:
                is_readable(error)
                continue
            yield prediction
            yield from consequences(quote, _ASSET, prediction)


def consequences(quote: Quote, asset: Asset, prediction: Prediction | None = None) -> list[object]:
    """Return what the trading cycle and the dashboards make of a quote and a prediction."""
    if prediction is None:
        prediction = Prediction(TOPIC_ID, quote.symbol, quote.mark * Decimal("1.01"), None, None, 3600, NOW_S)
    settings = RuntimeSettings()
    unusable = unusable_because(prediction, quote.mark, NOW_S, 1800)
    opinion = judge(Situation(quote, prediction, (), settings, NOW_S))
    signal = SignalView(
        signal_id="0" * 32,
        symbol=quote.symbol,
        direction=opinion.direction,
        gap_pct=round_gap(opinion.gap_pct),
        prediction=prediction.price,
        mark_price=quote.mark,
        topic_id=prediction.topic_id,
        prediction_at=datetime.fromtimestamp(prediction.at, UTC),
        acted=False,
        reasons=[unusable or ""],
        at=NOW,
    )
    ends_at = datetime.fromtimestamp(prediction.at + prediction.horizon_s, UTC)
    made: list[object] = [signal, ends_at, views.crypto(TOPIC_ID, quote, prediction, signal, None, NOW)]
    if unusable is None and opinion.direction is not Direction.HOLD:
        book = Book({}, Decimal(1000), {}, 0)
        made.append(plan_entry(opinion.direction, opinion.gap_pct, quote, asset, settings, book, NOW_S))
    return made


def _quote(mark: str) -> Quote:
    price = Decimal(mark)
    return Quote("BTC", price, price, price, Decimal(0), Decimal(1000), Decimal("0.01"), NOW_S)


def is_sound(value: object, name: str = "", *, signed_size: bool = False) -> None:
    """Fail on a number that is none, a price that is not above zero, a text that is too long or fits nowhere."""
    match value:
        case BaseModel():
            json.loads(value.model_dump_json(), parse_constant=_no_constant)
        case bool() | None | datetime():
            pass
        case int() | float() | Decimal():
            _is_sound_number(value, name)
            _in_range(value, name, signed_size=signed_size)
        case str():
            assert _FITS_A_TOPIC.fullmatch(value) if name == "symbol" else len(value) <= _MAX_TEXT, (name, value)
        case _:
            for inner_name, inner in _inside(value, name):
                is_sound(inner, inner_name, signed_size=isinstance(value, PositionState))


def _inside(value: object, name: str) -> Iterable[tuple[str, object]]:
    """Return what a container holds, each with its name."""
    match value:
        case dict():
            return value.items()
        case list() | tuple():
            return [(name, inner) for inner in value]
    assert dataclasses.is_dataclass(value), f"nobody knows what {name} {value!r} is"
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    # A log-return's interval may well lie below zero.
    return [("bounds" if isinstance(value, Inference) and key in _INTERVALS else key, fields[key]) for key in fields]


def _is_sound_number(value: float | Decimal, name: str) -> None:
    assert math.isfinite(value), (name, value)
    if isinstance(value, int):
        assert abs(value) < _BEYOND_INT64, (name, value)
    if name in {"at", "timestamp"}:
        datetime.fromtimestamp(float(value), UTC)


def is_readable(error: BotError) -> None:
    """Fail on an error that nobody can read."""
    assert 0 < len(error.message) <= _MAX_MESSAGE, error.message
    assert error.message.isprintable(), error.message


def _in_range(value: float | Decimal, name: str, *, signed_size: bool) -> None:
    if name in _ABOVE_ZERO or name.startswith("interval"):
        assert value > 0, (name, value)
    if name in _NOT_NEGATIVE and not (name == "size" and signed_size):
        assert value >= 0, (name, value)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
