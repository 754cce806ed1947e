"""State and journal as tables for a terminal. Everything a message holds goes through `cell`, which defuses it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.messages import BotStatus, CatalogMatch, CryptoState, HealthState, Position
from allora_mqtt.protocol.runtime import SettingState
from allora_mqtt_cli.outcome import describe
from allora_mqtt_cli.output import printable

MODE_STYLES: Final = {Mode.ACTIVE: "bold green", Mode.STANDBY: "yellow", Mode.STOPPED: "red"}
HEALTH_STYLES: Final = {HealthState.OK: "green", HealthState.DEGRADED: "yellow", HealthState.TRIPPED: "bold red"}
_LENGTH_OF_A_TIME: Final = len("2026-11-20T10:00:00Z")
_PROSE: Final = {"reason", "error", "reasons", "said"}
"""Columns that may be broken into lines."""
_MILLION: Final = 1_000_000
_DAY_S: Final = 86_400
_HOUR_S: Final = 3600
_MINUTE_S: Final = 60


def cell(value: object, style: str = "") -> Text:
    """Return a cell whose text cannot be taken for markup or steer the terminal."""
    return Text("-" if value is None else printable(value), style=style)


def price(value: Decimal | None) -> Text:
    """Write a price with as many decimals as its size deserves."""
    if value is None:
        return cell(None)
    if abs(value) >= 1000:  # noqa: PLR2004 - thousands need cents, no more
        return cell(f"{value:,.2f}")
    return cell(f"{value:.4f}" if abs(value) >= 1 else f"{value:.6g}")


def usd(value: Decimal | None, *, signed: bool = False) -> Text:
    """Write an amount; a signed one green or red."""
    if value is None:
        return cell(None)
    if not signed:
        return cell(f"${value:,.0f}" if abs(value) >= _MILLION else f"${value:,.2f}")
    style = "green" if value > 0 else "red" if value < 0 else ""
    return cell(f"{'+' if value > 0 else '-' if value < 0 else ''}${abs(value):,.2f}", style)


def percent(value: Decimal | None) -> Text:
    """Write a signed percentage."""
    return cell(None if value is None else f"{value:+.2f} %")


def duration(seconds: float) -> str:
    """Write a time span in its two largest units."""
    days, rest = divmod(int(seconds), _DAY_S)
    hours, rest = divmod(rest, _HOUR_S)
    minutes, rest = divmod(rest, _MINUTE_S)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def sheet(*headings: str, right: Iterable[str] = (), title: str | None = None) -> Table:
    """Return an empty table; the columns named in `right` hold numbers."""
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in set(right) else "left", no_wrap=heading not in _PROSE)
    return table


def pairs(rows: Iterable[tuple[str, Text | str]]) -> Table:
    """Return a list of names and values."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in rows:
        table.add_row(cell(name), value if isinstance(value, Text) else cell(value))
    return table


def status(state: BotStatus, availability: Text) -> Table:
    """Return the bot's state at a glance."""
    cryptos = ", ".join(f"{symbol}:{topic}" for symbol, topic in state.active_cryptos.items())
    rows: list[tuple[str, Text | str]] = [
        ("bot", availability),
        ("mode", cell(state.mode, MODE_STYLES[state.mode])),
        ("since", f"{state.since:%Y-%m-%d %H:%M:%S} UTC, {state.reason}"),
        ("health", cell(state.health, HEALTH_STYLES[state.health])),
        ("network", state.network),
        ("cryptos", cryptos or "none"),
        ("equity", usd(state.equity_usd)),
        ("daily PnL", usd(state.daily_pnl_usd, signed=True)),
        ("exposure", usd(state.exposure_usd)),
        ("positions", str(state.open_positions)),
        ("last signal", _last_signal(state)),
        ("last order", _last_order(state)),
        ("uptime", duration(state.uptime_s)),
        ("version", f"{state.version}, revision {state.revision}"),
    ]
    rows += [("breaker", cell(f"{breaker.name} open: {breaker.reason}", "bold red")) for breaker in state.breakers]
    rows += [("warning", cell(f"{warning.message} ({warning.code})", "yellow")) for warning in state.warnings]
    return pairs(rows)


