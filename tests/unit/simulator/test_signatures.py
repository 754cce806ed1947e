from typing import Any

import pytest
from eth_account import Account
from hyperliquid.utils.signing import sign_l1_action

from allora_mqtt.simulator.actions import signer_of
from allora_mqtt.simulator.signatures import SignatureError, use_nonce
from allora_mqtt.simulator.wire import Envelope

WALLET = Account.from_key("0x" + "33" * 32)
VAULT = "0x" + "cd" * 20
NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
ORDER = {
    "a": 1,
    "b": True,
    "p": "2900.5",
    "s": "0.02",
    "r": False,
    "t": {"limit": {"tif": "Ioc"}},
    "c": "0x" + "ab" * 16,
}
ACTIONS: list[dict[str, Any]] = [
    {"type": "order", "orders": [ORDER], "grouping": "na"},
    {
        "type": "order",
        "orders": [{**ORDER, "t": {"trigger": {"isMarket": True, "triggerPx": "2800", "tpsl": "sl"}}}],
        "grouping": "positionTpsl",
        "builder": {"b": VAULT, "f": 10},
    },
    {"type": "cancel", "cancels": [{"a": 1, "o": 7}]},
    {"type": "cancelByCloid", "cancels": [{"asset": 1, "cloid": ORDER["c"]}]},
    {"type": "batchModify", "modifies": [{"oid": 7, "order": ORDER}, {"oid": ORDER["c"], "order": ORDER}]},
    {"type": "updateLeverage", "asset": 1, "isCross": True, "leverage": 5},
    {"type": "scheduleCancel", "time": NOW_MS},
    {"type": "scheduleCancel"},
    {"type": "noop"},
]


def envelope(action: dict[str, Any], vault: str | None = None, expires: int | None = None) -> dict[str, Any]:
    signature = sign_l1_action(WALLET, action, vault, NOW_MS, expires, False)
    return {
        "action": action,
        "nonce": NOW_MS,
        "signature": signature,
        "vaultAddress": vault,
        "expiresAfter": expires,
    }


def signer(body: dict[str, Any]) -> str:
    return signer_of(Envelope.model_validate(body))


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action["type"])
@pytest.mark.parametrize(("vault", "expires"), [(None, None), (VAULT, None), (None, NOW_MS), (VAULT, NOW_MS)])
def test_what_the_sdk_signs_is_recovered(action: dict[str, Any], vault: str | None, expires: int | None) -> None:
    assert signer(envelope(action, vault, expires)) == WALLET.address.lower()


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": NOW_MS + 1},
        {"expiresAfter": NOW_MS},
        {"vaultAddress": VAULT},
        {"action": {**ACTIONS[0], "orders": [{**ORDER, "s": "0.03"}]}},
    ],
)
def test_whatever_is_changed_recovers_a_stranger(change: dict[str, Any]) -> None:
    assert signer({**envelope(ACTIONS[0]), **change}) != WALLET.address.lower()


def test_key_order_trailing_zeros_and_case_do_not_matter() -> None:
    body = envelope(ACTIONS[0])
    assert isinstance(ORDER["c"], str)
    order = {**dict(reversed(ORDER.items())), "s": "0.0200", "c": f"0x{ORDER['c'][2:].upper()}"}
    assert signer({**body, "action": {"grouping": "na", "orders": [order], "type": "order"}}) == WALLET.address.lower()


@pytest.mark.parametrize("broken", [{"r": "0x0"}, {"s": "0x" + "f" * 64}, {"v": 99}])
def test_a_broken_signature_recovers_nobody(broken: dict[str, Any]) -> None:
    body = envelope(ACTIONS[0])
    with pytest.raises(SignatureError, match=r"Unable to recover signer\."):
        signer({**body, "signature": {**body["signature"], **broken}})


def test_a_nonce_is_used_once_within_its_days_and_above_the_hundred_highest() -> None:
    used: list[int] = []
    assert use_nonce(used, NOW_MS, NOW_MS) is None
    assert use_nonce(used, NOW_MS, NOW_MS) == f"Invalid nonce: duplicate nonce {NOW_MS}"
    assert use_nonce(used, NOW_MS - 2 * DAY_MS, NOW_MS) is not None
    assert use_nonce(used, NOW_MS + DAY_MS, NOW_MS) is not None
    for step in range(1, 150):
        assert use_nonce(used, NOW_MS + step, NOW_MS) is None
    assert len(used) == 100
    assert used == sorted(used)
    assert "too low" in (use_nonce(used, NOW_MS + 1, NOW_MS) or "")
