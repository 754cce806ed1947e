"""Commands that are on disk, on their way to an end: decide, run, store the end with its effect, answer.

Two lanes: commands that take risk away run at once, each in a task of its own; all others one after another in the
order of their arrival. The next one runs while the ends of those before it are on their way to the disk, in order and
many to a commit; nothing of a command is seen before its end is there.
"""

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from pydantic import JsonValue
from structlog.contextvars import bound_contextvars

from allora_mqtt.control import ordering
from allora_mqtt.control.accepted import Accepted, Handlers
from allora_mqtt.control.desired import Desired, changes
from allora_mqtt.control.outbox import Outbox, encode
from allora_mqtt.protocol.commands import (
    QUESTIONS,
    Action,
    Body,
    Events,
    Flatten,
    History,
    Mode,
    Performance,
    SetMode,
    Trades,
    brief,
)
from allora_mqtt.protocol.errors import BotError, ErrorCode, Rejected
from allora_mqtt.protocol.messages import CommandEvent, ErrorInfo, Response, Status, Warn
from allora_mqtt.protocol.reading import Parsed
from allora_mqtt.protocol.topics import Event, Topics
from allora_mqtt.store.entries import MQTT, Changes, Unanswered
from allora_mqtt.store.journal import Journal, OutOfTurn

log = logging.getLogger(__name__)

