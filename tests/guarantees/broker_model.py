"""A broker in memory that does what mosquitto does with QoS 0 and 1, one message at a time and only when it is told to.

What it keeps: one persistent session with its queue and what is unacknowledged, and one retained message to a topic. A
connection is a `Line` of two pipes; what is in them when it is cut is gone.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

LAST_PACKET_ID: Final = 65_535


@dataclass(frozen=True, slots=True)
class Message:
    """A PUBLISH as its sender sent it.

    Attributes:
        number: of the command it is; None for what is no command.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    number: int | None = None


@dataclass(slots=True)
class Copy:
    """A message on its way to the bot.

    Attributes:
        from_mailbox: whether a SUBSCRIBE brought it.
        packet_id: None for QoS 0.
        was_sent: whether it was put on a line before.
    """

    message: Message
    retained: bool
    from_mailbox: bool
    packet_id: int | None
    was_sent: bool = False


@dataclass(frozen=True, slots=True)
class Connack:
    resumed: bool


@dataclass(frozen=True, slots=True)
class Suback:
    pass


@dataclass(frozen=True, slots=True)
class Subscribe:
    pass


@dataclass(frozen=True, slots=True)
class Puback:
    packet_id: int


@dataclass(frozen=True, slots=True)
class Publish:
    """What the bot publishes."""

    message: Message
    packet_id: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """A copy on the line."""

    copy: Copy
    again: bool


ToBot = Connack | Suback | Puback | Delivery
ToBroker = Subscribe | Puback | Publish


@dataclass(slots=True)
class Line:
    """One connection.

    Attributes:
        subscribed: whether the bot has subscribed on it.
    """

    subscribed: bool = False
    to_bot: deque[ToBot] = field(default_factory=deque)
    to_broker: deque[ToBroker] = field(default_factory=deque)


@dataclass(slots=True)
class Session:
    """What the broker keeps of the bot while it is away.

    Attributes:
        epoch: which session this is; a lost one is followed by the next.
        announced: whether the bot knows for good that it is a new one.
    """

    epoch: int
    packet_ids: Iterator[int]
    announced: bool = False
    subscribed: bool = False
    waiting: deque[Copy] = field(default_factory=deque)
    in_flight: dict[int, Copy] = field(default_factory=dict)

    def next_packet_id(self) -> int:
        """Roll on, past what is in use."""
        used = self.in_flight.keys() | {copy.packet_id for copy in self.waiting}
        return next(packet_id for packet_id in self.packet_ids if packet_id not in used)


@dataclass(frozen=True, slots=True)
class Habits:
    """In what brokers differ.

    Attributes:
        keeps_retain_flag: MQTT 5: live actions arrive with the retain flag that their sender set.
        sets_dup: whether a redelivery is marked as one.
        suback_first: whether SUBACK comes before the retained messages.
        shows_heartbeat: whether the bot may read its own heartbeat.
        max_in_flight: how many unacknowledged messages are on the way at once.
        first_packet_id: the first that a session uses.
    """

    keeps_retain_flag: bool = True
    sets_dup: bool = True
    suback_first: bool = False
    shows_heartbeat: bool = True
    max_in_flight: int = 20
    first_packet_id: int = 1


