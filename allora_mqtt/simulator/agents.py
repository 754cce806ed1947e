"""Agent wallets: keys that may trade for an account and never withdraw."""

from allora_mqtt.simulator.errors import ActionError
from allora_mqtt.simulator.exchange_state import ExchangeState

_MAX_NAMED = 3


def approve(state: ExchangeState, master: str, agent: str, name: str) -> None:
    """Let `agent` act for `master`; an agent of the same name (or the one without) is replaced.

    Raises:
        ActionError: The address is in use already, or there are three named agents.
    """
    if agent in state.accounts or state.agents.get(agent, master) != master:
        raise ActionError("Extra agent already used.")
    own = [known for known, owner in state.agents.items() if owner == master and known != agent]
    replaced = [known for known in own if state.agent_names.get(known, "") == name]
    if name and not replaced and sum(1 for known in own if state.agent_names.get(known)) >= _MAX_NAMED:
        raise ActionError("Too many extra agents.")
    for known in replaced:
        del state.agents[known]
        state.agent_names.pop(known, None)
    state.agents[agent] = master
    if name:
        state.agent_names[agent] = name
