"""The simulated exchange: accounts and what may be done with them. No I/O and no clock: time comes in."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from allora_mqtt.simulator import dead_man, liquidation, rules
from allora_mqtt.simulator.account import ZERO, Account, Grouping, Leverage, Order, OrderRequest
from allora_mqtt.simulator.errors import ActionError
from allora_mqtt.simulator.exchange_state import ExchangeState
from allora_mqtt.simulator.funding import pay_funding
from allora_mqtt.simulator.grouping import cancel_order
from allora_mqtt.simulator.margin import TRANSFER_SHARE, leverage_of, summarize
from allora_mqtt.simulator.market import Market
from allora_mqtt.simulator.matching import WHOLE, Matcher, Moment
from allora_mqtt.simulator.ticks import to_wire

START_CASH_USD = Decimal(10_000)

Status = dict[str, Any] | str


class Exchange:
    """Matches orders against the synthetic book and keeps the accounts.

    Args:
        market: Prices and books.
        state: What is remembered; changed in place.
    """

    def __init__(self, market: Market, state: ExchangeState) -> None:
        self.market = market
        self.state = state
        self._matcher = Matcher(state.counters)

    def open_account(self, address: str, cash_usd: Decimal = START_CASH_USD) -> Account:
        """The account of an address, funded when it is seen for the first time."""
        address = address.lower()
        account = self.state.accounts.get(address)
        if account is None:
            account = self.state.accounts[address] = Account(address, cash_usd)
        return account

    def account_for(self, signer: str) -> Account | None:
        """The account a signer may trade for: its master's if it is an agent, or its own; None if unknown."""
        address = self.state.agents.get(signer.lower(), signer.lower())
        return self.state.accounts.get(address)

    def place(
        self,
        account: Account,
        requests: Sequence[OrderRequest],
        grouping: Grouping,
        now_s: float,
        fill_share: Decimal = WHOLE,
    ) -> list[Status]:
        """Place orders.

        Args:
            account: Whose orders.
            requests: The orders; with `normalTpsl` the entry first, then its exits.
            grouping: How they belong together.
            now_s: Wall time.
            fill_share: The share of each order the book has room for.

        Returns:
            One status an order, as the exchange writes it; a failure that needs no look at the market is answered
            with one status for the whole batch, and nothing of the batch is done.
        """
        moment = Moment(self.market, now_s)
        # Who opens a position after the full hour pays nothing for that hour.
        pay_funding(self.state, moment)
        for request in requests:
            rejection = rules.static_rejection(self.market.universe, request, grouping)
            if rejection is None and self._has_open_cloid(account, request):
                rejection = rules.Rejection("Order has a cloid that is already open.", "rejected")
            if rejection is not None:
                return [self._refuse(account, request, grouping, rejection, moment)]
        rejection = rules.grouping_rejection(list(requests), grouping)
        if rejection is not None:
            return [self._refuse(account, requests[0], grouping, rejection, moment)]
        if grouping == "normalTpsl":
            return self._place_with_exits(account, list(requests), moment, fill_share)
        orders = (self._matcher.new_order(request, grouping, moment.now_ms) for request in requests)
        return [self._enter(account, order, moment, fill_share) for order in orders]

    def cancel(self, account: Account, asset: int, key: int | str, now_s: float) -> Status:
        """Cancel an open order by number or cloid."""
        order = account.find_order(key)
        if order is None or order.oid not in account.orders or order.request.asset != asset:
            return {"error": f"Order was never placed, already canceled, or filled. asset={asset}"}
        cancel_order(account, order, "canceled", int(now_s * 1000))
        return "success"

    def modify(self, account: Account, key: int | str, request: OrderRequest, now_s: float) -> Status:
        """Replace an open order by another, which gets a new number and stays with its entry and siblings."""
        old = account.find_order(key)
        if old is None or old.oid not in account.orders or old.request.asset != request.asset:
            return {"error": "Cannot modify canceled or filled order"}
        rejection = rules.static_rejection(self.market.universe, request, old.grouping)
        if rejection is not None:
            return {"error": rejection.text}
        moment = Moment(self.market, now_s)
        new = self._matcher.new_order(request, old.grouping, moment.now_ms)
        new.parent_oid, new.children, new.is_waiting = old.parent_oid, old.children, old.is_waiting
        parent = None if old.parent_oid is None else account.find_order(old.parent_oid)
        del account.orders[old.oid]
        status = self._enter(account, new, moment)
        if isinstance(status, dict) and "error" in status:
            account.orders[old.oid] = old
            return status
        if parent is not None:
            parent.children = [new.oid if oid == old.oid else oid for oid in parent.children]
        account.close_order(old, "canceled", moment.now_ms)
        return status

    def set_leverage(self, account: Account, asset_index: int, leverage: Leverage, now_s: float) -> None:
        """Set an asset's leverage.

        Raises:
            ActionError: It is not allowed for this asset, or the open position cannot be carried with it.
        """
        asset = self.market.universe.by_index(asset_index)
        if asset is None:
            raise ActionError(rules.INVALID_ASSET.text)
        error = rules.leverage_error(asset, leverage.value, is_cross=leverage.is_cross)
        if error is not None:
            raise ActionError(error)
        before = leverage_of(account, asset)
        position = account.positions.get(asset_index)
        if position is not None:
            if before.is_cross != leverage.is_cross:
                raise ActionError("Cannot switch leverage type with open position.")
            moment = Moment(self.market, now_s)
            notional = abs(position.szi) * moment.mark(asset)
            summary = summarize(account, self.market.universe, moment.mark)
            more_usd = notional / leverage.value - notional / before.value
            if more_usd > summary.cross_equity_usd - summary.cross_margin_used_usd:
                raise ActionError("Insufficient margin to change leverage.")
            if not leverage.is_cross:
                position.isolated_usd = abs(position.szi) * position.entry_px / leverage.value
        account.leverages[asset_index] = leverage

    def move_isolated_margin(self, account: Account, asset_index: int, usd: Decimal, now_s: float) -> None:
        """Move money between the account and an isolated position; negative takes it out.

        Raises:
            ActionError: There is no isolated position, or the money is bound where it is.
        """
        asset = self.market.universe.by_index(asset_index)
        position = None if asset is None else account.positions.get(asset_index)
        if asset is None or position is None or leverage_of(account, asset).is_cross:
            raise ActionError("Cannot update isolated margin without an isolated position.")
        moment = Moment(self.market, now_s)
        summary = summarize(account, self.market.universe, moment.mark)
        free = summary.cross_equity_usd - summary.cross_margin_used_usd
        if usd < 0:
            if asset.is_margin_locked:
                raise ActionError("Cannot remove margin from a position of this asset.")
            notional = abs(position.szi) * moment.mark(asset)
            needed = max(notional / leverage_of(account, asset).value, notional * TRANSFER_SHARE)
            free = position.isolated_usd + position.pnl(moment.mark(asset)) - needed
        if abs(usd) > free:
            raise ActionError("Insufficient margin to update isolated margin.")
        position.isolated_usd += usd

    def tick(self, now_s: float) -> bool:
        """Bring everything up to `now_s`: funding, triggers, resting orders, liquidations.

        Returns:
            Whether anything has changed.
        """
        moment = Moment(self.market, now_s)
        changed = pay_funding(self.state, moment)
        before = self.state.counters.next_tid
        for account in self.state.accounts.values():
            if account.orders or account.positions or account.cancel_at_ms:
                changed |= self._tick_account(account, moment)
        return changed or self.state.counters.next_tid != before

    def _tick_account(self, account: Account, moment: Moment) -> bool:
        changed = dead_man.trigger(account, moment.now_ms)
        for order in list(account.orders.values()):
            if order.is_waiting or order.oid not in account.orders:
                continue
            if not order.awaits_trigger:
                self._matcher.fill_resting(account, order, moment)
            elif rules.has_triggered(order.request, moment.mark(moment.asset(order.request))):
                self._matcher.fire(account, order, moment)
                changed = True
            changed |= order.oid not in account.orders
        return liquidation.liquidate(account, self._matcher, moment) or changed

    def _place_with_exits(
        self, account: Account, requests: list[OrderRequest], moment: Moment, fill_share: Decimal
    ) -> list[Status]:
        parent_request, exits = requests[0], requests[1:]
        mark = moment.mark(moment.asset(parent_request))
        for request in exits:
            rejection = rules.price_rejection(request, mark)
            rejection = rejection or rules.child_trigger_rejection(parent_request, request, mark)
            if rejection is not None:
                return [self._refuse(account, request, "normalTpsl", rejection, moment)]
        parent = self._matcher.new_order(parent_request, "normalTpsl", moment.now_ms)
        status = self._enter(account, parent, moment, fill_share)
        if isinstance(status, dict) and "error" in status:
            return [status]
        self._matcher.enter_children(account, parent, exits, moment)
        waiting = "waitingForTrigger" if parent.size == 0 else "waitingForFill"
        return [status, *(waiting for _ in exits)]

    def _enter(self, account: Account, order: Order, moment: Moment, fill_share: Decimal = WHOLE) -> Status:
        if order.is_waiting:
            account.orders[order.oid] = order
            return _status(account, order)
        if order.request.trigger is not None:
            rejection = self._matcher.enter_trigger(account, order, moment)
        else:
            rejection = self._matcher.enter(account, order, moment, fill_share)
        return {"error": rejection.text} if rejection else _status(account, order)

    def _refuse(
        self,
        account: Account,
        request: OrderRequest,
        grouping: Grouping,
        rejection: rules.Rejection,
        moment: Moment,
    ) -> Status:
        if self.market.universe.by_index(request.asset) is not None:
            order = self._matcher.new_order(request, grouping, moment.now_ms)
            account.close_order(order, rejection.status, moment.now_ms)
        return {"error": rejection.text}

    @staticmethod
    def _has_open_cloid(account: Account, request: OrderRequest) -> bool:
        cloid = request.cloid
        return cloid is not None and any(order.request.cloid == cloid for order in account.orders.values())


def _status(account: Account, order: Order) -> Status:
    """How the answer to an accepted order describes it."""
    named: dict[str, Any] = {"oid": order.oid}
    if order.request.cloid is not None:
        named["cloid"] = order.request.cloid
    if order.oid in account.orders and not order.filled:
        return {"resting": named}
    own = [line for line in account.fills if line["oid"] == order.oid]
    notional = sum((Decimal(line["px"]) * Decimal(line["sz"]) for line in own), ZERO)
    average = Decimal(f"{notional / order.filled:.6g}")
    return {"filled": {"totalSz": to_wire(order.filled), "avgPx": to_wire(average), **named}}
