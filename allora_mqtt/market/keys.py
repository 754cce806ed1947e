"""What the exchange says of the key that signs orders: for whom it may act, and until when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.market.wire import to_int, to_text
from allora_mqtt.protocol.errors import BotError, WarningCode
from allora_mqtt.protocol.messages import Warn

_DAY_S: Final = 86_400
WARN_DAYS: Final = 14
"""So long before an agent's approval ends it is pointed out; one lasts 180 days at most."""
_API_PAGE: Final = "https://app.hyperliquid.xyz/API"


@dataclass(frozen=True, slots=True)
class KeyStanding:
    """How the exchange knows a key.

    Attributes:
        signer: the address of the key itself.
        account: the account it is to act for.
        is_agent: whether it is an agent's, which can trade and not withdraw.
        valid_until_s: when its approval ends, unix seconds; None when it does not end, or is not told.
        problem: why it cannot trade for the account, and what to do; None when it can.
    """

    signer: str
    account: str
    is_agent: bool
    valid_until_s: float | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Role:
    """An answer to `userRole`: what an address is, and the address it belongs to."""

    name: str
    owner: str | None


async def look_at_key(exchange: Hyperliquid, signer: str, account: str, vault: str | None, now_s: float) -> KeyStanding:
    """Ask the exchange what a key may do.

    Agents without a name are not in `extraAgents`; their end is not told.

    Args:
        exchange: the door to it.
        signer: the address of the key itself.
        account: the account that trades, itself or for a vault.
        vault: the vault or sub-account to trade for.
        now_s: unix seconds.

    Raises:
        BotError: EXCHANGE_UNREACHABLE.
    """
    is_agent = signer.lower() != account.lower()
    valid_until_s, problem = None, None
    if is_agent:
        problem = _agent_problem(await _role(exchange, signer), signer, account)
        agents = await exchange.ask("the account's agents", {"type": "extraAgents", "user": account}, _parse_agents)
        valid_until_s = agents.get(signer.lower())
        if valid_until_s is not None and valid_until_s <= now_s:
            problem = f"The agent {signer} expired on {_date(valid_until_s)}; approve a new one on {_API_PAGE}."
    if problem is None and vault is not None:
        problem = await _vault_problem(exchange, vault, account)
    return KeyStanding(signer, account, is_agent, valid_until_s, problem)


def warnings_of(standing: KeyStanding, now_s: float) -> list[Warn]:
    """Say what a person has to know of a key."""
    if standing.problem is not None:
        return [Warn(code=WarningCode.KEY_UNUSABLE, message=standing.problem)]
    found = []
    if not standing.is_agent:
        message = (
            f"HL_SECRET_KEY is the own key of {standing.account}, which can withdraw everything; "
            f"make an agent wallet on {_API_PAGE}, use its key, and set HL_ACCOUNT_ADDRESS={standing.account}."
        )
        found.append(Warn(code=WarningCode.MASTER_KEY, message=message))
    until_s = standing.valid_until_s
    if until_s is not None and until_s - now_s < WARN_DAYS * _DAY_S:
        days = max(0, int((until_s - now_s) // _DAY_S))
        message = (
            f"The agent {standing.signer} may trade until {_date(until_s)}, for {days} more days; "
            f"approve a new one on {_API_PAGE}."
        )
        found.append(Warn(code=WarningCode.KEY_EXPIRES, message=message))
    return found


def _agent_problem(role: _Role, signer: str, account: str) -> str | None:
    if role.name == "agent" and role.owner == account.lower():
        return None
    if role.name == "agent":
        return (
            f"The key of {signer} is an agent of {role.owner} and not of {account}; "
            "set HL_ACCOUNT_ADDRESS to the account that it belongs to, or use another key."
        )
    return (
        f"HyperLiquid does not know the key of {signer} as an agent of {account} (it says: {role.name}); "
        f"approve it on {_API_PAGE}, or check HL_SECRET_KEY and HL_ACCOUNT_ADDRESS."
    )


async def _vault_problem(exchange: Hyperliquid, vault: str, account: str) -> str | None:
    role = await _role(exchange, vault)
    owner = role.owner
    if role.name == "vault":
        query = {"type": "vaultDetails", "vaultAddress": vault}
        try:
            owner = await exchange.ask("the vault", query, _parse_leader)
        except BotError:
            # Whether it is led by somebody else shows with the first order; that it is a vault is known.
            return None
    elif role.name != "subAccount":
        return f"HL_VAULT {vault} is no vault and no sub-account (HyperLiquid says: {role.name}); check HL_VAULT."
    if owner == account.lower():
        return None
    return f"HL_VAULT {vault} belongs to {owner} and not to {account}; check HL_VAULT and HL_ACCOUNT_ADDRESS."


async def _role(exchange: Hyperliquid, address: str) -> _Role:
    return await exchange.ask("the role of an address", {"type": "userRole", "user": address}, _parse_role)


def _parse_role(raw: Mapping[str, Any]) -> _Role:
    data = raw.get("data") or {}
    owner = data.get("user") or data.get("master")
    return _Role(to_text(raw["role"]), None if owner is None else to_text(owner).lower())


def _parse_agents(raw: list[Mapping[str, Any]]) -> dict[str, float]:
    return {to_text(agent["address"]).lower(): to_int(agent["validUntil"]) / 1000 for agent in raw}


def _parse_leader(raw: Mapping[str, Any]) -> str:
    return to_text(raw["leader"]).lower()


def _date(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d}"
