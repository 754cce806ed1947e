"""amqtt's broker, of which the listeners, the login and the packets are used and the rest is replaced.

Every fault in the room's list sits in how amqtt keeps connections, sessions, subscriptions and retained messages. So a
new connection is taken out of its hands where it arrives.
"""

import asyncio
import hmac
import logging
from collections.abc import Mapping
from typing import Any

from amqtt.broker import Broker
from amqtt.mqtt.connack import NOT_AUTHORIZED, ConnackPacket

from allora_mqtt.transport.embedded_broker.connection import Connection
from allora_mqtt.transport.embedded_broker.frames import Malformed
from allora_mqtt.transport.embedded_broker.handshake import read_connect
from allora_mqtt.transport.embedded_broker.limits import Limits
from allora_mqtt.transport.embedded_broker.router import Router

log = logging.getLogger(__name__)

_END_TIMEOUT_S = 3


class HardenedBroker(Broker):  # type: ignore[misc]  # amqtt ships without types
    """amqtt's broker with sessions that are kept.

    Args:
        config: amqtt's.
        limits: how much it takes upon itself.
        users: the passwords of who may log in; empty for everybody.
    """

    def __init__(self, config: dict[str, Any], limits: Limits, users: Mapping[str, str] | None = None) -> None:
        super().__init__(config)
        self._limits = limits
        self._users = {name.encode(): password.encode() for name, password in (users or {}).items()}
        self._router = Router(limits, asyncio.get_running_loop().time)
        self._open: dict[asyncio.Task[Any] | None, asyncio.StreamWriter] = {}

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        server: asyncio.Server = self._servers["default"].instance
        number: int = server.sockets[0].getsockname()[1]
        return number

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve a connection from its first byte to its last."""
        server = self._servers[listener_name]
        me = asyncio.current_task()
        self._open[me] = writer
        try:
            await server.acquire_connection()
            try:
                await self._serve(reader, writer, listener_name)
            finally:
                server.release_connection()
        except (Malformed, TimeoutError, EOFError, ConnectionError) as error:
            log.debug("A connection without a client ended: %r", error)
        except Exception:
            log.exception("A connection to the embedded broker failed; the others go on")
        finally:
            del self._open[me]
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str) -> None:
        session = await read_connect(reader, writer, self.plugins_manager, self._limits)
        if not await self._authenticate(session, self.listeners_config[listener_name]):
            writer.write(ConnackPacket.build(0, NOT_AUTHORIZED).to_bytes())
            return
        await Connection(reader, writer, session, self._router, self._limits).run()

    async def _authenticate(self, session: Any, config: Any) -> bool:  # noqa: ANN401 - amqtt's
        """Compare in a time that does not depend on how much of a password is right."""
        if not self._users:
            allowed: bool = await super()._authenticate(session, config)
            return allowed
        expected = self._users.get(_bytes(session.username), b"")
        is_same = hmac.compare_digest(expected, _bytes(session.password))
        return is_same and bool(expected)

    async def shutdown(self) -> None:
        """Cut every connection and stop listening."""
        for server in self._servers.values():
            server.instance.close()
        tasks = [task for task in self._open if task is not None]
        for writer in self._open.values():
            writer.transport.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=_END_TIMEOUT_S)
        await super().shutdown()


def _bytes(text: str | bytes | None) -> bytes:
    return text if isinstance(text, bytes) else (text or "").encode()
