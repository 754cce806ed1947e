"""What a real bot says on a real broker is what its AsyncAPI document and its JSON Schemas say."""

import json
import re
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from allora_mqtt.protocol.asyncapi import describe
from allora_mqtt.protocol.schema import WORDS, export
from tests.support.client import Watcher
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.program import Bot
from tests.unit.protocol.json_schema import misfits

pytestmark = pytest.mark.e2e

LIVELY = {"SIM_EPOCH_S": "2", "TRADE_PRICE_GAP_PCT": "0.01", "BOT_RECONCILE_INTERVAL_S": "2"}
SCHEMAS = export()
QUIET = {"event/breaker_opened", "event/breaker_closed", "log/{level}"}
"""What no healthy bot says."""


def sent() -> dict[str, dict[str, Any]]:
    """Return the MQTT bindings of each topic that the bot sends on, by its address without the base."""
    document = describe()
    channels = document["channels"]
    return {
        channels[operation["channel"]["$ref"].rpartition("/")[2]]["address"].removeprefix("{base}/"): operation[
            "bindings"
        ]["mqtt"]
        for operation in document["operations"].values()
        if operation["action"] == "send"
    }


class Listener:
    """Hears every message once with the QoS and the retain flag that it was published with (MQTT 5)."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, bytes, int, bool]] = []
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        options = SubscribeOptions(qos=2, retainAsPublished=True)
        self._client.on_connect = lambda client, *_: client.subscribe("bot/#", options=options)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _data, message: self.heard.append(
            (message.topic.removeprefix("bot/"), bytes(message.payload), message.qos, message.retain)
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def described(topic: str, topics: dict[str, dict[str, Any]]) -> str | None:
    """Return the address of the document that a topic belongs to, or None for a command."""
    if topic in topics:
        return topic
    for address in topics:
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", address), topic) and not topic.endswith("/set"):
            return address
    return None


def test_the_bot_says_what_the_document_says(program: Path, mosquitto: Mosquitto, tmp_path: Path) -> None:
    topics = sent()
    listener = Listener(mosquitto.port)
    broker = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
    bot = Bot(program, tmp_path, broker, **LIVELY)
    bot.start()
    try:
        with Watcher(mosquitto.port) as watcher:
            watcher.wait("availability", "online")
            watcher.publish("cryptos/set", "BTC,ETH")
            watcher.publish("mode/set", "ACTIVE")
            until(lambda: watcher.all("event/fill"), "a fill", 40)
            until(lambda: watcher.last("cryptos/BTC"), "a coin's state")
            watcher.publish("mode/set", {"value": "NONSENSE"})
            watcher.ask("close", symbol="BTC")
            watcher.ask("flatten")
            until(lambda: watcher.all("event/position_closed"), "the end of a position")
    finally:
        bot.stop()
        listener.close()

    said: set[str] = set()
    assert any(topic == "heartbeat" and qos == 0 for topic, _, qos, _ in listener.heard)
    for topic, payload, published_qos, retained in listener.heard:
        # The document says so in words: after each connect one heartbeat has QoS 1.
        qos = 0 if topic == "heartbeat" else published_qos
        address = described(topic, topics)
        if address is None:
            assert re.fullmatch(r".*/set|request/\w+", topic), topic
            continue
        said.add(address)
        assert (qos, retained) == (topics[address]["qos"], topics[address]["retain"]), topic
        if address in WORDS:
            assert payload.decode() in list(WORDS[address])
        elif payload:  # an empty one clears what is retained
            assert list(misfits(json.loads(payload), SCHEMAS["messages"][address], SCHEMAS["$defs"])) == [], topic
    assert set(topics) - said == QUIET
