"""What is held, what is on its way, and how the account is doing. Values in, values out; no clock of its own."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Self

from allora_mqtt.market.account import AccountState, RestingOrder
from allora_mqtt.market.predictions import Prediction
from allora_mqtt.market.quotes import Quote
from allora_mqtt.protocol.books import ADOPTED
from allora_mqtt.protocol.messages import Side
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.trading.risk import Book, EntryPlan
from allora_mqtt.trading.strategy import gap_pct

DAILY_LOSS: Final = "daily_loss"
DRAWDOWN: Final = "drawdown"
_AMOUNTS: Final = ("day_start_usd", "peak_usd", "day_offset_usd", "waiting_usd", "scale")
VISIBLE_AFTER: Final = timedelta(seconds=10)
"""The exchange may show a fill this much later than it reports it; a younger position is not missed."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A position that the bot opened or adopted.

    Attributes:
        position_id: the id of the entry order; one of its own for an adopted position.
        size: in coins, above zero.
        signal_id: empty for an adopted position.
        opened_at: when the entry was sent, or the position adopted.
        expires_at: when the horizon of the prediction that it rests on ends.
        seen: whether the exchange has shown it in the account yet.
        is_adopted: whether somebody else opened it.
    """

    position_id: str
    symbol: str
    side: Side
    size: Decimal
    entry_price: Decimal
    stop_price: Decimal
    target_price: Decimal
    topic_id: int
    signal_id: str
    opened_at: datetime
    expires_at: datetime
    seen: bool = False
    is_adopted: bool = False

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read it back from the ledger."""
        return cls(
            position_id=row["position_id"],
            symbol=row["symbol"],
            side=Side(row["side"]),
            size=row["size"],
            entry_price=row["entry_price"],
            stop_price=row["stop_price"],
            target_price=row["target_price"],
            topic_id=row["topic_id"],
            signal_id=row["signal_id"],
            opened_at=row["opened_at"],
            expires_at=row["expires_at"],
            is_adopted=row["open_reason"] == ADOPTED,
        )

    def row(self) -> dict[str, Any]:
        """Return what the ledger stores of it."""
        return {
            "position_id": self.position_id,
            "symbol": self.symbol,
            "side": self.side.value,
            "size": self.size,
            "entry_price": self.entry_price,
            "stop_price": self.stop_price,
            "target_price": self.target_price,
            "topic_id": self.topic_id,
            "signal_id": self.signal_id,
            "opened_at": self.opened_at,
            "expires_at": self.expires_at,
            "open_reason": ADOPTED if self.is_adopted else None,
        }


