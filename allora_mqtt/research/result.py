"""What a backtest, or a look at a bot's books, comes to: the JSON beside the report."""

from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from allora_mqtt.protocol.messages import Side
from allora_mqtt.protocol.model import Amount, Model, Timestamp
from allora_mqtt.research.problems import Problem, ResearchError


class Source(Model):
    """Files of data, as they were."""

    files: list[str]
    sha256: str
    symbols: list[str]
    rows: int
    start: Timestamp
    end: Timestamp
    gaps: int


class PredictionSource(Model):
    """Where predictions come from."""

    kind: Literal["recorded", "synthetic", "live"]
    files: list[str] = Field(default_factory=list)
    sha256: str | None = None
    count: int
    used: int
    """How many were fresh at a price; the others steered nothing."""
    skill: float | None = None
    seed: int | None = None
    horizon_s: int | None = None
    every_s: int | None = None
    delay_s: float | None = None


class AssumptionsView(Model):
    """What was assumed of the world."""

    cash_usd: Amount
    fee_pct: Amount
    spread_bps: Amount
    slippage_bps: Amount
    funding_rate: Amount
    """Each hour, as a fraction, where the data has none."""
    resume_after_h: float | None


class Figures(Model):
    """A run in numbers; what cannot be told is None. Money in USD, shares in percent."""

    start_usd: Amount
    end_usd: Amount
    return_pct: Amount
    cagr_pct: float | None
    max_drawdown_pct: Amount
    sharpe: float | None
    sortino: float | None
    trades: int
    win_rate_pct: float | None
    profit_factor: float | None
    expectancy_usd: Amount | None
    exposure_pct: float
    fees_usd: Amount
    funding_usd: Amount
    average_holding_h: float | None
    worst_day_usd: Amount | None
    worst_day_on: str | None
    hold_return_pct: float | None
    """What buying every coin at the start, in equal parts and without leverage, would have brought."""


class EquityPoint(Model):
    """The account at a time; `low_usd` is its lowest since the point before."""

    at: Timestamp
    equity_usd: Amount
    low_usd: Amount


class PriceBar(Model):
    """Prices of a coin, joined to at most a few thousand bars."""

    at: Timestamp
    open: Amount
    high: Amount
    low: Amount
    close: Amount


class TradeResult(Model):
    """One position from its opening to its end."""

    symbol: str
    side: Side
    size: Amount
    topic_id: int
    gap_pct: Amount | None
    entry_price: Amount
    exit_price: Amount | None
    stop_price: Amount
    target_price: Amount
    opened_at: Timestamp
    closed_at: Timestamp
    fees_usd: Amount
    funding_usd: Amount
    pnl_usd: Amount
    reason: str


class TopicResult(Model):
    """How often a topic's predictions had the direction right, and what its trades brought."""

    symbol: str
    topic_id: int
    predictions: int
    resolved: int
    hits: int
    trades: int
    wins: int
    pnl_usd: Amount


class DayResult(Model):
    """What a UTC day brought, open positions included."""

    day: str
    pnl_usd: Amount
    return_pct: Amount


class TripResult(Model):
    """A limit on losses that was reached."""

    at: Timestamp
    name: str
    reason: str


class Warned(Model):
    """Why a result is to be read with care."""

    code: str
    message: str


class Result(Model):
    """Everything that a report shows."""

    format: Literal["allora-mqtt result 1"] = "allora-mqtt result 1"
    kind: Literal["backtest", "bot"]
    version: str
    title: str
    start: Timestamp
    end: Timestamp
    settings: dict[str, JsonValue]
    assumptions: AssumptionsView | None
    prices: list[Source]
    predictions: PredictionSource
    figures: Figures
    warnings: list[Warned]
    days: list[DayResult]
    topics: list[TopicResult]
    refusals: dict[str, int]
    tripped: list[TripResult]
    trades: list[TradeResult]
    equity: list[EquityPoint]
    price_bars: dict[str, list[PriceBar]]


class SweepCell(Model):
    """One combination of settings, in the first part of the data and in the rest."""

    price_gap_pct: Amount
    tp_ratio: Amount
    sl_ratio: Amount
    train: Figures
    test: Figures


class SweepResult(Model):
    """Many backtests that differ in three settings."""

    format: Literal["allora-mqtt sweep 1"] = "allora-mqtt sweep 1"
    version: str
    title: str
    start: Timestamp
    split: Timestamp
    """Where the data to choose by ends and the data to judge by begins."""
    end: Timestamp
    settings: dict[str, JsonValue]
    assumptions: AssumptionsView
    prices: list[Source]
    predictions: PredictionSource
    warnings: list[Warned]
    cells: list[SweepCell]


def parse_result(text: str, name: str) -> Result | SweepResult:
    """Read the JSON of a backtest or a sweep.

    Raises:
        ResearchError: `BAD_RESULT`, when it is neither.
    """
    model = SweepResult if '"allora-mqtt sweep 1"' in text[:200] else Result
    try:
        return model.model_validate_json(text)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise ResearchError(
            Problem.BAD_RESULT,
            f"{name} is no result of `allora-mqtt backtest` of this version ({place}: {first['msg']}).",
        ) from invalid