def _last_signal(state: BotStatus) -> str:
    signal = state.last_signal
    if signal is None:
        return "-"
    gap = "" if signal.gap_pct is None else f" gap {signal.gap_pct:+.2f} %"
    return f"{signal.symbol} {signal.direction}{gap} at {signal.at:%H:%M:%S}{'' if signal.acted else ', not acted on'}"


def _last_order(state: BotStatus) -> str:
    order = state.last_order
    if order is None:
        return "-"
    return f"{order.symbol} {order.side} {order.size} ({order.purpose}) {order.status} at {order.at:%H:%M:%S}"


def cryptos(active: Mapping[str, int], states: Mapping[str, CryptoState]) -> Table:
    """Return the active symbols, and those that still have a position, with what is known of each."""
    right = ("topic", "price", "prediction", "gap", "PnL")
    table = sheet("symbol", "", "topic", "price", "prediction", "gap", "signal", "position", "PnL", right=right)
    for symbol in sorted(active.keys() | states.keys()):
        switch = cell("ON", "green") if symbol in active else cell("OFF", "dim")
        state = states.get(symbol)
        if state is None:
            table.add_row(cell(symbol), switch, cell(active.get(symbol)), *[cell(None)] * 6)
            continue
        held = state.position
        table.add_row(
            cell(symbol),
            switch,
            cell(state.topic_id),
            price(state.price),
            price(state.prediction),
            percent(state.gap_pct),
            cell(state.signal),
            cell(f"{held.side} {held.size}" if held else None),
            usd(held.unrealized_pnl_usd if held else None, signed=True),
        )
    return table


@dataclass(frozen=True, slots=True)
class PositionTable:
    """The open positions; on a narrow terminal without the columns that matter least there."""

    held: Sequence[Position]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the widest of them that fits."""
        unbounded = options.update(max_width=_UNBOUNDED)
        left_out = 0
        table = self._without(())
        while left_out < len(_LESS_NEEDED) and Measurement.get(console, unbounded, table).maximum > options.max_width:
            left_out += 1
            table = self._without(_LESS_NEEDED[:left_out])
        yield table

    def _without(self, left_out: Sequence[str]) -> Table:
        shown = [name for name in _COLUMNS if name not in left_out]
        table = sheet(*shown, right=[name for name in shown if name not in _WORDS])
        for position in self.held:
            table.add_row(*(_COLUMNS[name](position) for name in shown))
        return table


_COLUMNS: Final[Mapping[str, Callable[[Position], Text]]] = {
    "symbol": lambda position: cell(position.symbol),
    "side": lambda position: cell(position.side, "green" if position.side == "LONG" else "red"),
    "size": lambda position: cell(position.size),
    "entry": lambda position: price(position.entry_price),
    "mark": lambda position: price(position.mark_price),
    "notional": lambda position: usd(position.notional_usd),
    "PnL": lambda position: usd(position.unrealized_pnl_usd, signed=True),
    "stop": lambda position: price(position.stop_price),
    "target": lambda position: price(position.target_price),
    "liquidation": lambda position: price(position.liquidation_price),
    "leverage": lambda position: cell(f"{position.leverage}x"),
    "": lambda position: cell("" if position.ours else "not the bot's", "dim"),
}
_WORDS: Final = frozenset({"symbol", "side", ""})
_LESS_NEEDED: Final = ("liquidation", "leverage", "notional", "mark", "size")
_UNBOUNDED: Final = 1000


def positions(held: Sequence[Position]) -> PositionTable:
    """Return the open positions with their stop and target."""
    return PositionTable(held)


def settings(states: Mapping[str, SettingState]) -> Table:
    """Return the runtime settings in force with their ranges and units."""
    table = sheet("setting", "value", "unit", "min", "max", "step", right=("value", "min", "max", "step"))
    for key, state in states.items():
        numbers = (_plain(state.min), _plain(state.max), _plain(state.step))
        table.add_row(cell(key), cell(_plain(state.value), "bold"), cell(state.unit), *map(cell, numbers))
    return table


def entities(components: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return what Home Assistant is told of, with the topics that each entity reads and writes."""
    table = sheet("entity", "name", "reads", "writes")
    for key, component in components.items():
        fields = [component.get(field) for field in ("name", "stat_t", "cmd_t")]
        table.add_row(cell(component.get("def_ent_id", key), "bold"), *map(cell, fields))
    return table


