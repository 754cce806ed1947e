"""The panel's one screen: draws the state, and turns keys and clicks into commands."""

from collections.abc import Callable
from typing import ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Button, Footer, Input, Select, Static, Tab, Tabs

from allora_mqtt.protocol import commands
from allora_mqtt.protocol.commands import Body, Mode, Switch
from allora_mqtt.protocol.messages import Position
from allora_mqtt_cli.commands.cryptos import Where
from allora_mqtt_cli.panel import asking, drawing, history
from allora_mqtt_cli.panel.coins import matching
from allora_mqtt_cli.panel.dialogs import Confirm, Help
from allora_mqtt_cli.panel.state import PanelState, title
from allora_mqtt_cli.panel.tables import Sheet

_SWITCH: Final = frozenset({0})
"""The column with the light."""
_WIDE_LIST: Final = 104
"""From this many columns on, the list of coins has all of its columns."""
_PANES: Final = ("coins", "positions", "history")
_LABELS: Final = {Mode.ACTIVE: "Start monitoring", Mode.STANDBY: "Standby", Mode.STOPPED: "Stop bot"}


def _symbol(position: Position) -> str:
    return position.symbol


def _key(key: str, action: str, name: str, tooltip: str, *, show: bool = True, display: str | None = None) -> Binding:
    return Binding(key, action, name, tooltip=tooltip, show=show, key_display=display)


