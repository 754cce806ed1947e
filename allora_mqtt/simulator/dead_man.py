"""The dead man's switch: `scheduleCancel` cancels every open order at a time, unless it is moved before."""

from allora_mqtt.simulator.account import Account
from allora_mqtt.simulator.errors import ActionError

_MIN_VOLUME_USD = 1_000_000
_MIN_AHEAD_MS = 5_000
_MAX_A_DAY = 10
_DAY_MS = 86_400_000


def schedule(account: Account, time_ms: int | None, now_ms: int) -> None:
    """Set the time (unix ms), or unset it with None.

    Raises:
        ActionError: The account has traded too little, the time is too near, or the day's ten triggers are used up.
    """
    if account.volume_usd < _MIN_VOLUME_USD:
        raise ActionError(
            "Cannot set scheduled cancel time until enough volume traded. "
            f"Required: ${_MIN_VOLUME_USD}. Traded: ${account.volume_usd:.2f}."
        )
    if time_ms is not None and time_ms < now_ms + _MIN_AHEAD_MS:
        raise ActionError("Scheduled cancel time too early, must be at least 5 seconds from now.")
    day, count = account.cancels_on_day
    if time_ms is not None and day == now_ms // _DAY_MS and count >= _MAX_A_DAY:
        raise ActionError("Cannot set scheduled cancel time: the day's triggers are used up.")
    account.cancel_at_ms = time_ms


def trigger(account: Account, now_ms: int) -> bool:
    """Cancel everything when the time has come; returns whether it had."""
    if account.cancel_at_ms is None or now_ms < account.cancel_at_ms:
        return False
    account.cancel_at_ms = None
    day, count = account.cancels_on_day
    today = now_ms // _DAY_MS
    account.cancels_on_day = (today, count + 1 if day == today else 1)
    for order in list(account.orders.values()):
        account.close_order(order, "scheduledCancel", now_ms)
    return True
