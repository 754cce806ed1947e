"""Prices and market conditions, read from the exchange's `metaAndAssetCtxs`."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from allora_mqtt.market.catalog import assets_from_meta
from allora_mqtt.market.wire import optional_decimal, optional_positive


@dataclass(frozen=True, slots=True)
class Quote:
    """What the exchange says of one perpetual at one moment.

    Attributes:
        symbol: the exchange's spelling.
        mark: the mark price in USD, above zero.
        mid: the middle of the book, or None while there is no book.
        oracle: the oracle price in USD.
        funding_rate: per hour, as a fraction (0.0001 is 0.01 %).
        volume_24h_usd: traded notional.
        spread_pct: impact ask less impact bid in percent of the mid: what a trade of the exchange's impact size pays.
        at: when it was fetched, unix seconds.
    """

    symbol: str
    mark: Decimal
    mid: Decimal | None
    oracle: Decimal | None
    funding_rate: Decimal | None
    volume_24h_usd: Decimal | None
    spread_pct: Decimal | None
    at: float


def quotes_from_contexts(meta: object, contexts: object, at: float) -> dict[str, Quote]:
    """Pair the universe with its contexts.

    Args:
        meta: the first half of the answer, with `universe`.
        contexts: the second half: one context per asset, in the universe's order.
        at: when the answer came, unix seconds.

    Returns:
        A quote for each listed asset with a usable mark price; delisted and unreadable ones are left out.
    """
    rows = contexts if isinstance(contexts, list) else []
    quotes: dict[str, Quote] = {}
    for asset in assets_from_meta(meta).values():
        if asset.is_delisted or asset.index >= len(rows):
            continue
        quote = _quote(asset.symbol, rows[asset.index], at)
        if quote is not None:
            quotes[asset.symbol] = quote
    return quotes


def _quote(symbol: str, context: object, at: float) -> Quote | None:
    if not isinstance(context, Mapping):
        return None
    mark = optional_positive(context.get("markPx"))
    if mark is None:
        return None
    mid = optional_positive(context.get("midPx"))
    return Quote(
        symbol=symbol,
        mark=mark,
        mid=mid,
        oracle=optional_positive(context.get("oraclePx")),
        funding_rate=optional_decimal(context.get("funding")),
        volume_24h_usd=optional_decimal(context.get("dayNtlVlm")),
        spread_pct=_spread_pct(context.get("impactPxs"), mid),
        at=at,
    )


def _spread_pct(impact: object, mid: Decimal | None) -> Decimal | None:
    match impact:
        case [first, second]:
            bid, ask = optional_positive(first), optional_positive(second)
        case _:
            return None
    if bid is None or ask is None or ask < bid:
        return None
    return (ask - bid) / (mid or (bid + ask) / 2) * 100
