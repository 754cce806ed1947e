"""What the HTTP faces share: the exchange, the clock, the faults, the memory."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from allora_mqtt.simulator.account import Account, Order, Position
from allora_mqtt.simulator.exchange import Exchange
from allora_mqtt.simulator.faults import FaultBook
from allora_mqtt.simulator.limits import IpLimiter
from allora_mqtt.simulator.market import Market
from allora_mqtt.simulator.state import Snapshot, StateFile

_MAX_ARRIVALS = 10_000
_MAX_PAST = 200


@dataclass
class Arrival:
    """One request that reached `/exchange`.

    Attributes:
        seq: Its number, from 1.
        time_s: Wall time of its arrival.
        action: As it was sent, or None when the body had none.
        nonce: As it was sent.
        signer: The recovered address, or None when it was not looked at.
        outcome: The exchange's answer, whether or not it was received; `{"http_status": N}` when the request was
            turned away at the door; None while there is neither.
    """

    seq: int
    time_s: float
    action: Any
    nonce: Any
    signer: str | None = None
    outcome: dict[str, Any] | None = None


@dataclass
class _Past:
    time_s: float
    cash_usd: Decimal
    positions: dict[int, Position]
    orders: dict[int, Order]


@dataclass
class World:
    """The simulator without its HTTP faces.

    Attributes:
        market: Prices and books.
        exchange: Accounts and matching.
        state_file: Where the state is kept.
        faults: The faults in force.
        clock: Returns unix seconds.
        limiter: Weight per IP address; None does not count.
        arrivals: What reached `/exchange`, oldest first.
    """

    market: Market
    exchange: Exchange
    state_file: StateFile
    faults: FaultBook
    clock: Callable[[], float]
    limiter: IpLimiter | None
    arrivals: deque[Arrival] = field(default_factory=lambda: deque(maxlen=_MAX_ARRIVALS))
    _arrival_count: int = 0
    _past: dict[str, deque[_Past]] = field(default_factory=dict)

    def save(self) -> None:
        """Write the state to disk."""
        self.state_file.save(Snapshot(self.market.clock, self.market.shifts, self.exchange.state))

    def account(self, address: str) -> Account:
        """The account a query asks for; a new address is funded and becomes known, an agent's has nothing."""
        known = self.exchange.state.accounts.get(address.lower())
        if known is not None:
            return known
        if address.lower() in self.exchange.state.agents:
            return Account(address.lower(), Decimal(0))
        account = self.exchange.open_account(address)
        self.save()
        return account

    def tick(self) -> None:
        """Bring the exchange up to now."""
        now_s = self.clock()
        if self.exchange.tick(now_s):
            for account in self.exchange.state.accounts.values():
                self.remember(account, now_s)
            self.save()

    def arrive(self, body: object) -> Arrival:
        """Log a request to `/exchange`."""
        self._arrival_count += 1
        fields = body if isinstance(body, dict) else {}
        arrival = Arrival(self._arrival_count, self.clock(), fields.get("action"), fields.get("nonce"))
        self.arrivals.append(arrival)
        return arrival

    def remember(self, account: Account, now_s: float) -> None:
        """Keep the account as it is now, for answers that are to lag behind."""
        past = self._past.setdefault(account.address, deque(maxlen=_MAX_PAST))
        positions = {index: replace(position) for index, position in account.positions.items()}
        orders = {oid: replace(order) for oid, order in account.orders.items()}
        past.append(_Past(now_s, account.cash_usd, positions, orders))

    def lagging(self, account: Account, behind_s: float) -> Account:
        """The account as it was `behind_s` seconds ago; as it is when nothing older is remembered."""
        then_s = self.clock() - behind_s
        pasts = self._past.get(account.address, ())
        shown = next((past for past in reversed(pasts) if past.time_s <= then_s), next(iter(pasts), None))
        if shown is None:
            return account
        return replace(account, cash_usd=shown.cash_usd, positions=shown.positions, orders=shown.orders)
