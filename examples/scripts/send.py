#!/usr/bin/env python3
"""Send the bot one command, wait for the answer to it, and show it. Needs nothing but `pip install paho-mqtt`.

usage: send.py [--host HOST] [--port PORT] [--base BASE] [--mqtt5] TOPIC [PAYLOAD]

    send.py mode/set STANDBY
    send.py cryptos/set '["BTC","ETH"]'
    send.py request/close '{"symbol":"ETH"}'
    send.py --mqtt5 request/ping

Exit code: 0 executed, 1 anything else, 5 no answer. MQTT_USERNAME and MQTT_PASSWORD are used where they are set. Where
MQTT_COMMAND_SECRET is set (`secret` or `id:secret`) the command is signed with it.
"""

import argparse
import hashlib
import hmac
import json
import os
import queue
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def main() -> int:
    """Read the arguments, send, and print the answer."""
    parser = argparse.ArgumentParser(description="Send the bot one command and show its answer.")
    parser.add_argument("--host", default=os.environ.get("MQTT_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("MQTT_PORT", "1883")))
    parser.add_argument("--base", default="bot")
    parser.add_argument("--mqtt5", action="store_true", help="not for the broker inside the bot, which knows 3.1.1")
    parser.add_argument("--timeout", type=float, default=5, metavar="SECONDS")
    parser.add_argument("topic")
    parser.add_argument("payload", nargs="?", default="")
    words = parser.parse_args()
    client = connect(words.host, words.port, is_mqtt5=words.mqtt5)
    try:
        ask = ask_in_5 if words.mqtt5 else ask_in_3
        answer = ask(client, words.base, words.topic, words.payload, words.timeout)
    except queue.Empty:
        print(f"No answer within {words.timeout:g} s. The broker has the command.", file=sys.stderr)
        return 5
    finally:
        client.disconnect()
        client.loop_stop()
    print(json.dumps(answer, indent=2))
    return 0 if answer["status"] == "EXECUTED" else 1


def connect(host: str, port: int, *, is_mqtt5: bool) -> mqtt.Client:
    """Return a client whose network loop runs."""
    version = mqtt.MQTTv5 if is_mqtt5 else mqtt.MQTTv311
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=version)
    if "MQTT_USERNAME" in os.environ:
        client.username_pw_set(os.environ["MQTT_USERNAME"], os.environ.get("MQTT_PASSWORD"))
    client.connect(host, port)
    client.loop_start()
    return client


def ask_in_3(client: mqtt.Client, base: str, topic: str, payload: str, timeout_s: float) -> dict[str, Any]:
    """Correlate by `id` in the payload, which every version of MQTT carries."""
    command = {**as_object(topic, payload), "id": uuid.uuid4().hex}
    answers = listen(client, f"{base}/response/+", timeout_s)
    # What is to be so may wait in the broker for a bot that is away; what is to be done once must not be retained.
    client.publish(f"{base}/{topic}", ready(f"{base}/{topic}", command), qos=1, retain=topic.endswith("/set"))
    while True:  # others get answers here too
        answer: dict[str, Any] = json.loads(answers.get(timeout=timeout_s).payload)
        if answer["id"] == command["id"]:
            return answer


def ask_in_5(client: mqtt.Client, base: str, topic: str, payload: str, timeout_s: float) -> dict[str, Any]:
    """Correlate by MQTT 5's Response Topic and Correlation Data; the payload may be a bare word."""
    correlation = uuid.uuid4().hex
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = f"answers/{correlation}"
    properties.CorrelationData = correlation.encode()
    answers = listen(client, properties.ResponseTopic, timeout_s)
    if "MQTT_COMMAND_SECRET" in os.environ:
        # What is beside the payload is not signed, so the id goes into it.
        payload = ready(f"{base}/{topic}", {**as_object(topic, payload), "id": correlation})
    client.publish(f"{base}/{topic}", payload, qos=1, retain=topic.endswith("/set"), properties=properties)
    while True:
        message = answers.get(timeout=timeout_s)
        if message.properties.CorrelationData == properties.CorrelationData:
            answer: dict[str, Any] = json.loads(message.payload)
            return answer


def ready(topic: str, command: dict[str, Any]) -> str:
    """Return the payload of a command, signed where there is a secret; what is signed is sent as it was signed."""
    if "MQTT_COMMAND_SECRET" not in os.environ:
        return json.dumps(command)
    key, _, secret = os.environ["MQTT_COMMAND_SECRET"].split(",")[0].strip().rpartition(":")
    text = json.dumps({"topic": topic, **command, "issued_at": datetime.now(UTC).isoformat()})
    signature = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    return json.dumps({"signed": text, "key": key or "default", "signature": signature})


def listen(client: mqtt.Client, topic: str, timeout_s: float) -> "queue.SimpleQueue[mqtt.MQTTMessage]":
    """Subscribe, and wait until the broker has confirmed it: an answer may come at once."""
    answers: queue.SimpleQueue[mqtt.MQTTMessage] = queue.SimpleQueue()
    subscribed: queue.SimpleQueue[int] = queue.SimpleQueue()
    client.on_message = lambda _client, _data, message: answers.put(message)
    client.on_subscribe = lambda _client, _data, number, _reasons, _properties: subscribed.put(number)
    client.subscribe(topic, qos=1)
    subscribed.get(timeout=timeout_s)
    return answers


def as_object(topic: str, payload: str) -> dict[str, Any]:
    """Write a payload as the JSON object that can hold an id: a `/set` topic has what is to be under `value`."""
    try:
        content = json.loads(payload or "{}")
    except ValueError:
        content = payload  # a bare word, as ACTIVE
    is_whole = isinstance(content, dict) and ("value" in content or not topic.endswith("/set"))
    return content if is_whole else {"value": content}


if __name__ == "__main__":
    sys.exit(main())
