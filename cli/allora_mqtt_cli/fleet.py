"""Many bots on one broker: who is there, and one command to some or all of them. A client of the contract, no more."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from allora_mqtt.protocol.commands import Body
from allora_mqtt.protocol.messages import Account, Availability, BotStatus, Heartbeat, Response
from allora_mqtt.protocol.topics import BASE_PATTERN, Topics
from allora_mqtt_cli import outcome, render, session
from allora_mqtt_cli.client import Client, availability_of, response_to, understand
from allora_mqtt_cli.errors import CliError, ExitCode
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.output import printable

DEFAULT: Final = "bots/+"
_STATES: Final = ("availability", "mode", "status", "account")
_WORST_FIRST: Final = (ExitCode.NO_ANSWER, ExitCode.FAILED, ExitCode.REJECTED)
_AVAILABILITY_STYLES: Final = {Availability.ONLINE: "green", Availability.OFFLINE: "bold red"}


@dataclass(slots=True)
class Member:
    """A bot of the fleet, as far as it has been heard.

    Attributes:
        name: what the `+` stands for in its base topic.
        heartbeat: the newest that came.
        beat_at: when, on the monotonic clock.
    """

    name: str
    topics: Topics
    availability: Availability | None = None
    mode: str = ""
    status: BotStatus | None = None
    account: Account | None = None
    heartbeat: Heartbeat | None = None
    beat_at: float | None = None

    @property
    def is_there(self) -> bool:
        """Whether it is online and shows signs of life."""
        return self.availability is Availability.ONLINE and self.beat_at is not None

    def hear(self, kind: str, payload: bytes) -> None:
        """Take one of its state messages."""
        topic = f"{self.topics.base}/{kind}"
        match kind:
            case "availability":
                self.availability = availability_of(payload)
            case "mode":
                self.mode = payload.decode(errors="replace")
            case "status":
                self.status = understand(BotStatus, payload, topic)
            case "account":
                self.account = understand(Account, payload, topic)

    def beat(self, payload: bytes, received_at: float) -> None:
        """Take a heartbeat."""
        self.heartbeat = understand(Heartbeat, payload, self.topics.heartbeat)
        self.beat_at = received_at


class Pattern:
    """Which base topics belong to the fleet: a topic with one `+`, as `bots/+`.

    Raises:
        CliError: it is none.
    """

    def __init__(self, text: str) -> None:
        head, plus, tail = text.partition("+")
        is_level = (not head or head.endswith("/")) and (not tail or tail.startswith("/"))
        if plus != "+" or not is_level or not BASE_PATTERN.fullmatch(f"{head}x{tail}"):
            message = f"{text!r} is no fleet: it is a base topic with + for one level, for example {DEFAULT}."
            raise CliError(ExitCode.USAGE, "USAGE", message)
        self.text = text
        self._head, self._tail = head, tail

    @classmethod
    def beside(cls, base: str) -> "Pattern":
        """Return the fleet that a bot's base topic is one of: `bots/+` for `bots/alice`, and where there is but one."""
        head, slash, _ = base.rpartition("/")
        return cls(f"{head}/+" if slash else DEFAULT)

    def name_in(self, topic: str, kind: str) -> str | None:
        """Return the name of the bot that a topic of this kind belongs to; None where it is of none."""
        end = f"{self._tail}/{kind}"
        if not (topic.startswith(self._head) and topic.endswith(end)):
            return None
        name = topic[len(self._head) : len(topic) - len(end)]
        return name if name and "/" not in name and BASE_PATTERN.fullmatch(name) else None

    def topics_of(self, name: str) -> Topics:
        """Return the topics of the bot of this name."""
        return Topics(f"{self._head}{name}{self._tail}")


def show(invocation: Invocation, fleet: str | None) -> None:
    """Write one line for each bot.

    Raises:
        CliError: there are none, or one of them is not there.
    """
    loaded = invocation.load()
    pattern = Pattern(fleet) if fleet else Pattern.beside(loaded.settings.mqtt.base_topic)
    with session.open_client(invocation, loaded) as client:
        members = find(client, pattern)
        _listen(client, pattern, members, invocation.timeout_s)
        now = time.monotonic()
    rows = [_row(member, now) for member in members]
    away = [member.name for member in members if not member.is_there]
    error = None
    if away:
        message = f"{len(away)} of {len(members)} bots show no sign of life: {', '.join(away)}."
        error = CliError(ExitCode.NO_ANSWER, "NOT_THERE", message, {"fleet": pattern.text, "bots": rows})
    if not invocation.output.as_json:
        invocation.output.show(_table(members, now))
    elif error is None:
        invocation.output.document({"fleet": pattern.text, "bots": rows})
    if error is not None:
        raise error


