"""What stands before the panel for a moment: a question, and the help."""

from collections.abc import Iterable
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static

_ABOUT = """
● before a coin: the bot trades it. ●→○: asked for, and not yet confirmed by the bot.
A click on the light switches a coin. * after a coin: the position is not the bot's.
The light at the top right is the bot's heartbeat; red means that it is gone or hangs.
"""


class Confirm(ModalScreen[bool]):
    """Asks, and takes Escape for a no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
        Binding("left,right", "app.focus_next", show=False),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """Build the dialog, with the harmless answer under the cursor."""
        with Vertical(classes="dialog"):
            yield Static(Text(self._question))
            with Horizontal(classes="answers"):
                yield Button("No (n)", id="no")
                yield Button("Yes (y)", id="yes", variant="error")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Take an answer by mouse or Enter."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:  # noqa: FBT001 - called by name from a binding
        """Take an answer by key."""
        self.dismiss(answer)


class Help(ModalScreen[None]):
    """The keys, as they are bound."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q", "dismiss", "Close")]

    def __init__(self, bindings: Iterable[Binding]) -> None:
        super().__init__()
        self._keys = list(bindings)

    def compose(self) -> ComposeResult:
        """Build the page."""
        keys = Table.grid(padding=(0, 2))
        for binding in self._keys:
            keys.add_row(Text(binding.key_display or binding.key, style="bold"), binding.tooltip or binding.description)
        with VerticalScroll(classes="dialog wide") as dialog:
            dialog.border_title, dialog.border_subtitle = "Keys", "Escape closes"
            yield Static(keys)
            yield Static(Text(_ABOUT.strip()), classes="about")
