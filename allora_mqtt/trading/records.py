"""Orders as the books have them: as rows before they leave, and as they are published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal

from allora_mqtt.market.orders import OrderResult, OrderSpec
from allora_mqtt.market.signing import Envelope
from allora_mqtt.protocol.messages import OrderView

Purpose = Literal["entry", "exit", "stop", "target"]

SENDING, UNKNOWN = "sending", "unknown"
"""States of an order of which it is not known whether the exchange has it."""
NEVER_RAN: Final = "never_ran"
"""The state of an order that the exchange does not have and never will."""
MAX_STATUS: Final = 24
"""The longest word for a state that is stored."""


@dataclass(frozen=True, slots=True)
class Purposeful:
    """An order with what it is for."""

    spec: OrderSpec
    purpose: Purpose


@dataclass(slots=True)
class Astray:
    """An action that was sent, or was about to be, and of which nobody knows what became.

    Attributes:
        rows: its orders as they are stored; the first one is what the others depend on.
        envelope: exactly what was sent.
        tries: how often it has been sent again.
        arrived_at: since when it is certain that the exchange has seen it.
    """

    rows: list[dict[str, Any]]
    envelope: Envelope
    tries: int = 0
    arrived_at: datetime | None = None

    @property
    def symbol(self) -> str:
        """What is traded."""
        return str(self.rows[0]["symbol"])

    @property
    def purpose(self) -> str:
        """What it is for: opening, closing or protecting a position."""
        return str(self.rows[0]["purpose"])


def order_rows(
    orders: Sequence[Purposeful], envelope: Envelope, signal_id: str | None, reason: str, now: datetime
) -> list[dict[str, Any]]:
    """Return the orders of one action as they are stored before it leaves; the first one keeps the envelope."""
    parent_id = orders[0].spec.cloid
    return [
        {
            "order_id": order.spec.cloid,
            "parent_id": None if order.spec.cloid == parent_id else parent_id,
            "signal_id": signal_id,
            "symbol": order.spec.symbol,
            "side": "BUY" if order.spec.is_buy else "SELL",
            "purpose": order.purpose,
            "size": order.spec.size,
            "limit_price": order.spec.limit_price,
            "trigger_price": None if order.spec.trigger is None else order.spec.trigger.price,
            "reduce_only": order.spec.reduce_only,
            "status": SENDING,
            "oid": None,
            "filled_size": Decimal(0),
            "average_price": None,
            "error": None,
            "reason": reason,
            "envelope": envelope.to_json() if order.spec.cloid == parent_id else None,
            "nonce": envelope.nonce,
            "at": now,
            "updated_at": now,
        }
        for order in orders
    ]


def as_answered(result: OrderResult) -> dict[str, Any]:
    """Return what the exchange's answer changes in an order's row."""
    return {
        "status": result.status,
        "oid": result.oid,
        "filled_size": result.filled_size,
        "average_price": result.average_price,
        "error": result.error,
    }


def order_view(row: Mapping[str, Any]) -> OrderView:
    """Return an order as it is published."""
    return OrderView(
        order_id=row["order_id"],
        symbol=row["symbol"],
        side=row["side"],
        purpose=row["purpose"],
        size=row["size"],
        limit_price=row["limit_price"],
        trigger_price=row["trigger_price"],
        reduce_only=row["reduce_only"],
        status=row["status"],
        filled_size=row["filled_size"],
        average_price=row["average_price"],
        error=row["error"],
        signal_id=row["signal_id"],
        reason=row["reason"],
        at=row["updated_at"],
        oid=row["oid"],
    )
