"""What can be exported: which columns of which table, in which order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, Table

from allora_mqtt.store import schema

NANO_SUFFIX: Final = "_nano_usd"


@dataclass(frozen=True, slots=True)
class Record:
    """One kind of record.

    Attributes:
        table: where it is.
        at: what `--since` and `--until` are about.
        order: what its rows are in order of; together unlike in any two rows, and never changed.
        raw: columns that are left out unless they are asked for: signed orders, and what commands carried.
    """

    table: Table
    at: "Column[object]"
    order: "tuple[Column[object], ...]"
    raw: tuple[str, ...] = ()

    def columns(self, *, with_raw: bool) -> "list[Column[object]]":
        """Return the columns that are exported."""
        return [column for column in self.table.c if with_raw or column.name not in self.raw]


def name_of(column: "Column[object]") -> str:
    """Return a column's name in a file, where every amount is in USD."""
    return column.name.replace(NANO_SUFFIX, "_usd")


def _by_time(table: Table, key: str, raw: tuple[str, ...] = (), at: str = "at") -> Record:
    return Record(table, table.c[at], (table.c[at], table.c[key]), raw)


RECORDS: Final[Mapping[str, Record]] = {
    "trades": _by_time(schema.trades, "trade_id", at="opened_at"),
    "fills": _by_time(schema.fills, "fill_id"),
    "orders": _by_time(schema.orders, "order_id", ("envelope", "nonce")),
    "signals": _by_time(schema.signals, "signal_id"),
    "equity": Record(schema.equity, schema.equity.c.at, (schema.equity.c.at,)),
    "cash_flows": _by_time(schema.cash_flows, "flow_id"),
    "funding": _by_time(schema.funding, "funding_id"),
    "commands": Record(
        schema.bot_commands,
        schema.bot_commands.c.received_at,
        (schema.bot_commands.c.seq,),
        ("payload", "payload_hash", "response", "packet_id"),
    ),
    "events": Record(schema.events, schema.events.c.at, (schema.events.c.seq,)),
}
"""Every kind of record by its name on the command line."""
