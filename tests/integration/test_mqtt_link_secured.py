"""The bot's connection over TLS and websockets, to a server that packs more into one record than the selector sees."""

import asyncio
import base64
import hashlib
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.integration.test_mqtt_link import Notes, link, see
from tests.support.mosquitto import MOSQUITTO

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt-get install mosquitto)")

CONNACK, SUBACK = b"\x20\x02\0\0", b"\x90\x04\0\1\1\1"
FIRST, SECOND = b"\x32\x0c\0\7x/a/set\0\1A", b"\x32\x0c\0\7x/b/set\0\2B"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run([ROOT / "mosquitto" / "access", "init", "-d", folder, "x"], check=True, capture_output=True)
    return folder / "certs"


class Server:
    """A broker that says what it has to say in as few writes as can be, and then keeps silent."""

    def __init__(self, *, websockets: bool, in_one_frame: bool = False) -> None:
        self._websockets = websockets
        self._in_one_frame = in_one_frame

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._websockets:
            await self._shake_hands(reader, writer)
        await reader.read(4096)
        writer.write(self._framed(CONNACK))
        await reader.read(4096)
        together = SUBACK + FIRST + SECOND
        writer.write(
            self._framed(together) if self._in_one_frame else b"".join(map(self._framed, (SUBACK, FIRST, SECOND)))
        )
        await reader.read()
        writer.close()

    async def _shake_hands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(
            line.split(": ")[1] for line in request.split("\r\n") if line.lower().startswith("sec-websocket-key")
        )
        magic = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode(), usedforsecurity=False).digest()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: " + base64.b64encode(magic) + b"\r\n\r\n"
        )

    def _framed(self, content: bytes) -> bytes:
        return bytes([0x82, len(content)]) + content if self._websockets else content


@pytest.mark.parametrize("in_one_frame", [False, True], ids=["frame by frame", "in one frame"])
@pytest.mark.parametrize("transport", ["tcp", "websockets"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_packets_that_come_together_are_taken_together(
    certificates: Path,
    tls: bool,  # noqa: FBT001 - a parameter
    transport: str,
    in_one_frame: bool,  # noqa: FBT001 - a parameter
) -> None:
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    broker = Server(websockets=transport == "websockets", in_one_frame=in_one_frame)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0, ssl=context)
    notes = Notes()
    port = server.sockets[0].getsockname()[1]
    settings: dict[str, Any] = {"tls": tls, "tls_ca": certificates / "ca.crt" if tls else None, "transport": transport}
    async with server, link(port, notes, "3.1.1", **settings):
        await see(lambda: len(notes.packets) == 2)
        assert [packet.payload for packet in notes.packets] == [b"A", b"B"]
