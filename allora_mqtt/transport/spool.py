"""The spool's folders on disk: watched for new files, which are read with suspicion and moved when they have ended.

What lies in `pending/` was put there by somebody else and may be anything: a pipe that never ends, a link to a secret,
a folder, a file of any size. And it may be replaced at any moment by another of the same name.
"""

import asyncio
import contextlib
import errno
import logging
import os
import stat
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from watchfiles import Change, awatch

from allora_mqtt import files
from allora_mqtt.control.spool import SpoolFile
from allora_mqtt.protocol import spool
from allora_mqtt.protocol.errors import ErrorCode, Rejected

log = logging.getLogger(__name__)

_GROUP_MS: Final = 200
"""New files are waited for at most this long before those that are there are taken."""
_STEP_MS: Final = 20
"""How soon a file that comes alone is noticed."""
_LOOK_AGAIN_MS: Final = 5000
"""The folder is looked at this often besides: for what could not be read or moved at first, or was not noticed."""
_RETRY_S: Final = 1.0
_READ_MODE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SHORT_OF_MEANS: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR}
"""Errors that say nothing of the file."""


class SpoolFolder:
    """The three folders; every method but `changes` blocks and belongs on a thread.

    Args:
        folder: where `pending/`, `processed/` and `failed/` are, or are made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pending = folder / spool.PENDING
        self._odd_names: dict[str, str] = {}
        """Files whose names are no UTF-8, by how they are written for people."""
        self._complaint = ""

    def __str__(self) -> str:
        return str(self._folder)

    def make(self) -> int:
        """Make what is not there yet; the rights of folders that are there stay as they are.

        Returns:
            What tells `pending/` from another folder that may come in its place.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (spool.PENDING, spool.PROCESSED, spool.FAILED):
            (self._folder / name).mkdir(mode=0o700, exist_ok=True)
        return self._pending.stat().st_ino

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yield each time that there may be something new; the first time as soon as nothing can be missed."""
        while True:
            try:
                watched_folder = await asyncio.to_thread(self.make)
                async with contextlib.aclosing(self._watched()) as watched:
                    async for _ in watched:
                        self._complaint = ""
                        yield
                        if await asyncio.to_thread(self.make) != watched_folder:
                            break
            except* (OSError, RuntimeError) as errors:
                # The watch dies of a file whose name is no UTF-8, for example, and lives again when that is gone.
                self._complain(str(errors.exceptions[0]))
                await asyncio.sleep(_RETRY_S)
                yield

    def _complain(self, reason: str) -> None:
        if self._complaint != reason:
            self._complaint = reason
            log.error("The spool %s cannot be watched (%s); it is looked at every second or so.", self, reason)

    def names(self) -> list[str]:
        """Return the files that are commands, in the order in which they are to be taken."""
        found = {
            _shown(name): name
            for name in (path.name for path in self._pending.iterdir())
            if spool.is_command_file(name)
        }
        self._odd_names = {shown: name for shown, name in found.items() if shown != name}
        return sorted(found)

    def is_there(self, name: str) -> bool:
        """Tell whether there is a file of this name in `pending/`."""
        return os.path.lexists(self._in_pending(name))

    def read(self, name: str) -> SpoolFile | None:
        """Read a file; None where it is gone."""
        path = self._in_pending(name)
        try:
            found = path.lstat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            message = f"{name} is {_kind(found.st_mode)}; a command is a regular file with one JSON object in it."
            return SpoolFile(name, b"", _identity(found), Rejected(ErrorCode.BAD_VALUE, message))
        try:
            handle = os.open(path, _READ_MODE)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _SHORT_OF_MEANS:
                raise
            message = f"{name} cannot be read: {error.strerror}. Give it to the user that the bot runs as."
            return SpoolFile(name, b"", _identity(found), Rejected(ErrorCode.BAD_VALUE, message))
        with os.fdopen(handle, "rb") as file:
            opened = os.fstat(handle)
            if not stat.S_ISREG(opened.st_mode):
                # It came in the place of the one looked at, and is looked at the next time.
                return None
            return SpoolFile(name, file.read(spool.MAX_FILE_BYTES + 1), _identity(opened), None)

    def has_ended(self, seq: int, name: str) -> bool:
        """Tell whether the file of this journal entry has left `pending/`."""
        ended = spool.ended_name(seq, name)
        return any(os.path.lexists(self._folder / folder / ended) for folder in (spool.PROCESSED, spool.FAILED))

    def end(self, seq: int, name: str, file: SpoolFile | None, outcome: str, response: bytes) -> None:
        """Write down how a command ended, and move its file beside that.

        Args:
            seq: the command's journal entry.
            name: what its file was called.
            file: the file as it was read; None where it was not there any more.
            outcome: the folder it goes to.
            response: what is written beside it.

        Raises:
            OSError: it could not be done, or not all of it; doing it again later does the rest.
        """
        self.make()
        folder = self._folder / outcome
        files.write_whole(folder / spool.response_name(seq, name), response)
        if file is not None:
            self._move(file, folder / spool.ended_name(seq, name))
            files.sync_folder(folder)
            files.sync_folder(self._pending)

    def _move(self, file: SpoolFile, target: Path) -> None:
        source = self._in_pending(file.name)
        try:
            if _identity(source.lstat()) != file.identity:
                return
            source.rename(target)
        except FileNotFoundError:
            return
        if _identity(target.lstat()) != file.identity and not os.path.lexists(source):
            # It was replaced between the look and the move: this is a new command, and has not run.
            target.rename(source)

    async def _watched(self) -> AsyncGenerator[None, None]:
        watch = awatch(
            self._pending,
            watch_filter=_may_be_new,
            debounce=_GROUP_MS,
            step=_STEP_MS,
            rust_timeout=_LOOK_AGAIN_MS,
            yield_on_timeout=True,
            recursive=False,
        )
        change: asyncio.Future[set[tuple[Change, str]]] | None = None
        try:
            while True:
                change = asyncio.ensure_future(anext(watch))
                # Lets it run to where it waits for changes: only then does the watch stand.
                await asyncio.sleep(0)
                yield
                await change
        finally:
            if change is not None:
                change.cancel()
                await asyncio.gather(change, return_exceptions=True)
            await watch.aclose()

    def _in_pending(self, name: str) -> Path:
        return self._pending / self._odd_names.get(name, name)


def _may_be_new(change: Change, path: str) -> bool:
    return change is not Change.deleted and spool.is_command_file(Path(path).name)


def _shown(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")


def _identity(found: os.stat_result) -> tuple[int, ...]:
    if not stat.S_ISREG(found.st_mode):
        # What goes on in a folder does not make it another one.
        return (found.st_dev, found.st_ino)
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")
