"""Target `commands`: whatever comes in on whatever topic does no harm, and is answered where somebody is to answer.

An input is a message: its topic under the base topic, one line each for what else MQTT says of it (`retained`, `qos0`,
`expires 30`, `response some/topic`, `correlation …`, `user key=value`), an empty line, and the payload.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from allora_mqtt.control.desired import Desired
from allora_mqtt.control.trust import Trust
from allora_mqtt.control.wire import Packet
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.errors import ErrorCode
from allora_mqtt.protocol.messages import Response, Status
from allora_mqtt.protocol.reading import MAX_PAYLOAD_BYTES, read
from allora_mqtt.protocol.signed import Keys
from tests.fuzz.life import Life

KEYS: Final = Keys({"fuzz": "f" * 32})
"""Who may command where only signed commands are taken."""

_LIFE: Final = 2000
"""Inputs after which a new journal is begun."""
_MAX_MESSAGE: Final = 1000
_LONGEST_ID: Final = 64
_PATIENCE_S: Final = 60
_MAX_EXPIRY_S: Final = 2**32 - 1


@dataclass(frozen=True)
class Message:
    """What a sender gives to the broker; the topic is the one under the base topic."""

    topic: str
    payload: bytes = b""
    retained: bool = False
    qos: int = 1
    expires_in_s: int | None = None
    response_topic: str | None = None
    correlation: bytes | None = None
    properties: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Message":
        """Read an input; whatever cannot be read is left out, so that every input is a message."""
        head, _, payload = data.partition(b"\n\n")
        topic, *lines = head.decode("utf-8", errors="replace").split("\n")
        retained, qos, expires_in_s, response_topic, correlation = False, 1, None, None, None
        properties: list[tuple[str, str]] = []
        for line in lines:
            word, _, rest = line.partition(" ")
            match word:
                case "retained":
                    retained = True
                case "qos0":
                    qos = 0
                case "expires" if rest.isdecimal() and len(rest) <= len(str(_MAX_EXPIRY_S)):
                    expires_in_s = min(int(rest), _MAX_EXPIRY_S)
                case "response":
                    response_topic = rest
                case "correlation":
                    correlation = rest.encode()
                case "user":
                    key, _, value = rest.partition("=")
                    properties.append((key, value))
        return cls(topic, payload, retained, qos, expires_in_s, response_topic, correlation, tuple(properties))

    def to_bytes(self) -> bytes:
        """Write it as an input."""
        lines = [
            self.topic,
            *(["retained"] if self.retained else []),
            *(["qos0"] if self.qos == 0 else []),
            *([] if self.expires_in_s is None else [f"expires {self.expires_in_s}"]),
            *([] if self.response_topic is None else [f"response {self.response_topic}"]),
            *([] if self.correlation is None else [f"correlation {self.correlation.decode(errors='replace')}"]),
            *(f"user {key}={value}" for key, value in self.properties),
        ]
        return "\n".join(lines).encode() + b"\n\n" + self.payload


class Commands:
    """The bot between the wire and the exchange's door, and messages thrown at it one after another."""

    def __init__(self) -> None:
        self._life: Life | None = None
        self._count = 0
        self._packet_id = 0

    async def must_hold(self, data: bytes) -> bool:
        """Throw an input at the bot; see `hold`."""
        return await self.hold(Message.from_bytes(data))

    async def close(self) -> None:
        if self._life is not None:
            await self._life.end()
            self._life = None

    async def hold(self, message: Message) -> bool:
        """Throw a message at the bot and see that it does no harm.

        Returns:
            Whether it was a command that was executed.
        """
        if self._life is None or self._count % _LIFE == 0:
            await self.close()
            self._life = await Life.begin(self.trust())
        self._count += 1
        life = self._life
        life.wire.sent.clear()
        life.wire.answered.clear()
        life.reporter.foreign_instance = None
        return await self._see(life, message)

    @staticmethod
    def trust() -> Trust:
        """Return who may command."""
        return Trust(None)

    async def _see(self, life: Life, message: Message) -> bool:
        before = life.dispatcher.desired
        topic = f"bot/{message.topic}"
        address = life.topics.address(topic)
        acknowledged = self._throw(life, topic, message)
        # An empty payload on a topic that may hold a retained message says that it holds none any more.
        is_clear = not message.payload and address is not None and (address.is_desired_state or message.retained)
        if address is not None and not is_clear:
            async with asyncio.timeout(_PATIENCE_S):
                await life.wire.answered.wait()
        await life.quiet()
        assert acknowledged == [self._packet_id][: message.qos], "each message is acknowledged, and once"
        assert life.faults.seen == []
        assert not any(task.done() for task in life.tasks), "the bot goes on"
        nothing_is_kept(life)
        after = life.dispatcher.desired
        answers = [payload for where, payload in life.wire.sent if where.startswith("bot/response/")]
        if address is None or is_clear:
            assert answers == []
            assert said(after) == said(before)
            return False
        response = the_answer(answers, life.wire.sent, message)
        strict(json.dumps(await life.journal.history(1), allow_nan=False))
        parsed = read(address, message.payload)
        if parsed.error is not None or response.status is not Status.EXECUTED:
            # A flatten that could not close everything has blocked entries all the same.
            assert said(after) == said(before) or (parsed.error is None and message.topic == "request/flatten")
        if parsed.error is not None:
            assert response.status in {Status.REJECTED, Status.DUPLICATE}
        if len(message.payload) > MAX_PAYLOAD_BYTES and response.status is not Status.DUPLICATE:
            assert response.error is not None
            # A retained action is refused for that, whatever else is wrong with it.
            assert response.error.code in {ErrorCode.TOO_LARGE, ErrorCode.RETAINED_ACTION}
        justified(before, after, message)
        return response.status is Status.EXECUTED

    def _throw(self, life: Life, topic: str, message: Message) -> list[int]:
        acknowledged: list[int] = []
        self._packet_id = identifier = self._packet_id % 65_535 + 1
        packet = Packet(
            topic=topic,
            payload=message.payload,
            retained=message.retained,
            packet_id=identifier if message.qos else None,
            acknowledge=(lambda: acknowledged.append(identifier)) if message.qos else _nothing,
            expires_in_s=message.expires_in_s,
            response_topic=message.response_topic,
            correlation=message.correlation,
            properties=message.properties,
        )
        life.switchboard.on_packet(packet)
        return acknowledged


