"""No bytes make the embedded broker's reader do anything but return a packet or say `Malformed`."""

import asyncio

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allora_mqtt.transport.embedded_broker.frames import Malformed, parse, read_frame

PUBLISH = b"\x32\x07\0\1t\0\1ok"


async def read_all(raw: bytes) -> tuple[list[bytes], bool]:
    """Return the bodies of all packets, and whether the end was malformed."""
    reader = asyncio.StreamReader()
    reader.feed_data(raw)
    reader.feed_eof()
    bodies = []
    try:
        while True:
            frame = await read_frame(reader, 1000)
            await parse(frame)
            bodies.append(frame.body)
    except Malformed:
        return bodies, True
    except EOFError:
        return bodies, False


@settings(deadline=None)  # each example starts an event loop
@given(st.binary(max_size=60))
@example(b"\x30\x02\xff\xff")
@example(b"\x82\x05\0\1\xff\xfft")
@example(b"\xa2\x03\0\1\0")
@example(b"\x40\x01\0")
def test_any_bytes(raw: bytes) -> None:
    asyncio.run(read_all(raw))


@settings(deadline=None)
@given(st.sampled_from([0x30, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xC0, 0xE0]), st.binary(max_size=30))
def test_a_packet_that_lies_ends_the_reading_and_never_reaches_into_the_next(first: int, body: bytes) -> None:
    bodies, malformed = asyncio.run(read_all(bytes([first, len(body)]) + body + PUBLISH))
    assert (bodies, malformed) in [([], True), ([body, PUBLISH[2:]], False)]


def test_a_good_packet_is_read() -> None:
    assert asyncio.run(read_all(PUBLISH * 3)) == ([PUBLISH[2:]] * 3, False)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x36\x06\0\1t\0\1x",  # QoS 3
        b"\x38\x04\0\1tx",  # DUP with QoS 0
        b"\x32\x06\0\1t\0\0x",  # packet identifier 0
        b"\x30\x03\0\1\xff",  # not UTF-8
        b"\x30\x03\0\1\0",  # NUL
        b"\x30\x03\0\1#",
        b"\x80\x06\0\1\0\1t\1",  # SUBSCRIBE without its flag
        b"\x82\x06\0\1\0\1t\3",  # QoS 3
        b"\x82\x02\0\1",
        b"\xa2\x02\0\1",
        b"\x82\x05\0\1\0\1t",  # without a QoS
        b"\x42\x02\0\1",
        b"\x60\x02\0\1",
        b"\x40\x03\0\1x",
        b"\xc0\x01x",
        b"\x10\x00",  # a second CONNECT
        b"\x20\x02\0\0",
        b"\xd0\x00",
        b"\x00\x00",
        b"\xf0\x00",
    ],
)
def test_what_the_standard_forbids(raw: bytes) -> None:
    assert asyncio.run(read_all(raw)) == ([], True)
