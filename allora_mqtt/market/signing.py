"""Signed envelopes: an action, its nonce and its signature, which can be stored before they are sent.

The nonce comes from outside, because the SDK's own is the unlocked wall time and collides. Sending the identical
envelope twice runs it at most once: the exchange refuses a nonce that it has seen.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from eth_account.signers.local import LocalAccount
from hyperliquid.utils.signing import sign_l1_action


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signed action exactly as it goes to the exchange.

    Attributes:
        action: the wire's action; the order of its keys is part of what was signed.
        nonce: in milliseconds, unique for the signer.
        signature: `r`, `s` and `v`.
        vault_address: the vault or sub-account it acts for.
        expires_after_ms: unix milliseconds after which the exchange refuses to run it.
    """

    action: dict[str, Any]
    nonce: int
    signature: dict[str, Any] = field(repr=False)
    vault_address: str | None = None
    expires_after_ms: int | None = None

    def to_json(self) -> str:
        """The body for `/exchange`; also the form to store."""
        return json.dumps(
            {
                "action": self.action,
                "nonce": self.nonce,
                "signature": self.signature,
                "vaultAddress": self.vault_address,
                "expiresAfter": self.expires_after_ms,
            },
            separators=(",", ":"),
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a stored envelope; `to_json` of the result is the same text.

        Raises:
            ValueError: the text is not an envelope.
        """
        match json.loads(text):
            case {
                "action": dict(action),
                "nonce": int(nonce),
                "signature": dict(signature),
                "vaultAddress": str() | None as vault_address,
                "expiresAfter": int() | None as expires_after_ms,
            }:
                return cls(action, nonce, signature, vault_address, expires_after_ms)
            case _:
                raise ValueError("this is not a stored envelope")

    @property
    def action_count(self) -> int:
        """How many results the exchange owes for it: one per order or cancel, one for a setting."""
        rows = self.action.get("orders") or self.action.get("cancels") or [None]
        return len(rows)


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs actions for one account on one network.

    Attributes:
        wallet: the (agent) wallet's key; never shown.
        vault_address: the vault or sub-account to act for.
        is_mainnet: the two networks sign differently, so that nothing signed for one runs on the other.
    """

    wallet: LocalAccount = field(repr=False)
    vault_address: str | None
    is_mainnet: bool

    def sign(self, action: Mapping[str, Any], nonce: int, expires_after_ms: int | None) -> Envelope:
        """Sign an action with the SDK's function; takes milliseconds of CPU and sends nothing."""
        plain = dict(action)
        signature = sign_l1_action(self.wallet, plain, self.vault_address, nonce, expires_after_ms, self.is_mainnet)
        return Envelope(plain, nonce, signature, self.vault_address, expires_after_ms)


def hide_key(wallet: LocalAccount | None) -> Callable[[str], str]:
    """Return what takes a wallet's key out of a text: a server may echo whatever somebody has sent it."""
    if wallet is None:
        return str
    key = re.compile(re.escape(wallet.key.hex().removeprefix("0x")), re.IGNORECASE)
    return lambda text: key.sub("***", text)
