"""How much of HyperLiquid's request limits is used, and who may use the rest. No clock of its own.

The limits are per IP address a weight of 1200 a minute, and per account 10,000 actions in its life and one more for
each USD traded (https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/rate-limits-and-user-limits).
Reading is slowed down long before the first of them, so that orders and exits always find room.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from allora_mqtt.settings import WEIGHT_PER_MINUTE

_WINDOW_S: Final = 60.0
_LIGHT: Final = frozenset(
    {"l2Book", "allMids", "clearinghouseState", "orderStatus", "spotClearinghouseState", "exchangeStatus"}
)
_LIGHT_WEIGHT: Final = 2
LISTED: Final = frozenset({"userFillsByTime", "userFunding", "userNonFundingLedgerUpdates", "candleSnapshot"})
"""What the bot asks for whose answer costs the more the longer it is."""
_OTHER_WEIGHT: Final = 20
_BATCH_PER_WEIGHT: Final = 40
_ROWS_PER_WEIGHT: Final = 20
"""In the answer to one of `LISTED`: one more for each so many."""

_READS: Final = 0.75
"""Part of the limit that reading may use in all; the rest is for orders and exits."""
_EXITS: Final = 0.97
"""Part of the limit that reading for an exit may use; the rest is for orders alone."""
_STEADY: Final = 0.3
"""Part of the limit that regular looks at orders and fills may use."""
_FIRST_PAUSE_S: Final = 10.0
_LONGEST_PAUSE_S: Final = 120.0
_SHORTEST_WAIT_S: Final = 0.05

ACTIONS_IN_RESERVE: Final = 200
"""Entries end when no more than this many actions are left; closing a position takes a handful."""
_ACTIONS_FEW: Final = 1000
_ACTION_EVERY_S: Final = 10.0
"""How often an account that has none left may act all the same; those are for exits and stops."""
_ASK_EVERY_S: Final = 600.0
_ASK_SOON_S: Final = 60.0
_ASK_AGAIN_S: Final = 10.0
_ASK_FIRST_S: Final = 1.0
"""While the answer is what entries wait for."""


class Use(IntEnum):
    """What a request is for; the less, the more important."""

    EXIT = 0
    """Orders, which never wait, and what closing a position has to read, which waits only where the exchange would
    refuse it."""
    ACCOUNT = 1
    QUOTES = 2
    CATALOG = 3


_CEILING: Final = {Use.EXIT: _EXITS, Use.ACCOUNT: 0.7, Use.QUOTES: 0.6, Use.CATALOG: 0.4}
"""Each kind of reading ends where all requests together reach this part of the limit."""
_SHARE: Final = {Use.EXIT: 0.0, Use.ACCOUNT: 0.2, Use.QUOTES: 0.2, Use.CATALOG: 0.05}
"""Unless it has used less than this part itself: what is more important starves nobody."""


def info_weight(kind: str) -> int:
    """Return what a request to `/info` costs."""
    return _LIGHT_WEIGHT if kind in _LIGHT else _OTHER_WEIGHT


def rows_weight(rows: int) -> int:
    """Return what the rows of an answer cost on top, for lists of what happened."""
    return rows // _ROWS_PER_WEIGHT


def action_weight(batch: int) -> int:
    """Return what an action of so many orders or cancels costs."""
    return 1 + batch // _BATCH_PER_WEIGHT


@dataclass(slots=True)
class Spent:
    """A request that was sent.

    Attributes:
        until: when its answer was there; None while there is none. The exchange counts it no later than that.
    """

    use: Use
    weight: int
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """The budget as it can be shown.

    Attributes:
        weight_used: in the last minute.
        quote_interval_s: the pause between two requests for all quotes, as it was last stretched.
        paused_s: for how much longer nothing is read, because the exchange has asked for that.
        actions_used: of the account, by the exchange's count and ours since; None while not known.
        actions_limit: how many the account may send in all so far.
    """

    weight_used: int
    weight_limit: int
    quote_interval_s: float | None
    paused_s: float
    actions_used: int | None
    actions_limit: int | None


class RequestBudget:
    """Counts requests and says when the next one may be sent. Times are seconds of a clock that is never set back.

    Args:
        weight_per_minute: the exchange's limit for this IP address.
    """

    def __init__(self, weight_per_minute: int = WEIGHT_PER_MINUTE) -> None:
        self._limit = weight_per_minute
        self._spent: list[Spent] = []
        self._paused_until = 0.0
        self._account_paused_until = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._acts_again_at = 0.0
        self._actions_used: int | None = None
        self._actions_limit: int | None = None
        self._ask_at = 0.0
        self._quote_interval_s: float | None = None

    # weight of this IP address

    def spend(self, use: Use, weight: int) -> Spent:
        """Count a request that is sent now; `done` is to be called when its answer is there, or none will come."""
        spent = Spent(use, weight)
        self._spent.append(spent)
        return spent

    def done(self, spent: Spent, now: float, extra_weight: int = 0) -> None:
        """Note that a request has been answered: it counts for a minute from here on, as it may for the exchange."""
        spent.until = now
        spent.weight += extra_weight

    def wait_s(self, use: Use, weight: int, now: float) -> float:
        """Return for how long a request to `/info` has to wait, 0 when it may be sent now."""
        paused_until = {Use.EXIT: now, Use.ACCOUNT: self._account_paused_until}.get(use, self._paused_until)
        return max(0.0, paused_until - now) or self._room_in_s(use, weight, now)

    def quote_interval_s(self, wanted_s: float, weight: int, now: float) -> float:
        """Return the interval at which quotes can be read for ever beside what else was sent in the last minute."""
        others = sum(one.weight for one in self._recent(now) if one.use is not Use.QUOTES)
        room = max(_CEILING[Use.QUOTES] * self._limit - others, _SHARE[Use.QUOTES] * self._limit)
        self._quote_interval_s = max(wanted_s, weight * _WINDOW_S / room)
        return self._quote_interval_s

    def steady_interval_s(self, wanted_s: float, weight: int) -> float:
        """Return the interval at which something can be read for ever, and leave room for everything else.

        Without it a short interval would use up a minute's weight in seconds, and nothing could be read until its end.
        """
        return max(wanted_s, weight * _WINDOW_S / (_STEADY * self._limit))

    def refused(self, now: float) -> None:
        """The exchange has said that it was too much (HTTP 429): read nothing for a while, longer each time.

        The account is looked at again after the shortest pause: it may hold a position whose stop is gone.
        """
        self._account_paused_until = now + _FIRST_PAUSE_S
        if now < self._paused_until:
            return
        self._paused_until = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def taken(self, now: float) -> None:
        """The exchange has answered; when that was after a pause, the next pause is a short one again."""
        if now >= self._paused_until + _WINDOW_S:
            self._pause_s = _FIRST_PAUSE_S

    # actions of the account

    def acted(self, actions: int) -> None:
        """Count orders, cancels and settings that were sent."""
        if self._actions_used is not None:
            self._actions_used += actions

    def learn(self, used: int, limit: int, now: float) -> None:
        """Take over the exchange's own count (`userRateLimit`)."""
        self._actions_used, self._actions_limit = used, limit
        self._ask_at = now + (_ASK_SOON_S if limit - used < _ACTIONS_FEW else _ASK_EVERY_S)

    def exhausted(self, now: float) -> None:
        """The exchange has refused an action because the account has sent too many."""
        self._acts_again_at = now + _ACTION_EVERY_S
        used, limit = self._actions_used, self._actions_limit
        if used is not None and limit is not None and used < limit:
            self._actions_used = limit
            self._ask_at = 0.0

    def should_ask(self, now: float) -> bool:
        """Whether the exchange's count is to be asked for; True for one caller, and then not for a while."""
        if now < self._ask_at:
            return False
        self._ask_at = now + (_ASK_FIRST_S if self._actions_used is None else _ASK_AGAIN_S)
        return True

    def action_pause_s(self, now: float) -> float:
        """Return for how long the exchange takes no action at all."""
        return max(0.0, self._acts_again_at - now)

    def obstacle(self) -> str | None:
        """Return why no entry is made now, if so; exits and cancels go on."""
        if self._actions_used is None or self._actions_limit is None:
            return "it is not known yet how many actions the account has left"
        if self._actions_limit - self._actions_used <= ACTIONS_IN_RESERVE:
            return f"the account has used {self._actions_used} of its {self._actions_limit} actions"
        return None

    def figures(self, now: float) -> Figures:
        """Return the budget as it can be shown."""
        return Figures(
            weight_used=sum(one.weight for one in self._recent(now)),
            weight_limit=self._limit,
            quote_interval_s=self._quote_interval_s,
            paused_s=round(max(0.0, self._paused_until - now), 1),
            actions_used=self._actions_used,
            actions_limit=self._actions_limit,
        )

    def _room_in_s(self, use: Use, weight: int, now: float) -> float:
        recent = self._recent(now)
        total = sum(one.weight for one in recent) + weight
        own = sum(one.weight for one in recent if one.use is use) + weight
        fits = total <= _CEILING[use] * self._limit or own <= _SHARE[use] * self._limit
        if fits and (use is Use.EXIT or total <= _READS * self._limit):
            return 0.0
        leaves_in_s = [one.until + _WINDOW_S - now for one in recent if one.until is not None]
        return max(_SHORTEST_WAIT_S, min(leaves_in_s, default=_SHORTEST_WAIT_S))

    def _recent(self, now: float) -> list[Spent]:
        """Return what the exchange may still count; what has not been answered may reach it only now."""
        self._spent = [one for one in self._spent if one.until is None or now - one.until < _WINDOW_S]
        return self._spent
