"""Allora's topics: what their names say, and what the configuration says where a name does not."""

import re
from dataclasses import dataclass
from enum import StrEnum

from allora_mqtt.market.wire import quoted

_DEFAULT_EPOCH_S = 300
"""The shortest time between two values of one topic that the network has; for configured topics."""

_UNIT_S = {"m": 60, "h": 3600, "d": 86400}
_HORIZON = re.compile(r"(?<![\w.])(\d{1,4})\s*-?\s*(m|h|d|min(?:ute)?s?|h(?:ou)?rs?|days?)\b", re.IGNORECASE)
_LOG_RETURN = re.compile(r"\blog[\s_-]*returns?\b", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9:]+")
_SYMBOL = re.compile(r"k?[A-Z0-9]{1,12}")
_PRICE_WORDS = frozenset({"price", "prices", "prediction", "predictions", "forecast", "forecasts", "inference"})
_SILENT_WORDS = _PRICE_WORDS | {"ahead", "next", "spot"}
"""Words that go with prices and change nothing; any other word may."""
_REMARK_WORDS = frozenset({"update", "updates", "updated", "every", "new", "mainnet", "testnet"})
"""What a remark in brackets may say beside a time."""
_QUOTE_CURRENCIES = frozenset({"USD", "USDT", "USDC"})
_PAIR = re.compile(r"(k?[A-Z0-9]{2,9}?)USD[TC]?")
"""A pair in one word, such as `ETHUSDT`."""
_CONFIGURED = re.compile(r"\s*(?P<symbol>[A-Za-z0-9:]{1,20}):(?P<id>\d{1,9}):(?P<kind>\w+):(?P<horizon>\w+)\s*")


class TopicKind(StrEnum):
    """What a topic's values are."""

    PRICE = "price"
    LOG_RETURN = "log_return"
    OTHER = "other"
    """Volatility, volume, an election, or not understood: never a price signal."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One prediction topic of Allora.

    Attributes:
        id: its number, which means something only on its own network.
        name: as the network gives it, fit for one line of text.
        symbol: the asset it predicts, or None where the name does not say.
        kind: what its values are.
        horizon_s: how far ahead it predicts, in seconds, or None where the name does not say.
        epoch_s: about how often a new value comes, in seconds.
        is_active: whether the network still produces values.
    """

    id: int
    name: str
    symbol: str | None
    kind: TopicKind
    horizon_s: int | None
    epoch_s: int
    is_active: bool

    @property
    def is_usable(self) -> bool:
        """Whether its values can become a price prediction for a known asset at a known time."""
        return (
            self.is_active
            and self.symbol is not None
            and self.kind is not TopicKind.OTHER
            and self.horizon_s is not None
        )


def parse_topic(topic_id: int, name: str, *, epoch_s: int = _DEFAULT_EPOCH_S, is_active: bool = True) -> Topic:
    """Read asset, kind and horizon from a topic's name, such as `BTC/USD - 8h Log-Return Prediction`.

    Only what is understood completely is taken for a price signal: a word that is neither the asset, nor the horizon,
    nor one of the few that go with prices makes the kind `other`, so that "BTC 8h Volatility" never trades. A remark in
    brackets is left aside when it only says how often values come. The network's sandbox topics ("PLAYGROUND: …"),
    where anybody tries out anything, are `other` too.
    """
    name = quoted(name)
    text = re.sub(r"\([^)]*\)", " ", name)
    remarks = [word for remark in re.findall(r"\(([^)]*)\)", name) for word in _WORD.findall(_HORIZON.sub(" ", remark))]
    horizons = {_seconds(count, unit) for count, unit in _HORIZON.findall(text)}
    is_log_return = _LOG_RETURN.search(text) is not None
    rest = _WORD.findall(_LOG_RETURN.sub(" ", _HORIZON.sub(" ", text)))
    symbols = [word for word in rest if _is_symbol(word)]
    assets = list(dict.fromkeys(_asset(word) for word in symbols if word not in _QUOTE_CURRENCIES))
    strange = [word for word in rest if word not in symbols and word.lower() not in _SILENT_WORDS]
    strange += [word for word in remarks if word.lower() not in _REMARK_WORDS]
    is_price = any(word.lower() in _PRICE_WORDS for word in rest)
    if strange or len(assets) != 1:
        kind = TopicKind.OTHER
    elif is_log_return:
        kind = TopicKind.LOG_RETURN
    else:
        kind = TopicKind.PRICE if is_price else TopicKind.OTHER
    return Topic(
        id=topic_id,
        name=name,
        symbol=assets[0] if len(assets) == 1 else None,
        kind=kind,
        horizon_s=horizons.pop() if len(horizons) == 1 else None,
        epoch_s=epoch_s,
        is_active=is_active,
    )


def _is_symbol(word: str) -> bool:
    return bool(_SYMBOL.fullmatch(word)) and not word.isdigit() and word.lower() not in _SILENT_WORDS


def _asset(word: str) -> str:
    pair = _PAIR.fullmatch(word)
    return pair[1] if pair else word


def parse_configured_topics(text: str) -> list[Topic]:
    """Read the setting `ALLORA_TOPICS`: `BTC:14:price:8h,ETH:2:log_return:8h`.

    Returns:
        The topics in the order given; empty for an empty text.

    Raises:
        ValueError: an entry cannot be read, or a topic is there twice; the message names the entry.
    """
    topics: dict[int, Topic] = {}
    for entry in (part.strip() for part in text.split(",")):
        if not entry:
            continue
        topic = _configured_topic(entry)
        if topic.id in topics:
            raise ValueError(f"ALLORA_TOPICS has topic {topic.id} twice")
        topics[topic.id] = topic
    return list(topics.values())


def _configured_topic(entry: str) -> Topic:
    found = _CONFIGURED.fullmatch(entry)
    horizon = found and _HORIZON.fullmatch(found["horizon"])
    if found is None or horizon is None or found["kind"] not in {"price", "log_return"} or int(found["id"]) < 1:
        raise ValueError(
            f"ALLORA_TOPICS: {entry[:60]!r} is not <symbol>:<topic>:price|log_return:<horizon>, such as BTC:14:price:8h"
        )
    horizon_s = _seconds(horizon[1], horizon[2])
    if horizon_s is None:
        raise ValueError(f"ALLORA_TOPICS: the horizon of {entry[:60]!r} is zero")
    return Topic(
        id=int(found["id"]),
        name=f"{found['symbol']} {found['horizon']} {found['kind']} (configured)",
        symbol=found["symbol"],
        kind=TopicKind(found["kind"]),
        horizon_s=horizon_s,
        epoch_s=_DEFAULT_EPOCH_S,
        is_active=True,
    )


def horizon_text(seconds: int) -> str:
    """Write a horizon in its largest whole unit from 24 h on in days: `20m`, `8h`, `1d`."""
    for unit in ("d", "h"):
        if seconds >= _UNIT_S[unit] and seconds % _UNIT_S[unit] == 0:
            return f"{seconds // _UNIT_S[unit]}{unit}"
    return f"{seconds // _UNIT_S['m']}m"


def _seconds(count: str, unit: str) -> int | None:
    return int(count) * _UNIT_S[unit[0].lower()] or None
