"""The broker as the bot starts it."""

import asyncio
import logging
import os
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final

from amqtt.errors import AMQTTError, BrokerError

from allora_mqtt import tcp
from allora_mqtt.transport.embedded_broker.limits import Limits
from allora_mqtt.transport.embedded_broker.listener import HardenedBroker
from allora_mqtt.transport.embedded_broker.websocket import WebsocketDoor

TRIED_AMQTT: Final = "0.12.1"
"""The version whose internals `HardenedBroker` is written against."""
_STOP_TIMEOUT_S: Final = 8


class BrokerUnusable(Exception):  # noqa: N818 - it names what happened
    """The embedded broker cannot be started; the message says why and what to do."""


class PortTaken(BrokerUnusable):
    """Something else listens where the embedded broker should."""


class UntriedAmqtt(BrokerUnusable):
    """Another version of amqtt is installed than the one that was tried."""


class EmbeddedBroker:
    """An MQTT 3.1.1 broker, for clients on this machine or for users with passwords.

    Args:
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        limits: how much it takes upon itself.
        users: the passwords of who may log in; without any everybody may.
        websockets: where it takes MQTT over websockets too.
    """

    def __init__(
        self,
        host: str,
        port: int,
        limits: Limits | None = None,
        users: Mapping[str, str] | None = None,
        websockets: tuple[str, int] | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self._limits = limits or Limits()
        self._users = users or {}
        self._websockets = websockets
        self._broker: Any = None
        self._door: WebsocketDoor | None = None

    @property
    def reached_at(self) -> str:
        """The address to connect to from this machine."""
        return tcp.reachable(self.host)

    async def start(self) -> None:
        """Listen.

        Raises:
            PortTaken: with a sentence that names the port and the setting.
            UntriedAmqtt: with a sentence that names both versions.
            BrokerUnusable: for any other reason.
        """
        _check_version(metadata.version("amqtt"))
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        broker = HardenedBroker(
            {
                "listeners": {
                    "default": {
                        "type": "tcp",
                        "bind": f"{self.host}:{self.port}",
                        "max_connections": self._limits.connections,
                    }
                },
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            },
            self._limits,
            self._users,
        )
        try:
            await broker.start()
        except (AMQTTError, BrokerError) as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno is None:
                raise BrokerUnusable(f"The embedded MQTT broker did not start: {error}.") from error
            raise PortTaken(
                f"The embedded MQTT broker cannot listen on {self.host}:{self.port} ({os.strerror(cause.errno)}). "
                f"Another broker or another bot is probably running: set EMBEDDED_BROKER_BIND={self.host}:"
                f"{self.port + 1}, or use the broker that is there with MQTT_HOST={self.host}."
            ) from error
        self._broker = broker
        self.port = broker.port
        if self._websockets is not None:
            await self._open_door(*self._websockets)

    async def _open_door(self, host: str, port: int) -> None:
        self._door = WebsocketDoor(host, port, (self.reached_at, self.port), self._limits)
        try:
            await self._door.start()
        except OSError as error:
            await self.stop()
            reason = error.strerror or error
            raise PortTaken(
                f"The embedded MQTT broker cannot take websockets on {host}:{port} ({reason}). "
                f"Set EMBEDDED_BROKER_WS_BIND={host}:{port + 1}, or another free port."
            ) from error

    async def stop(self) -> None:
        """Disconnect everybody and stop listening."""
        if self._door is not None:
            await self._door.stop()
        if self._broker is not None:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._broker.shutdown()


def _check_version(installed: str) -> None:
    if installed != TRIED_AMQTT:
        raise UntriedAmqtt(
            f"amqtt {installed} is installed, and the embedded MQTT broker was tried with {TRIED_AMQTT} only: it may "
            f"lose messages. Run pip install amqtt=={TRIED_AMQTT}, or use another broker with MQTT_HOST."
        )
