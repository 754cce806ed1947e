"""What the writer does in the transaction that stores fills and funding: daily results and round trips follow at once.

A fill that comes in order is added to the trade that is open. One that is told late (its trade, or a later one, is in
the books already) has the trades of its symbol made anew from there on, so that the books are the same in whatever
order the exchange told.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, or_, select, update

from allora_mqtt.protocol.books import ADOPTED
from allora_mqtt.protocol.messages import Side
from allora_mqtt.store import upsert
from allora_mqtt.store.round_trips import BookedFill, RoundTrip, follow
from allora_mqtt.store.schema import day_results, fills, funding, positions, trades

_ZERO: Final = Decimal(0)


@dataclass(slots=True)
class _Sums:
    """What one day brought in one coin."""

    fills: int = 0
    closed_pnl_usd: Decimal = _ZERO
    fees_usd: Decimal = _ZERO
    funding_usd: Decimal = _ZERO


def add_fills(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Store those of these fills that are new, book them, and return them."""
    new = [row for row in rows if upsert.add_if_new(connection, fills, row)]
    sums: defaultdict[tuple[str, str], _Sums] = defaultdict(_Sums)
    for row in new:
        day = sums[_day(row["at"]), row["symbol"]]
        day.fills += 1
        day.closed_pnl_usd += row["closed_pnl_usd"]
        day.fees_usd += row["fee_usd"]
    _add_to_days(connection, sums)
    for symbol in dict.fromkeys(row["symbol"] for row in new):
        book_symbol(connection, symbol)
    return new


