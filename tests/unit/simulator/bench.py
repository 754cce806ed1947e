"""A small exchange whose prices the test sets by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, TypedDict, Unpack

from allora_mqtt.simulator.account import Account, Grouping, OrderRequest, Tif, TpSl, Trigger
from allora_mqtt.simulator.exchange import Exchange
from allora_mqtt.simulator.exchange_state import ExchangeState
from allora_mqtt.simulator.market import Market, MarketClock
from allora_mqtt.simulator.universe import Asset, Universe

UNIVERSE = Universe.load()
BTC, ETH, SOL = 0, 1, 5
OWNER = "0x" + "aa" * 20


@dataclass
class SetPrices:
    """A price source that stands still until told otherwise."""

    prices: dict[str, float] = field(default_factory=dict)
    start_s: float = 0.0
    moving: Callable[[float], float] | None = None

    def price(self, asset: Asset, time_s: float) -> float:
        if self.moving is not None:
            return self.moving(time_s)
        return self.prices.get(asset.name, float(asset.start_px))

    def sigma(self, asset: Asset, horizon_s: float) -> float:
        del asset
        return 0.0001 * float(horizon_s**0.5)


class Bench:
    def __init__(self, speed: float = 1.0) -> None:
        self.source = SetPrices({"BTC": 50_000.0, "ETH": 2_000.0, "SOL": 100.0})
        self.now_s = 1_000.0
        self.market = Market(UNIVERSE, self.source, MarketClock(self.now_s, 0.0, speed))
        self.exchange = Exchange(self.market, ExchangeState())
        self.account: Account = self.exchange.open_account(OWNER)
        self.exchange.tick(self.now_s)

    def go(self, seconds: float = 1.0, **prices: float) -> bool:
        """Set prices, let time pass, tick."""
        self.now_s += seconds
        self.source.prices.update(prices)
        return self.exchange.tick(self.now_s)

    def place(self, *requests: OrderRequest, grouping: Grouping = "na", share: str = "1") -> list[Any]:
        return self.exchange.place(self.account, requests, grouping, self.now_s, Decimal(share))

    def mark(self, asset: int) -> Decimal:
        return self.market.mark(UNIVERSE.assets[asset], self.now_s)

    def mark_of(self, asset: Asset) -> Decimal:
        return self.mark(asset.index)

    def equity(self) -> Decimal:
        pnl = sum((position.pnl(self.mark(index)) for index, position in self.account.positions.items()), Decimal(0))
        return self.account.cash_usd + pnl

    def statuses(self) -> list[str]:
        """Final statuses, in order of closing."""
        return [order.status for order in self.account.closed_orders]


class Extras(TypedDict, total=False):
    """What an order may carry besides asset, size and price."""

    reduce_only: bool
    tif: Tif
    trigger: Trigger
    cloid: str


def limit(asset: int, size: str, px: str, **extras: Unpack[Extras]) -> OrderRequest:
    """A limit order; a negative size sells."""
    signed = Decimal(size)
    return OrderRequest(asset, is_buy=signed > 0, px=Decimal(px), size=abs(signed), **extras)


def market_order(asset: int, size: str, *, reduce_only: bool = False, cloid: str | None = None) -> OrderRequest:
    """An IOC order far through the book."""
    start = {BTC: "50000", ETH: "2000", SOL: "100"}[asset]
    factor = Decimal("1.5") if Decimal(size) > 0 else Decimal("0.5")
    request = limit(asset, size, str(int(Decimal(start) * factor)), tif="Ioc", reduce_only=reduce_only)
    return replace(request, cloid=cloid)


def exit_order(asset: int, size: str, px: str, kind: TpSl, *, is_market: bool = True) -> OrderRequest:
    """A reduce-only stop or take-profit; a negative size sells."""
    return limit(asset, size, px, reduce_only=True, trigger=Trigger(Decimal(px), is_market, kind))