def command(
    invocation: Invocation,
    fleet: str | None,
    names: Sequence[str],
    make: Callable[[], Body],
    confirm: Callable[[Sequence[str]], bool],
) -> None:
    """Send a command to some bots, or to all of them, and write how it ended for each.

    Args:
        invocation: the run's shared options.
        fleet: the pattern; derived from MQTT_BASE_TOPIC without.
        names: which bots; none for all of them.
        make: makes the command.
        confirm: asks whether these bots are meant.

    Raises:
        CliError: one of them did not execute it, or did not answer.
    """
    loaded = invocation.load()
    pattern = Pattern(fleet) if fleet else Pattern.beside(loaded.settings.mqtt.base_topic)
    with session.open_client(invocation, loaded) as client:
        members = _chosen(find(client, pattern), names, pattern)
    # Nobody is kept connected while a person thinks.
    if not confirm([member.name for member in members]):
        raise CliError(ExitCode.USAGE, "NOT_CONFIRMED", "Nothing was sent.")
    with session.open_client(invocation, loaded) as client:
        answers = _send(invocation, client, members, make())
    _tell(invocation, members, answers)


def find(client: Client, pattern: Pattern) -> list[Member]:
    """Return the bots that the broker knows of, by name.

    Raises:
        CliError: there are none.
    """
    members: dict[str, Member] = {}
    for topic, payload in client.read_retained_under(*(f"{pattern.text}/{kind}" for kind in _STATES)).items():
        kind = topic.rpartition("/")[2]
        name = pattern.name_in(topic, kind)
        if name is not None:
            members.setdefault(name, Member(name, pattern.topics_of(name))).hear(kind, payload)
    found = [member for _, member in sorted(members.items()) if member.availability or member.status]
    if not found:
        message = (
            f"No bot has been seen at {pattern.text}. Name the fleet with --fleet, or check the bots' base topics."
        )
        raise CliError(ExitCode.NO_ANSWER, "NO_BOT", message)
    return found


def _listen(client: Client, pattern: Pattern, members: Sequence[Member], patience_s: float) -> None:
    """Wait until each bot that is online has shown a sign of life."""
    by_name = {member.name: member for member in members}
    inbox = client.connection.inbox

    def all_heard() -> bool:
        while inbox:
            message = inbox.popleft()
            name = pattern.name_in(message.topic, "heartbeat")
            if name in by_name and not message.retained:
                by_name[name].beat(message.payload, message.received_at)
        return all(member.is_there or member.availability is not Availability.ONLINE for member in members)

    client.connection.subscribe(f"{pattern.text}/heartbeat")
    client.connection.pump(all_heard, time.monotonic() + patience_s)


def _chosen(members: list[Member], names: Sequence[str], pattern: Pattern) -> list[Member]:
    if not names:
        return members
    known = {member.name: member for member in members} | {member.topics.base: member for member in members}
    unknown = [name for name in names if name not in known]
    if unknown:
        there = ", ".join(member.name for member in members)
        message = f"There is no {', '.join(unknown)} in {pattern.text}; there are: {there}."
        raise CliError(ExitCode.USAGE, "USAGE", message)
    return list({known[name].name: known[name] for name in names}.values())


def _send(
    invocation: Invocation, client: Client, members: Sequence[Member], body: Body
) -> dict[str, tuple[Response, float]]:
    """Send to all of them first, then wait for all of them: none waits for another's answer."""
    connection = client.connection
    connection.subscribe(*(member.topics.response(body.name) for member in members))
    sent: dict[str, tuple[str | None, float, Member]] = {}
    for member in members:
        envelope = session.envelope(invocation)
        sent[member.topics.response(body.name)] = (envelope.id, time.monotonic(), member)
        Client(connection, member.topics, client.keys).send(body, envelope)
    answers: dict[str, tuple[Response, float]] = {}

    def all_answered() -> bool:
        while connection.inbox:
            message = connection.inbox.popleft()
            command_id, sent_at, member = sent.get(message.topic, (None, 0, None))
            response = response_to(command_id, message)
            if response is not None and member is not None:
                answers[member.name] = (response, (message.received_at - sent_at) * 1000)
        return len(answers) == len(members)

    connection.pump(all_answered, time.monotonic() + invocation.timeout_s)
    return answers


