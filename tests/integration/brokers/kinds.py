"""The brokers that the suite runs on, and what each of them can: every entry is asserted by a test, both ways."""

from dataclasses import dataclass, field
from typing import Any

from tests.integration.brokers.client import Client


@dataclass(frozen=True)
class Kind:
    """A broker and a protocol.

    Attributes:
        name: how tests and docs call it.
        level: the MQTT protocol level that clients speak to it: 4 is 3.1.1.
        speaks_5: it accepts MQTT 5 at all.
        remembers_over_a_restart: sessions, queues and retained messages.
        has_shared_subscriptions: `$share/…`; refused otherwise.
        gives_overlaps_the_highest_qos: of all subscriptions of a client that mean a topic, the highest QoS counts.
        tells_the_will_of_a_taken_over_session: also when the session goes on; mosquitto keeps it to itself.
    """

    name: str
    level: int
    speaks_5: bool
    remembers_over_a_restart: bool
    has_shared_subscriptions: bool
    gives_overlaps_the_highest_qos: bool
    tells_the_will_of_a_taken_over_session: bool

    def __str__(self) -> str:
        return self.name


EMBEDDED = Kind("embedded", 4, False, False, False, True, True)
MOSQUITTO_5 = Kind("mosquitto-5", 5, True, True, True, True, False)
MOSQUITTO_311 = Kind("mosquitto-3.1.1", 4, True, True, True, False, False)
KINDS = [EMBEDDED, MOSQUITTO_5, MOSQUITTO_311]


@dataclass
class Broker:
    """A broker that runs, and the clients that a test connects to it."""

    kind: Kind
    port: int
    clients: list[Client] = field(default_factory=list)

    async def connect(self, client_id: str, **options: Any) -> Client:
        client = await Client.connect(self.port, self.kind.level, client_id, **options)
        self.clients.append(client)
        return client

    async def close_clients(self) -> None:
        for client in self.clients:
            await client.close()
