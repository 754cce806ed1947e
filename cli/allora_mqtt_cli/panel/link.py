"""The panel's connection to the broker, in a thread of its own: opened again whenever it breaks, for ever."""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from allora_mqtt.protocol.commands import Body, Envelope
from allora_mqtt_cli.client import Client, Reply
from allora_mqtt_cli.connection import Message
from allora_mqtt_cli.errors import CliError, ExitCode

_RECONNECT_S: Final = 2.0
_TURN_S: Final = 0.05
"""A command waits at most this long before it is sent."""
_END_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker is there, and state will come."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The broker is not there, or has gone.

    Attributes:
        is_final: whether trying again is of no use.
    """

    error: CliError
    is_final: bool


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message came."""

    message: Message


@dataclass(frozen=True, slots=True)
class Taken:
    """The broker has taken a command."""

    command_id: str
    reply: Reply
    at: float
    """On the monotonic clock."""


@dataclass(frozen=True, slots=True)
class NotTaken:
    """A command was not sent, or nobody knows whether the broker took it."""

    command_id: str
    error: CliError


Happening = Connected | Lost | Arrived | Taken | NotTaken


class Link:
    """Follows topics and sends commands.

    Commands are sent while the broker is there or not at all: none is kept for later, because by then nobody may want
    it any more.

    Args:
        connect: opens a connection; called again after each loss.
        filters: what to subscribe to.
        deliver: is told what happens, in the link's thread.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[Client]],
        filters: tuple[str, ...],
        deliver: Callable[[Happening], None],
    ) -> None:
        self._connect = connect
        self._filters = filters
        self._deliver = deliver
        self._commands: queue.SimpleQueue[tuple[Body, Envelope]] = queue.SimpleQueue()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    def start(self) -> None:
        """Connect, and keep it so."""
        self._thread.start()

    def stop(self) -> None:
        """Disconnect; an attempt to connect that is under way is not waited for."""
        self._end.set()
        self._thread.join(_END_S)

    def send(self, body: Body, envelope: Envelope) -> None:
        """Send a command, once; `Taken` or `NotTaken` follows."""
        self._commands.put((body, envelope))

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                with self._connect() as client:
                    client.connection.subscribe(*self._filters)
                    self._deliver(Connected())
                    self._converse(client)
            except CliError as error:
                is_final = error.exit_code is not ExitCode.NO_ANSWER
                self._refuse_all(error)
                self._deliver(Lost(error, is_final))
                if is_final:
                    return
                self._end.wait(_RECONNECT_S)

    def _converse(self, client: Client) -> None:
        inbox = client.connection.inbox
        while not self._end.is_set():
            client.connection.pump(lambda: bool(inbox) or not self._commands.empty(), time.monotonic() + _TURN_S)
            while inbox:
                self._deliver(Arrived(inbox.popleft()))
            while not self._commands.empty():
                self._send(client, *self._commands.get())

    def _send(self, client: Client, body: Body, envelope: Envelope) -> None:
        command_id = str(envelope.id)
        try:
            reply = client.send(body, envelope)
        except CliError as error:
            if error.exit_code is not ExitCode.NO_ANSWER:
                self._deliver(NotTaken(command_id, error))
                return
            message = "The connection broke before the broker confirmed it: look at the history, or send it again."
            self._deliver(NotTaken(command_id, CliError(error.exit_code, error.code, message)))
            raise
        self._deliver(Taken(command_id, reply, time.monotonic()))

    def _refuse_all(self, error: CliError) -> None:
        while not self._commands.empty():
            _, envelope = self._commands.get()
            message = f"Not sent. {error.message}"
            self._deliver(NotTaken(str(envelope.id), CliError(error.exit_code, error.code, message)))
