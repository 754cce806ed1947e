"""The broker that the bot brings along: amqtt, in the bot's process, on loopback.

It is there so that one command is enough to try the bot. Its memory ends with the bot's process; whoever wants commands
to wait while the bot is away runs mosquitto and sets `MQTT_HOST`.
"""

import asyncio
import logging
import socket
from typing import Any

from amqtt.broker import Broker
from amqtt.errors import AMQTTError


class PortTaken(Exception):  # noqa: N818 - it names what happened
    """Something else listens where the embedded broker should."""


class EmbeddedBroker:
    """An MQTT 3.1.1 broker for clients on this machine.

    Args:
        host: address to listen on.
        port: TCP port; 0 takes a free one.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._broker: Any = None

    async def start(self) -> None:
        """Listen.

        Raises:
            PortTaken: with a sentence that names the port and the setting.
        """
        # amqtt stays up without a listener when the port is taken: find out first.
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                raise PortTaken(
                    f"The embedded MQTT broker cannot listen on {self.host}:{self.port} ({error.strerror}). Another "
                    f"broker or another bot is probably running: set EMBEDDED_BROKER_BIND={self.host}:{self.port + 1}, "
                    f"or use the broker that is there with MQTT_HOST={self.host}."
                ) from error
            self.port = probe.getsockname()[1]
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{self.host}:{self.port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        try:
            await self._broker.start()
        except AMQTTError as error:
            raise PortTaken(f"The embedded MQTT broker did not start: {error}.") from error

    async def stop(self) -> None:
        """Disconnect everybody and stop listening."""
        if self._broker is not None:
            async with asyncio.timeout(5):
                await self._broker.shutdown()
