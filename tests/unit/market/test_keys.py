"""What is said of the key that signs orders, by what the exchange says of it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount

from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.market.keys import KeyStanding, look_at_key, warnings_of
from allora_mqtt.protocol.errors import BotError, WarningCode
from tests.unit.market.conftest import ADDRESS
from tests.unit.market.exchange import FakeExchange, Raw

NOW_S = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
DAY_S = 86_400
OTHER = "0x" + "ef" * 20
VAULT = "0x" + "cd" * 20


def agents(address: str, days: float) -> list[dict[str, Any]]:
    return [
        {"name": "other", "address": OTHER, "validUntil": int((NOW_S - DAY_S) * 1000)},
        {"name": "bot", "address": address.lower(), "validUntil": int((NOW_S + days * DAY_S) * 1000)},
    ]


async def look(gateway: Hyperliquid, signer: str, *, account: str = ADDRESS, vault: str | None = None) -> KeyStanding:
    return await look_at_key(gateway, signer, account, vault, NOW_S)


def codes(standing: KeyStanding) -> list[WarningCode]:
    return [warning.code for warning in warnings_of(standing, NOW_S)]


async def test_an_agent_of_the_account_is_fine(
    gateway: Hyperliquid, exchange: FakeExchange, wallet: LocalAccount
) -> None:
    exchange.answers |= {
        "userRole": {"role": "agent", "data": {"user": ADDRESS}},
        "extraAgents": agents(wallet.address, 100),
    }
    standing = await look(gateway, wallet.address, account=ADDRESS.upper().replace("0X", "0x"))
    assert (standing.is_agent, standing.valid_until_s, standing.problem) == (True, NOW_S + 100 * DAY_S, None)
    assert codes(standing) == []


async def test_an_agent_without_a_name_is_fine_and_its_end_not_told(
    gateway: Hyperliquid, exchange: FakeExchange, wallet: LocalAccount
) -> None:
    exchange.answers |= {"userRole": {"role": "agent", "data": {"user": ADDRESS}}, "extraAgents": []}
    standing = await look(gateway, wallet.address)
    assert (standing.valid_until_s, codes(standing)) == (None, [])


@pytest.mark.parametrize(("days", "said"), [(13.5, "for 13 more days"), (0.5, "for 0 more days")])
async def test_an_agent_that_ends_soon_is_told_days_before(
    gateway: Hyperliquid, exchange: FakeExchange, wallet: LocalAccount, days: float, said: str
) -> None:
    exchange.answers |= {
        "userRole": {"role": "agent", "data": {"user": ADDRESS}},
        "extraAgents": agents(wallet.address, days),
    }
    (warning,) = warnings_of(await look(gateway, wallet.address), NOW_S)
    assert warning.code is WarningCode.KEY_EXPIRES
    assert said in warning.message


@pytest.mark.parametrize(
    ("role", "days", "said"),
    [
        ({"role": "agent", "data": {"user": ADDRESS}}, -0.01, "expired on 2026-11-20"),
        ({"role": "agent", "data": {"user": OTHER}}, 100, f"an agent of {OTHER} and not of {ADDRESS}"),
        ({"role": "missing"}, 100, "does not know the key"),
        ({"role": "user"}, 100, "it says: user"),
        ({"role": "subAccount", "data": {"master": ADDRESS}}, 100, "it says: subAccount"),
    ],
)
async def test_a_key_that_cannot_trade_is_told_with_what_to_do(
    gateway: Hyperliquid, exchange: FakeExchange, wallet: LocalAccount, role: Any, days: float, said: str
) -> None:
    exchange.answers |= {"userRole": role, "extraAgents": agents(wallet.address, days)}
    (warning,) = warnings_of(await look(gateway, wallet.address), NOW_S)
    assert warning.code is WarningCode.KEY_UNUSABLE
    assert said in warning.message
    assert any(word in warning.message for word in ("approve", "set HL_ACCOUNT_ADDRESS"))


async def test_a_master_key_can_withdraw_and_that_is_told(gateway: Hyperliquid, wallet: LocalAccount) -> None:
    standing = await look(gateway, wallet.address, account=wallet.address.lower())
    (warning,) = warnings_of(standing, NOW_S)
    assert warning.code is WarningCode.MASTER_KEY
    assert "withdraw" in warning.message


@pytest.mark.parametrize(
    ("role", "details", "said"),
    [
        ({"role": "subAccount", "data": {"master": ADDRESS}}, None, None),
        ({"role": "vault"}, {"leader": ADDRESS}, None),
        ({"role": "vault"}, Raw(422), None),
        ({"role": "subAccount", "data": {"master": OTHER}}, None, f"belongs to {OTHER}"),
        ({"role": "vault"}, {"leader": OTHER}, f"belongs to {OTHER}"),
        ({"role": "user"}, None, "no vault and no sub-account"),
    ],
)
async def test_a_vault_must_be_the_accounts_own(
    gateway: Hyperliquid, exchange: FakeExchange, role: Any, details: Any, said: str | None
) -> None:
    exchange.answers |= {"userRole": role, "vaultDetails": details}
    problem = (await look(gateway, ADDRESS, vault=VAULT)).problem
    assert (problem is None) is (said is None)
    assert said is None or (problem is not None and said in problem)


@pytest.mark.parametrize(
    "role", [None, [], {}, {"role": 5}, {"role": "agent", "data": []}, {"role": "agent", "data": 1}]
)
async def test_an_answer_that_cannot_be_read_is_an_error(
    gateway: Hyperliquid, exchange: FakeExchange, wallet: LocalAccount, role: Any
) -> None:
    exchange.answers |= {"userRole": role, "extraAgents": [{"address": None}]}
    with pytest.raises(BotError):
        await look(gateway, wallet.address)
