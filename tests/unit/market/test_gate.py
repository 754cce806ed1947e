import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest
import requests

from allora_mqtt.market.gate import GateClosed, GatedBody, NotInCharge, SendGate
from allora_mqtt.protocol.errors import ErrorCode


@dataclass
class RawServer:
    """Accepts connections, keeps what arrives after the headers, and answers complete requests."""

    listener: socket.socket
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    after_head: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/exchange"

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection:
            while self.one_request(connection):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    def one_request(self, connection: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = connection.recv(65536)
            if not chunk:
                return False
            data += chunk
        head, _, body = data.partition(b"\r\n\r\n")
        self.heads.append(head)
        self.after_head.set()
        length = next(int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-len"))
        while len(body) < length:
            chunk = connection.recv(65536)
            if not chunk:
                break
            body += chunk
        self.bodies.append(body)
        return len(body) == length


@pytest.fixture
def server() -> Iterator[RawServer]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = RawServer(listener)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(2)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.fixture
def gate() -> SendGate:
    gate = SendGate()
    gate.open()
    return gate


def post(session: requests.Session, server: RawServer, body: GatedBody) -> int:
    with body:
        return session.post(server.url, data=body, timeout=5).status_code


def test_an_open_gate_lets_the_whole_body_through(gate: SendGate, server: RawServer, session: requests.Session) -> None:
    payload = b'{"a":"' + b"x" * 50_000 + b'"}'
    assert post(session, server, gate.body(payload)) == 200
    assert server.bodies == [payload]
    assert b"Content-Length: 50008" in server.heads[0]
    assert b"chunked" not in server.heads[0]
    assert gate.close(0)


def test_a_gate_starts_closed() -> None:
    assert not SendGate().is_open


def test_no_body_arrives_through_a_closed_gate(gate: SendGate, server: RawServer, session: requests.Session) -> None:
    assert gate.close(0)
    with pytest.raises(GateClosed) as caught:
        post(session, server, gate.body(b"secret order"))
    assert caught.value.code == ErrorCode.NOT_ALLOWED
    assert server.after_head.wait(2)
    wait_until(lambda: server.bodies == [b""])
    assert b"Content-Length: 12" in server.heads[0]


@pytest.mark.parametrize("is_gated", [True, False])
def test_nothing_at_all_leaves_a_bot_that_is_not_in_charge(
    gate: SendGate, server: RawServer, session: requests.Session, *, is_gated: bool
) -> None:
    answers = iter([True, False])
    through = gate if is_gated else None
    assert post(session, server, GatedBody(b"one", through, lambda: next(answers))) == 200
    with pytest.raises(NotInCharge, match="another bot may have taken over"):
        post(session, server, GatedBody(b"two", through, lambda: next(answers)))
    wait_until(lambda: server.bodies == [b"one", b""])
    assert gate.close(0), "the gate has its place back"


def test_the_session_works_after_a_stopped_body(gate: SendGate, server: RawServer, session: requests.Session) -> None:
    for _ in range(20):
        assert post(session, server, gate.body(b"one")) == 200
        gate.close(0)
        with pytest.raises(GateClosed):
            post(session, server, gate.body(b"two"))
        assert post(session, server, GatedBody(b"ungated")) == 200
        gate.open()
    assert gate.close(0)
    wait_until(lambda: len(server.bodies) == 60)
    assert sorted(server.bodies) == [b""] * 20 + [b"one"] * 20 + [b"ungated"] * 20


def test_nothing_leaves_after_close_has_returned(gate: SendGate, server: RawServer) -> None:
    """Many threads send without a pause while the gate is closed again and again."""
    stop = threading.Event()
    bodies: list[GatedBody] = []

    def keep_sending() -> None:
        with requests.Session() as session:
            while not stop.is_set():
                body = gate.body(b"order")
                bodies.append(body)
                try:
                    post(session, server, body)
                except GateClosed:
                    time.sleep(0.0005)

    def left() -> int:
        return sum(body.left for body in list(bodies))

    def arrived() -> int:
        return server.bodies.count(b"order")

    def has_grown(count: Callable[[], int], to: int) -> bool:
        return count() >= to

    threads = [threading.Thread(target=keep_sending) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            before = left()
            gate.open()
            wait_until(partial(has_grown, left, before + 3))
            assert gate.close(1)
            at_close = left()
            wait_until(partial(has_grown, arrived, at_close))
            time.sleep(0.01)
            assert left() == at_close
            assert arrived() == at_close
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_failed_connection_leaves_no_place_taken(gate: SendGate, session: requests.Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    body = gate.body(b"order")
    with pytest.raises(requests.ConnectionError), body:
        session.post(f"http://127.0.0.1:{port}/exchange", data=body, timeout=1)
    assert not body.left
    assert gate.close(0)


def test_an_error_while_sending_leaves_no_place_taken(gate: SendGate) -> None:
    def fail_while_sending(body: GatedBody) -> None:
        with body:
            assert body.read() == b"order"
            assert not gate.close(0)
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        fail_while_sending(gate.body(b"order"))
    assert gate.close(0)


def test_close_waits_for_a_body_that_is_just_leaving(gate: SendGate) -> None:
    body = gate.body(b"order")
    body.read()
    assert not gate.close(0.02)
    assert not gate.is_open
    finish = threading.Timer(0.03, body.read)
    finish.start()
    assert gate.close(2)
    finish.join()


def test_each_place_is_given_back_once(gate: SendGate) -> None:
    first, second = gate.body(b"1"), gate.body(b"2")
    first.read()
    second.read()
    with first:
        assert first.read() == b""
        assert first.read() == b""
    assert not gate.close(0)
    assert second.read() == b""
    assert gate.close(0)


def test_an_abandoned_body_never_leaves(gate: SendGate) -> None:
    body = gate.body(b"order")
    assert body.abandon()
    with pytest.raises(GateClosed):
        body.read()
    late = gate.body(b"order")
    late.read()
    assert not late.abandon()
    assert late.left


async def test_aclose_does_not_hold_up_the_loop(gate: SendGate) -> None:
    body = gate.body(b"order")
    body.read()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick())
    assert not await gate.aclose(0.05)
    assert ticks > 5
    ticking.cancel()
    body.read()
    assert await gate.aclose(1)


def wait_until(condition: Callable[[], bool], timeout_s: float = 5) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
