"""A table that is drawn again and again without losing the cursor."""

from collections.abc import Sequence
from typing import ClassVar, Final, Literal

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import DataTable

from allora_mqtt_cli.panel.drawing import NUMBERS, Row

_LIGHTS_WIDTH: Final = 3
"""Of the column without a heading, so that the others stay where they are when something is asked for."""


class Sheet(DataTable[Text]):
    """A table of rows with a key each.

    Args:
        cursor: whether there is a row to press, or nothing but text to read.
        pressable: the columns on which a click means what Enter means; elsewhere a click only moves the cursor.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "select_cursor", show=False)]

    class Pressed(Message):
        """Somebody pressed Enter or Space on a row, or clicked on it where that means the same."""

        def __init__(self, sheet: "Sheet", key: str) -> None:
            super().__init__()
            self.sheet = sheet
            self.key = key

        @property
        def control(self) -> "Sheet":
            """The table, for handlers that ask for one."""
            return self.sheet

    def __init__(
        self,
        *,
        id: str,  # noqa: A002 - Textual's name
        cursor: Literal["row", "none"] = "row",
        pressable: frozenset[int] = frozenset(),
    ) -> None:
        super().__init__(id=id, cursor_type=cursor)
        self._pressable = pressable
        self._headings: tuple[str, ...] = ()
        self._drawn: list[Row] = []

    def draw(self, headings: tuple[str, ...], rows: Sequence[Row]) -> None:
        """Show these rows; only what differs is drawn."""
        if headings != self._headings:
            self._headings = headings
            self._drawn = []
            self.clear(columns=True)
            for heading in headings:
                label = Text(heading, justify="right" if heading in NUMBERS else "left")
                self.add_column(label, key=heading, width=None if heading else _LIGHTS_WIDTH)
        rows = [(key, [self._aligned(*each) for each in zip(headings, cells, strict=True)]) for key, cells in rows]
        if [key for key, _ in rows] == [key for key, _ in self._drawn]:
            self._update(rows)
        else:
            self._replace(rows)
        self._drawn = rows

    @property
    def key_under_cursor(self) -> str | None:
        """The key of the row that the cursor is on, if there is one."""
        return self._drawn[self.cursor_row][0] if 0 <= self.cursor_row < len(self._drawn) else None

    def action_select_cursor(self) -> None:
        """Press the row under the cursor."""
        key = self.key_under_cursor
        if key is not None:
            self.post_message(self.Pressed(self, key))

    def on_click(self, event: events.Click) -> None:
        """Press the row where the click is on a column that is meant for it."""
        row, column = event.style.meta.get("row", -1), event.style.meta.get("column", -1)
        if column in self._pressable and 0 <= row < len(self._drawn):
            self.post_message(self.Pressed(self, self._drawn[row][0]))

    def _update(self, rows: Sequence[Row]) -> None:
        for (key, cells), (_, before) in zip(rows, self._drawn, strict=True):
            for heading, new, old in zip(self._headings, cells, before, strict=True):
                if new != old or new.style != old.style:
                    self.update_cell(key, heading, new, update_width=True)

    def _replace(self, rows: Sequence[Row]) -> None:
        """Draw all rows; the cursor stays on its row where that is still there, and the view where it was."""
        key, top = self.key_under_cursor, self.scroll_y
        self.clear()
        for row_key, cells in rows:
            self.add_row(*cells, key=row_key)
        keys = [row_key for row_key, _ in rows]
        if key in keys:
            self.move_cursor(row=keys.index(key), scroll=False)
        self.scroll_to(y=top, animate=False)

    @staticmethod
    def _aligned(heading: str, cell: Text) -> Text:
        if heading in NUMBERS:
            cell.justify = "right"
        return cell