def _tell(invocation: Invocation, members: Sequence[Member], answers: dict[str, tuple[Response, float]]) -> None:
    rows: list[dict[str, Any]] = []
    codes = set()
    table = render.sheet("bot", "outcome", "ms", "said", right=("ms",))
    for member in members:
        response, took_ms = answers.get(member.name, (None, None))
        code = ExitCode.NO_ANSWER if response is None else outcome.exit_code(response)
        codes.add(code)
        status = "no answer" if response is None else str(response.status)
        said = _said(member, response)
        document = None if response is None else response.model_dump(mode="json")
        rows.append({"bot": member.name, "base_topic": member.topics.base, "response": document})
        style = "green" if code is ExitCode.DONE else "bold red"
        took = "-" if took_ms is None else f"{took_ms:.0f}"
        table.add_row(render.cell(member.name, "bold"), render.cell(status, style), took, render.cell(said))
    worst = next((code for code in _WORST_FIRST if code in codes), None)
    if worst is None and invocation.output.as_json:
        invocation.output.document({"bots": rows})
    if not invocation.output.as_json:
        invocation.output.show(table)
    if worst is not None:
        bad = sum(1 for member in members if _code(answers, member) is not ExitCode.DONE)
        message = f"{bad} of {len(members)} bots did not execute it: see above."
        raise CliError(worst, "NOT_ALL_EXECUTED", message, {"bots": rows})


def _code(answers: dict[str, tuple[Response, float]], member: Member) -> ExitCode:
    return outcome.exit_code(answers[member.name][0]) if member.name in answers else ExitCode.NO_ANSWER


def _said(member: Member, response: Response | None) -> str:
    if response is None:
        if member.availability is Availability.ONLINE:
            return "online, and has not answered: look at its log; --timeout waits longer"
        return "not online: a mode waits in the broker until it is back, flatten only where it has a session there"
    if response.error is not None:
        return response.error.message
    return outcome.describe(response.data)


def _row(member: Member, now: float) -> dict[str, Any]:
    status, account = member.status, member.account
    return {
        "bot": member.name,
        "base_topic": member.topics.base,
        "availability": member.availability,
        "mode": member.mode or None,
        "health": status and status.health,
        "equity_usd": _number(status and status.equity_usd),
        "daily_pnl_usd": _number(status and status.daily_pnl_usd),
        "unrealized_pnl_usd": _number(account and account.unrealized_pnl_usd),
        "open_positions": status and status.open_positions,
        "heartbeat_age_s": None if member.beat_at is None else round(now - member.beat_at, 1),
        "version": status and status.version,
        "network": status and status.network,
        "warnings": [] if status is None else [warning.code for warning in status.warnings],
    }


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))


def _table(members: Sequence[Member], now: float) -> Any:  # noqa: ANN401 - rich's type is imported where it is drawn
    right = ("equity", "today", "open PnL", "positions", "heartbeat")
    table = render.sheet("bot", "state", "mode", "health", *right, "network", "version", "reason", right=right)
    for member in members:
        status, account = member.status, member.account
        word = member.availability or "unknown"
        style = _AVAILABILITY_STYLES[member.availability] if member.availability else "yellow"
        mode_style = next((look for mode, look in render.MODE_STYLES.items() if mode == member.mode), "")
        age = "none" if member.beat_at is None else f"{now - member.beat_at:.1f} s"
        table.add_row(
            render.cell(member.name, "bold"),
            render.cell(word, style),
            render.cell(member.mode or None, mode_style),
            render.cell(status.health, render.HEALTH_STYLES[status.health]) if status else render.cell(None),
            render.usd(status.equity_usd if status else None),
            render.usd(status.daily_pnl_usd if status else None, signed=True),
            render.usd(account.unrealized_pnl_usd if account else None, signed=True),
            render.cell(status.open_positions if status else None),
            render.cell(age, "" if member.is_there else "red"),
            render.cell(status.network if status else None),
            render.cell(status.version if status else None),
            render.cell(printable(_remark(status)) or None),
        )
    return table


def _remark(status: BotStatus | None) -> str:
    if status is None:
        return ""
    notes = [str(warning.code) for warning in status.warnings] + [f"{each.name} open" for each in status.breakers]
    return ", ".join(notes) or status.reason