def add_funding(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Store those of these funding payments that are new, book them, and return how many there were."""
    new = [row for row in rows if upsert.add_if_new(connection, funding, row)]
    sums: defaultdict[tuple[str, str], _Sums] = defaultdict(_Sums)
    for row in new:
        sums[_day(row["at"]), row["symbol"]].funding_usd += row["amount_usd"]
    _add_to_days(connection, sums)
    for symbol in dict.fromkeys(row["symbol"] for row in new):
        _sum_funding(connection, _give_funding(connection, symbol))
    return len(new)


def unbooked_symbols(connection: Connection) -> list[str]:
    """Return the symbols with fills that are in no trade yet: those of a database from before there were trades."""
    return list(connection.execute(select(fills.c.symbol).where(fills.c.trade_id.is_(None)).distinct()).scalars())


def book_symbol(connection: Connection, symbol: str) -> None:
    """Bring the trades of a symbol up to its fills."""
    new = _unbooked(connection, symbol)
    if not new:
        return
    first_at = new[0].at
    last = _newest_trade(connection, symbol)
    if last is not None and first_at <= last.last_at:
        _take_apart(connection, symbol, first_at)
        last, new = _newest_trade(connection, symbol), _unbooked(connection, symbol)
    changed: dict[str, RoundTrip] = {} if last is None else {last.trade_id: last}
    owners: list[dict[str, str]] = []
    for step in follow(last if last is not None and last.open_size else None, new):
        changed |= {trade.trade_id: trade for trade in step.changed}
        owners.append({"one": step.fill.fill_id, "owner": step.trade_id})
    mark = update(fills).where(fills.c.fill_id == bindparam("one")).values(trade_id=bindparam("owner"))
    connection.execute(mark, owners)
    for trade in changed.values():
        _put(connection, trade)
    # An hour that was given to the trade that was thought to be open then may belong to one that is only now known.
    late = update(funding).where(funding.c.symbol == symbol, funding.c.at >= first_at)
    connection.execute(late.values(trade_id=None))
    _sum_funding(connection, changed.keys() | _give_funding(connection, symbol))


def adopt(connection: Connection, row: Mapping[str, Any]) -> None:
    """Store a position that somebody else opened as the bot's own, together with the trade that is open for it."""
    upsert.put(connection, positions, row)
    trade = _newest_trade(connection, row["symbol"])
    if trade is not None and trade.open_size:
        _put(connection, trade)
        _sum_funding(connection, {trade.trade_id})


def _take_apart(connection: Connection, symbol: str, since: datetime) -> None:
    """Unbook the trades of a symbol from the last one before a time on: it may have ended later than was thought."""
    before = select(trades.c.opened_at).where(trades.c.symbol == symbol, trades.c.opened_at < since)
    last = connection.execute(before.order_by(trades.c.opened_at.desc()).limit(1)).scalar_one_or_none()
    begins, reached = since if last is None else last, None
    while begins != reached:
        # A trade that began when another was turned round goes back to that one, and so on.
        reached = begins
        later = select(trades.c.opened_at).where(trades.c.symbol == symbol, trades.c.last_at >= begins)
        begins = min(connection.execute(later).scalars(), default=begins)
    affected = select(trades.c.trade_id).where(trades.c.symbol == symbol, trades.c.last_at >= begins)
    ids = list(connection.execute(affected).scalars())
    for table in (fills, funding):
        of_them = update(table).where(table.c.symbol == symbol, table.c.trade_id.in_(ids))
        connection.execute(of_them.values(trade_id=None))
    connection.execute(delete(trades).where(trades.c.trade_id.in_(ids)))


def _give_funding(connection: Connection, symbol: str) -> set[str]:
    """Give each payment that has none the trade that was open at its time; returns those that got one."""
    receivers: set[str] = set()
    waiting = select(funding.c.funding_id, funding.c.at).where(funding.c.symbol == symbol, funding.c.trade_id.is_(None))
    for funding_id, at in connection.execute(waiting).all():
        before = trades.c.symbol == symbol, trades.c.opened_at <= at
        query = select(trades.c.trade_id, trades.c.closed_at).where(*before)
        trade = connection.execute(query.order_by(trades.c.opened_at.desc()).limit(1)).one_or_none()
        if trade is not None and (trade.closed_at is None or trade.closed_at >= at):
            mine = update(funding).where(funding.c.funding_id == funding_id)
            connection.execute(mine.values(trade_id=trade.trade_id))
            receivers.add(trade.trade_id)
    return receivers


def _sum_funding(connection: Connection, trade_ids: set[str]) -> None:
    for trade_id in trade_ids:
        amounts = select(funding.c.amount_usd).where(funding.c.trade_id == trade_id)
        total = sum(connection.execute(amounts).scalars(), _ZERO)
        query = select(trades.c.closed_pnl_nano_usd, trades.c.fees_nano_usd).where(trades.c.trade_id == trade_id)
        closed_pnl, fees = connection.execute(query).one()
        values = {"funding_nano_usd": total, "pnl_nano_usd": closed_pnl - fees + total}
        connection.execute(update(trades).where(trades.c.trade_id == trade_id).values(**values))


def _add_to_days(connection: Connection, sums: Mapping[tuple[str, str], _Sums]) -> None:
    for (day, symbol), more in sums.items():
        key = day_results.c.day == day, day_results.c.symbol == symbol
        present = connection.execute(select(day_results).where(*key)).mappings().one_or_none()
        row = {
            "day": day,
            "symbol": symbol,
            "fills": more.fills,
            "closed_pnl_nano_usd": more.closed_pnl_usd,
            "fees_nano_usd": more.fees_usd,
            "funding_nano_usd": more.funding_usd,
        }
        if present is not None:
            row |= {name: present[name] + value for name, value in row.items() if name not in {"day", "symbol"}}
        upsert.put(connection, day_results, row)


def _put(connection: Connection, trade: RoundTrip) -> None:
    position = _position_of(connection, trade)
    held = None if trade.closed_at is None else trade.closed_at - trade.opened_at
    row = {
        "trade_id": trade.trade_id,
        "position_id": None if position is None else position["position_id"],
        "symbol": trade.symbol,
        "side": trade.side.value,
        "topic_id": None if position is None else position["topic_id"],
        "signal_id": None if position is None else position["signal_id"] or None,
        "opened_at": trade.opened_at,
        "last_at": trade.last_at,
        "closed_at": trade.closed_at,
        "reason": _reason(trade, position),
        "holding_ms": None if held is None else int(held.total_seconds() * 1000),
        "is_whole": trade.is_whole,
        "is_liquidated": trade.is_liquidated,
        "open_size": trade.open_size,
        "entry_size": trade.entry_size,
        "entry_value_usd": trade.entry_value_usd,
        "exit_size": trade.exit_size,
        "exit_value_usd": trade.exit_value_usd,
        "fills": trade.fills,
        "closed_pnl_nano_usd": trade.closed_pnl_usd,
        "fees_nano_usd": trade.fees_usd,
        "funding_nano_usd": _ZERO,
        "pnl_nano_usd": trade.closed_pnl_usd - trade.fees_usd,
    }
    upsert.put(connection, trades, row)


def _position_of(connection: Connection, trade: RoundTrip) -> Mapping[Any, Any] | None:
    """Return the bot's own position that a trade is: by its entry's order, or one adopted while the trade was open."""
    if trade.entry_order_id is not None:
        ours = select(positions).where(positions.c.position_id == trade.entry_order_id)
        if (position := connection.execute(ours).mappings().one_or_none()) is not None:
            return position
    taken = select(positions).where(
        positions.c.symbol == trade.symbol,
        positions.c.side == trade.side.value,
        positions.c.open_reason == ADOPTED,
        or_(positions.c.closed_at.is_(None), positions.c.closed_at >= trade.opened_at),
    )
    if trade.closed_at is not None:
        taken = taken.where(positions.c.opened_at <= trade.closed_at)
    return connection.execute(taken.order_by(positions.c.opened_at).limit(1)).mappings().one_or_none()


def _reason(trade: RoundTrip, position: Mapping[Any, Any] | None) -> str | None:
    """Say why a trade ended; a position of the bot's own gets its reason when the bot has noticed (`Ledger`)."""
    if trade.closed_at is None:
        return None
    if trade.is_liquidated:
        return "liquidation"
    return "closed_elsewhere" if position is None else position["close_reason"]


def _newest_trade(connection: Connection, symbol: str) -> RoundTrip | None:
    # Of two with a fill at the same time, one turned the other round: the one that began later is the current one.
    newest = trades.c.last_at.desc(), trades.c.opened_at.desc()
    query = select(trades).where(trades.c.symbol == symbol).order_by(*newest).limit(1)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    return RoundTrip(
        trade_id=row["trade_id"],
        entry_order_id=row["position_id"],
        symbol=symbol,
        side=Side(row["side"]),
        opened_at=row["opened_at"],
        last_at=row["last_at"],
        is_whole=row["is_whole"],
        closed_at=row["closed_at"],
        is_liquidated=row["is_liquidated"],
        open_size=row["open_size"],
        entry_size=row["entry_size"],
        entry_value_usd=row["entry_value_usd"],
        exit_size=row["exit_size"],
        exit_value_usd=row["exit_value_usd"],
        closed_pnl_usd=row["closed_pnl_nano_usd"],
        fees_usd=row["fees_nano_usd"],
        fills=row["fills"],
    )


def _unbooked(connection: Connection, symbol: str) -> list[BookedFill]:
    """Return the fills of a symbol that are in no trade, by time."""
    # Sorted here: the database would read all fills of the symbol for the sake of their order.
    query = select(fills).where(fills.c.trade_id.is_(None), fills.c.symbol == symbol)
    found = [_booked_fill(row) for row in connection.execute(query).mappings()]
    return sorted(found, key=lambda fill: (fill.at, fill.fill_id))


def _booked_fill(row: Mapping[Any, Any]) -> BookedFill:
    return BookedFill(
        fill_id=row["fill_id"],
        order_id=row["order_id"],
        symbol=row["symbol"],
        is_buy=row["side"] == "BUY",
        direction=row["direction"],
        size=row["size"],
        price=row["price"],
        fee_usd=row["fee_usd"],
        closed_pnl_usd=row["closed_pnl_usd"],
        at=row["at"],
        start_position=row["start_position"],
    )


def _day(at: datetime) -> str:
    return at.astimezone(UTC).date().isoformat()
