"""What the delivery rules promise, said once more and without a look at the code that keeps them.

The oracle knows what senders sent and in which order, what the broker did with it, and what the journal says became of
it. From that it tells what was lost, run twice, or run backwards.
"""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from allora_mqtt.control.desired import Desired
from allora_mqtt.protocol.messages import Response
from allora_mqtt.settings import DefaultMode
from tests.guarantees.broker_model import Copy, Delivery, Message

ENDS: Final = frozenset({"EXECUTED", "REJECTED", "FAILED", "EXPIRED", "DUPLICATE", "SUPERSEDED"})
RUN_ONCE_ACTIONS: Final = frozenset({"reset_breaker", "activate_set", "shutdown"})
"""Actions that are not begun again when the bot died in the middle of them."""
RISK: Final = {"STOPPED": 0, "STANDBY": 1, "ACTIVE": 2, "OFF": 0, "ON": 1}


@dataclass(slots=True)
class Command:
    """A command as its sender knows it.

    Attributes:
        kind: `mode`, `crypto`, `cryptos`, `config` or the name of an action.
        value: what it sets.
        sent_at: when, counted in events.
        away: whether the bot was not connected then.
        session: in the queue of which session a copy was put.
        promised: whether the broker has acknowledged it, or keeps it in the mailbox for a bot that is away.
        only_retained: whether the mailbox has the only copy that the bot has not yet seen.
        read_at: when the bot took it off the line.
        seen_at: when it came to the journal.
    """

    number: int
    kind: str
    value: Any
    topic: str
    payload: bytes
    id: str | None
    issued_at: datetime | None
    expires_at: datetime | None
    qos: int
    retain: bool
    sent_at: int = 0
    away: bool = False
    session: int | None = None
    promised: bool = False
    read_at: int | None = None
    seen_at: int | None = None
    from_mailbox: bool = False
    starts: int = 0

    @property
    def is_valid(self) -> bool:
        return self.kind != "bad"

    @property
    def things(self) -> frozenset[str]:
        """What it sets."""
        match self.kind:
            case "mode" | "flatten":
                return frozenset({"mode"})
            case "crypto":
                return frozenset({f"cryptos/{self.value[0]}"})
            case "cryptos":
                return frozenset({"cryptos/BTC", "cryptos/ETH"})
            case "config":
                return frozenset(f"config/{key}" for key in self.value)
        return frozenset()

    @property
    def is_honoured_whatever_its_age(self) -> bool:
        """STANDBY, STOPPED, OFF, close and flatten."""
        match self.kind:
            case "mode":
                return bool(self.value != "ACTIVE")
            case "crypto":
                return bool(self.value[1] == "OFF")
            case "cryptos":
                return not self.value
        return self.kind in {"flatten", "close"}

    @property
    def says(self) -> tuple[Any, ...]:
        """What it asks for, to tell whether another asks for the same."""
        return (self.kind, repr(self.value))

    @property
    def risk(self) -> int | None:
        """How much it would let the bot risk, where that can be compared without knowing the state."""
        if self.kind == "mode":
            return RISK[self.value]
        if self.kind == "crypto":
            return RISK[self.value[1]]
        return None


@dataclass(slots=True)
class Row:
    """A command as the journal has it."""

    seq: int
    number: int
    status: str
    code: str | None
    response: dict[str, Any] | None
    duplicate_of: int | None
    answered: bool
    retained: bool
    ended_at: int | None = None
    completed: bool = False


@dataclass
class Expected:
    """What the commands that ran add up to."""

    mode: str = "STANDBY"
    last_commanded: str = "STANDBY"
    active: frozenset[str] = frozenset()
    settings: dict[str, Decimal] = field(default_factory=dict)


