"""The way to the bot without a broker: a command as a file in its data folder, and the response beside it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from allora_mqtt import files
from allora_mqtt.protocol import spool
from allora_mqtt.protocol.commands import Body, Envelope
from allora_mqtt.protocol.messages import Response
from allora_mqtt.settings import Settings
from allora_mqtt_cli.client import understand
from allora_mqtt_cli.errors import CliError, ExitCode

_LOOK_EVERY_S: Final = 0.01


class SpoolClient:
    """Talks to the bot that has its data in the folder that the settings name (`BOT_DATA_DIR`).

    Raises:
        CliError: there is no spool, or it is not for us.
    """

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.bot.data_dir / spool.FOLDER
        self._pending = self._folder / spool.PENDING
        try:
            is_there = self._pending.is_dir()
        except PermissionError as error:
            raise self._not_writable(error) from error
        if not is_there:
            message = (
                f"There is no folder {self._pending}: no bot has run on this machine with its data there. "
                "Set BOT_DATA_DIR as it is set for the bot, or start the bot once with `allora-mqtt run`."
            )
            raise CliError(ExitCode.USAGE, "NO_SPOOL", message)

    def send(self, body: Body, envelope: Envelope) -> Path:
        """Put a command where the bot finds it, and return the file.

        Raises:
            CliError: it cannot be written.
        """
        if envelope.issued_at is None or envelope.id is None:
            raise ValueError("a command from here says who it is and when it was issued")
        path = self._pending / spool.file_name(envelope.issued_at, envelope.id)
        try:
            files.write_whole(path, spool.write(body, envelope))
        except OSError as error:
            raise self._not_writable(error) from error
        return path

    def answer_to(self, sent: Path, timeout_s: float) -> Response:
        """Wait for the end of a command.

        Raises:
            CliError: it has not ended in time, or its response cannot be read.
        """
        deadline = time.monotonic() + timeout_s
        # The file leaves its folder when the response is there.
        while sent.exists():
            if time.monotonic() > deadline:
                raise self._no_answer(sent, timeout_s)
            time.sleep(_LOOK_EVERY_S)
        for found in self._responses():
            if spool.is_response_to(sent.name, found.name):
                return understand(Response, found.read_bytes(), str(found))
        message = f"{sent} was taken away by somebody else than the bot. Send the command again if it is still wanted."
        raise CliError(ExitCode.NO_ANSWER, "NO_ANSWER", message)

    def _responses(self) -> Iterator[Path]:
        for name in (spool.PROCESSED, spool.FAILED):
            yield from (self._folder / name).iterdir()

    def _not_writable(self, error: OSError) -> CliError:
        message = (
            f"The command could not be written to {self._pending}: {error.strerror}. "
            "Run this as the user that the bot runs as, and look whether the disk is full."
        )
        return CliError(ExitCode.FAILED, "SPOOL_NOT_WRITABLE", message)

    @staticmethod
    def _no_answer(sent: Path, timeout_s: float) -> CliError:
        message = (
            f"The command has not ended within {timeout_s:g} s: no bot runs with this data folder, or it is still at "
            f"it. It lies in {sent} and ends when the bot gets to it; --timeout waits longer."
        )
        return CliError(ExitCode.NO_ANSWER, "NO_ANSWER", message, {"file": str(sent)})
