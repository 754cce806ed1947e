"""What `doctor` looks at in the broker: what it keeps, how fast it passes on, who may come in, what lies in it."""

import socket
import time
from dataclasses import replace
from typing import Final

from paho.mqtt.enums import MQTTProtocolVersion

from allora_mqtt.checkup.findings import Finding, Verdict
from allora_mqtt.discovery import device
from allora_mqtt.protocol.messages import Availability
from allora_mqtt.protocol.reading import MAX_PAYLOAD_BYTES
from allora_mqtt.settings import Settings
from allora_mqtt_cli.client import Client
from allora_mqtt_cli.connection import Connection
from allora_mqtt_cli.errors import CliError

_SOFTWARE: Final = "$SYS/broker/version"
_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}
_HELD_BACK_MS: Final = 30
"""A broker that collects small packets adds 40 ms (the other side's delayed acknowledgement) to each answer."""
_NEAR_MS: Final = 10
_MAX_NAMED: Final = 3


def broker(client: Client) -> list[Finding]:
    """Judge the broker itself."""
    address = client.connection.broker
    version = "5" if client.connection.version == MQTTProtocolVersion.MQTTv5 else "3.1.1"
    login = f"logged in as {address.username}" if address.username else "no login"
    said = ", ".join([address.address, f"MQTT {version}", login, *(["TLS"] if address.tls else []), *_software(client)])
    if address.embedded:
        remedy = "Commands that must wait for the bot need a broker of their own: docs/brokers.md."
        return [
            Finding("broker", Verdict.ODD, f"{said}, the bot's own: it forgets everything when the bot ends", remedy)
        ]
    return [Finding("broker", Verdict.GOOD, said), *_limits(client), *_doors(client)]


def _software(client: Client) -> list[str]:
    """Return what the broker calls itself, and what it must be told so that commands outlive its restart."""
    try:
        found = client.read_retained(_SOFTWARE).get(_SOFTWARE, b"").decode(errors="replace")[:80]
    except CliError:
        return []
    if found.startswith("mosquitto"):
        return [f"{found} (keeps what waits over a restart only with `persistence true`)"]
    return [found] if found else []


def _limits(client: Client) -> list[Finding]:
    """Judge what the broker says, in MQTT 5, of what it can do."""
    said = client.connection.consented
    findings = []
    if said.get("RetainAvailable") == 0 or said.get("MaximumQoS") == 0:
        lacks = "retained messages" if said.get("RetainAvailable") == 0 else "QoS 1"
        remedy = "Allow it there, or use another broker: docs/brokers.md."
        findings.append(Finding("broker", Verdict.BAD, f"it has no {lacks}, without which commands get lost", remedy))
    smallest = said.get("MaximumPacketSize")
    if smallest is not None and smallest < MAX_PAYLOAD_BYTES:
        remedy = f"Raise it to {MAX_PAYLOAD_BYTES:,} bytes and more (mosquitto: max_packet_size)."
        findings.append(
            Finding("broker", Verdict.ODD, f"it takes no packets above {smallest:,} bytes: `catalog` is larger", remedy)
        )
    return findings


def _doors(client: Client) -> list[Finding]:
    """Judge who may come in, where others could come by."""
    address = client.connection.broker
    if address.host in _LOOPBACK:
        return []
    findings = []
    if address.tls is None:
        what = "passwords and commands travel" if address.username else "commands travel"
        remedy = "Use TLS (MQTT_TLS, mosquitto/README.md), unless the line is your own from end to end."
        findings.append(Finding("broker", Verdict.ODD, f"{what} in the clear to {address.address}", remedy))
    if address.username is None or _takes_anybody(client):
        remedy = "Set `allow_anonymous false` and passwords: mosquitto/README.md."
        said = f"{address.address} takes clients without a login: whoever reaches it commands the bot"
        findings.append(Finding("login", Verdict.BAD if address.username else Verdict.ODD, said, remedy))
    return findings


def _takes_anybody(client: Client) -> bool:
    nobody = replace(client.connection.broker, username=None, password=None)
    try:
        with Connection(nobody, client.connection.timeout_s):
            return True
    except CliError:
        return False


def swiftness(client: Client, on_the_way_ms: float) -> list[Finding]:
    """Judge whether the broker holds small packets back.

    Args:
        client: connected to it.
        on_the_way_ms: the shortest round trip to the bot and back, less what the bot took.
    """
    if on_the_way_ms < _HELD_BACK_MS:
        return []
    address = client.connection.broker
    started = time.monotonic()
    try:
        with socket.create_connection((address.host, address.port), client.connection.timeout_s):
            line_ms = (time.monotonic() - started) * 1000
    except OSError:
        return []
    if line_ms > _NEAR_MS:
        return []
    said = f"answers take {on_the_way_ms:.0f} ms on a line of {line_ms:.1f} ms: the broker collects small packets"
    return [Finding("latency", Verdict.ODD, said, "Set `set_tcp_nodelay true` (mosquitto) or its like.")]


def mailboxes(client: Client, availability: Availability | None) -> list[Finding]:
    """Judge what is retained on command topics: a command that waits, or one that nobody takes away."""
    topics = client.topics
    try:
        found = sorted(client.read_retained_under(*topics.command_filters(), topics.request_filter))
    except CliError:
        # Not every login may read commands.
        return []
    if not found:
        return []
    more = len(found) - _MAX_NAMED
    named = ", ".join(found[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
    if availability is Availability.ONLINE:
        said = f"the bot is there and {named} still holds a retained command"
        remedy = (
            "The broker does not let the bot clear it (access rules), or MQTT_CLEAR_RETAINED_COMMANDS is false. It "
            f"runs no second time. By hand: `mosquitto_pub -r -n -t {found[0]}`."
        )
    else:
        said = f"{named}: a retained command waits there for the bot"
        remedy = f"It runs when the bot starts. If it is not wanted any more: `mosquitto_pub -r -n -t {found[0]}`."
    return [Finding("mailbox", Verdict.ODD, said, remedy)]


def discovery(client: Client, settings: Settings) -> list[Finding]:
    """Judge whether Home Assistant is told of a bot that is online."""
    if not settings.mqtt.discovery:
        return []
    topic = device.config_topic(settings.mqtt.discovery_prefix, client.topics)
    try:
        found = client.read_retained(topic)
    except CliError:
        return []
    if topic in found:
        return [Finding("home assistant", Verdict.GOOD, f"{len(found[topic]):,} bytes at {topic}")]
    said = f"nothing at {topic}, so that Home Assistant does not find the bot"
    remedy = (
        "Let the bot publish there (the broker's access rules), or set MQTT_DISCOVERY_PREFIX as Home Assistant has it; "
        "without Home Assistant set MQTT_DISCOVERY=false."
    )
    return [Finding("home assistant", Verdict.ODD, said, remedy)]
