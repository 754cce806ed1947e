from typing import Any

import pytest
from pydantic import ValidationError

from allora_mqtt.simulator.actions import admit, execute
from allora_mqtt.simulator.errors import ActionError
from allora_mqtt.simulator.wire import Envelope
from tests.unit.simulator.bench import OWNER, Bench

SIGNATURE = {"r": "0x1", "s": "0x1", "v": 27}


def envelope(bench: Bench, action: dict[str, Any], **fields: object) -> Envelope:
    nonce = int(bench.now_s * 1000)
    return Envelope.model_validate({"action": action, "nonce": nonce, "signature": SIGNATURE, **fields})


def test_an_expired_action_costs_five_and_keeps_its_nonce(bench: Bench) -> None:
    late = envelope(bench, {"type": "noop"}, expiresAfter=int(bench.now_s * 1000) - 1)
    with pytest.raises(ActionError, match="Action already expired"):
        admit(bench.exchange, late, OWNER, bench.now_s, enforces_budget=True)
    assert bench.account.action_count == 5
    assert not bench.exchange.state.nonces.get(OWNER)


def test_a_business_rejection_uses_its_nonce(bench: Bench) -> None:
    refused = envelope(bench, {"type": "updateLeverage", "asset": 0, "isCross": True, "leverage": 99})
    account = admit(bench.exchange, refused, OWNER, bench.now_s, enforces_budget=True)
    with pytest.raises(ActionError, match="Invalid leverage"):
        execute(bench.exchange, account, refused, bench.now_s)
    with pytest.raises(ActionError, match="duplicate nonce"):
        admit(bench.exchange, refused, OWNER, bench.now_s, enforces_budget=True)


def test_a_foreign_vault_is_not_registered(bench: Bench) -> None:
    foreign = envelope(bench, {"type": "noop"}, vaultAddress="0x" + "ef" * 20)
    with pytest.raises(ActionError, match="Vault not registered"):
        admit(bench.exchange, foreign, OWNER, bench.now_s, enforces_budget=True)


def test_a_scheduled_cancel_needs_volume(bench: Bench) -> None:
    action = envelope(bench, {"type": "scheduleCancel", "time": 1})
    with pytest.raises(ActionError, match=r"Required: \$1000000. Traded: \$0.00."):
        execute(bench.exchange, bench.account, action, bench.now_s)


@pytest.mark.parametrize(
    "action",
    [
        {"type": "unheardOf"},
        {"type": "order", "orders": [], "grouping": "na"},
        {"type": "order", "orders": [{"a": 0}], "grouping": "na"},
        {"type": "cancel", "cancels": [{"a": 0, "o": "7"}]},
        {"type": "updateLeverage", "asset": 0, "isCross": 1, "leverage": 2},
        {"type": "noop", "more": 1},
    ],
)
def test_a_wrong_schema_is_no_envelope(bench: Bench, action: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        envelope(bench, action)
