"""MQTT over websockets: each one is a line of its own to the broker's TCP port, which does everything else."""

import asyncio
from contextlib import suppress
from typing import Final

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from allora_mqtt import tcp
from allora_mqtt.transport.embedded_broker.limits import Limits

_CHUNK_BYTES: Final = 64 * 1024


class WebsocketDoor:
    """Lets browsers in.

    Args:
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        broker: where the broker listens.
        limits: of the broker; no message here may be larger than a packet there.
    """

    def __init__(self, host: str, port: int, broker: tuple[str, int], limits: Limits) -> None:
        self._host = host
        self._port = port
        self._broker = broker
        self._limits = limits
        self._server: Server | None = None

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        if self._server is None:
            return self._port
        number: int = next(iter(self._server.sockets)).getsockname()[1]
        return number

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: something else listens there.
        """
        self._server = await serve(
            self._bridge,
            self._host,
            self._port,
            subprotocols=[Subprotocol("mqtt")],
            max_size=self._limits.packet_bytes,
            compression=None,
            # MQTT's own keepalive says who is still there.
            ping_interval=None,
        )

    async def stop(self) -> None:
        """Close every websocket and stop listening."""
        if self._server is not None:
            self._server.close(close_connections=True)
            await self._server.wait_closed()

    async def _bridge(self, browser: ServerConnection) -> None:
        try:
            reader, writer = await asyncio.open_connection(*self._broker)
        except OSError:
            await browser.close(CloseCode.TRY_AGAIN_LATER, "the broker is not there")
            return
        tcp.send_at_once(writer.get_extra_info("socket"))
        ways = [asyncio.create_task(_in(browser, writer)), asyncio.create_task(_out(reader, browser))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.transport.abort()


async def _in(browser: ServerConnection, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionClosed, ConnectionError):
        async for message in browser:
            if isinstance(message, str):
                await browser.close(CloseCode.UNSUPPORTED_DATA, "MQTT is binary")
                return
            writer.write(message)
            await writer.drain()


async def _out(reader: asyncio.StreamReader, browser: ServerConnection) -> None:
    with suppress(ConnectionClosed, ConnectionError):
        while chunk := await reader.read(_CHUNK_BYTES):
            await browser.send(chunk)
