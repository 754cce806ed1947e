"""Orders on their way to the exchange: signed, stored, sent once, and followed to what became of them."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Any, Final, Literal

from allora_mqtt.market.catalog import Asset
from allora_mqtt.market.gate import GateClosed, SendGate
from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.market.nonces import NonceSource
from allora_mqtt.market.orders import Grouping, OrderResult, OrderSpec, OutcomeUnknown, Trigger
from allora_mqtt.market.precision import round_price
from allora_mqtt.market.signing import Envelope
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.protocol.messages import OrderView
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.trading.observer import Observer
from allora_mqtt.trading.risk import EntryPlan, OrderPace

log = logging.getLogger(__name__)

Purpose = Literal["entry", "exit", "stop", "target"]

_LIFETIME_MS: Final = 10_000
"""How long the exchange may take an order; after that it is dead, whatever became of the line."""
_TRIGGER_SLIPPAGE: Final = Decimal("0.1")
"""A stop that was triggered fills at 10 % off its trigger at worst: closing matters more than the price."""
_CLOSE_SLIPPAGE: Final = (Decimal("0.01"), Decimal("0.03"), Decimal("0.08"))
"""How far from the mark a close may fill, on the first try and the next ones."""

SENDING, UNKNOWN = "sending", "unknown"
"""States of an order of which it is not known whether the exchange has it."""


@dataclass(frozen=True, slots=True)
class Purposeful:
    """An order with what it is for."""

    spec: OrderSpec
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Filled:
    """What an entry or an exit brought: coins and average price; nothing when the size is zero."""

    order_id: str
    size: Decimal
    average_price: Decimal | None


class Executor:
    """Sends orders, each once, and stores them before they leave.

    Args:
        hyperliquid: the exchange.
        ledger: where orders are stored.
        gate: what raises exposure passes it.
        nonces: one number per signed action, ever higher.
        new_id: returns 32 random hexadecimal digits.
        clock: the time, with its zone.
        observer: told of each order.
    """

    def __init__(
        self,
        hyperliquid: Hyperliquid,
        ledger: Ledger,
        gate: SendGate,
        nonces: NonceSource,
        new_id: Callable[[], str],
        clock: Callable[[], datetime],
        observer: Observer,
    ) -> None:
        self._hyperliquid = hyperliquid
        self._ledger = ledger
        self._gate = gate
        self._nonces = nonces
        self._new_id = new_id
        self._clock = clock
        self._observer = observer
        self._leverage: dict[str, int] = {}
        self.pace = OrderPace()
        """What was sent; entries are counted by whoever plans them, before anything is waited for."""

    @property
    def clock_ahead_s(self) -> float:
        """How far the clock of this machine is ahead of the exchange's."""
        return self._hyperliquid.clock_ahead_s

    def exchange_time(self) -> datetime:
        """Return the time as the exchange has it."""
        return datetime.fromtimestamp(self._hyperliquid.now_s(), UTC)

    async def enter(self, plan: EntryPlan, asset: Asset, order_id: str, signal_id: str, reason: str) -> Filled:
        """Open a position with its target and stop, all in one action.

        Args:
            plan: what passed the limits.
            asset: what is traded.
            order_id: the id of the entry order.
            signal_id: the signal that it follows.
            reason: for the books.

        Raises:
            GateClosed: the mode forbids entries; nothing left.
            OutcomeUnknown: the order may have run; it is stored as unknown and `resolve` finds out.
            BotError: it did not run.
        """
        await self._set_leverage(plan, asset)
        entry = OrderSpec(
            plan.symbol, plan.is_buy, plan.size, plan.limit_price, "Ioc", None, reduce_only=False, cloid=order_id
        )
        exits = self._exits(plan.symbol, plan.size, plan.stop_price, plan.target_price, asset, is_long=plan.is_buy)
        orders = [Purposeful(entry, "entry"), *exits]
        results = await self._send(orders, "normalTpsl", signal_id, reason, gated=True)
        return _filled(entry, results[0])

    async def close(
        self, asset: Asset, size: Decimal, mark: Decimal, reason: str, *, is_long: bool, attempt: int
    ) -> Filled:
        """Close (a part of) a position at the market; never opens one the other way.

        Args:
            asset: what to sell or buy back.
            size: in coins, above zero.
            mark: the price that the slippage is measured from.
            reason: for the books.
            is_long: which way the position goes.
            attempt: 0 for the first try; later ones accept a worse price.

        Raises:
            OutcomeUnknown: it may have run.
            BotError: it did not run.
        """
        slippage = _CLOSE_SLIPPAGE[min(attempt, len(_CLOSE_SLIPPAGE) - 1)]
        worst = mark * (1 - slippage if is_long else 1 + slippage)
        price = round_price(worst, asset.sz_decimals, ROUND_UP if is_long else ROUND_DOWN)
        spec = OrderSpec(
            asset.symbol, not is_long, size, price, "Ioc", None, reduce_only=True, cloid=self.new_order_id()
        )
        results = await self._send([Purposeful(spec, "exit")], "na", None, reason, gated=False)
        return _filled(spec, results[0])

    async def protect(
        self, asset: Asset, size: Decimal, stop_price: Decimal, target_price: Decimal, *, is_long: bool
    ) -> None:
        """Give a position that lost them a stop and a target again.

        Raises:
            BotError: the exchange did not take the stop.
        """
        orders = self._exits(asset.symbol, size, stop_price, target_price, asset, is_long=is_long)
        results = await self._send(orders, "positionTpsl", None, "position without a stop", gated=False)
        stop = results[-1]
        if stop.status == "error":
            raise BotError(
                ErrorCode.EXCHANGE_REJECTED, f"The exchange refused a stop for {asset.symbol}: {stop.error}."
            )

    async def cancel(self, orders: Sequence[tuple[str, int]]) -> None:
        """Cancel orders, given as symbol and the exchange's id; one that is gone already is no error.

        Raises:
            BotError: the exchange did not take the request.
        """
        if orders:
            envelope = await asyncio.to_thread(
                self._hyperliquid.sign_cancels, list(orders), self._nonces.next(), self._deadline_ms()
            )
            await self._hyperliquid.send(envelope)

    async def probe(self) -> None:
        """Ask the exchange to do nothing, which tells whether it takes orders.

        Raises:
            BotError: it does not, or there is no key.
        """
        envelope = await asyncio.to_thread(self._hyperliquid.sign_noop, self._nonces.next(), self._deadline_ms())
        await self._hyperliquid.send(envelope)

    async def resolve(self, order: Any) -> str | None:  # noqa: ANN401 - a row of the ledger
        """Find out what became of an order of which that was not known.

        Args:
            order: its row in the ledger.

        Returns:
            The exchange's status of it, `never_ran` once it can be sure that the exchange does not have it and never
            will, or None while that is not known yet.

        Raises:
            BotError: EXCHANGE_UNREACHABLE.
        """
        status = await self._hyperliquid.order_status(order["order_id"])
        if status is None:
            expires_at_ms = json.loads(order["envelope"])["expiresAfter"] if order["envelope"] else 0
            # The exchange may show an order a second after it ran; wait for three beyond the last moment it could.
            if self._hyperliquid.now_s() * 1000 < expires_at_ms + 3000:
                return None
            status = "never_ran"
        await self._ledger.update_order(order["order_id"], {"status": status, "updated_at": self._clock()})
        return status

    def _exits(
        self,
        symbol: str,
        size: Decimal,
        stop_price: Decimal,
        target_price: Decimal,
        asset: Asset,
        *,
        is_long: bool,
    ) -> list[Purposeful]:
        """Return target and stop, in the order in which HyperLiquid takes them."""
        orders = []
        kinds: tuple[tuple[Purpose, Literal["tp", "sl"], Decimal], ...] = (
            ("target", "tp", target_price),
            ("stop", "sl", stop_price),
        )
        for purpose, tpsl, trigger_price in kinds:
            worst = trigger_price * (1 - _TRIGGER_SLIPPAGE if is_long else 1 + _TRIGGER_SLIPPAGE)
            price = round_price(worst, asset.sz_decimals)
            spec = OrderSpec(
                symbol,
                not is_long,
                size,
                price,
                None,
                Trigger(trigger_price, tpsl),
                reduce_only=True,
                cloid=self.new_order_id(),
            )
            orders.append(Purposeful(spec, purpose))
        return orders

    async def _set_leverage(self, plan: EntryPlan, asset: Asset) -> None:
        if self._leverage.get(plan.symbol) == plan.leverage:
            return
        envelope = await asyncio.to_thread(
            self._hyperliquid.sign_leverage,
            plan.symbol,
            plan.leverage,
            is_cross=not asset.only_isolated,
            nonce=self._nonces.next(),
            expires_after_ms=self._deadline_ms(),
        )
        await self._hyperliquid.send(envelope, self._gate)
        self._leverage[plan.symbol] = plan.leverage

    async def _send(
        self, orders: list[Purposeful], grouping: Grouping, signal_id: str | None, reason: str, *, gated: bool
    ) -> list[OrderResult]:
        if not gated:
            self.pace.note(len(orders), self._clock().timestamp())
        nonce = self._nonces.next()
        specs = [order.spec for order in orders]
        envelope = await asyncio.to_thread(self._hyperliquid.sign_orders, specs, grouping, nonce, self._deadline_ms())
        rows = self._rows(orders, envelope, signal_id, reason)
        await self._ledger.add_orders(rows)
        try:
            results = await self._hyperliquid.send(envelope, self._gate if gated else None)
        except OutcomeUnknown as error:
            await self._note(rows, UNKNOWN, error.message)
            raise
        except BotError as error:
            await self._note(rows, "stopped" if isinstance(error, GateClosed) else "refused", error.message)
            raise
        for row, result in zip(rows, results, strict=True):
            await self._note_result(row, result)
        return results

    def _rows(
        self, orders: list[Purposeful], envelope: Envelope, signal_id: str | None, reason: str
    ) -> list[dict[str, Any]]:
        now = self._clock()
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

    async def _note(self, rows: list[dict[str, Any]], status: str, error: str) -> None:
        for row in rows:
            values = {"status": status, "error": error, "updated_at": self._clock()}
            await self._store(row, values)

    async def _note_result(self, row: dict[str, Any], result: OrderResult) -> None:
        values = {
            "status": result.status,
            "oid": result.oid,
            "filled_size": result.filled_size,
            "average_price": result.average_price,
            "error": result.error,
            "updated_at": self._clock(),
        }
        await self._store(row, values)

    async def _store(self, row: dict[str, Any], values: dict[str, Any]) -> None:
        try:
            await self._ledger.update_order(row["order_id"], values)
        except BotError as error:
            # The order has its outcome all the same, and whoever sent it must hear of it.
            log.warning("What became of the order for %s could not be stored: %s", row["symbol"], error.message)
        self._tell(row | values)

    def _tell(self, row: dict[str, Any]) -> None:
        view = order_view(row)
        log.info(
            "Order %s %s %s %s at %s: %s%s",
            view.purpose,
            view.side,
            view.size,
            view.symbol,
            view.trigger_price or view.limit_price,
            view.status,
            f" ({view.error})" if view.error else "",
        )
        self._observer.on_order(view)

    def new_order_id(self) -> str:
        """Return an id for an order, unlike any other: `0x` and 32 hexadecimal digits."""
        return f"0x{self._new_id()}"

    def _deadline_ms(self) -> int:
        return int(self._hyperliquid.now_s() * 1000) + _LIFETIME_MS


def order_view(row: Any) -> OrderView:  # noqa: ANN401 - a row of the ledger
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
    )


def _filled(spec: OrderSpec, result: OrderResult) -> Filled:
    if result.status == "error":
        raise BotError(ErrorCode.EXCHANGE_REJECTED, f"HyperLiquid refused the order for {spec.symbol}: {result.error}")
    return Filled(spec.cloid or "", result.filled_size, result.average_price)
