"""A TCP proxy of our own: it cuts, stalls and trickles lines, and reads along what goes to an HTTP server."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from tests.support.net import free_port

_TRICKLE_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request that went through, noted when its last byte was read from its sender.

    Attributes:
        era: how many marks had been set by then.
        at: `time.monotonic()` of that moment.
    """

    era: int
    at: float
    path: str
    body: Any


class Proxy:
    """Listens on a free port and passes everything on to another, as long as it is told to.

    Args:
        target_port: where the real server listens, on this machine.
        reads_http: whether to note the HTTP requests that go to the server.
    """

    def __init__(self, target_port: int, *, reads_http: bool = False) -> None:
        self.port = free_port()
        self.requests: list[Request] = []
        self.refuses = False
        self.stalls = False
        self.bytes_at_a_time: int | None = None
        self.era = 0
        self.target_port = target_port
        self._reads_http = reads_http
        self._lines: set[_Line] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """Reset every line, and every one that is tried from now on."""
        self.refuses = True
        self._do(self._abort_all)

    def stall(self) -> None:
        """Keep every line open and let nothing through, in neither direction."""
        self.stalls = True

    def forget_lines(self) -> None:
        """Let nothing through any more on the lines there are, and end none; new ones work: a half-open connection."""
        self._do(self._freeze_all)

    def trickle(self, bytes_at_a_time: int) -> None:
        """Let only so many bytes through every ten milliseconds, on each line and in each direction."""
        self.bytes_at_a_time = bytes_at_a_time

    def mend(self) -> None:
        """Let everything through again, what was held back first."""
        self.refuses = self.stalls = False
        self.bytes_at_a_time = None
        self._do(self._flow_all)

    def mark(self) -> int:
        """Begin a new era, after reading everything that the kernel holds by now; returns its number.

        What is noted in the new era was sent after this call began; no clock is compared.
        """
        done = threading.Event()

        def look_once_more(times_left: int) -> None:
            # A callback runs before the sockets found ready in the same turn are read: two more turns read them all.
            if times_left:
                self._loop.call_soon(look_once_more, times_left - 1)
                return
            self.era += 1
            done.set()

        self._loop.call_soon_threadsafe(look_once_more, 3)
        assert done.wait(10)
        return self.era

    def note(self, path: str, body: bytes) -> None:
        self.requests.append(Request(self.era, time.monotonic(), path, json.loads(body) if body else None))

    def forget(self, line: "_Line") -> None:
        self._lines.discard(line)

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(self._accept, "127.0.0.1", self.port)

    async def _end(self) -> None:
        self.refuses = True
        self._abort_all()
        if self._server is not None:
            self._server.close()
        # The sockets are closed in the loop's next turns.
        await asyncio.sleep(0.05)

    def _accept(self) -> asyncio.Protocol:
        line = _Line(self, self._loop, _HttpRequests(self.note) if self._reads_http else None)
        self._lines.add(line)
        return line.near

    def _abort_all(self) -> None:
        for line in list(self._lines):
            line.abort()

    def _freeze_all(self) -> None:
        for line in list(self._lines):
            line.is_frozen = True

    def _flow_all(self) -> None:
        for line in list(self._lines):
            line.flow()

    def _do(self, what: Callable[[], object]) -> None:
        done = threading.Event()

        def run() -> None:
            what()
            done.set()

        self._loop.call_soon_threadsafe(run)
        assert done.wait(10)


class _End(asyncio.Protocol):
    """One end of a line; keeps what came in until the other end takes it."""

    def __init__(self, line: "_Line") -> None:
        self.line = line
        self.transport: asyncio.Transport | None = None
        self.waiting = bytearray()
        self.is_over = False
        self.pouring = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.line.connected(self)

    def data_received(self, data: bytes) -> None:
        self.line.received(self, data)

    def connection_lost(self, _error: Exception | None) -> None:
        self.is_over = True
        self.line.flow()


class _Line:
    """A connection and the one behind it."""

    def __init__(self, proxy: Proxy, loop: asyncio.AbstractEventLoop, reader: "_HttpRequests | None") -> None:
        self.near = _End(self)
        self.far = _End(self)
        self.is_frozen = False
        self._proxy = proxy
        self._loop = loop
        self._reader = reader
        self._opening: asyncio.Task[None] | None = None

    def connected(self, end: _End) -> None:
        if self._proxy.refuses:
            self.abort()
        elif end is self.near:
            self._opening = self._loop.create_task(self._open())
        else:
            self.flow()

    def received(self, end: _End, data: bytes) -> None:
        if end is self.near and self._reader is not None:
            self._reader.feed(data)
        end.waiting += data
        self.flow()

    def flow(self) -> None:
        """Pass on what may be passed on."""
        self._pour(self.near, self.far)
        self._pour(self.far, self.near)

    def abort(self) -> None:
        for end in (self.near, self.far):
            if end.transport is not None:
                end.transport.abort()
        self._proxy.forget(self)

    async def _open(self) -> None:
        try:
            await self._loop.create_connection(lambda: self.far, "127.0.0.1", self._proxy.target_port)
        except OSError:
            self.abort()

    def _pour(self, source: _End, sink: _End) -> None:
        if sink.transport is None or self._proxy.stalls or self.is_frozen or source.pouring:
            return
        size = self._proxy.bytes_at_a_time or len(source.waiting)
        if source.waiting:
            sink.transport.write(bytes(source.waiting[:size]))
            del source.waiting[:size]
        if source.waiting:
            source.pouring = True
            self._loop.call_later(_TRICKLE_PAUSE_S, self._pour_on, source, sink)
        elif source.is_over and not sink.is_over:
            sink.transport.close()
            self._proxy.forget(self)

    def _pour_on(self, source: _End, sink: _End) -> None:
        source.pouring = False
        self._pour(source, sink)


class _HttpRequests:
    """Cuts the bytes of a client that sends one request after another into requests."""

    def __init__(self, note: Callable[[str, bytes], None]) -> None:
        self._note = note
        self._bytes = bytearray()

    def feed(self, data: bytes) -> None:
        self._bytes += data
        while (head_size := self._bytes.find(b"\r\n\r\n")) >= 0:
            lines = bytes(self._bytes[:head_size]).decode("latin-1").split("\r\n")
            headers = {name.strip().lower(): value for name, _, value in (line.partition(":") for line in lines[1:])}
            end = head_size + 4 + int(headers.get("content-length", 0))
            if len(self._bytes) < end:
                return
            self._note(lines[0].split(" ")[1], bytes(self._bytes[head_size + 4 : end]))
            del self._bytes[:end]