class Broker:
    """The broker and its only subscriber, the bot.

    Args:
        habits: what kind of broker it is.
        on_freed: told of each copy that the bot has acknowledged.
        on_unannounced: told of each message that was put into a session of which the bot does not know that it is new.
        on_bot_published: told of each message that the bot has published.
        on_wiped: told of each retained message that was replaced or removed, and whether the bot did that.
    """

    def __init__(
        self,
        habits: Habits,
        on_freed: Callable[[Copy], None],
        on_unannounced: Callable[[Message], None],
        on_bot_published: Callable[[Message], None],
        on_wiped: Callable[[Message, bool], None],
    ) -> None:
        self._habits = habits
        self._on_freed = on_freed
        self._on_unannounced = on_unannounced
        self._on_bot_published = on_bot_published
        self._on_wiped = on_wiped
        self._epochs = itertools.count(1)
        self.retained: dict[str, Message] = {}
        self.session: Session | None = None
        self.line: Line | None = None
        self.forbids_clear = False

    def connect(self) -> Line:
        """Accept the bot, and send what waited for it."""
        session, self.line = self.session, Line()
        self.line.to_bot.append(Connack(resumed=session is not None))
        if session is None:
            first = self._habits.first_packet_id
            roll = itertools.chain(range(first, LAST_PACKET_ID + 1), itertools.cycle(range(1, LAST_PACKET_ID + 1)))
            self.session = Session(next(self._epochs), roll)
        else:
            for copy in session.in_flight.values():
                self._send(copy)
            self._fill()
        return self.line

    def cut(self) -> None:
        """The connection is gone, with everything that was on the way."""
        self.line = None

    def lose_session(self) -> None:
        """Forget the bot; only retained messages stay."""
        self.cut()
        self.session = None

    def let_ids_roll(self) -> None:
        """So many messages have passed that the packet identifiers begin again behind the last one."""
        if self.session is not None:
            for _ in range(LAST_PACKET_ID - 2):
                next(self.session.packet_ids)

    def publish(self, message: Message, *, by_bot: bool = False) -> None:
        """Take a message, keep it where it is retained, and pass it on to the bot where it subscribes to it."""
        if message.retain:
            self._retain(message, by_bot=by_bot)
        if self.session is None or not self.session.subscribed or not self._concerns_bot(message.topic):
            return
        kept_flag = self._habits.keeps_retain_flag and "/request/" in message.topic
        self._deliver(message, retained=message.retain and kept_flag, from_mailbox=False)

    def read(self, count: int) -> int:
        """Take so many packets off the line, and return how many there were."""
        done = 0
        while done < count and self.line is not None and self.line.to_broker:
            done += 1
            self._take(self.line, self.line.to_broker.popleft())
        return done

    def announced(self) -> None:
        """The bot knows for good that its session is a new one."""
        if self.session is not None:
            self.session.announced = True

    def _take(self, line: Line, packet: ToBroker) -> None:
        match packet:
            case Subscribe():
                self._subscribe(line)
            case Puback(packet_id):
                self._free(packet_id)
            case Publish(message, packet_id):
                if not (self.forbids_clear and message.retain and not message.payload):
                    self.publish(message, by_bot=True)
                    self._on_bot_published(message)
                if message.qos > 0:
                    line.to_bot.append(Puback(packet_id))

    def _subscribe(self, line: Line) -> None:
        if self.session is None:
            return
        self.session.subscribed = line.subscribed = True
        if self._habits.suback_first:
            line.to_bot.append(Suback())
        for message in list(self.retained.values()):
            if self._concerns_bot(message.topic):
                self._deliver(message, retained=True, from_mailbox=True)
        if not self._habits.suback_first:
            line.to_bot.append(Suback())

    def _free(self, packet_id: int) -> None:
        if self.session is not None and packet_id in self.session.in_flight:
            self._on_freed(self.session.in_flight.pop(packet_id))
            self._fill()

    def _retain(self, message: Message, *, by_bot: bool) -> None:
        old = self.retained.pop(message.topic, None)
        if message.payload:
            self.retained[message.topic] = message
        if old is not None:
            self._on_wiped(old, by_bot)

    def _deliver(self, message: Message, *, retained: bool, from_mailbox: bool) -> None:
        if self.session is None:
            return
        if message.qos == 0:
            if self.line is not None:
                self._send(Copy(message, retained, from_mailbox, None))
            return
        if not self.session.announced:
            self._on_unannounced(message)
        self.session.waiting.append(Copy(message, retained, from_mailbox, self.session.next_packet_id()))
        self._fill()

    def _fill(self) -> None:
        session = self.session
        while (
            session is not None
            and self.line is not None
            and session.waiting
            and len(session.in_flight) < self._habits.max_in_flight
        ):
            copy = session.waiting.popleft()
            if copy.packet_id is not None:
                session.in_flight[copy.packet_id] = copy
            self._send(copy)

    def _send(self, copy: Copy) -> None:
        if self.line is not None:
            self.line.to_bot.append(Delivery(copy, again=copy.was_sent and self._habits.sets_dup))
            copy.was_sent = True

    def _concerns_bot(self, topic: str) -> bool:
        if topic == "bot/heartbeat":
            return self._habits.shows_heartbeat
        return topic.endswith("/set") or "/request/" in topic
