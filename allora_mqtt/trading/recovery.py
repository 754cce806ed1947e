"""Orders of which nothing is known, after a crash or a lost answer, brought to their true end.

The exchange runs an action at most once for its nonce. So an order is looked up first. One that the exchange does not
show is sent again, identically, as long as it is wanted and has not expired; otherwise its nonce is used up by an
action that does nothing. Either way the exchange says whether it has seen the order, and nothing is left to guess.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any, Final

from allora_mqtt.market.account import OrderState
from allora_mqtt.market.gate import GateClosed
from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.market.orders import DuplicateNonce, OutcomeUnknown
from allora_mqtt.market.signing import Envelope
from allora_mqtt.protocol.errors import BotError
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.trading.execution import Executor
from allora_mqtt.trading.portfolio import Portfolio
from allora_mqtt.trading.records import MAX_STATUS, NEVER_RAN, SENDING, UNKNOWN, Astray
from allora_mqtt.trading.settlement import Settlement

log = logging.getLogger(__name__)

_TRIES: Final = 2
"""How often an envelope is sent again before its nonce is used up instead."""
_SHOWN_AFTER_S: Final = 15.0
"""By then the exchange shows every order that it has run; it usually takes a second."""
_EXIT_LOOKS: Final = 10
_EXIT_PAUSE_S: Final = 0.5
_UNENDED: Final = ("waiting", "resting", "open", "triggered", UNKNOWN)
"""States of stops and targets that are there as long as their position is."""
_MAX_FINISHED: Final = 10
"""How many of them are looked up at a time; each costs a weight of 2."""


class Recovery:
    """Follows orders to their end.

    Args:
        hyperliquid: asked what it knows of an order.
        ledger: where orders of an earlier life are found.
        executor: sends again, and knows what has gone astray in this life.
        settlement: takes over the fills, which tell how much was filled.
        portfolio: says which exits are still wanted.
        clock: the time, with its zone.
    """

    def __init__(
        self,
        hyperliquid: Hyperliquid,
        ledger: Ledger,
        executor: Executor,
        settlement: Settlement,
        portfolio: Portfolio,
        clock: Callable[[], datetime],
    ) -> None:
        self._hyperliquid = hyperliquid
        self._ledger = ledger
        self._executor = executor
        self._settlement = settlement
        self._portfolio = portfolio
        self._clock = clock
        self._following = asyncio.Lock()
        self._closed: dict[str, Decimal] = {}
        self.may_open: Callable[[str], bool] = _never
        """Whether an entry in a symbol that was decided on a moment ago would be decided on now."""

    async def load(self) -> None:
        """Take over what an earlier life of the bot has sent, or was about to send."""
        rows = sorted(await self._ledger.orders_in([SENDING, UNKNOWN]), key=_nonce_of)
        for _, group in groupby(rows, _nonce_of):
            together = sorted((dict(row) for row in group), key=lambda row: row["parent_id"] is not None)
            # What has no envelope depends on an order that has come to its end; `finish` looks after it.
            if together[0]["envelope"]:
                envelope = Envelope.from_json(together[0]["envelope"])
                self._executor.astray[together[0]["order_id"]] = Astray(together, envelope)

    def astray(self, symbol: str, *purposes: str) -> list[Astray]:
        """Return what is astray in a symbol for one of these purposes."""
        return [each for each in self._executor.astray.values() if each.symbol == symbol and each.purpose in purposes]

    async def entry(self, order_id: str) -> dict[str, Any] | None:
        """Return the row of an entry that has come to its end; None while it is not known what becomes of it.

        One that was announced and never stored has never been sent; its row is empty.

        Raises:
            BotError: the exchange or the store did not answer.
        """
        astray = self._executor.astray.get(order_id)
        if astray is not None:
            return astray.rows[0] if await self.follow(astray) else None
        rows = await self._ledger.orders_by_id([order_id])
        return dict(rows[0]) if rows else {}

    def hurry(self) -> None:
        """Try at once, though the exchange has not been taking orders: somebody has asked for it."""
        self._hyperliquid.exchange_health.hurry()

    async def exits(self, symbol: str) -> Decimal:
        """Wait until every close of a position that was sent has come to its end.

        Returns:
            How many coins have been closed by orders that have come to their end since this was last asked.

        Raises:
            OutcomeUnknown: it is not known yet what becomes of one; no other must be sent.
            BotError: the exchange or the store did not answer.
        """
        for astray in self.astray(symbol, "exit"):
            for look in range(_EXIT_LOOKS):
                if look:
                    await asyncio.sleep(_EXIT_PAUSE_S)
                if await self.follow(astray):
                    break
            else:
                raise OutcomeUnknown("it does not say what became of an order that closes a position")
        return self._closed.pop(symbol, Decimal(0))

    async def follow_exits(self) -> None:
        """Take one look at every stop, target and close that is astray.

        Raises:
            BotError: the exchange or the store did not answer.
        """
        for astray in list(self._executor.astray.values()):
            if astray.purpose != "entry":
                await self.follow(astray)

    async def follow(self, astray: Astray) -> bool:
        """Take one step towards the end of an order, and tell whether it has been reached.

        Raises:
            BotError: the exchange or the store did not answer.
        """
        order_id = astray.rows[0]["order_id"]
        async with self._following:
            if order_id not in self._executor.astray:
                return True
            state = await self._hyperliquid.order_status(order_id)
            if state is not None:
                await self._found(astray, state)
            elif astray.arrived_at is None:
                if not await self._press(astray):
                    return False
            elif not 0 <= (self._clock() - astray.arrived_at).total_seconds() < _SHOWN_AFTER_S:
                # The exchange has seen it and shows no such order: it was refused as a whole.
                await self._ended(astray, "refused", "HyperLiquid has seen it, and has no such order.")
            else:
                return False
            del self._executor.astray[order_id]
            if astray.purpose == "exit":
                before = self._closed.get(astray.symbol, Decimal(0))
                self._closed[astray.symbol] = before + astray.rows[0]["filled_size"]
        log.info("The %s order for %s of which nothing was known: %s", astray.purpose, astray.symbol, _status(astray))
        return True

    async def finish(self) -> None:
        """Look up how stops and targets have ended whose position is gone.

        Raises:
            BotError: the exchange or the store did not answer.
        """
        busy = set(self._portfolio.holdings) | set(self._portfolio.pending)
        lost = {row["order_id"] for astray in self._executor.astray.values() for row in astray.rows}
        rows = [
            dict(row)
            for row in await self._ledger.orders_in(_UNENDED)
            if row["reduce_only"] and row["symbol"] not in busy and row["order_id"] not in lost
        ]
        for row in rows[:_MAX_FINISHED]:
            state = await self._hyperliquid.order_status(row["order_id"])
            found = await self._as_found(row, state) if state is not None else {"status": _forgotten(row)}
            if found["status"] != row["status"]:
                await self._ledger.update_orders({row["order_id"]: {**found, "updated_at": self._clock()}})

    async def _press(self, astray: Astray) -> bool:
        """Make the exchange say whether it has seen an action; tell whether that has ended it.

        While its breaker is open this is a probe like any other; but a position's stop does not wait for that.
        """
        if astray.purpose not in {"entry", "exit"}:
            return await self._press_now(astray)
        health = self._hyperliquid.exchange_health
        if not health.admits(self._clock().timestamp()):
            return False
        try:
            return await self._press_now(astray)
        finally:
            health.give_back()

    async def _press_now(self, astray: Astray) -> bool:
        now_ms = self._hyperliquid.now_s() * 1000
        expires_at_ms = astray.envelope.expires_after_ms or 0
        try:
            if astray.tries < _TRIES and now_ms < expires_at_ms and await self._is_wanted(astray):
                astray.tries += 1
                await self._executor.send_again(astray)
                return True
            await self._executor.void(astray)
        except DuplicateNonce:
            astray.arrived_at = self._clock()
            return False
        except (OutcomeUnknown, GateClosed):
            return False
        except BotError as error:
            log.warning("What became of an order for %s is not known yet: %s", astray.symbol, error.message)
            if now_ms < expires_at_ms + _SHOWN_AFTER_S * 1000:
                return False
        await self._ended(astray, NEVER_RAN, "It did not reach HyperLiquid in time, and cannot run any more.")
        return True

    async def _is_wanted(self, astray: Astray) -> bool:
        if astray.purpose != "entry":
            return astray.symbol in self._portfolio.holdings
        if not (self._executor.may_open and self.may_open(astray.symbol)):
            return False
        # Since the last look somebody may have opened a position by hand, or the entry has run after all.
        account = await self._hyperliquid.user_state()
        return astray.symbol not in account.positions and self._executor.may_open

    async def _found(self, astray: Astray, state: OrderState) -> None:
        await self._settlement.take_fills()
        first, *others = astray.rows
        changes = {first["order_id"]: await self._as_found(first, state)}
        for row in others:
            other = await self._hyperliquid.order_status(row["order_id"])
            if other is not None:
                changes[row["order_id"]] = await self._as_found(row, other)
            elif not changes[first["order_id"]]["filled_size"]:
                changes[row["order_id"]] = {"status": NEVER_RAN}
        await self._executor.note(changes, astray)

    async def _as_found(self, row: dict[str, Any], state: OrderState) -> dict[str, Any]:
        size, price = await self._settlement.filled(row["order_id"], row["symbol"], row["at"])
        if row["purpose"] in {"entry", "exit"} or state.status == "filled":
            # Its fills may not be shown yet, or not all of them.
            size = max(size, state.filled_size)
        status = state.status[:MAX_STATUS]
        return {"status": status, "oid": state.oid, "filled_size": size, "average_price": price, "error": None}

    async def _ended(self, astray: Astray, status: str, error: str) -> None:
        await self._executor.note({row["order_id"]: {"status": status, "error": error} for row in astray.rows}, astray)


def _nonce_of(row: Any) -> int:  # noqa: ANN401 - a row of the ledger
    return int(row["nonce"] or 0)


def _status(astray: Astray) -> str:
    return ", ".join(f"{row['purpose']} {row['status']}" for row in astray.rows)


def _forgotten(row: dict[str, Any]) -> str:
    """Return what became of an order that the exchange does not know (any more)."""
    return NEVER_RAN if row["status"] == UNKNOWN else "gone"


def _never(_symbol: str) -> bool:
    return False
