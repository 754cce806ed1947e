"""Orders on their way to the exchange: signed, stored, sent once; what becomes of lost ones is `recovery`'s work."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from math import ceil
from typing import Any, Final, Literal

from allora_mqtt.market.account import AccountState
from allora_mqtt.market.catalog import Asset
from allora_mqtt.market.gate import GateClosed, SendGate
from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.market.nonces import NonceSource
from allora_mqtt.market.orders import (
    ActionsExhausted,
    DuplicateNonce,
    Grouping,
    OrderResult,
    OrderSpec,
    OutcomeUnknown,
    Trigger,
)
from allora_mqtt.market.precision import round_price
from allora_mqtt.market.signing import Envelope
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.trading.observer import Observer
from allora_mqtt.trading.records import UNKNOWN, Astray, Purpose, Purposeful, as_answered, order_rows, order_view
from allora_mqtt.trading.risk import EntryPlan, OrderPace

log = logging.getLogger(__name__)

LIFETIME_MS: Final = 10_000
"""How long the exchange may take an order; after that it is dead, whatever became of the line."""
_TRIGGER_SLIPPAGE: Final = Decimal("0.1")
"""A stop that was triggered fills at 10 % off its trigger at worst: closing matters more than the price."""
_CLOSE_SLIPPAGE: Final = (Decimal("0.01"), Decimal("0.03"), Decimal("0.08"))
"""How far from the mark a close may fill, on the first try and the next ones."""
_LEVERAGE: Final = "leverage"
"""The key of the leverages that are set, in the store's `state`."""


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
        self.astray: dict[str, Astray] = {}
        """What was sent and never answered, by the id of its first order."""
        self.pace = OrderPace()
        """What was sent; entries are counted by whoever plans them, before anything is waited for."""

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over from the store's `state` table which leverages an earlier run has set."""
        self._leverage = {symbol: int(value) for symbol, value in state.get(_LEVERAGE, {}).items()}

    async def load_pace(self) -> None:
        """Count what an earlier run sent in the last minute.

        Raises:
            BotError: `STORE_UNAVAILABLE`.
        """
        for sent in await self._ledger.orders_since(self._clock() - timedelta(minutes=1)):
            self.pace.note(1, sent.timestamp())

    @property
    def clock_ahead_s(self) -> float:
        """How far the clock of this machine is ahead of the exchange's."""
        return self._hyperliquid.clock_ahead_s

    @property
    def may_open(self) -> bool:
        """Whether anything that raises exposure may leave now: the gate is open and the account has actions left."""
        return self._gate.is_open and self._hyperliquid.budget.obstacle() is None

    @property
    def pause_s(self) -> float:
        """For how long the exchange takes no action."""
        return self._hyperliquid.action_pause_s()

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
            OutcomeUnknown: the order may have run; it is among those `astray` now.
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
            OutcomeUnknown: it may have run; it is among those `astray` now.
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
        self, asset: Asset, size: Decimal, stop_price: Decimal | None, target_price: Decimal | None, *, is_long: bool
    ) -> None:
        """Give a position that lacks them a stop and a target, both of which follow its size.

        Args:
            asset: what the position is in.
            size: of the position, in coins, above zero.
            stop_price: None where there is a stop.
            target_price: None where there is a target.
            is_long: which way the position goes.

        Raises:
            OutcomeUnknown: they may be there; they are among those `astray` now.
            BotError: the exchange did not take the stop.
        """
        orders = self._exits(asset.symbol, size, stop_price, target_price, asset, is_long=is_long)
        results = await self._send(orders, "positionTpsl", None, "position without a stop", gated=False)
        stop = results[-1]
        if stop_price is not None and stop.status == "error":
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
                self._hyperliquid.sign_cancels, list(orders), await self._kept_nonce(), self._deadline_ms()
            )
            await self._post(envelope)

    async def probe(self) -> None:
        """Ask the exchange to do nothing, which tells whether it takes orders.

        Raises:
            BotError: it does not, or there is no key.
        """
        envelope = await asyncio.to_thread(self._hyperliquid.sign_noop, await self._kept_nonce(), self._deadline_ms())
        await self._post(envelope)

    async def send_again(self, astray: Astray) -> None:
        """Send the identical envelope once more: it runs unless the exchange has seen it. Entries pass the gate.

        Raises:
            DuplicateNonce: the exchange has seen it: it ran, or was refused.
            GateClosed: it is an entry, and none may leave now.
            OutcomeUnknown: nothing more is known than before.
            BotError: it did not run this time.
        """
        gate = self._gate if astray.purpose == "entry" else None
        results = await self._post(astray.envelope, gate)
        await self.note({row["order_id"]: as_answered(result) for row, result in _paired(astray.rows, results)}, astray)

    async def void(self, astray: Astray) -> None:
        """Use up the nonce of an action, so that it can run no more.

        Raises:
            DuplicateNonce: too late: the exchange has seen the action.
            OutcomeUnknown: nothing more is known than before.
            BotError: the exchange did not take the request.
        """
        await self._post(await asyncio.to_thread(self._hyperliquid.sign_noop, astray.envelope.nonce))

    async def note(self, changes: Mapping[str, Mapping[str, Any]], astray: Astray) -> None:
        """Store and tell what became of orders, by our id; what cannot be stored is told all the same."""
        now = self._clock()
        stored = {order_id: {**values, "updated_at": now} for order_id, values in changes.items()}
        for row in astray.rows:
            row.update(stored.get(row["order_id"], {}))
        try:
            await self._ledger.update_orders(stored)
        except BotError as error:
            # The orders have their outcome all the same, and whoever sent them must hear of it.
            log.warning("What became of the order for %s could not be stored: %s", astray.symbol, error.message)
        for row in astray.rows:
            if row["order_id"] in stored:
                self._tell(row)

    async def learn_leverage(self, account: AccountState) -> None:
        """Take over the leverage of open positions: somebody may have changed it, or nobody knew it.

        Raises:
            BotError: `STORE_UNAVAILABLE`.
        """
        found = {symbol: position.leverage for symbol, position in account.positions.items()}
        if found.items() <= self._leverage.items():
            return
        self._leverage |= found
        await self._keep_leverage()

    def _exits(
        self,
        symbol: str,
        size: Decimal,
        stop_price: Decimal | None,
        target_price: Decimal | None,
        asset: Asset,
        *,
        is_long: bool,
    ) -> list[Purposeful]:
        """Return target and stop, in the order in which HyperLiquid takes them."""
        orders = []
        kinds: tuple[tuple[Purpose, Literal["tp", "sl"], Decimal | None], ...] = (
            ("target", "tp", target_price),
            ("stop", "sl", stop_price),
        )
        for purpose, tpsl, trigger_price in kinds:
            if trigger_price is None:
                continue
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
            nonce=await self._kept_nonce(),
            expires_after_ms=self._deadline_ms(),
        )
        # What was set before does not count any more, whatever becomes of this.
        if self._leverage.pop(plan.symbol, None) is not None:
            await self._keep_leverage()
        try:
            await self._post(envelope, self._gate)
        except OutcomeUnknown:
            await self._set_leverage_again(envelope, plan.symbol)
        self._leverage[plan.symbol] = plan.leverage
        await self._keep_leverage()

    async def _set_leverage_again(self, envelope: Envelope, symbol: str) -> None:
        try:
            await self._post(envelope, self._gate)
        except DuplicateNonce:
            log.info("The leverage of %s had been set; only the answer was lost", symbol)
        except OutcomeUnknown as error:
            message = f"Nothing is entered: whether the leverage of {symbol} was set is not known. {error.message}"
            raise BotError(ErrorCode.EXCHANGE_UNREACHABLE, message) from error

    async def _keep_leverage(self) -> None:
        await self._ledger.put_state({_LEVERAGE: dict(self._leverage)})

    async def _kept_nonce(self) -> int:
        """Return a nonce for an action that is no order; stored, so that no later life of the bot uses it again."""
        nonce = self._nonces.next()
        await self._ledger.keep_nonce(nonce)
        return nonce

    async def _send(
        self, orders: list[Purposeful], grouping: Grouping, signal_id: str | None, reason: str, *, gated: bool
    ) -> list[OrderResult]:
        self._check_pause()
        if not gated:
            self.pace.note(len(orders), self._clock().timestamp())
        nonce = self._nonces.next()
        specs = [order.spec for order in orders]
        envelope = await asyncio.to_thread(self._hyperliquid.sign_orders, specs, grouping, nonce, self._deadline_ms())
        sent = Astray(order_rows(orders, envelope, signal_id, reason, self._clock()), envelope)
        await self._ledger.add_orders(sent.rows)
        try:
            results = await self._post(envelope, self._gate if gated else None)
        except (OutcomeUnknown, DuplicateNonce) as error:
            self.astray[sent.rows[0]["order_id"]] = sent
            await self._note_all(sent, UNKNOWN, error.message)
            if isinstance(error, OutcomeUnknown):
                raise
            # It was sent for the first time: something on the way has sent it twice, and the first one may have run.
            raise OutcomeUnknown("the exchange says that it has it already") from error
        except BotError as error:
            await self._note_all(sent, "stopped" if isinstance(error, GateClosed) else "refused", error.message)
            raise
        paired = _paired(sent.rows, results)
        await self.note({row["order_id"]: as_answered(result) for row, result in paired}, sent)
        return [result for _, result in paired]

    async def _note_all(self, sent: Astray, status: str, error: str) -> None:
        await self.note({row["order_id"]: {"status": status, "error": error} for row in sent.rows}, sent)

    async def _post(self, envelope: Envelope, gate: SendGate | None = None) -> list[OrderResult]:
        self._check_pause()
        return await self._hyperliquid.send(envelope, gate)

    def _check_pause(self) -> None:
        if self.pause_s > 0:
            raise ActionsExhausted(
                ErrorCode.EXCHANGE_REJECTED,
                f"HyperLiquid takes the next action in {ceil(self.pause_s)} s, because the account has used up its "
                "actions; nothing was sent. Trade less often until volume raises their number.",
            )

    def _tell(self, row: dict[str, Any]) -> None:
        view = order_view(row)
        # An entry's reason stands in its signal's line.
        why = view.reason if view.purpose == "exit" else None
        log.info(
            "Order %s %s %s %s at %s: %s%s",
            view.purpose,
            view.side,
            view.size,
            view.symbol,
            view.trigger_price or view.limit_price,
            view.status,
            f" ({view.error})" if view.error else "",
            extra={"order": view.order_id, "oid": view.oid, "signal": view.signal_id, "reason": why},
        )
        self._observer.on_order(view)

    def new_order_id(self) -> str:
        """Return an id for an order, unlike any other: `0x` and 32 hexadecimal digits."""
        return f"0x{self._new_id()}"

    def _deadline_ms(self) -> int:
        return int(self._hyperliquid.now_s() * 1000) + LIFETIME_MS


def _paired(rows: list[dict[str, Any]], results: list[OrderResult]) -> list[tuple[dict[str, Any], OrderResult]]:
    """Return each order with its result; what depends on an order that was refused does not exist either."""
    if rows[0]["purpose"] == "entry" and results[0].status == "error":
        results = [results[0]] * len(rows)
    return list(zip(rows, results, strict=True))


def _filled(spec: OrderSpec, result: OrderResult) -> Filled:
    if result.status == "error":
        raise BotError(ErrorCode.EXCHANGE_REJECTED, f"HyperLiquid refused the order for {spec.symbol}: {result.error}")
    return Filled(spec.cloid or "", result.filled_size, result.average_price)
