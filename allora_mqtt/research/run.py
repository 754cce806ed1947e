"""What a backtest assumes of the world, and what it leaves."""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from allora_mqtt.protocol.messages import Direction
from allora_mqtt.research.trades import Trade
from allora_mqtt.settings import MAX_PREDICTION_AGE_S


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a backtest assumes of the world.

    Attributes:
        cash_usd: the account at the start.
        spread_bps: from best bid to best ask, in hundredths of a percent of the price.
        slippage_bps: how much worse than the best price every order fills.
        funding_rate: paid by longs to shorts every hour, as a fraction, where the data has none.
        resume_after_h: somebody resets a tripped limit on losses after this long; never, without.
        max_age_s: the oldest a prediction may be (`ALLORA_MAX_AGE_S`).
    """

    cash_usd: Decimal = Decimal(500)
    spread_bps: Decimal = Decimal(2)
    slippage_bps: Decimal = Decimal(1)
    funding_rate: Decimal = Decimal("0.0000125")
    resume_after_h: float | None = None
    max_age_s: float = MAX_PREDICTION_AGE_S


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided on a prediction at a price; `reason` says why an entry that was wanted was not made."""

    at: float
    symbol: str
    direction: Direction
    gap_pct: Decimal
    acted: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class Moment:
    """The account at a time, in USD; `low_usd` is the lowest equity since the moment before."""

    at: float
    equity_usd: Decimal
    low_usd: Decimal


@dataclass(frozen=True, slots=True)
class Tripped:
    """A limit on losses that was reached."""

    at: float
    name: str
    reason: str


@dataclass
class Run:
    """All that a backtest leaves.

    Attributes:
        equity: one moment for each time with a price.
        refusals: why wanted entries were not made, and how often.
        used: the predictions that were looked at while they were usable, by topic and time.
    """

    decisions: list[Decision] = field(default_factory=list)
    equity: list[Moment] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)
    tripped: list[Tripped] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    used: set[tuple[int, float]] = field(default_factory=set)