_MAX_WAITING: Final = 10_000
_MAX_UNSTORED: Final = 256
"""Commands that have run and whose end is not on disk yet."""
_RETRY_JOURNAL_S: Final = 1.0
_READS_BOOKS: Final = (Events, History, Performance, Trades)
_MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""Payloads of the commands that wait; what Python makes of JSON takes many times its bytes."""
_MAX_RETAINED_RESPONSE: Final = 4096
"""Bytes; a longer answer (to a query) is retained without its data, for every dashboard that connects gets it."""


def _ignore(*_told: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class _Step:
    """A change of what holds, with its number: the newest is followed, whichever is stored or looked at first."""

    number: int
    old: Desired
    new: Desired
    command_seq: int | None


@dataclass(frozen=True, slots=True)
class _End:
    """A command that has run, or was refused.

    Attributes:
        stored: done when its end is on disk.
        step: what holds when it is stored; None where it was refused.
        after: done once it is answered.
    """

    accepted: Accepted
    response: Response
    stored: Awaitable[None]
    step: _Step | None = None
    after: Callable[[], None] | None = None


class Dispatcher:
    """Brings each command to its end, once.

    Args:
        journal: stores ends and effects.
        handlers: do the work.
        outbox: publishes the answers.
        topics: the topic tree.
        desired: what holds at start.
        policy: the rule for commands that waited.
        clock: the time, with its zone.
    """

    def __init__(
        self,
        journal: Journal,
        handlers: Handlers,
        outbox: Outbox,
        topics: Topics,
        desired: Desired,
        policy: ordering.WaitingPolicy,
        clock: Callable[[], datetime],
    ) -> None:
        self._journal = journal
        self._handlers = handlers
        self._outbox = outbox
        self._topics = topics
        self._policy = policy
        self._clock = clock
        self._waiting: deque[Accepted] = deque()
        self._waiting_bytes = 0
        self._work = asyncio.Event()
        self._urgent: set[asyncio.Task[Any]] = set()
        self._refusing: set[asyncio.Task[Any]] = set()
        self._changing = asyncio.Lock()
        self._coming = desired
        """What will hold when every end that is on its way is stored."""
        self._steps = itertools.count(1)
        self._taken = 0
        self._places = itertools.count()
        self._room = asyncio.Semaphore(_MAX_UNSTORED)
        self._ending: set[asyncio.Task[Any]] = set()
        self._overtaken_before = desired.mode_seq
        self._unwritten: list[Parsed] = []
        self._mode_seq_at_start = desired.mode_seq
        self._followed: tuple[Desired, bool] | None = None
        self._has_read_mailbox = False
        self._answering: set[int] = set()
        self.desired = desired
        """What holds now, and is stored."""
        self.on_finished: Callable[[Accepted], None] = _ignore
        """Told when a command has ended."""
        self.on_ended: Callable[[Accepted, Response], None] = _ignore
        """Told how a command has ended."""
        self.on_responded: Callable[[Response], None] = _ignore
        """Told each response."""
        self.on_answered: Callable[[Unanswered], None] = _ignore
        """Told of a command when the broker has its response."""

    def submit(self, accepted: Accepted) -> None:
        """Take a command from the journal."""
        body = accepted.parsed.body
        # Whatever becomes of it, a duplicate or refused: it is written down now and holds nothing up any more.
        self._unwritten = [parsed for parsed in self._unwritten if parsed is not accepted.parsed]
        if body is not None and body.is_urgent and accepted.duplicate_of is None and accepted.refusal is None:
            if isinstance(body, (SetMode, Flatten)):
                self._overtaken_before = max(self._overtaken_before, accepted.seq)
            self._keep(asyncio.create_task(self._bring_to_end(accepted), name=f"command-{accepted.seq}"), self._urgent)
            return
        size = len(accepted.incoming.payload)
        if len(self._waiting) >= _MAX_WAITING or self._waiting_bytes + size > _MAX_WAITING_BYTES:
            message = f"{len(self._waiting)} commands are waiting already; this one was not tried. Send it again later."
            why = ordering.Refusal(Status.REJECTED, ErrorInfo(code=ErrorCode.OVERLOADED, message=message))
            accepted = replace(accepted, refusal=accepted.refusal or why)
        if body is None or accepted.first is not None or accepted.refusal is not None:
            # Nothing runs, so nothing waits for its turn: many such end together, as fast as they come in.
            self._keep(asyncio.create_task(self._bring_to_end(accepted)), self._refusing)
            return
        self._waiting.append(accepted)
        self._waiting_bytes += size
        self._work.set()

    @property
    def waiting(self) -> int:
        """How many commands wait for their turn or are being run."""
        return len(self._waiting) + len(self._urgent) + len(self._refusing)

    async def run(self) -> None:
        """Work off the commands that wait, in order."""
        while True:
            while self._waiting:
                accepted = self._waiting.popleft()
                self._waiting_bytes -= len(accepted.incoming.payload)
                await self._room.acquire()
                end = await self._execute(accepted, time.perf_counter())
                task = asyncio.create_task(self._complete(end), name=f"end-{accepted.seq}")
                self._keep(task, self._ending)
                task.add_done_callback(lambda _: self._room.release())
            self._work.clear()
            await self._work.wait()

    def mailbox_read(self) -> None:
        """Let the mode of the start hold: every command that waited has been submitted, a STANDBY among them or not."""
        if not self._has_read_mailbox:
            self._has_read_mailbox = True
            self._follow(self.desired, self.desired, None)

    def store_failed(self, parsed: Parsed) -> None:
        """A command cannot be written down: take its risk away all the same, if that is what it is for."""
        body = parsed.body
        if body is not None and body.is_urgent:
            if isinstance(body, (SetMode, Flatten)):
                # Nothing that came before it may let entries through again while it waits for the disk.
                self._unwritten.append(parsed)
            self._keep(asyncio.create_task(self._prepare(body)), self._urgent)

    async def change(self, make: Callable[[Desired], Desired], at: datetime) -> Desired:
        """Change what holds without a command: a breaker that goes to STANDBY, for example. Done when it is stored."""
        async with self._changing:
            old = self._coming
            new = _revised(old, make(old))
            step = self._step(old, new, None)
            stored = self._store(partial(self._journal.save, changes(old, new), at), "A change of the mode")
        await stored
        self._take(step)
        return new

    async def republish_answers(self) -> None:
        """Send again the responses that the broker may not have got before, but none that is on its way now."""
        try:
            unanswered = await self._journal.unanswered()
        except BotError as error:
            log.warning("Answers from before could not be looked up, until the next connect: %s", error.message)
            return
        for entry in unanswered:
            if entry.response is not None and entry.channel == MQTT and entry.seq not in self._answering:
                sent = self._outbox.send(self._topics.response(entry.response.name), encode(entry.response))
                sent.add_done_callback(partial(self._on_answered, entry))

    async def _bring_to_end(self, accepted: Accepted) -> None:
        await self._complete(await self._execute(accepted, time.perf_counter()))

    async def _execute(self, accepted: Accepted, started: float) -> _End:
        body = accepted.parsed.body
        response = await self._refuse_unread(accepted, started)
        if response is None and body is not None:
            try:
                return await self._try(accepted, body, started)
            except _Refused as refused:
                response = self._response(accepted, started, refused.why.status, error=refused.why.error)
            except Rejected as error:
                response = self._response(accepted, started, Status.REJECTED, error=_info(error))
            except BotError as error:
                response = self._response(accepted, started, Status.FAILED, error=_info(error))
            except Exception as error:
                log.exception("Command %s (%s) failed in an unforeseen way", accepted.seq, accepted.parsed.name)
                message = f"The bot met a fault of its own ({type(error).__name__}); its log has the details."
                info = ErrorInfo(code=ErrorCode.INTERNAL, message=message)
                response = self._response(accepted, started, Status.FAILED, error=info)
        if response is None:
            raise RuntimeError("a command that could not be read has no refusal")
        return self._end(accepted, response, Changes())

    def _end(
        self,
        accepted: Accepted,
        response: Response,
        change: Changes,
        step: _Step | None = None,
        after: Callable[[], None] | None = None,
    ) -> _End:
        """Send the end of a command to the disk, behind those of all that ran before it."""
        what = f"The end of command {accepted.seq}"
        stored = self._store(partial(self._journal.finish, accepted.seq, response, change), what)
        return _End(accepted, response, stored, step, after)

    async def _complete(self, end: _End) -> None:
        """Answer a command, and let its effect be seen, when its end is stored."""
        await end.stored
        if end.step is not None:
            self._take(end.step)
        self._answer(end.accepted, end.response)
        self.on_ended(end.accepted, end.response)
        self.on_responded(end.response)
        if end.after is not None:
            with bound_contextvars(command=end.accepted.seq):
                end.after()
        self.on_finished(end.accepted)

    def _store(self, write: Callable[[int], Awaitable[None]], what: str) -> Awaitable[None]:
        """Store something in the order in which this is called, for as long as that takes.

        What is answered must not run after a restart, and what came later must not be undone by what came before it.
        """
        place = next(self._places)
        return self._keep_trying(write(place), partial(write, place), what)

    async def _keep_trying(self, first: Awaitable[None], write: Callable[[], Awaitable[None]], what: str) -> None:
        written = first
        while True:
            try:
                return await written
            except OutOfTurn:
                # What it waits for says why.
                pass
            except BotError as error:
                log.error("%s could not be stored and waits: %s", what, error.message)  # noqa: TRY400 - the sentence says it all
            await asyncio.sleep(_RETRY_JOURNAL_S)
            written = write()

    async def _settled(self) -> None:
        """Wait until the ends that are on their way now are stored and followed."""
        if self._ending:
            await asyncio.wait(set(self._ending))

    async def _refuse_unread(self, accepted: Accepted, started: float) -> Response | None:
        """Answer what is no new command: a duplicate, one that could not be read, one refused or interrupted before."""
        parsed = accepted.parsed
        if accepted.duplicate_of is not None:
            await self._settled()
            first = accepted.first or await self._journal.outcome(accepted.duplicate_of) or {"status": "PENDING"}
            return self._response(accepted, started, Status.DUPLICATE, data={"first": first})
        if parsed.error is not None:
            status = Status.SUPERSEDED if parsed.error.code is ErrorCode.SUPERSEDED else Status.REJECTED
            return self._response(accepted, started, status, error=_info(parsed.error))
        if accepted.refusal is not None:
            return self._response(accepted, started, accepted.refusal.status, error=accepted.refusal.error)
        if accepted.was_running:
            message = "The bot died while it ran this and does not run it twice; look whether it took effect."
            return self._response(
                accepted, started, Status.FAILED, error=ErrorInfo(code=ErrorCode.INTERRUPTED, message=message)
            )
        return None

    async def _try(self, accepted: Accepted, body: Body, started: float) -> _End:
        await self._prepare(body)
        if ordering.raises_risk(body, self._coming) and self._urgent:
            # What takes risk away and is under way (a flatten, for example) ends before risk is added again.
            await asyncio.wait(set(self._urgent))
        self._refuse_by_age(accepted, body)
        if isinstance(body, _READS_BOOKS):
            # Who asks sees the ends of all that was sent before.
            await self._settled()
        if isinstance(body, Action) and not body.may_repeat:
            await self._journal.start(accepted.seq)
        # Each line of the log that is written on the way says which command it was for.
        with bound_contextvars(command=accepted.seq):
            outcome = await self._handlers.run(body, accepted.seq, self._coming)
        async with self._changing:
            self._refuse_by_age(accepted, body)
            old = self._coming
            envelope = accepted.parsed.envelope
            changed = old if outcome.change is None else outcome.change(old)
            issued = ordering.issued_after(old, body, envelope, accepted.incoming.received_at, waited=accepted.waited)
            new = _revised(old, replace(changed, issued=issued))
            # Whatever ran while this one waited for its turn cannot have opened the gate again when this is answered.
            failure = (await self._prepare(body) if body.is_urgent else None) or outcome.failure
            response = self._response(
                accepted,
                started,
                Status.EXECUTED if failure is None else Status.FAILED,
                data=outcome.data,
                warnings=outcome.warnings,
                error=None if failure is None else _info(failure),
                revision=new.revision,
            )
            return self._end(accepted, response, changes(old, new), self._step(old, new, accepted.seq), outcome.after)

    def _refuse_by_age(self, accepted: Accepted, body: Body) -> None:
        if isinstance(body, SetMode) and not body.is_urgent and accepted.seq < self._overtaken_before:
            raise _Refused(ordering.superseded("A newer command that takes risk away came before this one ran."))
        why = ordering.refuse_by_age(
            body,
            accepted.parsed.envelope,
            self._coming,
            self._policy,
            self._clock(),
            waited=accepted.waited,
            seq=accepted.seq,
            restored_at=accepted.restored_at,
        )
        if why is not None:
            raise _Refused(why)

    def _step(self, old: Desired, new: Desired, command_seq: int | None) -> _Step:
        self._coming = new
        return _Step(next(self._steps), old, new, command_seq)

    def _take(self, step: _Step) -> None:
        if step.number > self._taken:
            self._taken = step.number
            self._follow(step.old, step.new, step.command_seq)

    def _follow(self, old: Desired, new: Desired, command_seq: int | None) -> None:
        self.desired = new
        # An ACTIVE that nobody has said in this life may have been taken back while the bot was away.
        holds = self._has_read_mailbox or new.mode_seq != self._mode_seq_at_start
        is_newest = self._overtaken_before <= new.mode_seq and not self._unwritten
        may_trade = new.mode is Mode.ACTIVE and holds and is_newest
        if self._followed != (new, may_trade):
            self._followed = new, may_trade
            self._handlers.apply(old, new, may_trade=may_trade, command_seq=command_seq)

    async def _prepare(self, body: Body) -> BotError | None:
        """Take risk away at once; what holds has to be followed anew after that."""
        if body.is_urgent:
            self._followed = None
        return await self._handlers.prepare(body)

    def _answer(self, accepted: Accepted, response: Response) -> None:
        payload = encode(response)
        sent = self._outbox.send(self._topics.response(response.name), payload)
        incoming = accepted.incoming
        command = Unanswered(
            accepted.seq, incoming.topic, incoming.packet_id, incoming.payload_hash, response, incoming.channel
        )
        self._answering.add(accepted.seq)
        sent.add_done_callback(partial(self._on_answered, command))
        if accepted.reply_to is not None and self._may_reply_to(accepted.reply_to.topic):
            self._outbox.send(accepted.reply_to.topic, payload, correlation=accepted.reply_to.correlation)
        shown = response if len(payload) <= _MAX_RETAINED_RESPONSE else response.model_copy(update={"data": {}})
        self._outbox.state(self._topics.last_command, shown)
        note = CommandEvent(
            status=response.status,
            name=response.name,
            id=response.id,
            source=response.source,
            error=response.error,
            at=response.executed_at,
            seq=accepted.seq,
            asked=None if accepted.parsed.body is None else brief(accepted.parsed.body),
        )
        self._outbox.event(self._topics.event(Event.COMMAND), note)
        self._log(note, response.signed_by)

    @staticmethod
    def _log(ended: CommandEvent, signed_by: str | None) -> None:
        """Write one line for a command; questions, which dashboards ask all the time, at the lowest level."""
        why = "" if ended.error is None else f" ({ended.error.code}: {ended.error.message})"
        log.log(
            logging.DEBUG if ended.name in QUESTIONS and ended.status is Status.EXECUTED else logging.INFO,
            "Command %s%s from %s%s: %s%s",
            ended.name,
            f" {ended.asked}" if ended.asked else "",
            ended.source or "?",
            f" (signed by {signed_by})" if signed_by else "",
            ended.status,
            why,
            extra={"command": ended.seq, "command_id": ended.id},
        )

    def _may_reply_to(self, topic: str) -> bool:
        """Whether a sender may name this topic for its answer: one that can be published to, and none of our own."""
        is_name = bool(topic) and not set("#+\0") & set(topic) and topic[0] != "$"
        return is_name and not topic.startswith(f"{self._topics.base}/")

    def _on_answered(self, command: Unanswered, done: asyncio.Future[None]) -> None:
        self._answering.discard(command.seq)
        if not done.cancelled():
            if command.channel == MQTT:
                self._journal.answered([command.seq])
            self.on_answered(command)

    def _response(
        self,
        accepted: Accepted,
        started: float,
        status: Status,
        *,
        data: dict[str, JsonValue] | None = None,
        warnings: tuple[Warn, ...] = (),
        error: ErrorInfo | None = None,
        revision: int | None = None,
    ) -> Response:
        envelope = accepted.parsed.envelope
        return Response(
            id=envelope.id,
            name=accepted.parsed.name,
            status=status,
            data=data or {},
            warnings=list(warnings),
            error=error,
            transaction=envelope.transaction,
            source=envelope.source,
            received_at=accepted.incoming.received_at,
            executed_at=self._clock(),
            duration_ms=round((time.perf_counter() - started) * 1000, 3),
            revision=self._coming.revision if revision is None else revision,
            signed_by=accepted.parsed.signed_by,
        )

    def _keep(self, task: asyncio.Task[Any], among: set[asyncio.Task[Any]]) -> None:
        among.add(task)
        task.add_done_callback(partial(self._let_go, among))

    def _let_go(self, among: set[asyncio.Task[Any]], task: asyncio.Task[Any]) -> None:
        among.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("A command that runs at once met a fault of the bot's own", exc_info=fault)


class _Refused(Exception):  # noqa: N818 - internal: a decision, not a fault
    def __init__(self, why: ordering.Refusal) -> None:
        super().__init__(why.error.message)
        self.why = why


def _info(error: BotError) -> ErrorInfo:
    return ErrorInfo(code=error.code, message=error.message)


def _revised(old: Desired, new: Desired) -> Desired:
    """Raise the revision when something that is published has changed."""
    same = (old.mode, dict(old.active), old.settings) == (new.mode, dict(new.active), new.settings)
    return new if same else replace(new, revision=old.revision + 1)
