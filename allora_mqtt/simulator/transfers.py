"""Money that comes from elsewhere or goes there, and the lines of it in `userNonFundingLedgerUpdates`."""

from decimal import Decimal
from hashlib import sha256
from typing import Any, Literal

from allora_mqtt.simulator.account import MAX_HISTORY, Account
from allora_mqtt.simulator.ticks import to_wire

Way = Literal["bridge", "spot", "account"]
"""The bridge to the outside, the address's own spot balance, or another address."""

WITHDRAWAL_FEE_USD = Decimal(1)
"""Taken on top of what arrives: a line's `usdc` is without it."""
_OTHER = "0x" + "9" * 40


def transfer(account: Account, usd: Decimal, way: Way, now_ms: int) -> dict[str, Any]:
    """Move money into an account (above zero) or out of it, and return the line that tells of it."""
    account.cash_usd += usd
    number = len(account.transfers)
    line = {
        "time": now_ms,
        "hash": f"0x{sha256(f'{account.address}/{now_ms}/{number}'.encode()).hexdigest()}",
        "delta": _delta(account.address, usd, way, now_ms),
    }
    account.transfers.append(line)
    del account.transfers[:-MAX_HISTORY]
    return line


def _delta(address: str, usd: Decimal, way: Way, now_ms: int) -> dict[str, Any]:
    amount = abs(usd)
    match way:
        case "spot":
            return {"type": "accountClassTransfer", "usdc": to_wire(amount, 6), "toPerp": usd > 0}
        case "account":
            user, destination = (_OTHER, address) if usd > 0 else (address, _OTHER)
            ends = {"user": user, "destination": destination}
            return {"type": "internalTransfer", "usdc": to_wire(amount, 6), **ends, "fee": "0.0"}
        case "bridge" if usd > 0:
            return {"type": "deposit", "usdc": to_wire(amount, 6)}
        case "bridge":
            arrives, fee = to_wire(amount - WITHDRAWAL_FEE_USD, 6), to_wire(WITHDRAWAL_FEE_USD, 6)
            return {"type": "withdraw", "usdc": arrives, "nonce": now_ms, "fee": fee}