class Oracle:
    """Follows everything and notes each broken promise."""

    def __init__(self) -> None:
        self.commands: dict[int, Command] = {}
        self.rows: dict[int, Row] = {}
        self._finishing: dict[int, tuple[int, int]] = {}
        """By seq: when its end was first handed to the journal, and when last."""
        self.faults: Counter[str] = Counter()
        self.details: list[str] = []
        self.expected = Expected()
        self.answers: defaultdict[int, set[str]] = defaultdict(set)
        self.settled_at: list[int] = []
        self.sessions_lost = 0
        self._events = 0
        self._executed: list[int] = []
        self._closers: list[int] = []
        self._starts: Counter[int] = Counter()
        self._interrupted: Counter[int] = Counter()
        self._running: set[int] = set()
        self._handled: defaultdict[str, set[str]] = defaultdict(set)
        self._unproven: defaultdict[str, set[str]] = defaultdict(set)
        self._excused: set[int] = set()
        self._void: set[int] = set()
        self._revision = 0
        self._started_active = False
        """Whether the gate was open from the start of this life, and no answer has promised since that it is closed."""

    def tick(self) -> int:
        """Count one more event."""
        self._events += 1
        return self._events

    def fault(self, kind: str, what: str) -> None:
        """Note a broken promise."""
        self.faults[kind] += 1
        self.details.append(f"{kind}: {what}")

    # what senders and broker do

    def sent(self, command: Command, *, away: bool, session: int | None) -> None:
        """A sender has published a command, and the broker has it."""
        command.sent_at, command.away = self.tick(), away
        command.session = session if command.qos == 1 else None
        command.promised = command.session is not None or (
            command.retain and (command.qos == 1 or away) and command.topic.endswith("/set")
        )
        self.commands[command.number] = command

    def session_lost(self, unacknowledged: list[Copy], retained: dict[str, Message]) -> None:
        """The broker has forgotten the session: what only its queue had is gone."""
        kept = {message.number for message in retained.values()}
        for copy in unacknowledged:
            number = copy.message.number
            if number is not None and number not in kept and not copy.from_mailbox:
                self._void.add(number)
        self.sessions_lost += 1

    def unannounced(self, message: Message) -> None:
        """A message was put into a session of which the bot does not know that it is a new one.

        It may die before it has that on disk, or never read the CONNACK, and take a bare command for the one that had
        its packet identifier and its bytes in the old session.
        """
        if message.number is not None and self.commands[message.number].id is None:
            self._void.add(message.number)

    def wiped(self, message: Message, *, by_bot: bool, queued: set[int | None]) -> None:
        """A retained message was replaced, or cleared."""
        if message.number is not None and not by_bot and message.number not in queued:
            self._void.add(message.number)

    # what the bot does

    def read(self, delivery: Delivery) -> None:
        """The bot has taken a packet off the line."""
        message = delivery.copy.message
        if message.number is not None and self.commands[message.number].read_at is None:
            self.commands[message.number].read_at = self.tick()
        if not message.payload and message.topic.endswith("/set"):
            self._handled[message.topic].clear()
        elif (
            message.number is not None and delivery.copy.from_mailbox and _hash(message) in self._handled[message.topic]
        ):
            self._excused.add(message.number)

    def freed(self, copy: Copy) -> None:
        """The broker has the bot's acknowledgement."""
        message = copy.message
        if not message.payload and message.topic.endswith("/set"):
            self._unproven[message.topic] = set(self._handled[message.topic])
        if message.number is None or copy.from_mailbox:
            return
        if message.number not in self._void and all(row.number != message.number for row in self.rows.values()):
            self.fault("early", f"n{message.number} was acknowledged before it was in the journal")

    def crashed(self) -> None:
        """The bot has died."""
        for topic, hashes in self._unproven.items():
            self._handled[topic] |= hashes
        for seq in self._running:
            self._interrupted[seq] += 1
        self._running.clear()

    def started(self, desired: Desired, default_mode: DefaultMode) -> None:
        """The bot begins a life."""
        wanted = {
            DefaultMode.STANDBY: "STANDBY",
            DefaultMode.ACTIVE: "ACTIVE",
            DefaultMode.LAST: self.expected.last_commanded,
        }[default_mode]
        if desired.mode != wanted:
            self.fault("start", f"started in {desired.mode}, not {wanted} (BOT_DEFAULT_MODE={default_mode})")
        self.expected.mode = wanted
        self._started_active = wanted == "ACTIVE"
        self._rise(desired.revision)

    def ran(self, seq: int) -> None:
        """The effect of a command begins."""
        self._starts[seq] += 1
        self._running.add(seq)
        row = self.rows.get(seq)
        if row is None:
            self.fault("early", f"seq {seq} was run before it was in the journal")
            return
        command = self.commands[row.number]
        command.starts += 1
        once = command.kind in RUN_ONCE_ACTIONS
        if row.ended_at is not None or self._starts[seq] > (1 if once else 1 + self._interrupted[seq]):
            self.fault("doubled", f"n{row.number} ({command.says}) was begun {self._starts[seq]} times")

    def finishing(self, seq: int) -> None:
        """The bot hands the end of a command to the journal."""
        now = self.tick()
        self._finishing[seq] = (self._finishing.get(seq, (now, now))[0], now)

    def responded(self, response: Response, *, gate_is_open: bool) -> None:
        """The bot has handed a response to the wire."""
        number = _number(response.source)
        if number is None:
            return
        self.answers[number].add(response.status.value)
        command = self.commands[number]
        is_closer = command.kind == "flatten" or (command.kind == "mode" and command.value != "ACTIVE")
        if is_closer and response.status.value == "EXECUTED" and number not in self._closers:
            self._closers.append(number)
            self._started_active = False
            if gate_is_open:
                self.fault("gate", f"n{number} ({command.says}) was answered and the gate is open")

    def gate_opened(self, desired: Desired) -> None:
        """Entries may leave from now on."""
        if self._started_active:
            return
        row = self.rows.get(desired.mode_seq)
        opener = None if row is None else self.commands[row.number]
        if opener is None or opener.kind != "mode" or opener.value != "ACTIVE":
            self.fault("gate", f"the gate was opened by {opener}")
            return
        for number in self._closers:
            closer = self.commands[number]
            if closer.number != opener.number and self.is_older(opener, closer):
                self.fault(
                    "backwards", f"n{opener.number} opened the gate after n{number} ({closer.says}) had closed it"
                )

    def journal(self, rows: list[dict[str, Any]]) -> None:
        """The journal has changed on disk."""
        ended = []
        for found in rows:
            number = _number(found["source"])
            if number is None:
                continue
            row = self.rows.get(found["seq"])
            if row is None:
                row = Row(
                    found["seq"], number, "PENDING", None, None, found["duplicate_of"], False, bool(found["retained"])
                )
                self.rows[row.seq] = row
                command = self.commands[number]
                self._check_order(command, row)
                if command.seen_at is None:
                    command.seen_at = self.tick()
                    command.from_mailbox = row.retained
                self._handled[command.topic].add(_hash(command))
                self._unproven[command.topic].add(_hash(command))
            if row.ended_at is not None and (found["status"], found["response"]) != (row.status, row.response):
                self.fault("ends", f"n{number} had ended as {row.status} and now is {found['status']}")
            is_new_end = row.ended_at is None and found["status"] in ENDS
            row.status, row.code, row.response = found["status"], found["error_code"], found["response"]
            row.answered = bool(found["answered"])
            if is_new_end:
                ended.append(row)
        for row in sorted(ended, key=lambda each: self._finishing[each.seq][1]):
            row.ended_at = self.tick()
            self._running.discard(row.seq)
            self._ended(row)

    def _check_order(self, command: Command, row: Row) -> None:
        """What comes out of one queue is journaled in the order in which it went in."""
        if command.session is None or row.retained or command.seen_at is not None:
            return
        for other in self.commands.values():
            if (
                other.session == command.session
                and other.number < command.number
                and other.seen_at is None
                and other.number not in self._void
            ):
                self.fault("order", f"n{command.number} is in the journal and n{other.number} before it is not")

    def _ended(self, row: Row) -> None:
        command = self.commands[row.number]
        if row.status == "EXECUTED" and row.response is not None:
            self._rise(row.response["revision"])
        match row.status:
            case "EXECUTED":
                self._executed_now(row, command)
            case "DUPLICATE":
                self._check_duplicate(row)
            case "EXPIRED" if command.expires_at is None or command.is_honoured_whatever_its_age:
                self.fault("refused", f"n{row.number} ({command.says}) ended as EXPIRED")
            case "SUPERSEDED" if command.is_honoured_whatever_its_age and command.kind != "crypto":
                newer = any(self._contradicts(command, other) for other in self.commands.values())
                overtaken = any(
                    seq > row.seq and self.commands[self.rows[seq].number].kind == "mode" for seq in self._executed
                )
                if not newer and not overtaken:
                    self.fault("refused", f"n{row.number} ({command.says}) ended as SUPERSEDED")
            case "REJECTED" if row.code == "AMBIGUOUS_ORDER":
                if not any(self._contradicts(command, other) for other in self.commands.values()):
                    self.fault("refused", f"n{row.number} ({command.says}) is said to contradict something")

    def _executed_now(self, row: Row, command: Command) -> None:
        if not command.is_valid:
            self.fault("refused", f"n{row.number} is no command and ended as EXECUTED")
        for seq in self._executed:
            other = self.commands[self.rows[seq].number]
            if other.number == command.number or (command.id is not None and command.id == other.id):
                self.fault("doubled", f"n{command.number} ({command.says}) ran as seq {seq} and {row.seq}")
            elif (
                self._contradicts(command, other)
                and not command.is_honoured_whatever_its_age
                and self.is_older(command, other)
            ):
                self.fault("backwards", f"n{command.number} ({command.says}) ran after n{other.number} ({other.says})")
        for other in () if command.is_honoured_whatever_its_age else self.commands.values():
            if self._contradicts(command, other) and self.is_ambiguous(command, other):
                mine, its = command.risk, other.risk
                if mine is not None and its is not None and mine > its and other.seen_at is not None:
                    self.fault("backwards", f"n{command.number} ({command.says}) ran, ambiguous with n{other.number}")
        self._executed.append(row.seq)
        self._apply(command)

    def _apply(self, command: Command) -> None:
        expected = self.expected
        match command.kind:
            case "mode":
                expected.mode = expected.last_commanded = command.value
            case "flatten":
                expected.mode = expected.last_commanded = "STANDBY"
            case "crypto":
                symbol, switch = command.value
                others = expected.active - {symbol}
                expected.active = others | {symbol} if switch == "ON" else others
            case "cryptos":
                expected.active = frozenset(command.value)
            case "config":
                expected.settings |= {key: Decimal(str(value)) for key, value in command.value.items()}

    def _check_duplicate(self, row: Row) -> None:
        first = self.rows.get(row.duplicate_of or 0)
        if first is None or row.response is None:
            self.fault("duplicate", f"n{row.number} is a duplicate of nothing")
            return
        if self.commands[first.number].id != self.commands[row.number].id:
            self.fault("duplicate", f"n{row.number} has another id than n{first.number}")
        said = row.response["data"]["first"]["status"]
        if first.ended_at is not None and first.ended_at < self._finishing[row.seq][0] and said != first.status:
            self.fault("duplicate", f"n{row.number} says the first ended as {said}; it was {first.status}")

    # which came first

    def is_older(self, one: Command, other: Command) -> bool:
        """Whether everybody can know that one was sent before the other."""
        if one.issued_at is not None and other.issued_at is not None and one.issued_at != other.issued_at:
            return one.issued_at < other.issued_at
        if one.number > other.number:
            return False
        if one.seen_at is not None and one.seen_at < other.sent_at:
            return True
        return one.session is not None and one.session == other.session

    def is_ambiguous(self, one: Command, other: Command) -> bool:
        """Whether nothing tells which of two came last: one waits in the mailbox alone, the other in the queue."""
        if one.issued_at is not None and other.issued_at is not None and one.issued_at != other.issued_at:
            return False
        kept, queued = (one, other) if one.session is None else (other, one)
        if kept.session is not None or queued.session is None or not (kept.retain and kept.away):
            return False
        if any(
            first.read_at is not None and first.read_at < second.sent_at
            for first, second in ((kept, queued), (queued, kept))
        ):
            return False
        early, late = sorted((kept.sent_at, queued.sent_at))
        return not any(early < settled < late for settled in self.settled_at)

    def _contradicts(self, one: Command, other: Command) -> bool:
        return (
            other.is_valid and one.number != other.number and bool(one.things & other.things) and one.says != other.says
        )

    def _has_twin(self, command: Command) -> bool:
        """Whether another command with the same bytes on the same topic has come, for which this one passed."""
        return any(
            other.number != command.number
            and other.topic == command.topic
            and other.payload == command.payload
            and (other.seen_at or 0) > command.sent_at
            for other in self.commands.values()
        )

    def _rise(self, revision: int) -> None:
        if revision < self._revision:
            self.fault("revision", f"went back from {self._revision} to {revision}")
        self._revision = max(self._revision, revision)

    # when everything is quiet

    def check_quiet(self) -> None:
        """Note what has not come to its end though nothing moves any more."""
        numbers = Counter(row.number for row in self.rows.values())
        for command in self.commands.values():
            if not command.promised or command.number in self._void or numbers[command.number]:
                continue
            if command.retain and (command.number in self._excused or self._has_twin(command)):
                continue
            self.fault("lost", f"n{command.number} ({command.says}) never came to the journal")
            command.promised = False
        for row in self.rows.values():
            if row.status not in ENDS:
                self.fault("lost", f"n{row.number} (seq {row.seq}) is {row.status} for ever")
            elif not row.answered or row.status not in self.answers[row.number]:
                self.fault("lost", f"n{row.number} (seq {row.seq}) ended as {row.status} and was not answered")
        for command in self.commands.values():
            ends = [row.status for row in self.rows.values() if row.number == command.number]
            unsaid = self.answers[command.number] - set(ends)
            if unsaid:
                self.fault("ends", f"n{command.number} was answered {unsaid}, the journal says {ends}")

    @property
    def executed(self) -> int:
        """How many commands had their effect."""
        return len(self._executed)


def _hash(message: Message | Command) -> str:
    return hashlib.sha256(message.payload).hexdigest()


def _number(source: str | None) -> int | None:
    return int(source[1:]) if source is not None and source.startswith("n") else None