@dataclass(frozen=True, slots=True)
class Results:
    """What profit and loss are counted from.

    Attributes:
        day: the UTC day.
        day_start_usd: equity at its beginning, or when the bot first saw it; in proportion to money moved since.
        peak_usd: the highest equity so far: what drawdown is measured from; in proportion as well.
        day_offset_usd: what day_start_usd lacks of the day's first equity and the money moved since.
        waiting_usd: what was moved since nothing is left in the account: nothing can be in proportion to that.
        scale: by how much the equity has grown, in all, by money that was moved.
    """

    day: date
    day_start_usd: Decimal
    peak_usd: Decimal
    day_offset_usd: Decimal = Decimal(0)
    waiting_usd: Decimal = Decimal(0)
    scale: Decimal = Decimal(1)

    def at(self, equity_usd: Decimal, now: datetime) -> "Results":
        """Return what holds after an equity has been seen."""
        today = now.astimezone(UTC).date()
        whole = equity_usd - self.waiting_usd
        peak = max(self.peak_usd, whole)
        # A clock that was set back begins no new day, which would hide what was lost in this one.
        if today <= self.day:
            return replace(self, peak_usd=peak)
        return replace(self, day=today, day_start_usd=whole, peak_usd=peak, day_offset_usd=self.waiting_usd)

    def moved(self, amount_usd: Decimal, equity_usd: Decimal) -> "Results":
        """Return what holds after money was moved: the results in percent are the same as before.

        What they are percent of becomes larger or smaller as the equity did (a time-weighted return, like the price of
        a fund's share): so a withdrawal after a loss does not make the loss a larger one, nor a deposit a smaller one.

        Args:
            amount_usd: above zero for what came in.
            equity_usd: after that.
        """
        amount, before = amount_usd + self.waiting_usd, equity_usd - amount_usd - self.waiting_usd
        first_and_moved = self.day_start_usd + self.day_offset_usd + amount_usd
        if equity_usd <= 0:
            offset = first_and_moved - self.day_start_usd
            return replace(self, waiting_usd=amount, day_offset_usd=offset)
        if before > 0:
            factor = equity_usd / before
            start, peak, scale = self.day_start_usd * factor, self.peak_usd * factor, self.scale * factor
        else:
            start, peak, scale = self.day_start_usd + amount, self.peak_usd + amount, self.scale
        offset = first_and_moved - start
        return Results(self.day, start, peak, offset, Decimal(0), scale)

    def steady_usd(self, equity_usd: Decimal) -> Decimal:
        """Return what an equity would be if no money had been moved."""
        return (equity_usd - self.waiting_usd) / self.scale

    def restarted(self, names: Collection[str], equity_usd: Decimal) -> "Results":
        """Return what holds after somebody has reset these breakers: their losses are counted from here on."""
        whole = equity_usd - self.waiting_usd
        restarted = self
        if DAILY_LOSS in names:
            restarted = replace(restarted, day_start_usd=whole, day_offset_usd=self.waiting_usd)
        return replace(restarted, peak_usd=whole) if DRAWDOWN in names else restarted

    def daily_usd(self, equity_usd: Decimal) -> Decimal:
        """Profit (or loss, below zero) of the day."""
        return equity_usd - self.day_start_usd - self.day_offset_usd

    def daily_pct(self, equity_usd: Decimal) -> Decimal:
        """Profit (or loss, below zero) of the day, in percent of its start."""
        start, whole = self.day_start_usd, equity_usd - self.waiting_usd
        return (whole - start) / start * 100 if start > 0 else Decimal(0)

    def drawdown_pct(self, equity_usd: Decimal) -> Decimal:
        """How far the equity is below its peak, in percent of the peak."""
        peak, whole = self.peak_usd, equity_usd - self.waiting_usd
        return (peak - whole) / peak * 100 if peak > 0 else Decimal(0)

    def tripped(self, equity_usd: Decimal, settings: RuntimeSettings) -> dict[str, str]:
        """Return the breakers that this equity opens: the reason of each by its name."""
        opened = {}
        loss_pct = -self.daily_pct(equity_usd)
        if loss_pct >= settings.max_daily_loss_pct:
            opened[DAILY_LOSS] = f"lost {loss_pct:.2f} % today, the limit is {settings.max_daily_loss_pct} %"
        drawdown_pct = self.drawdown_pct(equity_usd)
        if drawdown_pct >= settings.max_drawdown_pct:
            opened[DRAWDOWN] = (
                f"{drawdown_pct:.2f} % below the highest equity, the limit is {settings.max_drawdown_pct} %"
            )
        return opened

    def to_state(self) -> dict[str, str]:
        """Return it as it is stored."""
        amounts = {name: str(getattr(self, name)) for name in _AMOUNTS}
        return {"day": self.day.isoformat(), **amounts}

    @classmethod
    def from_state(cls, stored: Mapping[str, str]) -> Self:
        """Read it back."""
        amounts = {name: Decimal(stored[name]) for name in _AMOUNTS if name in stored}
        return cls(date.fromisoformat(stored["day"]), **amounts)


