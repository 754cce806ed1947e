"""A bot's own books as a result: what it really did, read without disturbing it."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Select, create_engine, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from allora_mqtt import __version__
from allora_mqtt.protocol.messages import Side
from allora_mqtt.research.figures import Outcome, by_day, figures
from allora_mqtt.research.prices import Bar
from allora_mqtt.research.problems import Problem, ResearchError
from allora_mqtt.research.result import PredictionSource, Result, TopicResult, Warned
from allora_mqtt.research.rows import utc
from allora_mqtt.research.run import Moment
from allora_mqtt.research.summary import few_trades, joined, thinned, topic_result, trade_result
from allora_mqtt.research.trades import Trade
from allora_mqtt.store.database import NoDriver, open_engine, sqlite_path
from allora_mqtt.store.schema import equity, positions, settings, signals
from allora_mqtt.store.schema import trades as round_trips

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Rows:
    equity: Sequence[Row]
    positions: Sequence[Row]
    trades: Sequence[Row]
    signals: Sequence[Row]
    settings: Sequence[Row]


def read_books(url: str, start: float | None, end: float | None) -> Result:
    """Read a bot's database.

    Args:
        url: of the database; the bot may be running.
        start: the first time that counts, unix seconds.
        end: the last.

    Raises:
        ResearchError: `NO_FILE`, `BAD_RESULT` for a database of something else, or `EMPTY_RANGE`.
    """
    rows = _between(_read(url), start, end)
    if not rows.equity:
        message = f"{_shown(url)} holds no equity of that time: the bot writes one a minute while it runs."
        raise ResearchError(Problem.EMPTY_RANGE, message)
    # Without deposits and withdrawals, which are no results.
    steady = [
        (row["at"].timestamp(), row["equity_usd"] if row["steady_usd"] is None else row["steady_usd"])
        for row in rows.equity
    ]
    curve = [Moment(at, equity_usd, equity_usd) for at, equity_usd in steady]
    start_usd = curve[0].equity_usd
    trades = _trades(rows)
    days = by_day(curve, start_usd)
    return Result(
        kind="bot",
        version=__version__,
        title="Trades of the bot",
        start=utc(curve[0].at),
        end=utc(curve[-1].at),
        settings={row["key"]: row["value"] for row in rows.settings},
        assumptions=None,
        prices=[],
        predictions=_predictions(rows),
        figures=figures(Outcome(curve, trades, hold_return_pct=None), start_usd, days),
        warnings=_cautions(trades),
        days=days,
        topics=_topics(trades),
        refusals={},
        tripped=[],
        trades=[trade_result(trade) for trade in trades],
        equity=thinned(curve),
        price_bars={symbol: joined(bars) for symbol, bars in _marks(rows.signals).items()},
    )


def _read(url: str) -> _Rows:
    path = sqlite_path(url)
    if path is not None and not path.is_file():
        message = f"There is no database {path}; set BOT_DATA_DIR as the bot has it, or name one with --database."
        raise ResearchError(Problem.NO_FILE, message)
    try:
        engine = open_engine(url, read_only=True) if path is None else _read_only(path)
    except NoDriver as error:
        raise ResearchError(Problem.BAD_OPTION, str(error)) from error
    try:
        with engine.connect() as connection:
            return _Rows(
                equity=_all(connection, select(equity).order_by(equity.c.at)),
                positions=_all(connection, select(positions).order_by(positions.c.opened_at)),
                trades=_all(connection, select(round_trips).order_by(round_trips.c.opened_at)),
                signals=_all(connection, select(signals).order_by(signals.c.at)),
                settings=_all(connection, select(settings).order_by(settings.c.key)),
            )
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        message = f"{_shown(url)} cannot be read as a bot's database: {reason}."
        raise ResearchError(Problem.BAD_RESULT, message) from error
    finally:
        engine.dispose()


def _read_only(path: Path) -> Engine:
    """Open a database in which nothing can be written, not even by mistake: the bot may be running on it."""
    address = f"{path.resolve().as_uri()}?mode=ro"
    return create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=NullPool)


def _all(connection: Connection, query: Select[Any]) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]


def _between(rows: _Rows, start: float | None, end: float | None) -> _Rows:
    def within(row: Row, key: str) -> bool:
        at = None if row[key] is None else row[key].timestamp()
        return at is not None and (start is None or at >= start) and (end is None or at <= end)

    return replace(
        rows,
        equity=[row for row in rows.equity if within(row, "at")],
        trades=[row for row in rows.trades if within(row, "closed_at")],
        signals=[row for row in rows.signals if within(row, "at")],
    )


def _trades(rows: _Rows) -> list[Trade]:
    """Return the round trips of the bot's own positions that have ended."""
    positions_by_id = {row["position_id"]: row for row in rows.positions}
    gaps = {row["signal_id"]: row["gap_pct"] for row in rows.signals}
    return [
        Trade(
            symbol=row["symbol"],
            side=Side(row["side"]),
            size=row["entry_size"],
            topic_id=position["topic_id"],
            gap_pct=gaps.get(position["signal_id"]) or Decimal(0),
            entry_price=_average(row["entry_value_usd"], row["entry_size"]) or position["entry_price"],
            exit_price=_average(row["exit_value_usd"], row["exit_size"]) or position["entry_price"],
            stop_price=position["stop_price"],
            target_price=position["target_price"],
            opened_at=row["opened_at"].timestamp(),
            closed_at=row["closed_at"].timestamp(),
            fees_usd=row["fees_nano_usd"],
            # The books count what was received, a trade what was paid.
            funding_usd=-row["funding_nano_usd"],
            pnl_usd=row["pnl_nano_usd"],
            reason=position["close_reason"] or "unknown",
        )
        for row in rows.trades
        if (position := positions_by_id.get(row["position_id"])) is not None
    ]


def _average(value_usd: Decimal, size: Decimal) -> Decimal | None:
    return value_usd / size if size else None


def _topics(trades: Sequence[Trade]) -> list[TopicResult]:
    """Return how each topic's trades went; of its predictions those that were traded on, which were not judged."""
    traded = Counter((trade.symbol, trade.topic_id) for trade in trades)
    return [topic_result(topic, [None] * count, trades) for topic, count in sorted(traded.items())]


def _predictions(rows: _Rows) -> PredictionSource:
    seen = {(row["topic_id"], row["prediction_at"]) for row in rows.signals}
    acted = {(row["topic_id"], row["prediction_at"]) for row in rows.signals if row["acted"]}
    return PredictionSource(kind="live", count=len(seen), used=len(acted))


def _marks(rows: Sequence[Row]) -> dict[str, list[Bar]]:
    """Return the prices at which the bot had something to say, by coin."""
    marks: dict[str, list[Bar]] = {}
    for row in rows:
        price = row["mark_price"]
        if price is not None:
            marks.setdefault(row["symbol"], []).append(Bar(row["at"].timestamp(), 0, price, price, price, price))
    return marks


def _cautions(trades: Sequence[Trade]) -> list[Warned]:
    message = "Prices are those at which the bot had a signal."
    return [*few_trades(len(trades)), Warned(code="PRICES_OF_SIGNALS", message=message)]


def _shown(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)
