"""The simulator's market with prices from a tape: it knows the present price and no other."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from allora_mqtt.simulator.market import Market, MarketClock
from allora_mqtt.simulator.ticks import ceil_price, floor_price, round_price, tick_size
from allora_mqtt.simulator.universe import Asset, Universe

_BPS: Final = Decimal(10_000)


class _NoFuture:
    """A price source that the market never asks: its prices are set."""

    start_s = 0.0

    def price(self, asset: Asset, time_s: float) -> float:
        """Refuse: the tape has no price for a time."""
        raise LookupError(f"the tape has no price of {asset.name} at {time_s}")

    def sigma(self, asset: Asset, horizon_s: float) -> float:
        """Refuse: the tape knows no future."""
        raise LookupError(f"the tape has no volatility of {asset.name} over {horizon_s} s")


@dataclass
class Tape(Market):
    """Marks, books and funding rates as they were put here last.

    The book around a price is the simulator's, with another spread; its depth is that of the shipped universe, so a
    large order walks through levels as it does there.

    Attributes:
        half_spread: distance of the best bid and ask from the mark, as a fraction: half the spread.
        slippage: how much worse than that every order fills, as a fraction.
        default_rate: the hourly funding rate where the data has none.
    """

    half_spread: Decimal = Decimal(0)
    slippage: Decimal = Decimal(0)
    default_rate: Decimal = Decimal(0)
    _put: dict[int, Decimal] = field(default_factory=dict)
    _rates: dict[int, Decimal] = field(default_factory=dict)

    @classmethod
    def at_costs(cls, universe: Universe, spread_bps: Decimal, slippage_bps: Decimal, default_rate: Decimal) -> "Tape":
        """Return a tape without prices yet, on which unix time is market time."""
        return cls(
            universe,
            _NoFuture(),
            MarketClock(0.0, 0.0),
            half_spread=spread_bps / 2 / _BPS,
            slippage=slippage_bps / _BPS,
            default_rate=default_rate,
        )

    def put(self, asset: Asset, price: Decimal) -> None:
        """Set the present price; the mark is the nearest that the exchange can show."""
        self._put[asset.index] = round_price(price, asset.sz_decimals)

    def put_rate(self, asset: Asset, rate: Decimal) -> None:
        """Set the funding rate that is in force from now on."""
        self._rates[asset.index] = rate

    def rate(self, asset: Asset) -> Decimal:
        """Return the hourly funding rate in force."""
        return self._rates.get(asset.index, self.default_rate)

    def price(self, asset: Asset, wall_s: float) -> float:
        """See `Market`."""
        del wall_s
        return float(self._put[asset.index])

    def mark(self, asset: Asset, wall_s: float) -> Decimal:
        """See `Market`."""
        del wall_s
        return self._put[asset.index]

    def mark_at(self, asset: Asset, wall_s: float) -> Decimal:
        """See `Market`; of an hour that has ended since, the tape knows what came after it only."""
        return self.mark(asset, wall_s)

    def bbo(self, asset: Asset, wall_s: float) -> tuple[Decimal, Decimal]:
        """Return the best bid and ask that an order gets, slippage included, at least a tick apart."""
        mark = self.mark(asset, wall_s)
        away = self.half_spread + self.slippage
        if not away:
            return mark, mark
        bid = floor_price(mark * (1 - away), asset.sz_decimals)
        ask = ceil_price(mark * (1 + away), asset.sz_decimals)
        return bid, max(ask, bid + tick_size(bid, asset.sz_decimals))

    def funding_rate(self, asset: Asset, hour: int) -> Decimal:
        """Return the rate in force, whichever hour has ended."""
        del hour
        return self.rate(asset)
