"""Whether the bot lives, and whether it is ready to trade and to be told. Values in, values out."""

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

MAX_ACCOUNT_AGE_S: Final = 30.0
"""An account that was looked at longer ago is not known; entries end there too."""


class Check(BaseModel):
    """One thing that was looked at."""

    ok: bool
    reason: str


class Verdict(BaseModel):
    """The answer of `/healthz` and `/readyz`: `ok` when every check is."""

    status: str
    checks: dict[str, Check]

    @property
    def http_status(self) -> int:
        """200, or 503 where something is wrong."""
        return 200 if self.status == "ok" else 503


def liveness(store_error: str | None) -> Verdict:
    """Say whether the process does its work; one that does not is to be restarted.

    Args:
        store_error: why nothing can be written down, if so.
    """
    return _verdict(
        {
            "loop": Check(ok=True, reason="it turns: this answer came from it"),
            "store": _check(store_error, "it writes"),
        }
    )


def readiness(
    *, broker_error: str | None, is_connected: bool, has_read_mailbox: bool, account_age_s: float | None
) -> Verdict:
    """Say whether the bot knows what it has been told and what it holds.

    Args:
        broker_error: why the connection to the broker is down or was last lost.
        is_connected: whether it stands.
        has_read_mailbox: whether every command that waited has been taken.
        account_age_s: how long ago the exchange said what the account holds; None before it did.
    """
    broker = None if is_connected else f"not connected: {broker_error or 'not yet'}"
    mailbox = None if is_connected and has_read_mailbox else "commands that waited are still being read"
    exchange = None
    if account_age_s is None:
        exchange = "it has not said yet what the account holds"
    elif account_age_s > MAX_ACCOUNT_AGE_S:
        exchange = f"what the account holds was last known {account_age_s:.0f} s ago"
    return _verdict(
        {
            "broker": _check(broker, "connected and subscribed"),
            "mailbox": _check(mailbox, "every command that waited has been taken"),
            "exchange": _check(exchange, "the account is reconciled"),
        }
    )


def _check(problem: str | None, well: str) -> Check:
    return Check(ok=problem is None, reason=well if problem is None else problem)


def _verdict(checks: Mapping[str, Check]) -> Verdict:
    return Verdict(status="ok" if all(each.ok for each in checks.values()) else "failing", checks=dict(checks))