class Strangers(Commands):
    """The same bot where only signed commands are taken, and messages of those who cannot sign."""

    @staticmethod
    def trust() -> Trust:
        return Trust(KEYS)

    async def _see(self, life: Life, message: Message) -> bool:
        """See that nothing changes, and that a flood of it leaves nothing behind.

        Returns:
            Whether the message is one of the real sender's, which is none of our business here.
        """
        before, dropped = life.dispatcher.desired, _dropped(life)
        topic = f"bot/{message.topic}"
        address = life.topics.address(topic)
        if address is not None and life.trust.signer_of(read(address, message.payload), topic) is not None:
            return True
        acknowledged = self._throw(life, topic, message)
        is_clear = not message.payload and address is not None and (address.is_desired_state or message.retained)
        if address is not None and not is_clear and _dropped(life) == dropped:
            async with asyncio.timeout(_PATIENCE_S):
                await life.wire.answered.wait()
        await life.quiet()
        assert acknowledged == [self._packet_id][: message.qos], "each message is acknowledged, and once"
        assert life.faults.seen == []
        assert not any(task.done() for task in life.tasks), "the bot goes on"
        nothing_is_kept(life)
        assert said(life.dispatcher.desired) == said(before)
        return False


def _dropped(life: Life) -> int:
    counts = life.trust.counts
    return 0 if counts is None else counts.dropped


def the_answer(answers: list[bytes], sent: list[tuple[str, bytes]], message: Message) -> Response:
    """Return the one response; fail when it is not one, is not JSON, or lacks the code that says what was wrong."""
    assert len(answers) == 1, f"{len(answers)} answers"
    strict(answers[0])
    response = Response.model_validate_json(answers[0])
    if response.error is not None:
        assert response.error.code is not ErrorCode.INTERNAL, response.error.message
        assert 0 < len(response.error.message) <= _MAX_MESSAGE, response.error.message
        assert response.error.message.isprintable(), response.error.message
    assert (response.error is None) is (response.status in {Status.EXECUTED, Status.DUPLICATE})
    wanted = message.response_topic
    elsewhere = [payload for where, payload in sent if where == wanted]
    if wanted and not set("#+\0") & set(wanted) and not wanted.startswith(("$", "bot/")):
        assert elsewhere == answers, "an answer goes where the sender asked for it"
    for where, payload in sent:
        if payload[:1] == b"{":
            strict(payload)
        assert where.startswith("bot/") or where == wanted, where
    return response


def nothing_is_kept(life: Life) -> None:
    """Fail when a message that has been answered and cleared leaves anything behind in memory."""
    inbox = life.inbox
    kept = (inbox._arrivals, inbox._held, inbox._pending_by_topic, inbox._unconfirmed, inbox._handled)
    assert [len(each) for each in kept] == [0] * len(kept), kept
    assert not life.dispatcher._waiting
    assert not life.dispatcher._urgent
    assert (inbox._waiting_bytes, life.dispatcher._waiting_bytes) == (0, 0)
    assert len(life.reporter.foreign_instance or "") <= _LONGEST_ID


def said(desired: Desired) -> tuple[object, ...]:
    """Return what the bot has been told."""
    return desired.mode, dict(desired.active), desired.settings, desired.revision


def justified(before: Desired, after: Desired, message: Message) -> None:
    """Fail when something has changed of which the message does not speak."""
    words = f"{message.topic} {_text(message.payload)}".upper()
    if after.mode is not before.mode:
        assert after.mode.value in words or (after.mode is Mode.STANDBY and message.topic == "request/flatten"), words
    for symbol in after.active.keys() - before.active.keys():
        assert symbol.upper() in words or message.topic == "request/activate_set", (symbol, words)
    for symbol in before.active.keys() - after.active.keys():
        assert symbol.upper() in words or message.topic == "cryptos/set", (symbol, words)
    was, new = before.settings.model_dump(), after.settings.model_dump()
    for key in (key for key in new if new[key] != was[key]):
        assert key.upper() in words, (key, words)


def strict(text: str | bytes) -> Mapping[str, object]:
    """Read JSON as those do who know no NaN."""
    content: Mapping[str, object] = json.loads(text, parse_constant=_no_constant)
    return content


def _text(payload: bytes) -> str:
    text = payload.decode("utf-8", errors="replace")
    try:
        return text + json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _nothing() -> None:
    pass
