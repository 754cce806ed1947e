"""What systemd is told of the bot, by datagrams as in sd_notify(3): ready, alive, ending, and a line of status."""

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 5.0
_LOOK_FOR_READY_EVERY_S: Final = 0.2
_SIGNS_PER_WATCHDOG: Final = 3
"""One or two of them may come late before the watchdog bites."""
_START_EXTENSION_S: Final = 30
_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Condition:
    """How the bot is doing.

    Attributes:
        is_ready: whether it does what it was started for.
        is_alive: whether all works that a restart would mend; a broker that is away is not among it.
        said: one line for `systemctl status`.
    """

    is_ready: bool
    is_alive: bool
    said: str


class ServiceManager:
    """Whoever has started the process and wants to hear of it; nobody where there is no address.

    Args:
        address: where datagrams go, a path or `@` and an abstract name; None for nowhere.
        watchdog_s: without a sign of life for this long the process is killed and started again; None where nobody
            watches.

    Attributes:
        look: asked every few seconds how the bot is doing; replaced as it comes up.
    """

    def __init__(self, address: str | None, watchdog_s: float | None) -> None:
        self._address = address
        self.look: Callable[[], Condition] = _starting
        self._is_ready = False
        self._is_stopping = False
        self._said = ""
        self._watched = watchdog_s is not None
        self._interval_s = min(_LOOK_EVERY_S, (watchdog_s or _LOOK_EVERY_S) / _SIGNS_PER_WATCHDOG)

    @classmethod
    def of(cls, environment: Mapping[str, str], pid: int) -> Self:
        """Return the one that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).

        Args:
            environment: of the process.
            pid: of the process; a watchdog that was meant for another one is not ours.
        """
        span, owner = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", str(pid))
        is_ours = owner == str(pid) and span.isdecimal() and int(span) > 0
        return cls(environment.get("NOTIFY_SOCKET") or None, int(span) / _MICROSECONDS if is_ours else None)

    async def run(self) -> None:
        """Tell of the bot until it ends or this is cancelled; on the event loop, so that one that hangs is silent."""
        while self._address is not None and not self._is_stopping:
            self._tell(self.look())
            await asyncio.sleep(self._interval_s if self._is_ready else _LOOK_FOR_READY_EVERY_S)

    def stopping(self) -> None:
        """Tell that the bot has begun to end, and nothing more."""
        self._is_stopping = True
        self._send("STOPPING=1", "STATUS=Ending")

    def _tell(self, condition: Condition) -> None:
        words = []
        if condition.is_ready and not self._is_ready:
            self._is_ready = True
            words.append("READY=1")
        if condition.is_alive and not self._is_ready:
            # A broker that is not there yet may come at any time, and a migration takes its time.
            words.append(f"EXTEND_TIMEOUT_USEC={_START_EXTENSION_S * _MICROSECONDS}")
        if condition.is_alive and self._is_ready and self._watched:
            words.append("WATCHDOG=1")
        if condition.said != self._said:
            self._said = condition.said
            words.append(f"STATUS={condition.said}")
        if words:
            self._send(*words)

    def _send(self, *words: str) -> None:
        if self._address is None:
            return
        name = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        text = "\n".join(word.replace("\n", " ") for word in words)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.setblocking(False)
                line.sendto(text.encode(), name)
        except OSError as error:
            log.warning("systemd cannot be told (%s): %s", text.replace("\n", ", "), error)


def _starting() -> Condition:
    return Condition(is_ready=False, is_alive=True, said="Starting")
