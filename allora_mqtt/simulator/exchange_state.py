"""Everything the exchange remembers, as plain data."""

from dataclasses import dataclass, field

from allora_mqtt.simulator.account import Account


@dataclass
class Counters:
    """The next order and trade numbers."""

    next_oid: int = 1
    next_tid: int = 1


@dataclass
class ExchangeState:
    """Everything the exchange remembers.

    Attributes:
        accounts: By address, lower case.
        agents: Address of an agent wallet to the address it acts for, lower case.
        agent_names: Address of an agent wallet to its name, where it has one.
        vaults: Address of a vault or sub-account to the address that leads it, lower case.
        nonces: The highest nonces used, per signer, ascending.
        counters: The next order and trade numbers.
        funding_hour: The last market hour whose funding has been paid.
    """

    accounts: dict[str, Account] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)
    agent_names: dict[str, str] = field(default_factory=dict)
    vaults: dict[str, str] = field(default_factory=dict)
    nonces: dict[str, list[int]] = field(default_factory=dict)
    counters: Counters = field(default_factory=Counters)
    funding_hour: int | None = None
