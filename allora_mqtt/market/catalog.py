"""What can be traded and what is predicted, and which topic may steer which symbol."""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from allora_mqtt.market.topic_names import (
    Topic,
    TopicKind,
    horizon_text,
    parse_configured_topics,
    parse_topic,
)
from allora_mqtt.market.wire import to_int, to_symbol
from allora_mqtt.protocol.errors import ErrorCode, Rejected
from allora_mqtt.protocol.messages import CatalogEntry, TopicView

__all__ = [
    "Asset",
    "Catalog",
    "Topic",
    "TopicKind",
    "assets_from_meta",
    "horizon_text",
    "parse_configured_topics",
    "parse_topic",
    "topics_from_api",
]

_PREFERRED_HORIZON_S = 8 * 3600
_BLOCK_S = 5
"""Allora counts epochs in blocks of about five seconds."""
_ISOLATED_MODES = ("strictIsolated", "noCross")

# Beyond these an entry is no asset or topic but a fault of the other side.
_MAX_SZ_DECIMALS = 6
_MAX_LEVERAGE = 1000
_MAX_TOPIC_ID = 1_000_000_000
_MAX_EPOCH_BLOCKS = 10_000_000


@dataclass(frozen=True, slots=True)
class Asset:
    """One perpetual of the exchange.

    Attributes:
        symbol: the exchange's spelling, such as `BTC` or `kPEPE`.
        index: its place in the universe, which is its number in orders; it never moves.
        sz_decimals: decimals a size may have.
        max_leverage: the highest leverage at any size.
        is_delisted: it keeps its index and can no longer be traded.
        only_isolated: cross margin is not offered.
    """

    symbol: str
    index: int
    sz_decimals: int
    max_leverage: int
    is_delisted: bool
    only_isolated: bool


def assets_from_meta(meta: object) -> dict[str, Asset]:
    """Read the universe of the exchange's `meta`; unreadable entries are skipped, the others keep their index."""
    universe = meta.get("universe") if isinstance(meta, Mapping) else None
    assets: dict[str, Asset] = {}
    for index, entry in enumerate(universe if isinstance(universe, list) else []):
        asset = _asset(index, entry)
        if asset is not None:
            assets[asset.symbol] = asset
    return assets


def _asset(index: int, entry: object) -> Asset | None:
    if not isinstance(entry, Mapping):
        return None
    try:
        name = to_symbol(entry.get("name"))
        sz_decimals, max_leverage = to_int(entry.get("szDecimals")), to_int(entry.get("maxLeverage"))
    except ValueError:
        return None
    if not 0 <= sz_decimals <= _MAX_SZ_DECIMALS or not 1 <= max_leverage <= _MAX_LEVERAGE:
        return None
    return Asset(
        symbol=name,
        index=index,
        sz_decimals=sz_decimals,
        max_leverage=max_leverage,
        is_delisted=entry.get("isDelisted") is True,
        # The newer field says the same in two ways.
        only_isolated=entry.get("onlyIsolated") is True or entry.get("marginMode") in _ISOLATED_MODES,
    )


def topics_from_api(entries: Iterable[object]) -> dict[int, Topic]:
    """Read Allora's list of topics; entries that cannot be read are skipped."""
    topics: dict[int, Topic] = {}
    for entry in entries:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("topic_name"), str):
            continue
        try:
            topic_id, epoch_blocks = to_int(entry.get("topic_id")), to_int(entry.get("epoch_length"))
        except ValueError:
            continue
        if not 1 <= topic_id <= _MAX_TOPIC_ID or not 1 <= epoch_blocks <= _MAX_EPOCH_BLOCKS:
            continue
        topics[topic_id] = parse_topic(
            topic_id, entry["topic_name"], epoch_s=epoch_blocks * _BLOCK_S, is_active=entry.get("is_active") is True
        )
    return topics