class Portfolio:
    """The account as last seen, beside what the bot knows of it."""

    def __init__(self) -> None:
        self.account: AccountState | None = None
        self.resting: list[RestingOrder] = []
        self.holdings: dict[str, Holding] = {}
        self.pending: dict[str, EntryPlan] = {}
        """Entries on their way, by symbol."""
        self.cooling_until: dict[str, float] = {}
        self.results: Results | None = None
        self.counted_usd: Decimal | None = None
        """The equity up to which they are counted; of a newer one it may not be known yet where money came from."""

    def exposure_usd(self) -> Decimal:
        """Return the summed notional of every position and every entry on its way."""
        return sum(self.notional_usd().values(), Decimal(0))

    def notional_usd(self) -> dict[str, Decimal]:
        """Return by symbol what is open and what may become so: positions, entries on their way, others' orders."""
        notional = {symbol: plan.notional_usd for symbol, plan in self.pending.items()}
        for symbol, holding in self.holdings.items():
            notional[symbol] = holding.size * holding.entry_price
        if self.account is not None:
            for symbol, position in self.account.positions.items():
                notional[symbol] = max(abs(position.position_value_usd), notional.get(symbol, Decimal(0)))
        # Entries of the bot never rest; what does was placed by somebody else and may become a position any time.
        for order in self.resting:
            if not order.reduce_only:
                notional[order.symbol] = notional.get(order.symbol, Decimal(0)) + order.size * order.limit_price
        return notional

    def book(self, orders_last_minute: int) -> Book:
        """Return what the limits are held against."""
        reserved = sum((plan.margin_usd for plan in self.pending.values()), Decimal(0))
        # The account as last seen may be from before these were filled; at most their whole value is bound by them.
        reserved += sum((one.size * one.entry_price for one in self.holdings.values() if not one.seen), Decimal(0))
        free = Decimal(0) if self.account is None else self.account.withdrawable_usd - reserved
        return Book(self.notional_usd(), free, self.cooling_until, orders_last_minute)

    def count(self, equity_usd: Decimal, now: datetime) -> None:
        """Count profit and loss up to this equity."""
        fresh = Results(now.astimezone(UTC).date(), equity_usd, equity_usd)
        self.results = fresh if self.results is None else self.results.at(equity_usd, now)
        self.counted_usd = equity_usd

    def take(self, account: AccountState) -> None:
        """Take over the account as the exchange has it now."""
        self.account = account
        for symbol, holding in self.holdings.items():
            position = account.positions.get(symbol)
            if position is not None and _side(position.size) is holding.side:
                self.holdings[symbol] = replace(holding, size=abs(position.size), seen=True)

    def gone(self, now: datetime) -> list[Holding]:
        """Return the positions of ours that the exchange does not have any more."""
        if self.account is None:
            return []
        positions = self.account.positions
        return [
            holding
            for symbol, holding in self.holdings.items()
            if (symbol not in positions or _side(positions[symbol].size) is not holding.side)
            and (holding.seen or now - holding.opened_at > VISIBLE_AFTER)
        ]

    def foreign(self) -> list[str]:
        """Return the symbols of positions that the bot did not open."""
        if self.account is None:
            return []
        return [symbol for symbol in self.account.positions if symbol not in self.holdings | self.pending]

    def exit_order(self, symbol: str, kind: str) -> RestingOrder | None:
        """Return the stop (`sl`) or target (`tp`) that rests on the exchange for a symbol."""
        return next((order for order in self.resting if order.symbol == symbol and order.tpsl == kind), None)

    def is_protected(self, holding: Holding) -> bool:
        """Tell whether the stops that rest on the exchange cover the whole of a position."""
        exit_side = "SELL" if holding.side is Side.LONG else "BUY"
        stops = [
            order
            for order in self.resting
            if order.symbol == holding.symbol and order.tpsl == "sl" and order.side == exit_side
        ]
        covered = sum((order.size for order in stops), Decimal(0))
        return covered >= holding.size or any(order.follows_position for order in stops)


def exit_reason(
    holding: Holding, prediction: Prediction | None, quote: Quote | None, settings: RuntimeSettings, now: datetime
) -> str | None:
    """Say why a position is to be closed now, if it is.

    Args:
        holding: the position.
        prediction: the newest usable prediction of its symbol, if there is one.
        quote: the newest price of its symbol, if there is one.
        settings: for `exit_buffer_pct`.
        now: the time of the decision.
    """
    if now >= holding.expires_at:
        return "horizon"
    if prediction is None or quote is None:
        return None
    gap = gap_pct(prediction.price, quote.mark)
    against = -gap if holding.side is Side.LONG else gap
    return "prediction_turned" if against > settings.exit_buffer_pct else None


def _side(size: Decimal) -> Side:
    return Side.LONG if size > 0 else Side.SHORT
