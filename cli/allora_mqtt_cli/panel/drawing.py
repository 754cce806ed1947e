"""The panel's state as text: the head, the banner, and the rows of the tables."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from rich.text import Text

from allora_mqtt.protocol.commands import Switch
from allora_mqtt.protocol.messages import Availability, Direction, Heartbeat, Position, Status
from allora_mqtt_cli import render
from allora_mqtt_cli.panel.coins import Coin
from allora_mqtt_cli.panel.history import Entry
from allora_mqtt_cli.panel.state import PanelState, day_pnl
from allora_mqtt_cli.performance import sparkline
from allora_mqtt_cli.render import cell

Row = tuple[str, list[Text]]
"""A line of a table: its key, and its cells."""

LIGHT: Final = "●"
_UNLIT: Final = "○"
_SPARK_WIDTH: Final = range(8, 61)
_SIGNAL_STYLES: Final = {Direction.BUY: "green", Direction.SELL: "red", Direction.HOLD: "dim"}
_SIZES: Final = ((Decimal(10) ** 9, "B"), (Decimal(10) ** 6, "M"), (Decimal(10) ** 3, "K"))

COIN_COLUMNS: Final = ("", "coin", "topic", "price", "vol 24 h", "prediction", "gap", "signal")
MORE_COIN_COLUMNS: Final = ("skill", "position", "PnL", "platform", "max")
POSITION_COLUMNS: Final = ("coin", "side", "size", "entry", "mark", "PnL", "stop", "target")
HISTORY_COLUMNS: Final = ("time", "command", "status", "by", "what")
NUMBERS: Final = frozenset(
    {
        "topic",
        "price",
        "vol 24 h",
        "prediction",
        "gap",
        "skill",
        "PnL",
        "max",
        "size",
        "entry",
        "mark",
        "stop",
        "target",
    }
)


def head(state: PanelState, now: float, width: int) -> Text:
    """Draw two lines: mode, money and sign of life; then the rest.

    Args:
        state: what is known.
        now: on the monotonic clock.
        width: columns of the screen.
    """
    left = _spaced(_mode(state), _money(state))
    right = pulse(state, now)
    room = width - left.cell_len - right.cell_len - 6
    curve = [point.equity_usd for point in state.curve]
    spark = sparkline(curve, min(room, _SPARK_WIDTH[-1])) if room >= _SPARK_WIDTH[0] else ""
    gap = " " * max(3, width - left.cell_len - len(spark) - right.cell_len - 3)
    first = Text.assemble(left, "   ", (spark, "cyan"), gap, right)
    return Text("\n").join([first, _details(state, width)])


def pulse(state: PanelState, now: float) -> Text:
    """Draw the heartbeat's light: green while it beats, red when it does not."""
    if state.problem is not None:
        return Text(f"{LIGHT} no broker", style="bold red")
    if state.heard.availability is Availability.OFFLINE:
        return Text(f"{LIGHT} offline", style="bold red")
    if state.heard.beat_at is None:
        return Text(f"{LIGHT} no beat yet", style="yellow")
    style = "bold red" if state.heard.is_silent(now) else "green"
    return Text(f"{LIGHT} {now - state.heard.beat_at:.0f} s ago", style=style)


def banner(state: PanelState, now: float) -> Text | None:
    """Say what is wrong, the worst first; None when all is well."""
    for sentence in (_absence(state, now), state.heard.unreadable):
        if sentence is not None:
            return cell(sentence, "bold white on dark_red")
    status = state.status
    if status is None:
        return cell("Waiting for the bot's first status.", "yellow")
    breakers = [cell(f"Breaker {each.name} is open: {each.reason}", "bold red") for each in status.breakers]
    warnings = [cell(f"{each.message} ({each.code})", "yellow") for each in status.warnings]
    return Text("\n").join([*breakers, *warnings]) if breakers or warnings else None


def coin_row(coin: Coin, *, is_wide: bool) -> Row:
    """Draw a line of the list of coins."""
    cells = [
        _switch(coin),
        cell(coin.symbol, "bold" if coin.is_active else ""),
        cell(coin.topic_id, "" if coin.is_active else "dim"),
        render.price(coin.price),
        short_usd(coin.volume_24h_usd),
        render.price(coin.prediction),
        render.percent(coin.gap_pct),
        cell(coin.signal, _SIGNAL_STYLES[coin.signal] if coin.signal else ""),
    ]
    if is_wide:
        held = coin.position
        cells += [
            cell(None if coin.skill_pct is None else f"{coin.skill_pct:.0f} %"),
            cell(f"{held.side} {held.size}" if held else None),
            render.usd(held.unrealized_pnl_usd if held else None, signed=True),
            cell(coin.availability),
            cell(None if coin.max_leverage is None else f"{coin.max_leverage}x"),
        ]
    return coin.symbol, cells


