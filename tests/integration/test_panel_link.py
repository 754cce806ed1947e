"""The panel's connection, beside a mosquitto that is not there, refuses, and comes back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from allora_mqtt.configuration import load
from allora_mqtt.protocol.commands import Envelope, Flatten, Mode, SetMode
from allora_mqtt.protocol.topics import Topics
from allora_mqtt_cli.broker import Broker
from allora_mqtt_cli.client import Client
from allora_mqtt_cli.connection import Connection
from allora_mqtt_cli.panel.link import Arrived, Connected, Happening, Link, Lost, NotTaken, Taken
from tests.support.client import Watcher
from tests.support.mosquitto import MOSQUITTO, Mosquitto
from tests.support.net import until

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
]

_H = TypeVar("_H")


class Listener:
    """A link, and what it tells."""

    def __init__(self, port: int) -> None:
        broker = Broker.of(load({"MQTT_HOST": "127.0.0.1", "MQTT_PORT": port}).settings)

        @contextmanager
        def connect() -> Iterator[Client]:
            with Connection(broker, 2) as connection:
                yield Client(connection, Topics("bot"), None)

        self.told: list[Happening] = []
        self.link = Link(connect, ("bot/#",), self.told.append)

    def first(self, kind: type[_H], where: Callable[[_H], bool] = lambda _: True) -> _H:
        return until(
            lambda: next((each for each in self.told if isinstance(each, kind) and where(each)), None), kind.__name__
        )


@pytest.fixture
def listen() -> Iterator[Callable[[int], Listener]]:
    listeners: list[Listener] = []

    def one(port: int) -> Listener:
        listeners.append(Listener(port))
        return listeners[-1]

    yield one
    for listener in listeners:
        listener.link.stop()


def test_a_command_for_a_broker_that_is_away_is_refused_and_never_sent(
    mosquitto: Mosquitto, listen: Callable[[int], Listener]
) -> None:
    mosquitto.stop()
    listener = listen(mosquitto.port)
    listener.link.send(SetMode(value=Mode.ACTIVE), Envelope(id="too early"))
    listener.link.start()
    refused = listener.first(NotTaken)
    assert (refused.command_id, refused.error.message[:9]) == ("too early", "Not sent.")
    assert not listener.first(Lost).is_final
    mosquitto.start()
    listener.first(Connected)
    listener.link.send(SetMode(value=Mode.STANDBY), Envelope(id="in time"))
    assert listener.first(Taken).command_id == "in time"
    arrived = listener.first(Arrived)
    assert (arrived.message.topic, b"in time" in arrived.message.payload) == ("bot/mode/set", True)
    assert [each for each in listener.told if isinstance(each, Arrived)] == [arrived]


def is_taken(listener: Listener) -> bool:
    listener.told.clear()
    listener.link.send(SetMode(value=Mode.STANDBY), Envelope(id="allowed"))
    how = until(lambda: [each for each in listener.told if isinstance(each, Taken | NotTaken)], "what became of it")
    return isinstance(how[0], Taken)


def test_a_topic_that_is_forbidden_ends_the_command_and_not_the_link(
    tmp_path: Path, listen: Callable[[int], Listener]
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic read #\ntopic readwrite bot/mode/set\n")
    broker = Mosquitto(tmp_path / "strict", f"acl_file {rules}")
    broker.start()
    try:
        listener = listen(broker.port)
        listener.link.start()
        listener.first(Connected)
        listener.link.send(Flatten(), Envelope(id="forbidden"))
        assert listener.first(NotTaken).error.code == "FORBIDDEN_BY_BROKER"
        # mosquitto 2.0.11 closes the connection after a forbidden publish, in its own time; what is said then is told.
        until(lambda: is_taken(listener), "a command taken")
        assert not [each for each in listener.told if isinstance(each, Lost) and each.is_final]
    finally:
        broker.stop()


def test_it_follows_over_a_restart_of_the_broker(mosquitto: Mosquitto, listen: Callable[[int], Listener]) -> None:
    listener = listen(mosquitto.port)
    listener.link.start()
    listener.first(Connected)
    mosquitto.stop()
    listener.first(Lost)
    listener.told.clear()
    mosquitto.start()
    listener.first(Connected)
    with Watcher(mosquitto.port) as watcher:
        watcher.publish("mode", "ACTIVE", retain=True)
        listener.first(Arrived, lambda each: each.message.payload == b"ACTIVE")
