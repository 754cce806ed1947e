"""What the clients of a storm send: every kind of command, in a mixture that the seed decides."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime

from tests.guarantees.sender import Plan

CLIENTS = 4
_COINS = ("BTC", "ETH", "SOL", "AVAX")


def plans(rng: random.Random, count: int) -> list[tuple[int, Plan]]:
    """Return so many commands, each with the number of the client that sends it, in the order of sending.

    A client's `tp_ratio` tells who sent it and when: the whole part is the client, the decimals rise. That setting
    takes no risk up or down, so that nothing but the order of arrival decides over it.
    """
    made: list[tuple[int, Plan]] = []
    for number in range(count):
        client = rng.randrange(CLIENTS)
        identifier = f"storm-{client}-{number:05d}"
        make = rng.choices(_KINDS, _WEIGHTS)[0]
        plan = make(rng, client, number, identifier)
        made.append((client, plan))
        if rng.random() < 0.1:
            # A sender who is not sure sends it again, with the same id.
            made.append((client, plan))
    return made


def _setting(rng: random.Random, client: int, number: int, identifier: str) -> Plan:
    value = f"{client + 1}.{number + 10_000}1"  # the last digit keeps a zero before it
    return _desired(rng, "config/tp_ratio/set", value, identifier, value)


def _coin(rng: random.Random, client: int, _number: int, identifier: str) -> Plan:
    return _desired(rng, f"cryptos/{_COINS[client]}/set", rng.choice(["ON", "ON", "OFF"]), identifier)


def _mode(rng: random.Random, _client: int, _number: int, identifier: str) -> Plan:
    return _desired(rng, "mode/set", rng.choice(["ACTIVE", "ACTIVE", "STANDBY"]), identifier)


def _action(rng: random.Random, client: int, _number: int, identifier: str) -> Plan:
    name = rng.choice(["ping", "publish_state", "history", "cancel_orders", "close", "reset_breaker", "activate_set"])
    arguments: dict[str, dict[str, object]] = {
        "close": {"symbol": _COINS[client]},
        "activate_set": {"name": "popular"},
        "history": {"limit": 5},
    }
    return Plan(identifier, f"request/{name}", json.dumps({**arguments.get(name, {}), "id": identifier}))


def _bad(rng: random.Random, _client: int, _number: int, identifier: str) -> Plan:
    topic, value = rng.choice([("mode/set", "MAYBE"), ("cryptos/NOSUCHCOIN/set", "ON"), ("config/set", 7)])
    return Plan(identifier, topic, json.dumps({"value": value, "id": identifier}))


def _desired(rng: random.Random, topic: str, value: str, identifier: str, mark: str | None = None) -> Plan:
    fields: dict[str, object] = {"value": float(value) if mark else value, "id": identifier}
    if rng.random() < 0.5:
        fields["issued_at"] = datetime.now(UTC).isoformat()
    return Plan(identifier, topic, json.dumps(fields), retain=rng.random() < 0.3, value=mark)


_KINDS: list[Callable[[random.Random, int, int, str], Plan]] = [_setting, _coin, _mode, _action, _bad]
_WEIGHTS = [40, 15, 15, 25, 5]
