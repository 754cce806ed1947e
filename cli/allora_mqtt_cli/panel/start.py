"""From the command line to the panel."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from textual import constants

from allora_mqtt.protocol.topics import Topics
from allora_mqtt_cli import session
from allora_mqtt_cli.client import Client
from allora_mqtt_cli.connection import Connection
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.panel.app import Panel
from allora_mqtt_cli.panel.link import Link
from allora_mqtt_cli.panel.state import PanelState


def run(invocation: Invocation) -> None:
    """Show the panel until the user ends it.

    Raises:
        CliError: there is no terminal to draw on, or the broker refuses the login or a topic.
    """
    # Served to a browser there is no terminal, and a driver of its own.
    if constants.DRIVER is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        advice = "The panel needs a terminal; `allora-mqtt status` prints once, and `watch --json` one message a line."
        raise CliError(ExitCode.USAGE, "USAGE", advice)
    error = panel(invocation).run()
    if error is not None:
        raise error


def panel(invocation: Invocation) -> Panel:
    """Return the panel for the configured broker.

    Raises:
        CliError: the configuration cannot be used.
    """
    settings = invocation.load().settings
    broker = session.broker_of(invocation, settings)
    state = PanelState(Topics(settings.mqtt.base_topic), settings.bot.heartbeat_interval_s, invocation.timeout_s)

    @contextmanager
    def connect() -> Iterator[Client]:
        with Connection(broker, invocation.timeout_s) as connection:
            yield Client(connection, state.topics, settings.mqtt.command_keys)

    return Panel(
        state,
        lambda deliver: Link(connect, state.filters, deliver),
        lambda: session.envelope(invocation, program="panel"),
        time.monotonic,
    )
