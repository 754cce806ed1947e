"""Who signed an action, and whether its nonce may still be used."""

from bisect import insort
from typing import Any

import msgpack  # type: ignore[import-untyped]  # ships no type information
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

_TESTNET_SOURCE = "b"
_RECOVERY_IDS = (27, 28)
_L1_CHAIN_ID = 1337
_DOMAIN_FIELDS = (("name", "string"), ("version", "string"), ("chainId", "uint256"), ("verifyingContract", "address"))
_AGENT_FIELDS = (("source", "string"), ("connectionId", "bytes32"))
_APPROVAL_FIELDS = (
    ("hyperliquidChain", "string"),
    ("agentAddress", "address"),
    ("agentName", "string"),
    ("nonce", "uint64"),
)
_MAX_NONCES = 100
_DAY_MS = 86_400_000


class SignatureError(Exception):
    """No address can be recovered from the signature."""


def action_hash(action: dict[str, Any], nonce: int, vault_address: str | None, expires_after: int | None) -> bytes:
    """The connection id of an L1 action.

    `keccak256(msgpack(action) + nonce as u64 + (0x00 | 0x01 + vault address) + [0x00 + expiry as u64])`, as the
    exchange defines it. The order of the action's keys matters.
    """
    data: bytes = msgpack.packb(action)
    data += nonce.to_bytes(8, "big")
    data += b"\x00" if vault_address is None else b"\x01" + bytes.fromhex(vault_address[2:])
    if expires_after is not None:
        data += b"\x00" + expires_after.to_bytes(8, "big")
    return keccak(data)


def recover_signer(connection_id: bytes, r: str, s: str, v: int) -> str:
    """The address, in lower case, that signed an action for any network but mainnet.

    Args:
        connection_id: See `action_hash`.
        r: Hexadecimal, with 0x.
        s: Hexadecimal, with 0x.
        v: 27 or 28.

    Raises:
        SignatureError: The signature is not one.
    """
    message = {"source": _TESTNET_SOURCE, "connectionId": connection_id}
    return _recover(_typed_data("Exchange", _L1_CHAIN_ID, "Agent", _AGENT_FIELDS, message), r, s, v)


def recover_approver(message: dict[str, Any], chain_id: int, r: str, s: str, v: int) -> str:
    """The address, in lower case, that signed the approval of an agent wallet.

    Args:
        message: hyperliquidChain, agentAddress, agentName, nonce.
        chain_id: The chain the wallet signed for; any.
        r: Hexadecimal, with 0x.
        s: Hexadecimal, with 0x.
        v: 27 or 28.

    Raises:
        SignatureError: The signature is not one.
    """
    kind = "HyperliquidTransaction:ApproveAgent"
    return _recover(_typed_data("HyperliquidSignTransaction", chain_id, kind, _APPROVAL_FIELDS, message), r, s, v)


def _recover(typed_data: dict[str, Any], r: str, s: str, v: int) -> str:
    if v not in _RECOVERY_IDS:
        raise SignatureError("Unable to recover signer.")
    try:
        message = encode_typed_data(full_message=typed_data)
        address: str = Account.recover_message(message, vrs=(v, int(r, 16), int(s, 16)))
    # The library answers a malformed signature with several unrelated exceptions of three packages.
    except Exception as error:
        raise SignatureError("Unable to recover signer.") from error
    return address.lower()


def _typed_data(
    domain: str, chain_id: int, kind: str, fields: tuple[tuple[str, str], ...], message: dict[str, Any]
) -> dict[str, Any]:
    return {
        "domain": {"name": domain, "version": "1", "chainId": chain_id, "verifyingContract": f"0x{'0' * 40}"},
        "types": {kind: _named(fields), "EIP712Domain": _named(_DOMAIN_FIELDS)},
        "primaryType": kind,
        "message": message,
    }


def _named(fields: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in fields]


def use_nonce(used: list[int], nonce: int, now_ms: int) -> str | None:
    """Use up a nonce of a signer, or say why it is refused.

    The 100 highest nonces are kept; a new one must be unused, above the smallest of them, and lie within
    (now - 2 days, now + 1 day).

    Args:
        used: The signer's nonces, ascending; changed in place when the nonce is good.
        nonce: The nonce, unix ms.
        now_ms: Wall time.

    Returns:
        The exchange's answer when it is refused, else None.
    """
    if nonce in used:
        return f"Invalid nonce: duplicate nonce {nonce}"
    if not now_ms - 2 * _DAY_MS < nonce < now_ms + _DAY_MS:
        return f"Invalid nonce: nonce {nonce} is not within the allowed time of {now_ms}"
    if len(used) >= _MAX_NONCES and nonce < used[0]:
        return f"Invalid nonce: nonce {nonce} is too low, must be above {used[0]}"
    insort(used, nonce)
    del used[:-_MAX_NONCES]
    return None