def _plain(value: Decimal | float | str | None) -> str | None:
    """Write a number without exponent or trailing zeros."""
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return None if value is None else str(value)


def catalog(matches: Sequence[CatalogMatch]) -> Table:
    """Return what a search of the catalog found."""
    right = ("max leverage", "price", "volume 24 h")
    table = sheet("symbol", "", "availability", *right, "topics", right=right)
    for match in matches:
        topics = ", ".join(f"{topic.id} ({topic.kind} {topic.horizon})" for topic in match.topics)
        table.add_row(
            cell(match.symbol),
            cell("ON" if match.active else "", "green"),
            cell(match.availability),
            cell(None if match.max_leverage is None else f"{match.max_leverage}x"),
            price(match.price),
            usd(match.volume_24h),
            cell(topics or None),
        )
    return table


def answer(data: Mapping[str, Any], columns: Sequence[str] = ()) -> Group:
    """Return an answer's data: single values as a list, rows as tables.

    Args:
        data: the response's data.
        columns: which columns of its tables to show, in this order, where they exist; all of them without.
    """
    singles: list[tuple[str, Text | str]] = []
    tables: list[Table] = []
    for key, value in data.items():
        title = key.replace("_", " ")
        rows = _rows(value)
        if rows is None:
            singles.append((title, cell(_short(value))))
        elif rows:
            tables.append(records(rows, columns, title))
        else:
            singles.append((title, "none"))
    return Group(*([pairs(singles)] if singles else []), *tables)


def _rows(value: object) -> list[Mapping[str, Any]] | None:
    """Return rows where a value is a list of objects, or an object of objects; None where it is neither."""
    if isinstance(value, list) and all(isinstance(row, Mapping) for row in value):
        return value
    if isinstance(value, Mapping) and value and all(isinstance(row, Mapping) for row in value.values()):
        return [{"name": name, **row} for name, row in value.items()]
    return None


def records(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str) -> Table:
    """Return rows of an answer as a table; see `answer`."""
    present = {key for row in rows for key in row}
    keys = [key for key in columns if key in present] or list(dict.fromkeys(key for row in rows for key in row))
    numeric = [key for key in keys if all(isinstance(row.get(key), int | float | None) for row in rows)]
    heading = {key: title.removesuffix("s") if key == "key" else key.replace("_", " ") for key in keys}
    table = sheet(*heading.values(), right=[heading[key] for key in numeric], title=title)
    for row in rows:
        table.add_row(*(cell(_short(row.get(key))) for key in keys))
    return table


def _short(value: Any) -> str | None:  # noqa: ANN401 - whatever JSON holds
    if value is None:
        return None
    if isinstance(value, str):
        return _plain_time(value)
    if isinstance(value, Mapping) and value.keys() == {"code", "message"}:
        return f"{value['message']} ({value['code']})"
    return describe(value, 1) if isinstance(value, Mapping | list) else describe(value)


def _plain_time(text: str) -> str:
    """Write an RFC 3339 time as date and time of day, and leave other text as it is."""
    if len(text) < _LENGTH_OF_A_TIME or text[10] != "T":
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment:%Y-%m-%d %H:%M:%S}"
