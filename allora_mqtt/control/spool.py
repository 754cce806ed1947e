"""Commands that come as files: into the inbox like any other, and with their response beside them at their end.

A file stays in `pending/` until its command has ended, so that at each crash the journal and the folder together tell
what is left to do: a journaled command whose file lies there unchanged is that same command, not a new one; a file
that has left is done with. The response is written before the file is moved, and the journal told after that.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from allora_mqtt.control.accepted import Accepted
from allora_mqtt.control.inbox import Inbox
from allora_mqtt.control.outbox import encode
from allora_mqtt.protocol import spool
from allora_mqtt.protocol.commands import Envelope
from allora_mqtt.protocol.errors import ErrorCode, Rejected
from allora_mqtt.protocol.messages import Response
from allora_mqtt.protocol.reading import Parsed
from allora_mqtt.store.entries import SPOOL, Incoming, Unanswered, fingerprint
from allora_mqtt.store.journal import Journal

log = logging.getLogger(__name__)

_RETRY_S: Final = 1.0
_BATCH: Final = 256
"""Files that are read at once, so that a STANDBY among many others is found soon."""
_MAX_TAKEN: Final = 5000
"""Files whose commands are under way; more wait in their folder."""
_GOODBYE_S: Final = 2.0
_TOPIC: Final = f"{spool.FOLDER}/"


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """A file as it was read.

    Attributes:
        content: its bytes; of a file that is too long, one more than is allowed.
        identity: what tells it from another one that came in its place.
        refusal: why it is none to be read.
    """

    name: str
    content: bytes
    identity: tuple[int, ...]
    refusal: Rejected | None


class Folder(Protocol):
    """Where the files lie; every method but `changes` may block, and raise `OSError`."""

    def changes(self) -> AsyncGenerator[None, None]:
        """Yield, for ever, each time that there may be something new."""

    def names(self) -> list[str]:
        """Return the files that are commands, in the order in which they are to be taken."""

    def is_there(self, name: str) -> bool:
        """Tell whether there is a file of this name."""

    def read(self, name: str) -> SpoolFile | None:
        """Read a file; None where it is gone."""

    def has_ended(self, seq: int, name: str) -> bool:
        """Tell whether the file of this journal entry has been moved."""

    def end(self, seq: int, name: str, file: SpoolFile | None, outcome: str, response: bytes) -> None:
        """Write the response and move the file."""


@dataclass(frozen=True, slots=True)
class _Ending:
    seq: int
    name: str
    payload_hash: str
    response: Response


class Spool:
    """Brings files to the inbox, and responses to the files.

    Args:
        folder: where the files lie.
        journal: knows what an earlier run took and did not end.
        inbox: takes the commands.
        clock: the time, with its zone.
        needs_ids: whether other bots, with folders of their own, end what this journal holds: then only its id tells
            a file that was left lying here from a new one.
    """

    def __init__(
        self,
        folder: Folder,
        journal: Journal,
        inbox: Inbox,
        clock: Callable[[], datetime],
        *,
        needs_ids: bool = False,
    ) -> None:
        self._needs_ids = needs_ids
        self._folder = folder
        self._journal = journal
        self._inbox = inbox
        self._clock = clock
        self._left: list[Unanswered] = []
        self._taken: dict[str, SpoolFile] = {}
        self._looking = asyncio.Lock()
        self._endings: asyncio.Queue[_Ending] = asyncio.Queue()
        self._seen_all_that_waited = False

    async def load(self) -> None:
        """Learn from the journal what an earlier run had taken; to be called before any of that is resumed."""
        self._left = [entry for entry in await self._journal.unanswered() if entry.channel == SPOOL]

    async def run(self) -> None:
        """Take files as they come, and end them."""
        await self._resume()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._take_all(), name="spool-in")
            tasks.create_task(self._end_all(), name="spool-out")

    def ended(self, accepted: Accepted, response: Response) -> None:
        """A command has ended; of those that came as files the response is written down."""
        incoming = accepted.incoming
        if incoming.channel == SPOOL:
            self._endings.put_nowait(_ending(accepted.seq, incoming.topic, incoming.payload_hash, response))

    async def finish(self) -> None:
        """Wait a little for responses that are still being written; the next start writes what is left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self._endings.join()

    async def _resume(self) -> None:
        """Find the files of commands that are in the journal already, before any file is taken for a new one."""
        while self._left:
            entry = self._left[0]
            try:
                await self._find_again(entry)
            except OSError as error:
                log.error("The spool %s cannot be read and waits: %s", self._folder, error)  # noqa: TRY400 - the sentence says it all
                await asyncio.sleep(_RETRY_S)
            else:
                self._left.pop(0)

    async def _find_again(self, entry: Unanswered) -> None:
        name = entry.topic.removeprefix(_TOPIC)
        if entry.response is not None and await asyncio.to_thread(self._folder.has_ended, entry.seq, name):
            self._journal.answered([entry.seq])
            return
        file = await asyncio.to_thread(self._folder.read, name)
        if file is not None and fingerprint(file.content) == entry.payload_hash:
            self._taken[name] = file
        if entry.response is not None:
            self._endings.put_nowait(_ending(entry.seq, entry.topic, entry.payload_hash, entry.response))

    async def _take_all(self) -> None:
        async with contextlib.aclosing(self._folder.changes()) as changes:
            async for _ in changes:
                await self._look()

    async def _look(self) -> None:
        try:
            async with self._looking:
                new = [name for name in await asyncio.to_thread(self._folder.names) if name not in self._taken]
                for start in range(0, len(new), _BATCH):
                    for file in await asyncio.to_thread(self._read, new[start : start + _BATCH]):
                        if not self._take(file):
                            return
                if not self._seen_all_that_waited:
                    self._seen_all_that_waited = True
                    self._inbox.on_files_read()
        except OSError as error:
            log.error("The spool %s cannot be read; it is tried again: %s", self._folder, error)  # noqa: TRY400 - the sentence says it all

    def _read(self, names: list[str]) -> list[SpoolFile]:
        return [file for name in names if (file := self._folder.read(name)) is not None]

    def _take(self, file: SpoolFile) -> bool:
        """Hand a file's command on; False when too many are under way."""
        if file.refusal is None:
            parsed = spool.read(file.content)
        else:
            parsed = Parsed.refused(spool.UNKNOWN, Envelope(), file.refusal)
        if self._needs_ids and parsed.envelope.id is None and not (parsed.body is None or parsed.body.reduces_risk):
            why = 'a file needs an "id" where two bots are a pair: without one it could run once for each of them'
            parsed = Parsed.refused(
                parsed.name, parsed.envelope, Rejected(ErrorCode.BAD_VALUE, f"Nothing was run: {why}.")
            )
        incoming = Incoming(
            name=parsed.name,
            topic=f"{_TOPIC}{file.name}",
            payload=file.content if len(file.content) <= spool.MAX_FILE_BYTES else b"",
            payload_hash=fingerprint(file.content),
            channel=SPOOL,
            packet_id=None,
            retained=False,
            received_at=self._clock(),
            envelope=parsed.envelope,
            fills_mailbox=False,
            refusal=parsed.error,
        )
        if len(self._taken) >= _MAX_TAKEN:
            return False
        if not self._inbox.take(incoming, parsed, waited=not self._seen_all_that_waited):
            return False
        self._taken[file.name] = file
        return True

    async def _end_all(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            ending = await self._endings.get()
            try:
                await self._end(ending)
            except OSError as error:
                log.error("The response to %s in the spool %s waits: %s", ending.name, self._folder, error)  # noqa: TRY400 - the sentence says it all
                loop.call_later(_RETRY_S, self._endings.put_nowait, ending)
            self._endings.task_done()

    async def _end(self, ending: _Ending) -> None:
        name = ending.name
        file = self._taken.get(name)
        if file is not None and fingerprint(file.content) != ending.payload_hash:
            file = None
        outcome, response = spool.ended_in(ending.response.status), encode(ending.response)
        await asyncio.to_thread(self._folder.end, ending.seq, name, file, outcome, response)
        if file is not None:
            del self._taken[name]
        self._journal.answered([ending.seq])
        if await asyncio.to_thread(self._folder.is_there, name):
            # Another one of the same name has come meanwhile.
            await self._look()


def _ending(seq: int, topic: str, payload_hash: str, response: Response) -> _Ending:
    return _Ending(seq, topic.removeprefix(_TOPIC), payload_hash, response)
