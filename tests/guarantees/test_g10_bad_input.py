"""G10: bad input harms nothing. Never a crash, never a change of state, bounded memory, and an answer with a code.

`TORTURE=long` throws more than 100,000 inputs in all; `TORTURE_SEED` repeats a run against the real bot; the counts go
to the folder that `TORTURE_REPORT_DIR` names.
"""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import paho.mqtt.client as paho
import pytest
from hypothesis import HealthCheck, given, settings
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from allora_mqtt.protocol.commands import History, Performance, Ping, SearchCatalog, Trades
from allora_mqtt.protocol.messages import Response, Status
from allora_mqtt.protocol.reading import read
from allora_mqtt.protocol.topics import Topics
from tests.fuzz import garbage
from tests.fuzz.answers import Answers
from tests.fuzz.commands import Commands, Message, Strangers, strict
from tests.fuzz.report import Counts, rss_mb
from tests.guarantees.scale import IS_LONG, SEED
from tests.support.client import Watcher
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.program import Bot

MESSAGES, ANSWERS, THROWN = (25_000, 60_000, 10_000) if IS_LONG else (250, 400, 1200)
PATIENCE_S: Final = 1800 if IS_LONG else 60
RSS_GROWTH_MB: Final = 48
"""From the first half to the second: a flood may fill the bounded queues, and a second one must not fill more."""
TOPICS: Final = Topics("bot")
HARMLESS: Final = (Ping, History, Trades, Performance, SearchCatalog)

examples = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


@pytest.fixture(scope="module")
def counts() -> Iterator[Counts]:
    """What was thrown by all tests of this promise together."""
    made = Counts(seed=SEED)
    yield made
    made.write("g10-hypothesis and the real bot.json")


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """A loop that outlives the many calls of a test by Hypothesis."""
    with asyncio.Runner() as made:
        yield made


@contextmanager
def _counted(counts: Counts, runner: asyncio.Runner, target: Commands | Answers) -> Iterator[None]:
    """Count a failure, and close what was thrown at in any case."""
    try:
        yield
    except BaseException:
        counts.crashes += 1
        raise
    finally:
        runner.run(target.close())


@pytest.mark.timeout(3600)
def test_no_message_does_harm(runner: asyncio.Runner, counts: Counts) -> None:
    target = Commands()

    @settings(examples, max_examples=MESSAGES)
    @given(message=garbage.messages)
    def throw(message: Message) -> None:
        counts.inputs += 1
        runner.run(target.hold(message))

    with _counted(counts, runner, target):
        throw()


@pytest.mark.timeout(3600)
def test_no_message_of_who_cannot_sign_changes_anything(runner: asyncio.Runner, counts: Counts) -> None:
    target = Strangers()

    @settings(examples, max_examples=MESSAGES)
    @given(message=garbage.messages)
    def throw(message: Message) -> None:
        counts.inputs += 1
        runner.run(target.hold(message))

    with _counted(counts, runner, target):
        throw()


@pytest.mark.timeout(3600)
def test_no_answer_of_the_exchange_or_of_allora_does_harm(runner: asyncio.Runner, counts: Counts) -> None:
    target = Answers()

    @settings(examples, max_examples=ANSWERS)
    @given(answer=garbage.answers)
    def throw(answer: bytes) -> None:
        counts.inputs += 1
        runner.run(target.must_hold(answer))

    with _counted(counts, runner, target):
        throw()


class Thrower:
    """A client that throws messages with all that MQTT 5 says of them, some hundred on the way at once."""

    def __init__(self, port: int, protocol: MQTTProtocolVersion) -> None:
        self._is_v5 = protocol is MQTTProtocolVersion.MQTTv5
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="thrower", protocol=protocol)
        self._client.max_inflight_messages_set(200)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._last: paho.MQTTMessageInfo | None = None

    def throw(self, message: Message) -> None:
        properties = None
        if self._is_v5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it without annotations
            if message.expires_in_s is not None:
                properties.MessageExpiryInterval = message.expires_in_s
            if message.response_topic:
                properties.ResponseTopic = message.response_topic
            if message.correlation is not None:
                properties.CorrelationData = message.correlation
            if message.properties:
                properties.UserProperty = list(message.properties)
        topic = f"bot/{message.topic}"
        self._last = self._client.publish(topic, message.payload, message.qos, message.retained, properties)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def deliverable(message: Message) -> bool:
    """Tell whether a broker takes it: one that does not cuts the sender off, and the bot never sees it."""
    response_topic = message.response_topic or ""
    texts = (message.topic, response_topic, *(text for pair in message.properties for text in pair))
    return all(text.isprintable() for text in texts) and not set("+#") & set(message.topic + response_topic)


