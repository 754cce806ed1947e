"""Round trips and performance as tables for a terminal."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from allora_mqtt.protocol.books import Performance, Result, TopicResult, TradeView
from allora_mqtt_cli.render import cell, duration, pairs, percent, price, sheet, usd

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH: Final = 60
_BAR_WIDTH: Final = 12


def trades(rows: Sequence[TradeView]) -> Table:
    """Return round trips, one a line."""
    right = ("size", "entry", "exit", "fees", "funding", "PnL", "PnL %", "held", "topic")
    table = sheet("closed", "symbol", "side", *right[:-1], "reason", "topic", right=right)
    for row in rows:
        table.add_row(
            cell("open" if row.closed_at is None else f"{row.closed_at:%Y-%m-%d %H:%M}"),
            cell(row.symbol),
            cell(row.side, "green" if row.side == "LONG" else "red"),
            cell(f"{row.size:f}"),
            price(row.entry_price),
            price(row.exit_price),
            usd(row.fees_usd),
            usd(row.funding_usd, signed=True),
            usd(row.pnl_usd, signed=True),
            percent(row.pnl_pct),
            cell(None if row.holding_s is None else duration(row.holding_s)),
            cell(row.reason if row.ours or row.reason is None else f"{row.reason} (not the bot's)"),
            cell(row.topic_id),
        )
    return table


def summary(figures: Performance) -> Group:
    """Return all of an answer to `performance`."""
    parts: list[RenderableType] = [_totals(figures)]
    if figures.days:
        parts.append(_results(figures.days, "day"))
    if figures.coins:
        parts.append(_results(figures.coins, "coin"))
    if figures.topics:
        parts.append(_topics(figures.topics))
    return Group(*parts)


def sparkline(values: Sequence[Decimal], width: int = _SPARK_WIDTH) -> str:
    """Draw a course in one line; of values that share a column the last is drawn."""
    if not values:
        return ""
    columns = min(width, len(values))
    drawn = [values[(number + 1) * len(values) // columns - 1] for number in range(columns)]
    low, span = min(drawn), max(drawn) - min(drawn)
    steps = len(_BLOCKS) - 1
    return "".join(_BLOCKS[int((value - low) / span * steps) if span else 0] for value in drawn)


def bar(value: Decimal, largest: Decimal, width: int = _BAR_WIDTH) -> Text:
    """Draw an amount as long as its share of the largest."""
    length = int(abs(value) / largest * width) if largest else 0
    return Text("█" * (length or (1 if value else 0)), style="green" if value > 0 else "red")


def _totals(figures: Performance) -> Table:
    rows: list[tuple[str, Text | str]] = [
        ("from", f"{figures.since:%Y-%m-%d} to {figures.until:%Y-%m-%d %H:%M} UTC"),
        ("PnL, net", usd(figures.pnl_usd, signed=True)),
        ("closed PnL", usd(figures.closed_pnl_usd, signed=True)),
        ("fees", usd(figures.fees_usd)),
        ("funding", usd(figures.funding_usd, signed=True)),
        ("trades", f"{figures.trades}: {figures.wins} won, {figures.losses} lost"),
        ("win rate", _share(figures.win_rate_pct)),
        ("profit factor", cell(None if figures.profit_factor is None else f"{figures.profit_factor:.2f}")),
        ("expectancy", usd(figures.expectancy_usd, signed=True)),
        ("held on average", cell(None if figures.average_holding_s is None else duration(figures.average_holding_s))),
        ("best, worst", _extremes(figures)),
        ("max drawdown", f"${figures.max_drawdown_usd:,.2f} ({figures.max_drawdown_pct:.2f} %)"),
    ]
    if figures.foreign.trades:
        foreign = f"{figures.foreign.trades}, ${figures.foreign.pnl_usd:+,.2f}, in the sums and days above"
        rows.append(("not the bot's trades", foreign))
    equity = [point.equity_usd for point in figures.equity]
    if equity:
        ends = f"${equity[0]:,.2f} to ${equity[-1]:,.2f}; lowest ${min(equity):,.2f}, highest ${max(equity):,.2f}"
        rows += [("equity", ends), ("", sparkline(equity))]
    return pairs(rows)


def _share(value: Decimal | None) -> Text:
    return cell(None if value is None else f"{value:.1f} %")


def _extremes(figures: Performance) -> Text:
    both = [trade for trade in (figures.best, figures.worst) if trade is not None]
    if not both:
        return cell(None)
    return Text(", ").join(Text.assemble(cell(trade.symbol), " ", usd(trade.pnl_usd, signed=True)) for trade in both)


def _results(rows: Sequence[Result], heading: str) -> Table:
    right = ("PnL, net", "closed PnL", "fees", "funding", "trades", "won", "lost", "fills")
    table = sheet(heading, "PnL, net", "", *right[1:], right=right)
    largest = max(abs(row.pnl_usd) for row in rows)
    for row in rows:
        table.add_row(
            cell(row.key),
            usd(row.pnl_usd, signed=True),
            bar(row.pnl_usd, largest),
            usd(row.closed_pnl_usd, signed=True),
            usd(row.fees_usd),
            usd(row.funding_usd, signed=True),
            *(cell(number) for number in (row.trades, row.wins, row.losses, row.fills)),
        )
    return table


def _topics(rows: Sequence[TopicResult]) -> Table:
    right = ("topic", "PnL, net", "trades", "won", "lost", "trades won", "predictions", "right")
    table = sheet(*right, right=right)
    for row in rows:
        counts = (cell(number) for number in (row.trades, row.wins, row.losses))
        shares = (_share(row.trade_hit_rate_pct), cell(row.predictions), _share(row.prediction_hit_rate_pct))
        table.add_row(cell(row.topic_id), usd(row.pnl_usd, signed=True), *counts, *shares)
    return table
