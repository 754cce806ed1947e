"""`watch`: following what the bot publishes until somebody presses Ctrl-C."""

import json
import sys
import time
from typing import Any, Final

from pydantic import JsonValue
from rich.live import Live

from allora_mqtt.protocol.topics import Topics
from allora_mqtt_cli import session
from allora_mqtt_cli.client import Client
from allora_mqtt_cli.connection import Message
from allora_mqtt_cli.dashboard import Dashboard
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation

_FRAME_S: Final = 0.5
_RECONNECT_S: Final = 2.0


def watch(invocation: Invocation) -> None:
    """Show the bot live; with `--json`, write each message of its state as a line.

    Raises:
        CliError: there is no terminal to draw on, or the broker cannot be reached at the start.
    """
    loaded = invocation.load()
    topics = Topics(loaded.settings.mqtt.base_topic)
    if invocation.output.as_json:
        _write_messages(invocation, topics)
        return
    if not sys.stdout.isatty():
        advice = "watch draws on a terminal; `allora-mqtt status` prints once, and `watch --json` one message a line."
        raise CliError(ExitCode.USAGE, "USAGE", advice)
    dashboard = Dashboard(topics, loaded.settings.bot.heartbeat_interval_s)
    console = invocation.output.console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                with session.open_client(invocation, loaded) as client:
                    _draw(client, dashboard, live)
            except CliError as error:
                if error.exit_code is not ExitCode.NO_ANSWER or not dashboard.has_content:
                    raise
                dashboard.problem = error.message
                live.update(dashboard.render(time.monotonic()), refresh=True)
                time.sleep(_RECONNECT_S)


def _draw(client: Client, dashboard: Dashboard, live: Live) -> None:
    """Draw whenever something has come, and now and then when nothing has, until the connection breaks."""
    dashboard.problem = None
    for message in client.tail(*dashboard.filters, beat_s=_FRAME_S):
        if message is not None:
            dashboard.take(message)
        if not client.connection.inbox:
            live.update(dashboard.render(time.monotonic()), refresh=True)


def _write_messages(invocation: Invocation, topics: Topics) -> None:
    with session.open_client(invocation) as client:
        for message in client.tail(*Dashboard(topics, 1).filters):
            if message is not None:
                invocation.output.document(as_json(message))


def as_json(message: Message) -> dict[str, Any]:
    """Return a message as `--json` writes it."""
    return {"topic": message.topic, "retained": message.retained, "payload": content_of(message.payload)}


def content_of(payload: bytes) -> JsonValue:
    """Read JSON, or else text."""
    try:
        content: JsonValue = json.loads(payload)
    except ValueError:
        return payload.decode(errors="replace")
    return content