class Catalog:
    """The assets of the exchange joined with the topics of the prediction network. Immutable.

    Args:
        assets: by symbol, in the exchange's spelling.
        topics: by id. A topic's symbol is matched to the exchange's spelling whatever its case.
    """

    def __init__(self, assets: Mapping[str, Asset], topics: Mapping[int, Topic]) -> None:
        self._assets = dict(assets)
        self._topics = dict(topics)
        self._spelling: dict[str, str] = {}
        # The exchange's spelling wins, and the first one where two symbols differ by case only.
        for symbol in (*self._assets, *(topic.symbol for topic in self._topics.values() if topic.symbol)):
            self._spelling.setdefault(symbol.casefold(), symbol)
        self._usable: dict[str, list[Topic]] = {}
        for topic in sorted(self._topics.values(), key=_preference):
            if topic.symbol and topic.is_usable:
                self._usable.setdefault(self._spelling[topic.symbol.casefold()], []).append(topic)

    def resolve(self, symbol: str) -> str:
        """Find the exchange's spelling of a symbol, whatever its case.

        Raises:
            Rejected: UNKNOWN_SYMBOL, naming similar ones.
        """
        if symbol in self._assets:
            return symbol
        known = self._spelling.get(symbol.casefold())
        if known is not None:
            return known
        close = difflib.get_close_matches(symbol.casefold()[:40], self._spelling, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(self._spelling[name] for name in close)}?" if close else "see the catalog."
        raise Rejected(ErrorCode.UNKNOWN_SYMBOL, f"There is no symbol {symbol[:40]!r} in the catalog; {hint}")

    def symbols(self) -> list[str]:
        """Every symbol that can be traded or is usably predicted, sorted."""
        listed = {asset.symbol for asset in self._assets.values() if not asset.is_delisted}
        return sorted(listed | self._usable.keys())

    def asset(self, symbol: str) -> Asset:
        """The asset behind a symbol that can be traded.

        Raises:
            Rejected: UNKNOWN_SYMBOL, or NOT_TRADABLE where it is delisted or not on the exchange.
        """
        name = self.resolve(symbol)
        asset = self._assets.get(name)
        if asset is None:
            raise Rejected(
                ErrorCode.NOT_TRADABLE,
                f"{name} is predicted but not listed on HyperLiquid; choose a symbol whose availability is both.",
            )
        if asset.is_delisted:
            raise Rejected(
                ErrorCode.NOT_TRADABLE,
                f"{name} was delisted on HyperLiquid; choose a symbol whose availability is both.",
            )
        return asset

    def availability(self, symbol: str) -> str:
        """Where a symbol is available: `both`, `hyperliquid` or `allora`.

        Raises:
            Rejected: UNKNOWN_SYMBOL, or NOT_TRADABLE for one that was delisted and is not predicted either.
        """
        return self._availability(self.resolve(symbol))

    def _availability(self, name: str) -> str:
        if name not in self._usable:
            self.asset(name)  # raises for what is available nowhere
            return "hyperliquid"
        asset = self._assets.get(name)
        return "allora" if asset is None or asset.is_delisted else "both"

    def topics_of(self, symbol: str) -> list[Topic]:
        """The usable topics of a symbol (active, a price or log-return, known horizon), the preferred one first.

        Raises:
            Rejected: UNKNOWN_SYMBOL.
        """
        return list(self._usable.get(self.resolve(symbol), ()))

    def default_topic(self, symbol: str) -> Topic:
        """The topic used when none is named: price before log-return, then the horizon nearest 8 h, then the lowest id.

        Raises:
            Rejected: UNKNOWN_SYMBOL, or NO_TOPIC where the symbol has no usable topic.
        """
        name = self.resolve(symbol)
        topics = self._usable.get(name)
        if not topics:
            raise Rejected(
                ErrorCode.NO_TOPIC,
                f"Allora has no usable topic for {name}; choose another symbol or name a topic in ALLORA_TOPICS.",
            )
        return topics[0]

    def check(self, symbol: str, topic_id: int | None) -> Topic:
        """Decide whether a symbol may be activated, and on which topic.

        Args:
            symbol: in any case.
            topic_id: the topic asked for, or None for the default one.

        Raises:
            Rejected: UNKNOWN_SYMBOL, NOT_TRADABLE, NO_TOPIC or TOPIC_MISMATCH, with a sentence that says what to do.
        """
        name = self.asset(symbol).symbol
        if topic_id is None:
            return self.default_topic(name)
        topic = self._topics.get(topic_id)
        if topic is None:
            self._refuse(ErrorCode.NO_TOPIC, f"Allora has no topic {topic_id} on this network", name)
        if topic.symbol is None:
            self._refuse(ErrorCode.TOPIC_MISMATCH, f"Topic {topic_id} does not say which asset it predicts", name)
        if self._spelling[topic.symbol.casefold()] != name:
            self._refuse(ErrorCode.TOPIC_MISMATCH, f"Topic {topic_id} predicts {topic.symbol}, not {name}", name)
        if topic.kind is TopicKind.OTHER:
            self._refuse(ErrorCode.TOPIC_MISMATCH, f"Topic {topic_id} predicts no price ({topic.name[:60]})", name)
        if not topic.is_active:
            self._refuse(ErrorCode.NO_TOPIC, f"Topic {topic_id} is not active", name)
        if topic.horizon_s is None:
            self._refuse(ErrorCode.NO_TOPIC, f"Topic {topic_id} does not say how far ahead it predicts", name)
        return topic

    def view(self) -> dict[str, CatalogEntry]:
        """The catalog as it is published, by symbol."""
        return {symbol: self._entry(symbol) for symbol in self.symbols()}

    def _entry(self, symbol: str) -> CatalogEntry:
        asset = self._assets.get(symbol)
        return CatalogEntry.model_validate(
            {
                "availability": self._availability(symbol),
                "topics": [_topic_view(topic) for topic in self._usable.get(symbol, ())],
                "max_leverage": None if asset is None or asset.is_delisted else asset.max_leverage,
            }
        )

    def _refuse(self, code: ErrorCode, what: str, symbol: str) -> NoReturn:
        usable = ", ".join(
            f"{topic.id} ({topic.kind}, {horizon_text(topic.horizon_s or 0)})" for topic in self._usable.get(symbol, ())
        )
        advice = (
            f"use one of {symbol}'s topics: {usable}."
            if usable
            else f"{symbol} has no usable topic, so choose another symbol or name one in ALLORA_TOPICS."
        )
        raise Rejected(code, f"{what}; {advice}")


def _preference(topic: Topic) -> tuple[bool, float, int]:
    """The order of preference among topics; distance between horizons is a ratio, so 4 h is as far from 8 h as 16 h."""
    distance = abs(math.log2((topic.horizon_s or 1) / _PREFERRED_HORIZON_S))
    return topic.kind is not TopicKind.PRICE, round(distance, 9), topic.id


def _topic_view(topic: Topic) -> TopicView:
    return TopicView.model_validate(
        {"id": topic.id, "kind": topic.kind.value, "horizon": horizon_text(topic.horizon_s or 0)}
    )