def position_row(position: Position) -> Row:
    """Draw an open position; one without a stop stands out."""
    stop = render.price(position.stop_price)
    if position.stop_price is None:
        stop = cell("none", "bold red" if position.ours else "dim")
    return position.symbol, [
        cell(position.symbol if position.ours else f"{position.symbol} *"),
        cell(position.side, "green" if position.side == "LONG" else "red"),
        cell(position.size),
        render.price(position.entry_price),
        render.price(position.mark_price),
        render.usd(position.unrealized_pnl_usd, signed=True),
        stop,
        render.price(position.target_price),
    ]


def history_rows(entries: Sequence[Entry]) -> list[Row]:
    """Draw the newest commands with their outcomes."""
    return [(f"{len(entries) - number}", _history_cells(entry)) for number, entry in enumerate(entries)]


def short_usd(value: Decimal | None) -> Text:
    """Write a large amount in three or four characters: `$2.1B`."""
    if value is None:
        return cell(None)
    for size, letter in _SIZES:
        if value >= size:
            scaled = value / size
            return cell(f"${scaled:.1f}{letter}" if scaled < 10 else f"${scaled:.0f}{letter}")  # noqa: PLR2004 - two digits are enough
    return cell(f"${value:.0f}")


def _history_cells(entry: Entry) -> list[Text]:
    ended_well = entry.status == Status.EXECUTED
    said = f"{entry.error.message} ({entry.error.code})" if entry.error else entry.said
    return [
        cell(f"{entry.at.astimezone():%H:%M:%S}"),
        cell(entry.name.replace("_", " ")),
        cell(entry.status, "green" if ended_well else "yellow"),
        cell(entry.source),
        cell(said),
    ]


def _switch(coin: Coin) -> Text:
    """Draw the state that the bot has confirmed, and an arrow to what was asked for."""
    light = cell(LIGHT if coin.is_active else _UNLIT, "green" if coin.is_active else "dim")
    if coin.wanted is None:
        return light
    return Text.assemble(light, ("→", "yellow"), (LIGHT if coin.wanted is Switch.ON else _UNLIT, "yellow"))


def _mode(state: PanelState) -> Text:
    status = state.status
    if status is None:
        return cell("no bot", "dim")
    mode = cell(status.mode, render.MODE_STYLES[status.mode])
    if state.wanted_mode is not None:
        mode = Text.assemble(mode, (f" → {state.wanted_mode}", "yellow"))
    network = cell(status.network, "bold white on dark_red" if status.network == "mainnet" else "dim")
    return _spaced(mode, network)


def _money(state: PanelState) -> Text:
    status, account = state.status, state.account
    equity = account.equity_usd if account else status.equity_usd if status else None
    usd, pct = day_pnl(state)
    today = Text.assemble(("day ", "dim"), render.usd(usd, signed=True))
    if pct is not None:
        today = Text.assemble(today, " ", render.percent(pct))
    return _spaced(Text.assemble(("equity ", "dim"), render.usd(equity)), today)


def _details(state: PanelState, width: int) -> Text:
    """Write as much as fits, the less important last."""
    status = state.status
    parts = [cell(state.topics.base, "bold")]
    if status is not None:
        count = status.open_positions
        parts += [
            Text.assemble(("health ", "dim"), cell(status.health, render.HEALTH_STYLES[status.health])),
            Text.assemble(("exposure ", "dim"), render.usd(status.exposure_usd)),
            cell(f"{count} position{'' if count == 1 else 's'}"),
            cell(f"up {render.duration(_uptime_s(state))}", "dim"),
            cell(f"version {status.version}", "dim"),
        ]
        if status.last_order is not None:
            order = status.last_order
            parts.append(cell(f"last order {order.symbol} {order.side} {order.purpose} {order.status}", "dim"))
    while len(parts) > 1 and _spaced(*parts).cell_len > width:
        parts.pop()
    return _spaced(*parts)


def _uptime_s(state: PanelState) -> float:
    beat = state.heard.get(state.topics.heartbeat, Heartbeat)
    return beat.uptime_s if beat else state.status.uptime_s if state.status else 0


def _absence(state: PanelState, now: float) -> str | None:
    heard = state.heard
    if state.problem is not None:
        return state.problem
    if heard.availability is Availability.OFFLINE:
        return "The bot is offline. This is the last it said. A mode or coin chosen now waits for it in the broker."
    if heard.beat_at is not None and heard.is_silent(now):
        return f"No heartbeat for {now - heard.beat_at:.0f} s: the bot hangs, or the way to it is broken."
    if heard.availability is None and not heard.has_content:
        return f"No bot has been seen on the base topic {state.topics.base}. Start one with `allora-mqtt run`."
    return None


def _spaced(*parts: Text) -> Text:
    return Text("   ").join(parts)
