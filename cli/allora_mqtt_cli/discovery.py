"""What Home Assistant is told of the bot: what is retained, what would be, and its removal."""

from typing import Any

from allora_mqtt.discovery import device
from allora_mqtt.discovery.subject import Subject
from allora_mqtt.protocol.errors import Rejected
from allora_mqtt.protocol.messages import ActiveSet, ConfigState, Info, Positions
from allora_mqtt.protocol.reading import decode
from allora_mqtt.settings import Settings
from allora_mqtt_cli import render, session
from allora_mqtt_cli.client import Client, understand
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation


def show(invocation: Invocation) -> None:
    """Write the entities of the device message; where there is none, those of the message that there would be."""
    loaded = invocation.load()
    with session.open_client(invocation, loaded) as client:
        topic = device.config_topic(loaded.settings.mqtt.discovery_prefix, client.topics)
        present = client.read_retained(topic).get(topic)
        message = _read(present, topic) if present else _would_be(client, loaded.settings)
    size = len(present or device.encode(message))
    if invocation.output.as_json:
        document = {"topic": topic, "published": present is not None, "bytes": size, "message": message}
        invocation.output.document(document)
        return
    invocation.output.show(render.entities(message["cmps"]))
    if present is None:
        invocation.output.note("This is not published: it is what a bot with this configuration would say.")
    invocation.output.say(f"{len(message['cmps'])} entities, {size} bytes at {topic}.")


def clear(invocation: Invocation) -> None:
    """Empty the topic of the device message; Home Assistant removes the device then."""
    loaded = invocation.load()
    with session.open_client(invocation, loaded) as client:
        topic = device.config_topic(loaded.settings.mqtt.discovery_prefix, client.topics)
        client.connection.publish(topic, b"", retain=True)
    if invocation.output.as_json:
        invocation.output.document({"topic": topic, "cleared": True})
        return
    invocation.output.say(f"Cleared {topic}.", "green")
    invocation.output.note(
        "A bot that runs says it again when it connects, when Home Assistant starts and when there are other coins; "
        "MQTT_DISCOVERY=false keeps it from that."
    )


def _read(present: bytes, topic: str) -> dict[str, Any]:
    try:
        message = decode(present)
    except Rejected as error:
        raise _unreadable(topic) from error
    components = message.get("cmps") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(components, dict):
        raise _unreadable(topic)
    if not all(isinstance(component, dict) for component in components.values()):
        raise _unreadable(topic)
    return message


def _unreadable(topic: str) -> CliError:
    message = f"{topic} holds something that no bot has published; `allora-mqtt discovery clear` removes it."
    return CliError(ExitCode.FAILED, "UNREADABLE", message)


def _would_be(client: Client, settings: Settings) -> dict[str, Any]:
    topics = client.topics
    found = client.read_retained(topics.info, topics.config, topics.cryptos, topics.positions)
    for topic in (topics.info, topics.config):
        if topic not in found:
            raise session.no_state(topic)
    info = understand(Info, found[topics.info], topics.info)
    active = understand(ActiveSet, found.get(topics.cryptos, b"{}"), topics.cryptos).root
    held = understand(Positions, found.get(topics.positions, b"[]"), topics.positions).root
    watched = device.watch_list(settings.mqtt.discovery_cryptos, info.crypto_sets)
    subject = Subject(
        topics,
        info.version,
        info.network,
        settings.bot.heartbeat_interval_s,
        understand(ConfigState, found[topics.config], topics.config).root,
        info.strategies,
        device.merged(watched, [*active, *(position.symbol for position in held if position.ours)]),
        settings.mqtt.discovery_active_expiry_s,
    )
    return device.message(subject)
