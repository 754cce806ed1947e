"""The panel: takes what the link tells into the state, sends commands, and keeps the screen drawn."""

from collections.abc import Callable
from typing import ClassVar, Final

from textual import events
from textual.app import App
from textual.message import Message
from textual.screen import Screen

from allora_mqtt.protocol.commands import Body, Envelope
from allora_mqtt_cli.errors import CliError
from allora_mqtt_cli.output import printable
from allora_mqtt_cli.panel import link
from allora_mqtt_cli.panel.link import Happening, Link
from allora_mqtt_cli.panel.screen import Main
from allora_mqtt_cli.panel.state import ASKED_AT_START, PanelState, Reaction

_FRAME_S: Final = 0.2
_BREATH_FRAMES: Final = 5
"""Drawn after this many frames even when nothing came: the heartbeat's age is on the screen."""
_TOAST_S: Final = {"information": 5.0, "warning": 8.0, "error": 12.0}


class Happened(Message):
    """Something that the link told."""

    def __init__(self, what: Happening) -> None:
        super().__init__()
        self.what = what


class Panel(App[CliError]):
    """Ends with an error where there is no use in going on, such as a refused login.

    Args:
        state: where everything that is known is kept.
        make_link: makes the connection; is given who to tell what happens.
        envelope: makes what a command carries, with an id of its own.
        now: the monotonic clock.
    """

    TITLE = "allora-mqtt"
    CSS_PATH = "panel.tcss"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS: ClassVar = [(0, "-narrow"), (150, "-wide")]  # type: ignore[misc] # misdeclared there

    def __init__(
        self,
        state: PanelState,
        make_link: Callable[[Callable[[Happening], None]], Link],
        envelope: Callable[[], Envelope],
        now: Callable[[], float],
    ) -> None:
        super().__init__()
        self.state = state
        self._link = make_link(self._tell)
        self._envelope = envelope
        self._now = now
        self._is_changed = False
        self._frames = 0
        self._main = Main(state, self.send, self.ask_again, now)

    def get_default_screen(self) -> Screen[None]:
        """Begin with the one screen there is."""
        return self._main

    def on_mount(self) -> None:
        """Connect."""
        self._link.start()
        self.set_interval(_FRAME_S, self._frame)

    def on_unmount(self, _event: events.Unmount) -> None:
        """Disconnect."""
        self._link.stop()

    def send(self, body: Body) -> None:
        """Send a command; how it ends is told in a toast."""
        envelope = self._envelope()
        self.state.sent(str(envelope.id), body)
        self._link.send(body, envelope)
        self._is_changed = True

    def ask_again(self) -> None:
        """Ask the bot for what it does not publish by itself."""
        if self.state.problem is None:
            self._react(Reaction(asks=ASKED_AT_START))

    def action_toggle_theme(self) -> None:
        """Change between dark and light."""
        self.theme = "textual-light" if self.theme == "textual-dark" else "textual-dark"

    def on_happened(self, event: Happened) -> None:
        """Take over what the link told."""
        self._is_changed = True
        match event.what:
            case link.Connected():
                self._react(self.state.connected())
            case link.Lost(error=error, is_final=True):
                # Not while the screen is still being built: its widgets would look for parts that are gone.
                self.call_after_refresh(self.exit, error)
            case link.Lost(error=error):
                self._react(self.state.lost(error))
            case link.Arrived(message=message):
                self._react(self.state.take(message))
            case link.Taken(command_id=command_id, reply=reply, at=at):
                self._react(self.state.taken(command_id, reply, at))
            case link.NotTaken(command_id=command_id, error=error):
                self._react(self.state.not_taken(command_id, error))

    def _tell(self, what: Happening) -> None:
        """Hand over to the app's own thread."""
        self.post_message(Happened(what))

    def _react(self, reaction: Reaction) -> None:
        for notice in reaction.notices:
            seconds = _TOAST_S[notice.severity]
            text, heading = printable(notice.text), printable(notice.title)
            self.notify(text, title=heading, severity=notice.severity, timeout=seconds, markup=False)
        for body in reaction.asks:
            self.send(body)

    def _frame(self) -> None:
        self._react(self.state.tick(self._now()))
        self._frames += 1
        if self._is_changed or self._frames >= _BREATH_FRAMES:
            self._is_changed, self._frames = False, 0
            self._main.draw()
