"""The only door to HyperLiquid and its SDK.

Reads are retried. Writes are split in two, so that the signed envelope can be stored before it leaves: `sign_…` makes
an `Envelope` and sends nothing, `send` posts it once.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

from eth_account.signers.local import LocalAccount
from hyperliquid.utils.constants import MAINNET_API_URL
from hyperliquid.utils.types import Cloid

from allora_mqtt.market.account import (
    AccountState,
    Fill,
    FundingPayment,
    OrderState,
    PositionState,
    RestingOrder,
    is_unified,
    parse_account,
    parse_fills,
    parse_fundings,
    parse_mode,
    parse_order_status,
    parse_orders,
    with_spot_collateral,
)
from allora_mqtt.market.answers import (
    RateLimited,
    Throttled,
    TransientFailure,
)
from allora_mqtt.market.budget import (
    Figures,
    RequestBudget,
    Use,
    info_weight,
)
from allora_mqtt.market.cash_flows import CashFlow, parse_cash_flows
from allora_mqtt.market.catalog import Asset, assets_from_meta
from allora_mqtt.market.dependency import Dependency
from allora_mqtt.market.gate import SendGate
from allora_mqtt.market.line import Line
from allora_mqtt.market.orders import (
    DuplicateNonce,
    Grouping,
    OrderResult,
    OrderSpec,
    OutcomeUnknown,
    Trigger,
    cancel_action,
    leverage_action,
    order_action,
)
from allora_mqtt.market.pages import Page, parse_page, read_pages
from allora_mqtt.market.signing import Envelope, Signer, hide_key
from allora_mqtt.market.wire import to_int, to_positive
from allora_mqtt.protocol.errors import BotError, ErrorCode
from allora_mqtt.settings import WEIGHT_PER_MINUTE

__all__ = [
    "AccountState",
    "DuplicateNonce",
    "Envelope",
    "Fill",
    "FundingPayment",
    "Hyperliquid",
    "OrderResult",
    "OrderSpec",
    "OutcomeUnknown",
    "PositionState",
    "RestingOrder",
    "Trigger",
]

_FILL_PAGES = (2000, 10)
"""How many fills a full page has, and how many pages are read."""
_PAGES = (500, 50)
"""The same for other histories."""
_UNSHARP_S = 2.0
"""What the exchange's own time may lag behind on its way; less than that is no difference between two clocks."""
_MODE_FOR_S = 600.0
_T = TypeVar("_T")

ACCOUNT_WEIGHT = info_weight("clearinghouseState") + info_weight("spotClearinghouseState")
"""What a look at the account costs at most."""
DEEP_WEIGHT = ACCOUNT_WEIGHT + info_weight("frontendOpenOrders") + info_weight("userFillsByTime")
"""The same with the resting orders and the fills."""
QUOTES_WEIGHT = info_weight("metaAndAssetCtxs")