def is_harmless(message: Message) -> bool:
    """Tell whether it must leave everything as it is: no command, or one that only asks."""
    if message.topic == "heartbeat" and message.payload[:1] == b"{":
        return False  # a bot that claims to be another is believed
    address = TOPICS.address(f"bot/{message.topic}")
    if address is None:
        # What others publish where the bot does is not for the bot, and only confuses who watches.
        return not message.retained and message.topic in {
            "heartbeat",
            "mode/set/",
            "request/ping/x",
            "cryptos/BTC/x/set",
        }
    body = read(address, message.payload).body
    return body is None or isinstance(body, HARMLESS)


def wants_answer(message: Message) -> bool:
    address = TOPICS.address(f"bot/{message.topic}")
    if address is None:
        return False
    return bool(message.payload) or not (address.is_desired_state or message.retained)


def thrown(chance: random.Random, count: int) -> list[Message]:
    found: list[Message] = []
    retained: set[str] = set()
    while len(found) < count:
        made = garbage.message(chance)
        # One that expires before the broker can hand it on never comes; that is the broker's promise and not ours.
        if made.expires_in_s in {0, 1} or not deliverable(made) or not is_harmless(made):
            continue
        # While a retained action is being cleared, an empty one cannot be told from the broker's word that it is.
        if not made.payload and made.topic in retained:
            continue
        found.append(made)
        retained |= {made.topic} if made.retained else set()
    return found


@pytest.mark.mosquitto
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_the_real_bot_takes_it_all(
    mosquitto: Mosquitto, tmp_path: Path, program: Path, counts: Counts, version: str
) -> None:
    protocol = MQTTProtocolVersion.MQTTv5 if version == "5" else MQTTProtocolVersion.MQTTv311
    where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port), "MQTT_PROTOCOL": version}
    bot = Bot(program, tmp_path / "bot", where)
    bot.start()
    try:
        with Watcher(mosquitto.port) as watcher:
            watcher.wait("availability", "online", 60)
            watcher.wait("mode", "STANDBY")
            until(lambda: watcher.last("config"), "the settings")
            before = {topic: watcher.last(topic) for topic in ("mode", "cryptos", "config")}
            throw_all(bot, mosquitto.port, protocol, watcher, counts)
            assert watcher.ask("ping", PATIENCE_S)["status"] == "EXECUTED"
            after = {topic: watcher.last(topic) for topic in before}
            counts.state_changes += after != before
            assert after == before
            assert watcher.all("event/mode_changed") == watcher.all("event/crypto_changed") == []
            assert watcher.last("availability") == b"online"
            assert bot.is_alive()
        assert bot.stop() == 0
    except BaseException:
        counts.crashes += 1
        raise
    finally:
        bot.stop()
    said = bot.log.read_text()
    assert "Traceback" not in said, said[-4000:]


def throw_all(bot: Bot, port: int, protocol: MQTTProtocolVersion, watcher: Watcher, counts: Counts) -> None:
    """Throw everything at the real bot, wait for the answers, and look at each of them and at the memory."""
    messages = thrown(random.Random(f"{SEED}-{protocol}"), THROWN // 2)  # noqa: S311 - to be repeated by its seed
    thrower = Thrower(port, protocol)
    wanted, settled_mb = 0, 0.0
    try:
        for number, message in enumerate(messages):
            thrower.throw(message)
            counts.inputs += 1
            wanted += wants_answer(message)
            if number + 1 in {len(messages) // 2, len(messages)}:
                answered(watcher, wanted, counts)
                settled_mb = settled_mb or rss_mb(bot.pid)
    finally:
        thrower.close()
    for payload in answers(watcher):
        strict(payload)
        response = Response.model_validate_json(payload)
        assert response.status in {Status.EXECUTED, Status.DUPLICATE} or response.error is not None, payload
    growth_mb = rss_mb(bot.pid) - settled_mb
    counts.rss_growth_mb = max(counts.rss_growth_mb, growth_mb)
    assert growth_mb < RSS_GROWTH_MB, f"the bot has grown by {growth_mb} MiB (seed {SEED})"


def answers(watcher: Watcher) -> list[bytes]:
    return [payload for topic, payload, _ in list(watcher.seen) if topic.startswith("bot/response/")]


def answered(watcher: Watcher, wanted: int, counts: Counts) -> None:
    looked, found = 0, 0

    def all_there() -> bool:
        nonlocal looked, found
        new = watcher.seen[looked:]
        looked += len(new)
        found += sum(topic.startswith("bot/response/") for topic, _, _ in new)
        return found >= wanted

    try:
        until(all_there, f"{wanted} answers (seed {SEED})", PATIENCE_S)
    except AssertionError as late:
        missing = wanted - len(answers(watcher))
        counts.unanswered += missing
        raise AssertionError(f"{missing} of {wanted} messages are not answered (seed {SEED})") from late
