"""A market that follows a real exchange: its assets, marks, books and funding, as they were when last asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from allora_mqtt.simulator.market import Level, Market, MarketClock
from allora_mqtt.simulator.prices import PriceSource
from allora_mqtt.simulator.ticks import ceil_price, floor_price, tick_size
from allora_mqtt.simulator.universe import Asset, Universe

_EMPTY: dict[str, Any] = {"assets": [], "marginTables": [], "collateralToken": 0}
_ZERO = Decimal(0)
_MAX_PRICE = Decimal(10) ** 9
_MAX_SZ_DECIMALS = 6


class UnusableAnswer(Exception):  # noqa: N818 - it names what came
    """What the followed exchange said cannot be traded on; the message says why."""


@dataclass(frozen=True)
class FollowedPrice:
    """What the followed exchange said of one asset, in USD.

    Attributes:
        mark: The mark price.
        mid: The middle of the book; None while there is no book.
        bid: What a seller gets for the exchange's impact size, which is more than a small order would cost.
        ask: What a buyer pays for it.
        day_ago: The price a day before.
    """

    mark: Decimal
    mid: Decimal | None
    bid: Decimal
    ask: Decimal
    day_ago: Decimal


@dataclass(frozen=True)
class FollowedState:
    """One answer of the followed exchange: every asset, and its price by the asset's number."""

    universe: Universe
    prices: tuple[FollowedPrice, ...]


def read_state(answer: object) -> FollowedState:
    """Read an answer to `metaAndAssetCtxs`.

    An asset without a usable mid has no book. One without a usable mark makes the whole answer unusable: positions
    in it could not be valued.

    Raises:
        UnusableAnswer: It has another shape, or a number in it is none.
    """
    try:
        meta, contexts = _halves(answer)
        rows = [
            {**asset, **{key: context[key] for key in ("markPx", "dayNtlVlm", "funding", "openInterest")}}
            for asset, context in zip(meta["universe"], contexts, strict=True)
        ]
        document = {key: meta[key] for key in ("marginTables", "collateralToken")}
        universe = Universe({**document, "assets": rows})
        prices = tuple(_price(asset, context) for asset, context in zip(universe.assets, contexts, strict=True))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UnusableAnswer(f"its market data cannot be read ({type(error).__name__})") from error
    if not universe.live:
        raise UnusableAnswer("its market data names no assets")
    return FollowedState(universe, prices)


def _halves(answer: object) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    match answer:
        case [dict(meta), list(contexts)]:
            return meta, contexts
        case _:
            raise TypeError("not a pair of meta and contexts")


def _price(asset: Asset, context: Mapping[str, Any]) -> FollowedPrice:
    mark = _positive(context["markPx"])
    if mark is None or not _is_tradable(asset):
        raise ValueError(asset.name)
    mid = None if asset.is_delisted else _positive(context["midPx"])
    bid, ask = _book(context.get("impactPxs"), mid or mark)
    return FollowedPrice(mark, mid, bid, ask, _positive(context.get("prevDayPx")) or mark)


def _is_tradable(asset: Asset) -> bool:
    return (
        isinstance(asset.meta["name"], str)
        and asset.sz_decimals in range(_MAX_SZ_DECIMALS + 1)
        and asset.max_leverage >= 1
        and abs(asset.funding_rate) < 1
        and 0 <= asset.day_volume_usd < _MAX_PRICE**2
    )


def _book(impact: object, mid: Decimal) -> tuple[Decimal, Decimal]:
    match impact:
        case [first, second]:
            bid, ask = _positive(first), _positive(second)
            if bid is not None and ask is not None and bid <= mid <= ask:
                return bid, ask
    return mid, mid


def _positive(value: object) -> Decimal | None:
    """The number, or None when it is missing or no price."""
    try:
        number = Decimal(value) if isinstance(value, str) else _ZERO
    except InvalidOperation:
        return None
    return number if number.is_finite() and 0 < number < _MAX_PRICE else None


class _NoSource(PriceSource):
    """Stands where a simulated market has a source of prices: nobody knows a real one's past and future."""

    @property
    def start_s(self) -> float:
        return 0.0

    def price(self, asset: Asset, time_s: float) -> float:
        raise LookupError(f"the price of {asset.name} at {time_s} is not known")

    def sigma(self, asset: Asset, horizon_s: float) -> float:
        raise LookupError(f"the volatility of {asset.name} over {horizon_s} s is not known")


class FollowedMarket(Market):
    """The market of the last answer; market time is real time.

    Args:
        stale_after_s: When the last answer is older than this, trading is halted.
    """

    def __init__(self, stale_after_s: float) -> None:
        super().__init__(Universe(_EMPTY), _NoSource(), MarketClock(0.0, 0.0))
        self._stale_after_s = stale_after_s
        self._followed: tuple[FollowedPrice, ...] = ()
        self._asked_at_s: float | None = None
        self._why = "it has not answered yet"

    def take(self, state: FollowedState, asked_at_s: float) -> None:
        """Go on with an answer.

        Args:
            state: What was answered.
            asked_at_s: When the question was sent, unix seconds; the prices are at most that old.

        Raises:
            UnusableAnswer: Assets have changed places, so that positions would become those of other assets.
        """
        names = [asset.name for asset in state.universe.assets]
        known = [asset.name for asset in self.universe.assets]
        if names[: len(known)] != known:
            raise UnusableAnswer("its assets have changed places")
        self.universe, self._followed, self._asked_at_s = state.universe, state.prices, asked_at_s
        self._forget()

    def failed(self, why: str) -> None:
        """Note why there is no newer answer."""
        self._why = why

    def halted_because(self, now_s: float) -> str | None:
        """Why nothing can be traded now; None when the prices are fresh."""
        if self._asked_at_s is None:
            return self._why
        age_s = now_s - self._asked_at_s
        if abs(age_s) <= self._stale_after_s:
            return None
        return f"its prices are {age_s:.0f} s old: {self._why}"

    def price_at(self, asset: Asset, wall_s: float, shifted_as_of_s: float) -> float:
        """The mark price of the last answer, whatever the time."""
        del wall_s, shifted_as_of_s
        return float(self._of(asset).mark)

    def day_before(self, asset: Asset, wall_s: float) -> float:
        """The price a day ago, as the followed exchange tells it."""
        del wall_s
        return float(self._of(asset).day_ago)

    def mark(self, asset: Asset, wall_s: float) -> Decimal:
        """The mark price of the last answer."""
        del wall_s
        return self._of(asset).mark

    def bbo(self, asset: Asset, wall_s: float) -> tuple[Decimal, Decimal]:
        """The impact prices of the last answer, on the price grid and at least a tick apart."""
        del wall_s
        price = self._of(asset)
        bid, ask = floor_price(price.bid, asset.sz_decimals), ceil_price(price.ask, asset.sz_decimals)
        return bid, max(ask, bid + tick_size(bid, asset.sz_decimals))

    def mid(self, asset: Asset, wall_s: float) -> Decimal | None:
        """The mid of the last answer; None while there is no book."""
        del wall_s
        return self._of(asset).mid

    def levels(self, asset: Asset, wall_s: float, *, asks: bool) -> list[Level]:
        """A made-up depth behind the impact price; nothing while there is no book."""
        return [] if self.mid(asset, wall_s) is None else super().levels(asset, wall_s, asks=asks)

    def funding_rate(self, asset: Asset, hour: int) -> Decimal:
        """The rate of the last answer, whichever the hour."""
        del hour
        return self.universe.assets[asset.index].funding_rate

    def _of(self, asset: Asset) -> FollowedPrice:
        return self._followed[asset.index]
