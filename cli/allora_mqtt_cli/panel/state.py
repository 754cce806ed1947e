"""What the panel knows: a value machine without a screen, a socket or a clock.

Nothing is taken for done before the bot has said so: a switch shows what the bot published, and beside it what was
asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Literal

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from allora_mqtt.protocol import books, commands
from allora_mqtt.protocol.commands import Body, Mode, Switch
from allora_mqtt.protocol.messages import (
    Account,
    Availability,
    BotStatus,
    CatalogMatch,
    Info,
    Positions,
    Response,
    Status,
)
from allora_mqtt.protocol.topics import Topics
from allora_mqtt_cli import outcome
from allora_mqtt_cli.client import OFFLINE_GRACE_S, Reply, is_final, understand
from allora_mqtt_cli.connection import Message
from allora_mqtt_cli.errors import CliError
from allora_mqtt_cli.heard import Heard
from allora_mqtt_cli.panel import history
from allora_mqtt_cli.panel.coins import Coin, listing

Severity = Literal["information", "warning", "error"]

_CATALOG_AGE_S: Final = 300.0
"""Prices of coins that are not traded come with the catalog, which is asked for again after this long."""
_CURVE_POINTS: Final = 500
_MAX_PENDING: Final = 50

ASKED_AT_START: Final[tuple[Body, ...]] = (
    commands.SearchCatalog(),
    commands.History(),
    commands.Performance(days=1),
)
"""What a bot that is there is asked, because it does not publish it by itself."""
_CATALOG: Final = TypeAdapter(list[CatalogMatch])


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell the user once."""

    title: str
    text: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class Reaction:
    """What follows from something that happened: what to say, and what to ask the bot."""

    notices: tuple[Notice, ...] = ()
    asks: tuple[Body, ...] = ()


@dataclass(frozen=True, slots=True)
class Pending:
    """A command without an answer.

    Attributes:
        reply: what the broker said; None until it has taken the command.
        overdue_at: when the user is told that no answer has come, on the monotonic clock; None once that is done.
    """

    body: Body
    reply: Reply | None = None
    overdue_at: float | None = None

    @property
    def is_question(self) -> bool:
        """Whether the panel asked, and not the user."""
        return self.body.name in history.QUIET