class Hyperliquid:
    """HyperLiquid's perpetuals for one account.

    Args:
        base_url: the API without a path; the SDK knows mainnet by its exact address, so a final slash is dropped.
        timeout_s: for connecting and for each wait for an answer.
        account_address: the account that trades, which is not the agent wallet's own address.
        wallet: the (agent) wallet that signs, or None to read only.
        vault_address: the vault or sub-account to trade for.
        clock: unix seconds.
        steady: seconds of a clock that is never set back, for the request budget.
        weight_per_minute: what the bot may use of the exchange's limit on its IP address.
        is_in_charge: whether this bot may send anything; None where there can be no other.
    """

    def __init__(
        self,
        *,
        base_url: str,
        timeout_s: float,
        account_address: str,
        wallet: LocalAccount | None,
        vault_address: str | None,
        clock: Callable[[], float],
        steady: Callable[[], float] = time.monotonic,
        weight_per_minute: int = WEIGHT_PER_MINUTE,
        is_in_charge: Callable[[], bool] | None = None,
    ) -> None:
        url = base_url.rstrip("/")
        self.account_address = account_address
        """The account that trades, itself or for a vault."""
        self._account = vault_address or account_address
        self._clock = clock
        self.line = Line(url, timeout_s, clock, steady, hide_key(wallet), weight_per_minute, is_in_charge)
        """The requests themselves, with their budget and breakers."""
        self._signer = None if wallet is None else Signer(wallet, vault_address, url == MAINNET_API_URL)
        self._assets: dict[str, Asset] = {}
        self._mode: str | None = None
        self._mode_until_s = 0.0
        self.clock_ahead_s = 0.0
        """How far the clock of this machine was ahead of the exchange's at the last look at the account."""

    async def connect(self) -> None:
        """Fetch the universe once; signing needs it.

        Raises:
            BotError: EXCHANGE_UNREACHABLE.
        """
        self._assets = await self.line.read("meta", "its list of assets", self.line.info.meta, _assets, Use.CATALOG)

    async def close(self) -> None:
        """Close the connections; what still runs in a thread ends by its own timeout."""
        self.line.close()

    @property
    def info_health(self) -> Dependency:
        """How well reading goes."""
        return self.line.info_health

    @property
    def exchange_health(self) -> Dependency:
        """How well orders are taken."""
        return self.line.exchange_health

    @property
    def budget(self) -> RequestBudget:
        """How much of the exchange's request limits is used."""
        return self.line.budget

    async def meta_and_contexts(self) -> tuple[dict[str, Any], list[Any]]:
        """The universe and the market context of each asset, for `assets_from_meta` and `quotes_from_contexts`.

        Raises:
            BotError: EXCHANGE_UNREACHABLE.
        """
        meta, contexts = await self.line.read(
            "metaAndAssetCtxs", "its market data", self.line.info.meta_and_asset_ctxs, _meta_and_contexts, Use.QUOTES
        )
        # A listing that is new since `connect` can be traded as soon as it is seen.
        self._assets = assets_from_meta(meta)
        return meta, contexts

    async def user_state(self) -> AccountState:
        """The account's money and positions.

        Raises:
            BotError: EXCHANGE_UNREACHABLE.
        """
        mode = await self.account_mode()
        call = partial(self.line.info.user_state, self._account)
        state = await self.line.read("clearinghouseState", "the account", call, self._account_state)
        if not is_unified(mode):
            return state
        spot = partial(self.line.info.spot_user_state, self._account)
        return await self.line.read(
            "spotClearinghouseState", "the account's collateral", spot, partial(with_spot_collateral, state)
        )

    async def account_mode(self) -> str:
        """How the account keeps its balances, such as `unifiedAccount`; asked again now and then, for it can change.

        Raises:
            BotError: EXCHANGE_UNREACHABLE, while it was never known.
        """
        if self._mode is None or self._clock() > self._mode_until_s:
            query = {"type": "userAbstraction", "user": self._account}
            try:
                self._mode = await self.ask("the account's mode", query, parse_mode)
            except BotError as error:
                if self._mode is None:
                    if isinstance(error, TransientFailure | RateLimited | Throttled):
                        raise
                    # A server that does not know the question has no such accounts.
                    self._mode = "default"
            self._mode_until_s = self._clock() + _MODE_FOR_S
        return self._mode

    async def ask(self, what: str, query: Mapping[str, Any], parse: Callable[[Any], _T]) -> _T:
        """Ask `/info` something that has no method of its own.

        Args:
            what: for the error message, such as "the account's agents".
            query: with its `type`.
            parse: reads the answer; what it raises on another shape makes the answer unreadable.

        Raises:
            BotError: EXCHANGE_UNREACHABLE.
        """
        return await self.line.read(str(query["type"]), what, partial(self.line.info.post, "/info", dict(query)), parse)

    def now_s(self) -> float:
        """Return unix seconds as the exchange counts them, which decides when an order is too late."""
        wrong_s = self.clock_ahead_s if abs(self.clock_ahead_s) > _UNSHARP_S else 0.0
        return self._clock() - wrong_s

    async def open_orders(self) -> list[RestingOrder]:
        """Every order that rests on the exchange, stops and targets included.

        Raises:
            BotError: EXCHANGE_UNREACHABLE.
        """
        return await self.line.read(
            "frontendOpenOrders",
            "the open orders",
            partial(self.line.info.frontend_open_orders, self._account),
            lambda raw: parse_orders(_list(raw)),
        )

    async def fills(self, since_ms: int) -> list[Fill]:
        """The account's fills from a moment on (unix milliseconds), oldest first; at most about 20,000.

        Raises:
            BotError: EXCHANGE_UNREACHABLE.
        """
        parse = partial(parse_fills, account=self._account)
        call = self.line.info.user_fills_by_time
        fills = await self._history("userFillsByTime", "the fills", call, parse, since_ms, _FILL_PAGES)
        # One trade id can belong to two orders of the same account.
        found = {(fill.tid, fill.oid): fill for fill in fills}
        return sorted(found.values(), key=lambda fill: (fill.at, fill.tid))

    async def fundings(self, since_ms: int) -> list[FundingPayment]:
        """The account's funding payments from a moment on (unix milliseconds), oldest first; at most about 25,000.

        Raises:
            BotError: EXCHANGE_UNREACHABLE.
        """
        call = self.line.info.user_funding_history
        payments = await self._history("userFunding", "the funding", call, parse_fundings, since_ms, _PAGES)
        # A position pays once an hour, so time and symbol say which payment it is.
        found = {(payment.time_ms, payment.symbol): payment for payment in payments}
        return [found[key] for key in sorted(found)]

    async def cash_flows(self, since_ms: int) -> list[CashFlow]:
        """Money moved into the account and out of it from a moment on (unix milliseconds), oldest first.

        Raises:
            BotError: EXCHANGE_UNREACHABLE.
        """
        parse = partial(parse_cash_flows, account=self._account, unified=is_unified(await self.account_mode()))
        kind, call = "userNonFundingLedgerUpdates", self.line.info.user_non_funding_ledger_updates
        flows = await self._history(kind, "deposits and withdrawals", call, parse, since_ms, _PAGES)
        found = {flow.flow_id: flow for flow in flows}
        return sorted(found.values(), key=lambda flow: (flow.time_ms, flow.flow_id))

    async def minute_closes(self, symbol: str, since_s: float, until_s: float) -> dict[int, Decimal]:
        """The closing price of each minute with a trade, by the unix second at which it began; at most the newest 5000.

        Args:
            symbol: in the exchange's spelling.
            since_s: unix seconds; minutes that began earlier are left out.
            until_s: unix seconds.

        Raises:
            BotError: EXCHANGE_UNREACHABLE.
        """
        span = {"coin": symbol, "interval": "1m", "startTime": int(since_s * 1000), "endTime": int(until_s * 1000)}
        call = partial(self.line.info.post, "/info", {"type": "candleSnapshot", "req": span})
        return await self.line.read("candleSnapshot", "candles", call, _closes, Use.CATALOG)

    async def order_status(self, cloid: str) -> OrderState | None:
        """What the exchange knows of an order by our id; None while it knows no such order.

        It may say so for about a second after a fill.

        Raises:
            BotError: EXCHANGE_UNREACHABLE.
        """
        call = partial(self.line.info.query_order_by_cloid, self._account, Cloid.from_str(cloid.lower()))
        return await self.line.read("orderStatus", "an order's status", call, parse_order_status)

    async def learn_limits(self) -> None:
        """Ask how many actions the account has sent and may send, for the request budget.

        Raises:
            BotError: EXCHANGE_UNREACHABLE.
        """
        call = partial(self.line.info.user_rate_limit, self._account)
        used, limit = await self.line.read("userRateLimit", "the account's limits", call, _limits)
        self.budget.learn(used, limit, self.line.steady())

    def action_pause_s(self) -> float:
        """Return for how long the exchange takes no action, because the account has used up its actions."""
        return self.budget.action_pause_s(self.line.steady())

    def may_ask_limits(self) -> bool:
        """Whether `learn_limits` is due; True for one caller."""
        return self.budget.should_ask(self.line.steady())

    async def room(self, use: Use, weight: int) -> None:
        """Wait until the request budget has room for so much."""
        await self.line.room(use, weight)

    def quote_pause_s(self, interval_s: float) -> float:
        """Return how long to wait between two looks at all quotes: the interval, or what the budget allows."""
        return self.budget.quote_interval_s(interval_s, QUOTES_WEIGHT, self.line.steady())

    def deep_pause_s(self, interval_s: float) -> float:
        """Return how long to wait between two looks at orders and fills: the interval, or what the budget allows."""
        return self.budget.steady_interval_s(interval_s, DEEP_WEIGHT)

    def figures(self) -> Figures:
        """Return how much of the request budget is used."""
        return self.budget.figures(self.line.steady())

    def sign_orders(
        self, orders: Sequence[OrderSpec], grouping: Grouping, nonce: int, expires_after_ms: int | None
    ) -> Envelope:
        """Sign orders as one action; sends nothing.

        Args:
            orders: rounded to the exchange's steps; for `normalTpsl` the entry first, then its target and stop.
            grouping: how they belong together.
            nonce: from a `NonceSource`.
            expires_after_ms: unix milliseconds after which the exchange must not run them any more.

        Raises:
            BotError: UNKNOWN_SYMBOL, BAD_VALUE for an order the exchange would refuse, NOT_ALLOWED without a key.
        """
        return self._sign(order_action(orders, grouping, self._assets), nonce, expires_after_ms)

    def sign_cancels(
        self, cancels: Sequence[tuple[str, int]], nonce: int, expires_after_ms: int | None = None
    ) -> Envelope:
        """Sign the cancelling of orders, given as pairs of symbol and order id; sends nothing.

        Raises:
            BotError: UNKNOWN_SYMBOL, BAD_VALUE for none, NOT_ALLOWED without a key.
        """
        return self._sign(cancel_action(cancels, self._assets), nonce, expires_after_ms)

    def sign_leverage(
        self, symbol: str, leverage: int, *, is_cross: bool, nonce: int, expires_after_ms: int | None = None
    ) -> Envelope:
        """Sign a change of an asset's leverage; sends nothing.

        Raises:
            BotError: UNKNOWN_SYMBOL, OUT_OF_RANGE, NOT_ALLOWED without a key.
        """
        action = leverage_action(symbol, leverage, is_cross=is_cross, assets=self._assets)
        return self._sign(action, nonce, expires_after_ms)

    def sign_noop(self, nonce: int, expires_after_ms: int | None = None) -> Envelope:
        """Sign an action that does nothing but use its nonce up: what was signed with it before cannot run any more.

        Raises:
            BotError: NOT_ALLOWED without a key.
        """
        return self._sign({"type": "noop"}, nonce, expires_after_ms)

    async def send(self, envelope: Envelope, gate: SendGate | None = None) -> list[OrderResult]:
        """Post an envelope, once.

        Args:
            envelope: stored before this is called; sending the same one again is safe.
            gate: for what raises exposure; None for reduce-only orders, cancels and settings that lower risk.

        Returns:
            One result per order, cancel or setting, in order; a refusal of one order is in its result.

        Raises:
            OutcomeUnknown: the bytes left and no usable answer came.
            GateClosed: the gate stopped it, or another bot may act in this one's place; nothing left.
            DuplicateNonce: the exchange has this envelope already.
            RateLimited: the exchange did not run it, because it was asked too often.
            ActionsExhausted: the account has used up its actions.
            BotError: EXCHANGE_REJECTED when refused as a whole; EXCHANGE_UNREACHABLE when nothing left.
        """
        return await self.line.send(envelope, gate)

    async def _history(
        self,
        kind: str,
        what: str,
        call: Callable[[str, int, int | None], Any],
        parse: Callable[[list[Any]], list[_T]],
        since_ms: int,
        pages: tuple[int, int],
    ) -> list[_T]:
        async def ask(start_ms: int, end_ms: int | None) -> Page[_T]:
            page = partial(call, self._account, start_ms, end_ms)
            return await self.line.read(kind, what, page, partial(parse_page, parse))

        return await read_pages(ask, since_ms, *pages)

    def _account_state(self, raw: Mapping[str, Any]) -> AccountState:
        now_s = self._clock()
        state = parse_account(raw, now_s)
        if raw.get("time") is not None:
            self.clock_ahead_s = now_s - int(raw["time"]) / 1000
        return state

    def _sign(self, action: dict[str, Any], nonce: int, expires_after_ms: int | None) -> Envelope:
        if self._signer is None:
            raise BotError(ErrorCode.NOT_ALLOWED, "There is no key to sign orders with; set HL_SECRET_KEY.")
        return self._signer.sign(action, nonce, expires_after_ms)


def _list(raw: object) -> list[Any]:
    if not isinstance(raw, list):
        raise TypeError("not a list")
    return raw


def _assets(raw: object) -> dict[str, Asset]:
    assets = assets_from_meta(raw)
    if not assets:
        raise ValueError("no assets")
    return assets


def _meta_and_contexts(raw: object) -> tuple[dict[str, Any], list[Any]]:
    match raw:
        case [dict(meta), list(contexts)] if assets_from_meta(meta):
            return meta, contexts
        case _:
            raise ValueError("not a universe with contexts")


def _closes(raw: object) -> dict[int, Decimal]:
    return {int(row["t"]) // 1000: to_positive(row["c"]) for row in _list(raw)}


def _limits(raw: Any) -> tuple[int, int]:  # noqa: ANN401 - any answer
    return to_int(raw["nRequestsUsed"]), to_int(raw["nRequestsCap"])
