"""The things that the trading rules are about, with everything ordinary unless a test says otherwise."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from allora_mqtt.market.account import AccountState, PositionState, RestingOrder
from allora_mqtt.market.catalog import Asset
from allora_mqtt.market.predictions import Prediction
from allora_mqtt.market.quotes import Quote
from allora_mqtt.protocol.messages import Side
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.trading.portfolio import Holding
from allora_mqtt.trading.risk import Book, EntryPlan
from allora_mqtt.trading.strategy import Sample, Situation
from allora_mqtt.trading.strategy.history import SAMPLE_S

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
NOW_S = NOW.timestamp()


def asset(symbol: str = "ETH", sz_decimals: int = 4, max_leverage: int = 25) -> Asset:
    return Asset(symbol, 1, sz_decimals, max_leverage, is_delisted=False, only_isolated=False)


def quote(mark: str = "2000", symbol: str = "ETH", spread_pct: str | None = "0.02") -> Quote:
    return Quote(
        symbol=symbol,
        mark=Decimal(mark),
        mid=Decimal(mark),
        oracle=Decimal(mark),
        funding_rate=None,
        volume_24h_usd=None,
        spread_pct=None if spread_pct is None else Decimal(spread_pct),
        at=NOW_S,
    )


def prediction(price: str, symbol: str = "ETH") -> Prediction:
    return Prediction(9, symbol, Decimal(price), None, None, 8 * 3600, NOW_S - 60)


def settings(**changes: Any) -> RuntimeSettings:
    return RuntimeSettings.model_validate(changes)


def situation(
    mark: str = "2000", predicted: str = "2020", history: tuple[Sample, ...] = (), **changes: Any
) -> Situation:
    return Situation(quote(mark), prediction(predicted), history, settings(**changes), NOW_S)


def samples(*marks: float) -> tuple[Sample, ...]:
    """A history that ends now."""
    first = NOW_S - SAMPLE_S * (len(marks) - 1)
    return tuple(Sample(first + SAMPLE_S * number, Decimal(repr(mark))) for number, mark in enumerate(marks))


def book(free: str = "1000", cooling: dict[str, float] | None = None, orders: int = 0, **notional: str) -> Book:
    return Book({symbol: Decimal(usd) for symbol, usd in notional.items()}, Decimal(free), cooling or {}, orders)


def holding(symbol: str = "ETH", side: Side = Side.LONG, **changes: Any) -> Holding:
    fields: dict[str, Any] = {
        "position_id": "0x" + "1" * 32,
        "symbol": symbol,
        "side": side,
        "size": Decimal("0.05"),
        "entry_price": Decimal(2000),
        "stop_price": Decimal(1990),
        "target_price": Decimal(2020),
        "topic_id": 9,
        "signal_id": "2" * 32,
        "opened_at": NOW,
        "expires_at": NOW + timedelta(hours=8),
    }
    return Holding(**fields | changes)


def position(size: str, symbol: str = "ETH", price: str = "2000") -> PositionState:
    return PositionState(
        symbol=symbol,
        size=Decimal(size),
        entry_price=Decimal(price),
        position_value_usd=abs(Decimal(size)) * Decimal(price),
        unrealized_pnl_usd=Decimal(0),
        margin_usd=Decimal(0),
        leverage=2,
        liquidation_price=None,
    )


def account(*positions: PositionState, equity: str = "1000", free: str = "1000") -> AccountState:
    held = {one.symbol: one for one in positions}
    return AccountState(Decimal(equity), Decimal(free), Decimal(0), held, NOW_S)


def plan(symbol: str = "ETH", notional: str = "100", leverage: int = 2) -> EntryPlan:
    usd = Decimal(notional)
    return EntryPlan(
        symbol=symbol,
        is_buy=True,
        size=usd / 2000,
        limit_price=Decimal(2000),
        stop_price=Decimal(1990),
        target_price=Decimal(2020),
        leverage=leverage,
        notional_usd=usd,
        margin_usd=usd / leverage,
    )


def resting(symbol: str, tpsl: Any, oid: int = 1, **changes: Any) -> RestingOrder:
    price = Decimal(1990)
    found = RestingOrder(symbol, oid, None, "SELL", Decimal("0.05"), price, price, tpsl, reduce_only=True)
    return replace(found, **changes)
