"""Rate limits: weight per IP address and minute, actions per account."""

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

from allora_mqtt.simulator.account import Account
from allora_mqtt.simulator.ticks import to_wire

MAX_WEIGHT = 1_200
_WINDOW_S = 60.0
_START_BUDGET = 10_000
_CANCEL_EXTRA = 100_000
_OVER_BUDGET_INTERVAL_S = 10.0
_LIGHT = frozenset(
    {"l2Book", "allMids", "clearinghouseState", "orderStatus", "spotClearinghouseState", "exchangeStatus"}
)
_LIGHT_WEIGHT = 2
_USER_ROLE_WEIGHT = 60
_OTHER_WEIGHT = 20
_BATCH_PER_WEIGHT = 40
# A list of this many lines costs 1 more.
_LINES_PER_WEIGHT = {
    "candleSnapshot": 60,
    "fundingHistory": 20,
    "historicalOrders": 20,
    "userFills": 20,
    "userFillsByTime": 20,
    "userFunding": 20,
    "userNonFundingLedgerUpdates": 20,
}


def info_weight(info_type: str) -> int:
    """What a request to `/info` costs."""
    if info_type in _LIGHT:
        return _LIGHT_WEIGHT
    return _USER_ROLE_WEIGHT if info_type == "userRole" else _OTHER_WEIGHT


def answer_weight(info_type: str, answer: object) -> int:
    """What the length of an answer from `/info` costs on top."""
    per = _LINES_PER_WEIGHT.get(info_type)
    return len(answer) // per if per is not None and isinstance(answer, list) else 0


def exchange_weight(batch: int) -> int:
    """What an action with `batch` orders or cancels costs."""
    return 1 + batch // _BATCH_PER_WEIGHT


@dataclass
class IpLimiter:
    """Counts weight per IP address over a sliding minute."""

    _spent: dict[str, deque[tuple[float, int]]] = field(default_factory=dict)

    def allows(self, ip: str, weight: int, now_s: float) -> bool:
        """Spend `weight` if the minute has room for it."""
        spent = self._spent.setdefault(ip, deque())
        while spent and spent[0][0] <= now_s - _WINDOW_S:
            spent.popleft()
        if sum(cost for _, cost in spent) + weight > MAX_WEIGHT:
            return False
        spent.append((now_s, weight))
        return True

    def charge(self, ip: str, weight: int, now_s: float) -> None:
        """Spend `weight` whether there is room for it or not."""
        if weight:
            self._spent.setdefault(ip, deque()).append((now_s, weight))


def budget(account: Account) -> int:
    """Actions an account may send in its life: 10,000 and one more for each USD traded."""
    return _START_BUDGET + int(account.volume_usd)


def spend_budget(account: Account, cost: int, now_s: float, *, is_cancel: bool, is_enforced: bool) -> str | None:
    """Count an action against its account's budget, or say why it is refused.

    Over budget one action in 10 s is let through; cancels have a larger budget. When the budget is not enforced,
    actions are only counted.
    """
    cap = budget(account)
    limit = min(cap + _CANCEL_EXTRA, cap * 2) if is_cancel else cap
    if is_enforced and account.action_count + cost > limit:
        if now_s - account.last_over_budget_s < _OVER_BUDGET_INTERVAL_S:
            return (
                f"Too many cumulative requests sent ({account.action_count} > {cap}) for cumulative volume traded "
                f"${account.volume_usd.quantize(Decimal('0.01'))}. Place taker orders to free up 1 request per USDC "
                "traded."
            )
        account.last_over_budget_s = now_s
    account.action_count += cost
    return None


def rate_limit_view(account: Account) -> dict[str, str | int]:
    """The answer to `userRateLimit`."""
    cap = budget(account)
    return {
        "cumVlm": to_wire(account.volume_usd, 2),
        "nRequestsUsed": account.action_count,
        "nRequestsCap": cap,
        "nRequestsSurplus": 0,
    }