class PanelState:
    """The bot, the connection to it, and what the user asked of it.

    Args:
        topics: the bot's topics.
        heartbeat_interval_s: how often it is expected to show a sign of life, until it has said itself.
        timeout_s: how long an answer may take.

    Attributes:
        heard: the bot's state topics.
        problem: why there is no connection; None while there is one.
        catalog: what can be traded and predicted.
        entries: the newest commands, newest first.
        curve: the equity of the UTC day in USD, one point a minute.
        pending: commands without an answer, by id.
    """

    def __init__(self, topics: Topics, heartbeat_interval_s: float, timeout_s: float) -> None:
        self.topics = topics
        self.problem: str | None = "Connecting to the broker."
        self.catalog: dict[str, CatalogMatch] = {}
        self.entries: list[history.Entry] = []
        self.curve: list[books.EquityPoint] = []
        self.pending: dict[str, Pending] = {}
        self._interval_s = heartbeat_interval_s
        self._timeout_s = timeout_s
        self._catalog_at: float | None = None
        self.heard = self._nothing_heard()

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to: the answers to everybody's commands before the state they change."""
        return (f"{self.topics.base}/response/+", *self.heard.filters)

    @property
    def status(self) -> BotStatus | None:
        """The bot's status, once it has come."""
        return self.heard.get(self.topics.status, BotStatus)

    @property
    def info(self) -> Info | None:
        """What the bot says of itself, once it has come."""
        return self.heard.get(self.topics.info, Info)

    @property
    def account(self) -> Account | None:
        """The account, once it is known."""
        return self.heard.get(self.topics.account, Account)

    @property
    def positions(self) -> Positions:
        """The open positions."""
        return self.heard.get(self.topics.positions, Positions) or Positions([])

    @property
    def coins(self) -> list[Coin]:
        """Every coin, in the order in which it is shown."""
        return listing(self.heard.active, self.heard.coins, self.catalog, self._wanted_switches())

    @property
    def wanted_mode(self) -> Mode | None:
        """The mode that was asked for and is not confirmed."""
        asked = [pending.body.value for pending in self.pending.values() if isinstance(pending.body, commands.SetMode)]
        return asked[-1] if asked else None

    def connected(self) -> Reaction:
        """Begin anew with what the broker keeps, which comes next."""
        self.problem = None
        self.heard = self._nothing_heard()
        return Reaction()

    def lost(self, error: CliError) -> Reaction:
        """Note that there is no connection; answers that come meanwhile are not seen."""
        was_connected = self.problem is None
        self.problem = error.message
        self.pending = {key: each for key, each in self.pending.items() if not each.is_question}
        return Reaction((Notice("Connection lost", error.message, "error"),)) if was_connected else Reaction()

    def take(self, message: Message) -> Reaction:
        """Take over a message."""
        if message.topic.startswith(f"{self.topics.base}/response/"):
            return self._take_response(message)
        was_online = self.heard.availability is Availability.ONLINE
        self.heard.take(message)
        if message.topic == self.topics.info:
            self._take_interval()
        elif message.topic == self.topics.account and self.account is not None:
            self._extend_curve(books.EquityPoint(at=self.account.updated_at, equity_usd=self.account.equity_usd))
        elif message.topic == self.topics.availability:
            return self._came_or_went(was_online=was_online)
        return Reaction()

    def sent(self, command_id: str, body: Body) -> None:
        """Note a command that is on its way to the broker."""
        self.pending[command_id] = Pending(body)
        while len(self.pending) > _MAX_PENDING:
            del self.pending[next(iter(self.pending))]

    def taken(self, command_id: str, reply: Reply, at: float) -> Reaction:
        """Note that the broker has a command; `at` is on the monotonic clock."""
        pending = self.pending.get(command_id)
        if pending is not None:
            is_away = self.heard.availability is Availability.OFFLINE
            patience_s = OFFLINE_GRACE_S if is_away else self._timeout_s
            self.pending[command_id] = replace(pending, reply=reply, overdue_at=at + patience_s)
        return Reaction()

    def not_taken(self, command_id: str, error: CliError) -> Reaction:
        """Note that the broker does not have a command, or may not have it."""
        pending = self.pending.pop(command_id, None)
        if pending is None or pending.is_question:
            return Reaction()
        return Reaction((_refusal(pending.body, error),))

    def tick(self, now: float) -> Reaction:
        """Look at the clock: who has not answered, and what is out of date."""
        notices = [
            notice
            for command_id, pending in list(self.pending.items())
            if pending.overdue_at is not None
            and now >= pending.overdue_at
            and (notice := self._overdue(command_id, pending)) is not None
        ]
        return Reaction(tuple(notices), self._out_of_date(now))

    def _nothing_heard(self) -> Heard:
        also: dict[str, type[BaseModel]] = {self.topics.positions: Positions, self.topics.info: Info}
        return Heard(self.topics, self._interval_s, also)

    def _wanted_switches(self) -> dict[str, Switch]:
        return {
            pending.body.symbol: pending.body.value
            for pending in self.pending.values()
            if isinstance(pending.body, commands.SetCrypto)
        }

    def _take_interval(self) -> None:
        """Use the bot's own setting: this machine's may be another."""
        try:
            self.heard.interval_s = float(str(self.info and self.info.settings["BOT_HEARTBEAT_INTERVAL_S"]))
        except (KeyError, ValueError):
            self.heard.interval_s = self._interval_s

    def _came_or_went(self, *, was_online: bool) -> Reaction:
        is_online = self.heard.availability is Availability.ONLINE
        if is_online and not was_online:
            return Reaction(asks=ASKED_AT_START)
        if was_online and not is_online:
            return Reaction((Notice("Bot offline", "The bot has gone. What is shown is the last it said.", "error"),))
        return Reaction()

    def _extend_curve(self, point: books.EquityPoint) -> None:
        """Keep the newest point of each minute."""
        newest = self.curve[-1].at if self.curve else None
        if newest is not None and point.at.replace(second=0, microsecond=0) <= newest:
            self.curve.pop()
        self.curve = [*self.curve, point][-_CURVE_POINTS:]

    def _take_response(self, message: Message) -> Reaction:
        try:
            response = understand(Response, message.payload, message.topic)
        except CliError as error:
            self.heard.unreadable = error.message
            return Reaction()
        if not is_final(response):
            return Reaction()
        pending = self.pending.pop(response.id, None) if response.id else None
        if response.name not in history.QUIET:
            said = title(pending.body) if pending else None
            self.entries = history.with_newest(history.from_response(response, said), self.entries)
        if pending is None:
            return Reaction()
        refused = outcome.problem(response)
        if refused is not None:
            return Reaction((_refusal(pending.body, refused),))
        if pending.is_question:
            return self._take_answer(pending.body, response)
        done = Notice(title(pending.body), outcome.sentence(response), "information")
        warnings = [
            Notice(title(pending.body), f"{each.message} ({each.code})", "warning") for each in response.warnings
        ]
        return Reaction((done, *warnings))

    def _take_answer(self, asked: Body, response: Response) -> Reaction:
        try:
            match asked:
                case commands.SearchCatalog():
                    rows = _CATALOG.validate_python(response.data.get("cryptos"))
                    self.catalog = {row.symbol: row for row in rows}
                case commands.Performance():
                    live = self.curve
                    self.curve = list(books.Performance.model_validate(response.data).equity)
                    for point in live:
                        if not self.curve or point.at > self.curve[-1].at:
                            self._extend_curve(point)
                case commands.History():
                    return self._take_history(response.data)
        except ValidationError:
            what = f"The answer to {asked.name} is of another version: compare `allora-mqtt version` on both machines."
            return Reaction((Notice(title(asked), what, "warning"),))
        return Reaction()

    def _take_history(self, data: Mapping[str, JsonValue]) -> Reaction:
        """Take over the history; what ended while there was no connection is told now."""
        self.entries = history.from_answer(data)
        notices = []
        for entry in self.entries:
            if entry.id in self.pending and entry.status in set(Status):
                body = self.pending.pop(entry.id).body
                said = f"{entry.error.message} ({entry.error.code})" if entry.error else f"Ended as {entry.status}."
                severity: Severity = "information" if entry.status == Status.EXECUTED else "error"
                notices.append(Notice(title(body), said, severity))
        return Reaction(tuple(notices))

    def _overdue(self, command_id: str, pending: Pending) -> Notice | None:
        """Say once that no answer came; what may still be answered stays."""
        if pending.reply is None:
            return None
        reply = replace(pending.reply, availability=self.heard.availability)
        is_gone = reply.has_subscriber is False and not reply.retained
        if pending.is_question or is_gone:
            del self.pending[command_id]
        else:
            self.pending[command_id] = replace(pending, overdue_at=None)
        error = outcome.no_answer(reply, self._timeout_s)
        return Notice(title(pending.body), f"{error.message} ({error.code})", "warning")

    def _out_of_date(self, now: float) -> tuple[Body, ...]:
        is_online = self.problem is None and self.heard.availability is Availability.ONLINE
        if self._catalog_at is None or not is_online:
            self._catalog_at = now
        elif now - self._catalog_at >= _CATALOG_AGE_S:
            self._catalog_at = now
            return (commands.SearchCatalog(),)
        return ()


def title(body: Body) -> str:
    """Name a command in a few words."""
    match body:
        case commands.SetMode():
            return f"Mode {body.value}"
        case commands.SetCrypto():
            return f"{body.symbol} {body.value}"
        case commands.SetCryptos():
            return "Clear all" if not body.value else "Coins"
        case commands.ActivateSet():
            return f"Select {body.set_name}"
        case commands.Close():
            return f"Close {body.symbol}"
    return body.name.replace("_", " ").capitalize()


def day_pnl(state: PanelState) -> tuple[Decimal | None, Decimal | None]:
    """Return the UTC day's profit in USD and in percent, as far as they are known."""
    if state.account is not None:
        return state.account.daily_pnl_usd, state.account.daily_pnl_pct
    return (state.status.daily_pnl_usd if state.status else None), None


def _refusal(body: Body, error: CliError) -> Notice:
    return Notice(title(body), f"{error.message} ({error.code})", "error")
