"""The log on MQTT: bounded, without secrets of exceptions, and never about itself."""

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allora_mqtt.control.log_topics import PER_MINUTE, Allowance, LogTopics
from allora_mqtt.control.outbox import Outbox
from allora_mqtt.protocol.messages import LogLine
from allora_mqtt.protocol.topics import LogLevel, Topics
from tests.integration.control.bench import HandWire

log = logging.getLogger("allora_mqtt.tests")


class Setting:
    """A handler with a wire and a clock that are moved by hand."""

    def __init__(self, level: LogLevel) -> None:
        self.wire = HandWire()
        self.now = 0.0
        outbox = Outbox()
        outbox.attach(self.wire)
        self.handler = LogTopics(outbox, Topics("bot"), level, lambda: self.wire.is_up, lambda: self.now)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(message.payload) for message in self.wire.sent]


@pytest.fixture
async def setting() -> Setting:
    return Setting(LogLevel.WARNING)


@pytest.fixture(autouse=True)
def heard(setting: Setting) -> Iterator[None]:
    log.addHandler(setting.handler)
    before = log.level
    log.setLevel(logging.DEBUG)
    yield
    log.setLevel(before)
    log.removeHandler(setting.handler)


async def test_a_warning_goes_to_its_level_with_its_ids(setting: Setting) -> None:
    log.warning("No entry in %s", "BTC", extra={"signal": "s1", "order": None, "secret": "x"})
    log.error("Worse")
    log.info("not so bad")
    assert [message.topic for message in setting.wire.sent] == ["bot/log/warning", "bot/log/error"]
    assert not any(message.retain for message in setting.wire.sent)
    line = LogLine.model_validate(setting.lines()[0])
    assert (line.message, line.logger, line.context) == ("No entry in BTC", "allora_mqtt.tests", {"signal": "s1"})


async def test_what_an_exception_says_stays_at_home(setting: Setting) -> None:
    try:
        int("a key: 0x6161")
    except ValueError:
        log.exception("It failed")
    (line,) = setting.lines()
    assert line["message"].startswith("It failed (ValueError; ")
    assert "6161" not in json.dumps(setting.lines())


@pytest.mark.parametrize(
    "name", ["allora_mqtt.transport.mqtt", "allora_mqtt.transport.embedded_broker.router", "paho.mqtt", "amqtt"]
)
async def test_the_connection_is_not_told_of_over_the_connection(setting: Setting, name: str) -> None:
    other = logging.getLogger(name)
    other.addHandler(setting.handler)
    other.error("The broker refused a message")
    other.removeHandler(setting.handler)
    assert setting.wire.sent == []


async def test_a_line_that_is_written_while_another_is_sent_ends(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = setting.wire.publish

    def complaining(*args: Any, **kwargs: Any) -> asyncio.Future[None]:
        log.warning("it took long")
        return publish(*args, **kwargs)

    monkeypatch.setattr(setting.wire, "publish", complaining)
    log.warning("first")
    # Even a line for each line that is sent comes to its end with the minute's allowance.
    assert len(setting.wire.sent) <= PER_MINUTE + 1


async def test_a_flood_is_cut_and_counted(setting: Setting) -> None:
    for number in range(PER_MINUTE + 25):
        log.warning("flood %d", number)
    assert len(setting.wire.sent) == PER_MINUTE
    task = asyncio.create_task(setting.handler.run())
    setting.now = 61
    await asyncio.sleep(1.2)
    task.cancel()
    assert setting.lines()[-1]["message"].startswith("25 lines of the log were left out here")
    log.warning("after it")
    assert setting.lines()[-1]["message"] == "after it"


async def test_while_the_broker_is_away_the_newest_wait(setting: Setting) -> None:
    setting.wire.is_up = False
    for minute in range(4):
        setting.now = minute * 60
        for number in range(PER_MINUTE):
            log.warning("%d", minute * PER_MINUTE + number)
    setting.wire.is_up = True
    setting.now = 300
    log.warning("back")
    assert [line["message"] for line in setting.lines()] == [*(str(n) for n in range(141, 240)), "back"]


async def test_threads_may_write_too(setting: Setting) -> None:
    thread = threading.Thread(target=log.warning, args=("from the disk's thread",))
    thread.start()
    await asyncio.to_thread(thread.join)
    await asyncio.sleep(0)
    assert [line["message"] for line in setting.lines()] == ["from the disk's thread"]


async def test_a_long_line_is_cut(setting: Setting) -> None:
    log.warning("x" * 5000, extra={"order": "y" * 5000})
    (line,) = setting.lines()
    assert len(line["message"]) == 1000
    assert len(line["context"]["order"]) == 128


@given(st.lists(st.floats(0, 200), max_size=400).map(sorted), st.integers(1, 5))
def test_no_minute_has_more_than_its_share_twice_over(moments: list[float], per_minute: int) -> None:
    allowance = Allowance(per_minute)
    admitted = [at for at in moments if allowance.admits(at)]
    for start in admitted:
        assert sum(start <= at < start + 60 for at in admitted) <= 2 * per_minute
    left_out = allowance.left_out(10_000)
    assert left_out == (len(moments) - len(admitted) if moments else 0)
    assert allowance.left_out(20_000) == 0