class Main(Screen[None]):
    """Everything at a glance where there is room, else a tab at a time.

    Args:
        state: what is known; read here, changed by the app.
        send: sends a command.
        ask_again: asks the bot anew for what is not published by itself.
        now: the monotonic clock.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        _key("a", "mode('ACTIVE')", "Start", "Start trading: mode ACTIVE; asks first"),
        _key("s", "mode('STANDBY')", "Standby", "No new positions; open ones are watched to their end"),
        _key("x", "mode('STOPPED')", "Stop", "Stop the engine: mode STOPPED; asks first"),
        _key("F", "flatten", "Flatten", "Cancel all orders and close every position; asks first", display="F"),
        _key("space", "press", "On/off", "Switch the coin under the cursor, or close the position"),
        _key("slash", "search", "Search", "Search coins; Escape goes back to the list", display="/"),
        _key("f", "platform", "Platform", "Next filter: both, hyperliquid, allora, all"),
        _key("p", "popular", "Popular", "Trade the popular coins, and no others"),
        _key("c", "clear", "Clear all", "Trade nothing; open positions are managed to their end", show=False),
        _key("1", "pane('coins')", "Coins", "Coins, where there are tabs", show=False),
        _key("2", "pane('positions')", "Positions", "Positions, where there are tabs", show=False),
        _key("3", "pane('history')", "History", "History, where there are tabs", show=False),
        _key("r", "ask_again", "Refresh", "Fetch catalog, history and equity again", show=False),
        _key("t", "app.toggle_theme", "Theme", "Dark or light", show=False),
        _key("escape", "to_list", "List", "Back to the list", show=False),
        _key("question_mark", "help", "Help", "This page", display="?"),
        _key("q", "app.quit", "Quit", "End the panel; the bot goes on", show=False),
    ]

    def __init__(
        self,
        state: PanelState,
        send: Callable[[Body], None],
        ask_again: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        super().__init__()
        self._state = state
        self._send = send
        self._ask_again = ask_again
        self._now = now
        self._head = Static(id="head")
        self._banner = Static(id="banner")
        self._search = Input(placeholder="search  /", compact=True, id="search")
        choices = [(platform.value, platform) for platform in Where]
        self._platforms: Select[Where] = Select(
            choices, value=Where.BOTH, allow_blank=False, compact=True, id="platform"
        )
        self._count = Static(id="count")
        self._coins = Sheet(id="coin-list", pressable=_SWITCH)
        self._positions = Sheet(id="position-list")
        self._history = Sheet(id="history-list", cursor="none")
        self._modes = {
            Mode.ACTIVE: Button(_LABELS[Mode.ACTIVE], compact=True, id="start", variant="success"),
            Mode.STANDBY: Button(_LABELS[Mode.STANDBY], compact=True, id="standby", variant="warning"),
            Mode.STOPPED: Button(_LABELS[Mode.STOPPED], compact=True, id="stop", variant="error"),
        }

    @property
    def _chosen(self) -> Where:
        """The filter as the list of choices has it: what it tells of a change comes later than the next key may."""
        chosen = self._platforms.value
        return chosen if isinstance(chosen, Where) else Where.BOTH

    def compose(self) -> ComposeResult:
        """Build the screen."""
        yield self._head
        yield self._banner
        yield Tabs(*(Tab(name.capitalize(), id=f"tab-{name}") for name in _PANES))
        with Horizontal(id="panes", classes="-coins"):
            with Vertical(id="coins"):
                with Horizontal(id="filters"):
                    yield self._search
                    yield self._platforms
                    yield self._count
                    yield Button("Select popular", compact=True, id="popular")
                    yield Button("Clear all", compact=True, id="clear")
                yield self._coins
            with Vertical(id="side"):
                with Vertical(id="positions"):
                    yield Static("Positions", classes="heading")
                    yield self._positions
                with Vertical(id="history"):
                    yield Static("Commands", classes="heading")
                    yield self._history
        with Horizontal(id="controls"):
            yield from self._modes.values()
            yield Button("Flatten", compact=True, id="flatten", variant="error")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Draw what is known, and be ready for keys."""
        self.draw()
        self._coins.focus()

    def on_resize(self) -> None:
        """Use the room there is now."""
        self.call_after_refresh(self.draw)

    def draw(self) -> None:
        """Show the state as it is now."""
        now = self._now()
        self._head.update(drawing.head(self._state, now, self.size.width - 2))
        said = drawing.banner(self._state, now)
        self._banner.display = said is not None
        self._banner.update(said or Text())
        self._draw_coins()
        positions = [drawing.position_row(each) for each in sorted(self._state.positions.root, key=_symbol)]
        self._positions.draw(drawing.POSITION_COLUMNS, positions)
        entries = history.shown(self._state.entries)
        self._history.draw(drawing.HISTORY_COLUMNS, drawing.history_rows(entries))
        mode = self._state.status.mode if self._state.status else None
        for meant, button in self._modes.items():
            light = f"{drawing.LIGHT} " if meant is mode else ""
            button.label = f"{light}{_LABELS[meant]}"

    def _draw_coins(self) -> None:
        coins = self._state.coins
        shown = matching(coins, self._search.value, self._chosen)
        is_wide = self._coins.size.width >= _WIDE_LIST
        headings = drawing.COIN_COLUMNS + (drawing.MORE_COIN_COLUMNS if is_wide else ())
        self._coins.draw(headings, [drawing.coin_row(coin, is_wide=is_wide) for coin in shown])
        active = sum(coin.is_active for coin in coins)
        self._count.update(f"Active {active}/{len(coins)}   shown {len(shown)}")

    def _command(self, body: Body) -> None:
        """Send a command, after what has to be asked or said first."""
        if self._is_refused(body):
            return
        question = asking.question(body, self._state)
        if question is None:
            self._send(body)
            return

        def answered(is_yes: bool | None) -> None:  # noqa: FBT001 - Textual calls it
            # While the question stood, things may have changed.
            if is_yes and not self._is_refused(body):
                self._send(body)

        self.app.push_screen(Confirm(question), answered)

    def _is_refused(self, body: Body) -> bool:
        objection = asking.objection(body, self._state)
        if objection is not None:
            self.notify(objection, title=title(body), severity="warning", markup=False)
        return objection is not None

    def on_sheet_pressed(self, event: Sheet.Pressed) -> None:
        """Switch a coin, or close a position."""
        if event.sheet is self._coins:
            value = Switch.OFF if event.key in self._state.heard.active else Switch.ON
            self._command(commands.SetCrypto(symbol=event.key, value=value))
        elif event.sheet is self._positions:
            self._command(commands.Close(symbol=event.key))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Do what the button says."""
        for mode, button in self._modes.items():
            if event.button is button:
                self.action_mode(mode)
        match event.button.id:
            case "flatten":
                self.action_flatten()
            case "popular":
                self.action_popular()
            case "clear":
                self.action_clear()

    def on_input_changed(self) -> None:
        """Search while the user types."""
        self.draw()

    def on_input_submitted(self) -> None:
        """Go to what was found."""
        self.action_to_list()

    def on_select_changed(self, event: Select.Changed) -> None:
        """Filter by the platform chosen."""
        if event.select is self._platforms:
            self.draw()

    def on_tabs_tab_activated(self, event: Tabs.TabActivated) -> None:
        """Show the tab's pane."""
        chosen = (event.tab.id or "").removeprefix("tab-")
        for name in _PANES:
            self.query_one("#panes").set_class(name == chosen, f"-{name}")
        self.call_after_refresh(self.draw)

    def action_mode(self, mode: str) -> None:
        """Ask for a mode."""
        self._command(commands.SetMode(value=Mode(mode)))

    def action_flatten(self) -> None:
        """Ask for an end of all positions."""
        self._command(commands.Flatten())

    def action_popular(self) -> None:
        """Ask for the popular coins."""
        self._command(commands.ActivateSet())

    def action_clear(self) -> None:
        """Ask for no coins."""
        self._command(commands.SetCryptos(value={}))

    def action_press(self) -> None:
        """Press the row under the cursor, from wherever the focus is; lists do it themselves."""
        self._coins.action_select_cursor()

    def action_search(self) -> None:
        """Let the user type what to search for."""
        self.action_pane("coins")
        self._search.focus()

    def action_platform(self) -> None:
        """Choose the next filter."""
        platforms = list(Where)
        place = platforms.index(self._chosen) + 1
        self._platforms.value = platforms[place % len(platforms)]

    def action_pane(self, name: str) -> None:
        """Show a tab, and put the focus into it."""
        self.query_one(Tabs).active = f"tab-{name}"
        self.query_one(f"#{name}").query_one(Sheet).focus()

    def action_to_list(self) -> None:
        """Leave the search."""
        self._coins.focus()

    def action_ask_again(self) -> None:
        """Fetch what is not published by itself."""
        self._ask_again()

    def action_help(self) -> None:
        """Show the keys."""
        self.app.push_screen(Help(binding for binding in self.BINDINGS if isinstance(binding, Binding)))
