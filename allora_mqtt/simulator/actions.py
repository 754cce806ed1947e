"""From a signed envelope to the exchange's answer: signer, expiry, nonce, budget, execution."""

from decimal import Decimal
from typing import Any

from allora_mqtt.simulator import agents, dead_man
from allora_mqtt.simulator.account import Account, Leverage
from allora_mqtt.simulator.errors import ActionError
from allora_mqtt.simulator.exchange import Exchange, Status
from allora_mqtt.simulator.limits import spend_budget
from allora_mqtt.simulator.matching import WHOLE
from allora_mqtt.simulator.signatures import action_hash, recover_approver, recover_signer, use_nonce
from allora_mqtt.simulator.wire import (
    ApproveAgentAction,
    BatchModifyAction,
    CancelAction,
    CancelByCloidAction,
    Envelope,
    ModifyAction,
    OrderAction,
    ScheduleCancelAction,
    UpdateIsolatedMarginAction,
    UpdateLeverageAction,
    action_weight,
)

_EXPIRED_COST = 5


def signer_of(envelope: Envelope) -> str:
    """The address that signed the envelope.

    Raises:
        SignatureError: None can be recovered.
    """
    action = envelope.action
    if isinstance(action, ApproveAgentAction):
        fields = {"hyperliquidChain", "agentAddress", "agentName", "nonce"}
        chain_id = int(action.signatureChainId, 16)
        signed = envelope.signature
        return recover_approver(action.model_dump(include=fields), chain_id, signed.r, signed.s, signed.v)
    connection_id = action_hash(
        envelope.canonical_action(), envelope.nonce, envelope.vaultAddress, envelope.expiresAfter
    )
    signature = envelope.signature
    return recover_signer(connection_id, signature.r, signature.s, signature.v)


def admit(exchange: Exchange, envelope: Envelope, signer: str, now_s: float, *, enforces_budget: bool) -> Account:
    """The account the envelope may act for, with its nonce used up and its budget charged.

    Raises:
        ActionError: It may not act: unknown signer, expired, nonce, budget.
    """
    account = _acting_for(exchange, envelope, signer)
    now_ms = int(now_s * 1000)
    if envelope.expiresAfter is not None and envelope.expiresAfter < now_ms:
        account.action_count += _EXPIRED_COST
        raise ActionError("Action already expired")
    error = use_nonce(exchange.state.nonces.setdefault(signer, []), envelope.nonce, now_ms)
    if error is None:
        is_cancel = isinstance(envelope.action, CancelAction | CancelByCloidAction)
        weight = action_weight(envelope.action)
        error = spend_budget(account, weight, now_s, is_cancel=is_cancel, is_enforced=enforces_budget)
    if error is not None:
        raise ActionError(error)
    return account


def _acting_for(exchange: Exchange, envelope: Envelope, signer: str) -> Account:
    """The account an envelope is about: the signer's own, its master's, or the vault it leads."""
    if isinstance(envelope.action, ApproveAgentAction):
        # Only the account's own key may do this, never an agent's.
        master = exchange.state.accounts.get(signer)
        if master is None:
            raise ActionError(f"Must deposit before performing actions. User: {signer}")
        return master
    account = exchange.account_for(signer)
    if account is None:
        raise ActionError(f"User or API Wallet {signer} does not exist.")
    vault = envelope.vaultAddress
    if vault in (None, account.address):
        return account
    if exchange.state.vaults.get(vault) != account.address:
        raise ActionError(f"Vault not registered: {vault}")
    return exchange.open_account(vault)


def execute(
    exchange: Exchange, account: Account, envelope: Envelope, now_s: float, fill_share: Decimal = WHOLE
) -> dict[str, Any]:
    """Do what an admitted envelope asks and answer in the exchange's shape.

    Raises:
        ActionError: The whole action is refused.
    """
    action = envelope.action
    match action:
        case OrderAction():
            requests = [order.to_request() for order in action.orders]
            return _answer("order", exchange.place(account, requests, action.grouping, now_s, fill_share))
        case CancelAction():
            return _answer("cancel", [exchange.cancel(account, one.a, one.o, now_s) for one in action.cancels])
        case CancelByCloidAction():
            return _answer("cancel", [exchange.cancel(account, one.asset, one.cloid, now_s) for one in action.cancels])
        case BatchModifyAction():
            return _answer(
                "order", [exchange.modify(account, one.oid, one.order.to_request(), now_s) for one in action.modifies]
            )
        case _:
            _set(exchange, account, envelope, now_s)
            return {"status": "ok", "response": {"type": "default"}}


def _set(exchange: Exchange, account: Account, envelope: Envelope, now_s: float) -> None:
    """Do what is answered with no more than "ok"."""
    action = envelope.action
    match action:
        case ModifyAction():
            status = exchange.modify(account, action.oid, action.order.to_request(), now_s)
            if isinstance(status, dict) and "error" in status:
                raise ActionError(status["error"])
        case UpdateLeverageAction():
            exchange.set_leverage(account, action.asset, Leverage(action.leverage, action.isCross), now_s)
        case UpdateIsolatedMarginAction():
            exchange.move_isolated_margin(account, action.asset, Decimal(action.ntli) / 1_000_000, now_s)
        case ScheduleCancelAction():
            dead_man.schedule(account, action.time, int(now_s * 1000))
        case ApproveAgentAction():
            if action.nonce != envelope.nonce:
                raise ActionError("Invalid nonce: the action's and the envelope's differ")
            agents.approve(exchange.state, account.address, action.agentAddress, action.agentName)
        case _:  # a noop uses up a nonce and does nothing
            pass


def _answer(kind: str, statuses: list[Status]) -> dict[str, Any]:
    return {"status": "ok", "response": {"type": kind, "data": {"statuses": statuses}}}
