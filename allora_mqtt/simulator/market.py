"""The market as the exchange sees it: market time, marks, the synthetic book, funding rates. A function of time."""

import math
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b

from allora_mqtt.simulator.prices import PriceSource
from allora_mqtt.simulator.ticks import ceil_price, floor_price, floor_size, round_price, tick_size
from allora_mqtt.simulator.universe import Asset, Universe

HOUR_S = 3_600
_DAY_S = 86_400
_HALF_SPREAD = Decimal("0.0001")
_LEVEL_STEP = Decimal("0.0001")
_LEVELS = 20
# A level of the book holds this share of a day's volume: BTC about 180,000 USD, a small coin the floor.
_LEVEL_SHARE = Decimal("0.00005")
_MIN_LEVEL_USD = Decimal(2_000)
_FUNDING_WOBBLE = Decimal("0.00001")
_PRICE_CACHE_S = 0.1  # prices stand still for this long of wall time, so that one answer agrees with itself


@dataclass(frozen=True)
class Level:
    """One level of the book: price in USD, size in coins."""

    px: Decimal
    size: Decimal


@dataclass
class MarketClock:
    """Maps wall time (unix seconds) to market time, which may run faster."""

    anchor_wall_s: float
    anchor_market_s: float
    speed: float = 1.0

    def market_s(self, wall_s: float) -> float:
        """Market time at a wall time."""
        return self.anchor_market_s + (wall_s - self.anchor_wall_s) * self.speed

    def wall_s(self, market_s: float) -> float:
        """Wall time at a market time."""
        return self.anchor_wall_s + (market_s - self.anchor_market_s) / self.speed

    def with_speed(self, speed: float, wall_s: float) -> "MarketClock":
        """The same market moment at `wall_s`, running at `speed` from there on."""
        return self if speed == self.speed else MarketClock(wall_s, self.market_s(wall_s), speed)


@dataclass(frozen=True)
class PriceShift:
    """A coin's price is multiplied by `factor` from `since_s` (wall time) on."""

    coin: str
    factor: float
    since_s: float


@dataclass
class Market:
    """Prices and books at any wall time.

    Attributes:
        universe: The assets.
        source: Where prices come from.
        clock: The relation of wall time and market time.
        shifts: Jumps ordered by hand, oldest first.
    """

    universe: Universe
    source: PriceSource
    clock: MarketClock
    shifts: list[PriceShift] = field(default_factory=list)
    _cached_at_s: float = -1.0
    _cache: dict[int, float] = field(default_factory=dict)

    def shift(self, coin: str, factor: float, wall_s: float) -> None:
        """Multiply a coin's price by `factor` from `wall_s` on."""
        self.shifts.append(PriceShift(coin, factor, wall_s))
        self._cache.clear()

    def shift_factor(self, asset: Asset, wall_s: float) -> float:
        """The product of the shifts of an asset that are in force at `wall_s`."""
        return math.prod(s.factor for s in self.shifts if s.coin == asset.name and s.since_s <= wall_s)

    def price(self, asset: Asset, wall_s: float) -> float:
        """The price in USD, not yet on the price grid. A delisted asset stands still."""
        if asset.is_delisted:
            return float(asset.start_px)
        quantum_s = math.floor(wall_s / _PRICE_CACHE_S) * _PRICE_CACHE_S
        if quantum_s != self._cached_at_s:
            self._cached_at_s = quantum_s
            self._cache.clear()
        price = self._cache.get(asset.index)
        if price is None:
            price = self.price_at(asset, quantum_s, wall_s)
            self._cache[asset.index] = price
        return price

    def price_at(self, asset: Asset, wall_s: float, shifted_as_of_s: float) -> float:
        """The price at `wall_s` (also in the past or future) with the shifts in force at `shifted_as_of_s`."""
        if asset.is_delisted:
            return float(asset.start_px)
        return self.source.price(asset, self.clock.market_s(wall_s)) * self.shift_factor(asset, shifted_as_of_s)

    def day_ago(self, asset: Asset, now_s: float) -> float:
        """The price a day ago."""
        # To the whole minute, so that the many requests of a minute sample the same knots.
        return self.price_at(asset, now_s // 60 * 60 - _DAY_S, now_s)

    def mark(self, asset: Asset, wall_s: float) -> Decimal:
        """The mark price, which is the oracle price too, on the price grid."""
        return round_price(Decimal(self.price(asset, wall_s)), asset.sz_decimals)

    def bbo(self, asset: Asset, wall_s: float) -> tuple[Decimal, Decimal]:
        """Best bid and best ask: 1 bp to each side, at least a tick apart."""
        price = Decimal(self.price(asset, wall_s))
        bid = floor_price(price * (1 - _HALF_SPREAD), asset.sz_decimals)
        ask = ceil_price(price * (1 + _HALF_SPREAD), asset.sz_decimals)
        return bid, max(ask, bid + tick_size(bid, asset.sz_decimals))

    def mid(self, asset: Asset, wall_s: float) -> Decimal | None:
        """The middle of the book; None for a delisted asset, which has no book."""
        if asset.is_delisted:
            return None
        bid, ask = self.bbo(asset, wall_s)
        return ((bid + ask) / 2).normalize()

    def levels(self, asset: Asset, wall_s: float, *, asks: bool) -> list[Level]:
        """One side of the book, best level first.

        Depth grows with the distance. What an order takes is not missed a moment later: others refill the book.
        """
        if asset.is_delisted:
            return []
        bid, ask = self.bbo(asset, wall_s)
        level_usd = max(asset.day_volume_usd * _LEVEL_SHARE, _MIN_LEVEL_USD)
        px = ask if asks else bid
        levels: list[Level] = []
        for number in range(_LEVELS):
            size = floor_size(level_usd * (4 + number) / 4 / px, asset.sz_decimals)
            if size > 0:
                levels.append(Level(px, size))
            step = max(px * _LEVEL_STEP, tick_size(px, asset.sz_decimals))
            px = ceil_price(px + step, asset.sz_decimals) if asks else floor_price(px - step, asset.sz_decimals)
        return levels

    def funding_hour(self, wall_s: float) -> int:
        """The number of whole hours of market time that have passed."""
        return math.floor(self.clock.market_s(wall_s) / HOUR_S)

    def funding_rate(self, asset: Asset, hour: int) -> Decimal:
        """The rate paid by longs to shorts at the end of market hour `hour`; 0.0000125 is 0.00125 %."""
        if asset.is_delisted:
            return Decimal(0)
        digest = blake2b(f"{asset.name}/{hour}".encode(), digest_size=2).digest()
        wobble = Decimal(int.from_bytes(digest, "big") - 32_768) / 32_768
        return (asset.funding_rate + _FUNDING_WOBBLE * wobble).quantize(Decimal("1e-10"))
