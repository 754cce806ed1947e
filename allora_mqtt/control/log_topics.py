"""The log on MQTT, for whoever cannot read the bot's own: `<base>/log/<level>`, bounded by the minute.

Lines of the connection itself are left out: to say over MQTT that MQTT fails would make the next such line.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from allora_mqtt.control.outbox import Outbox, encode
from allora_mqtt.protocol.messages import LogLine
from allora_mqtt.protocol.topics import LogLevel, Topics

PER_MINUTE: Final = 60
_MINUTE_S: Final = 60.0
_MAX_WAITING: Final = 100
_MAX_MESSAGE: Final = 1000
_MAX_ID: Final = 128
_SILENT: Final = ("allora_mqtt.transport", "allora_mqtt.control.outbox", "paho", "amqtt", "transitions")
_CONTEXT: Final = ("command", "command_id", "signal", "order", "oid", "fill", "position", "trade")


@dataclass(slots=True)
class Allowance:
    """How many lines may still be published in this minute, and how many were left out. No clock of its own."""

    per_minute: int
    _began: float | None = None
    _used: int = 0
    _left_out: int = 0

    def admits(self, now: float) -> bool:
        """Tell whether one more may be published now (seconds of a clock that is never set back), and count it."""
        if self._began is None or now - self._began >= _MINUTE_S:
            self._began, self._used = now, 0
        if self._used >= self.per_minute:
            self._left_out += 1
            return False
        self._used += 1
        return True

    def left_out(self, now: float) -> int:
        """Return how many were left out in a minute that is over, once."""
        if self._began is None or now - self._began < _MINUTE_S:
            return 0
        count, self._left_out = self._left_out, 0
        return count


class LogTopics(logging.Handler):
    """Publishes lines of the log, with QoS 0 and not retained. While the broker is away the newest hundred wait.

    Args:
        outbox: the way out.
        topics: the topic tree.
        level: the lowest level that is published.
        is_up: whether the broker is there.
        monotonic: seconds of a clock that is never set back.
    """

    def __init__(
        self,
        outbox: Outbox,
        topics: Topics,
        level: LogLevel,
        is_up: Callable[[], bool],
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__(level.upper())
        self._outbox = outbox
        self._topics = topics
        self._is_up = is_up
        self._monotonic = monotonic
        self._allowance = Allowance(PER_MINUTE)
        self._waiting: deque[LogLine] = deque(maxlen=_MAX_WAITING)
        self._loop = asyncio.get_running_loop()
        self._owner = threading.get_ident()
        self.addFilter(_is_not_of_the_connection)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line of any thread."""
        if not self._allowance.admits(self._monotonic()):
            return
        self._waiting.append(_line(record))
        if threading.get_ident() == self._owner:
            self.flush()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.flush)

    async def run(self) -> None:
        """Publish what had to wait, and say how many lines were left out, until cancelled."""
        while True:
            await asyncio.sleep(1)
            self.acquire()
            try:
                left_out = self._allowance.left_out(self._monotonic())
            finally:
                self.release()
            if left_out:
                self._waiting.append(_left_out(left_out))
            self.flush()

    def flush(self) -> None:
        """Publish what waits, if the broker is there; on the event loop's thread only."""
        if threading.get_ident() != self._owner:
            return
        while self._waiting and self._is_up():
            line = self._waiting.popleft()
            self._outbox.send(self._topics.log(line.level), encode(line), qos=0)


def _is_not_of_the_connection(record: logging.LogRecord) -> bool:
    return not any(record.name == name or record.name.startswith(f"{name}.") for name in _SILENT)


def _level(number: int) -> LogLevel:
    if number >= logging.ERROR:
        return LogLevel.ERROR
    if number >= logging.WARNING:
        return LogLevel.WARNING
    return LogLevel.INFO if number >= logging.INFO else LogLevel.DEBUG


def _line(record: logging.LogRecord) -> LogLine:
    message = record.getMessage()
    if record.exc_info is not None and record.exc_info[0] is not None:
        # What the exception says may hold what others must not read.
        message = f"{message} ({record.exc_info[0].__name__}; the bot's own log has the details)"
    known = {key: getattr(record, key, None) for key in _CONTEXT}
    return LogLine(
        at=datetime.fromtimestamp(record.created, UTC),
        level=_level(record.levelno),
        logger=record.name[:_MAX_ID],
        message=message if len(message) <= _MAX_MESSAGE else f"{message[: _MAX_MESSAGE - 1]}…",
        context={key: str(value)[:_MAX_ID] for key, value in known.items() if value is not None},
    )


def _left_out(count: int) -> LogLine:
    return LogLine(
        at=datetime.now(UTC),
        level=LogLevel.WARNING,
        logger=__name__,
        message=f"{count} lines of the log were left out here, because no more than {PER_MINUTE} a minute are "
        "published; the bot's own log has them.",
        context={},
    )
