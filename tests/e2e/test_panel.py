"""The panel, with its keys pressed and its buttons clicked, beside a real bot on the simulator."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Static

from allora_mqtt.protocol.messages import Availability
from allora_mqtt_cli.errors import CliError
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.panel import start
from allora_mqtt_cli.panel.app import Panel
from allora_mqtt_cli.panel.dialogs import Confirm, Help
from allora_mqtt_cli.panel.tables import Sheet
from tests.support.mosquitto import Mosquitto
from tests.support.net import free_port, until
from tests.support.program import Bot

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

LIVELY = {"SIM_EPOCH_S": "2", "TRADE_PRICE_GAP_PCT": "0.01", "BOT_RECONCILE_INTERVAL_S": "2"}
SMALL, LARGE = (80, 24), (200, 50)

T = TypeVar("T")


@pytest.fixture
def embedded_bot(tmp_path: Path, program: Path) -> Iterator[Bot]:
    yield from running(Bot(program, tmp_path / "bot", None, **LIVELY))


@pytest.fixture
def bot(tmp_path: Path, program: Path, mosquitto: Mosquitto) -> Iterator[Bot]:
    where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
    yield from running(Bot(program, tmp_path / "bot", where, **LIVELY))


def running(bot: Bot) -> Iterator[Bot]:
    bot.start()
    yield bot
    bot.stop()


class Hands:
    """A user at the panel."""

    def __init__(self, pilot: Pilot[CliError]) -> None:
        assert isinstance(pilot.app, Panel)
        self.pilot = pilot
        self.app = pilot.app
        self.state = pilot.app.state

    async def see(self, look: Callable[[], T | None], what: str, timeout_s: float = 30) -> T:
        deadline = time.monotonic() + timeout_s
        while not (found := look()):
            assert time.monotonic() < deadline, f"not seen in {timeout_s} s: {what}; {self.toasts()}; {self.banner()}"
            await asyncio.sleep(0.05)
        return found

    async def toast(self, heading: str, part: str, severity: str = "information") -> None:
        await self.see(
            lambda: any(each[:2] == (heading, severity) and part in each[2] for each in self.toasts()),
            f"{severity} {heading}: {part}",
        )

    def toasts(self) -> list[tuple[str, str, str]]:
        return [(each.title, each.severity, each.message) for each in self.app._notifications]

    def text(self, selector: str) -> str:
        return str(self.app.screen_stack[0].query_one(selector, Static).visual)

    def banner(self) -> str:
        shown = self.app.screen_stack[0].query_one("#banner", Static)
        return str(shown.visual) if shown.display else ""

    def sheet(self, name: str) -> Sheet:
        return self.app.screen_stack[0].query_one(f"#{name}", Sheet)

    def rows(self, name: str) -> dict[str, list[str]]:
        sheet = self.sheet(name)
        return {str(key.value): [cell.plain for cell in sheet.get_row(key)] for key in sheet.rows}

    def light(self, symbol: str) -> str:
        return self.rows("coin-list").get(symbol, ["absent"])[0]

    def mode(self) -> str | None:
        return self.state.status.mode if self.state.status else None

    async def ready(self) -> None:
        await self.see(lambda: self.state.heard.availability is Availability.ONLINE, "the bot")
        await self.see(lambda: self.mode() and len(self.state.catalog) > 100 and self.rows("coin-list"), "the catalog")

    async def answer(self, key: str) -> None:
        await self.see(lambda: isinstance(self.app.screen, Confirm), "a question")
        await self.pilot.press(key)
        await self.see(lambda: not isinstance(self.app.screen, Confirm), "the panel")


@asynccontextmanager
async def panel(port: int, size: tuple[int, int] = LARGE, **flags: object) -> AsyncIterator[Hands]:
    # As long as a busy machine may need; how long a person waits is not what these tests are about.
    invocation = Invocation(flags={"MQTT_HOST": "127.0.0.1", "MQTT_PORT": port, **flags}, timeout_s=20)
    async with start.panel(invocation).run_test(size=size, notifications=True) as pilot:
        yield Hands(pilot)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_from_choosing_coins_to_trades_and_back(embedded_bot: Bot, size: tuple[int, int]) -> None:
    async with panel(embedded_bot.broker_port, size, MQTT_PROTOCOL="3.1.1") as hands:
        press = hands.pilot.press
        await hands.ready()
        assert "day" in hands.text("#head")

        await press("a")
        await hands.toast("Mode ACTIVE", "activate at least one coin first", "warning")
        await press("p")
        await hands.toast("Select popular", "Executed in")
        await hands.see(lambda: hands.light("AVAX") == "●", "AVAX switched on")
        assert list(hands.rows("coin-list"))[:4] == ["AVAX", "BTC", "ETH", "SOL"]

        await press("a")
        await hands.answer("escape")
        await press("a")
        await hands.answer("enter")  # the cursor is on No
        assert [entry.name for entry in hands.state.entries if entry.name == "mode"] == []
        await press("a")
        await hands.answer("y")
        await hands.toast("Mode ACTIVE", "mode ACTIVE")
        await hands.see(lambda: hands.mode() == "ACTIVE", "ACTIVE")

        await press("2")
        held = await hands.see(lambda: hands.rows("position-list"), "a position")
        await hands.see(lambda: "-" not in next(iter(hands.rows("position-list").values()))[6:], "its stop and target")
        assert set(held) <= {"AVAX", "BTC", "ETH", "SOL"}

        await press("s")
        await hands.see(lambda: hands.mode() == "STANDBY", "STANDBY")
        await press("F")
        await hands.answer("y")
        await hands.toast("Flatten", "Executed in")
        await hands.see(lambda: not hands.rows("position-list"), "no positions")
        await press("3")
        names = [row[1] for row in hands.rows("history-list").values()]
        assert names[:3] == ["flatten", "mode", "mode"]
        assert "catalog" not in names
        by = {row[3].split(":")[0] for row in hands.rows("history-list").values()}
        assert by == {"panel"}


async def test_with_the_mouse(bot: Bot) -> None:
    async with panel(bot.broker_port) as hands:
        await hands.ready()
        sheet = hands.sheet("coin-list")
        row = list(hands.rows("coin-list")).index("ETH")
        await hands.pilot.click(sheet, offset=(sheet.ordered_columns[0].get_render_width(sheet) + 2, row + 1))
        await hands.pilot.pause(0.5)
        assert hands.light("ETH") == "○", "a click beside the light switches nothing"
        await hands.pilot.click(sheet, offset=(1, row + 1))
        await hands.toast("ETH ON", "Executed in")
        await hands.see(lambda: hands.light("ETH") == "●", "ETH switched on")
        await hands.pilot.click("#start")
        await hands.answer("y")
        await hands.see(lambda: hands.mode() == "ACTIVE", "ACTIVE")
        await hands.see(lambda: "●" in str(hands.app.screen.query_one("#start", Button).label), "the light at Start")
        await hands.pilot.click("#standby")
        await hands.see(lambda: hands.mode() == "STANDBY", "STANDBY")
        await hands.pilot.click("#stop")
        await hands.answer("y")
        await hands.see(lambda: hands.mode() == "STOPPED", "STOPPED")
        await hands.pilot.click("#clear")
        await hands.toast("Clear all", "Executed in")
        await hands.see(lambda: not hands.state.heard.active, "no coins")


async def test_the_whole_catalog_is_searched_and_filtered(bot: Bot) -> None:
    async with panel(bot.broker_port, SMALL) as hands:
        await hands.ready()
        both = set(hands.rows("coin-list"))
        assert {"BTC", "ETH", "SOL"} <= both
        await hands.pilot.press("f")
        only = await hands.see(lambda: set(hands.rows("coin-list")) - both, "coins on HyperLiquid only")
        assert not only & both
        symbol = min(only)
        await hands.pilot.press("slash", *symbol.lower())
        await hands.see(
            lambda: symbol in hands.rows("coin-list") and len(hands.rows("coin-list")) < 20, "what was found"
        )
        await hands.pilot.press("enter", "home")
        await hands.see(lambda: hands.app.focused is hands.sheet("coin-list"), "the list")
        first = next(iter(hands.rows("coin-list")))
        await hands.pilot.press("space")
        await hands.toast(f"{first} ON", "(NO_TOPIC)", "error")
        await hands.see(lambda: hands.light(first) == "○", "it is off as before")
        for _ in range(2):
            # Faster than the first change of the filter is told.
            await hands.app.screen.run_action("platform")
        await hands.pilot.press("slash", *["backspace"] * len(symbol), "escape")
        await hands.see(lambda: len(hands.rows("coin-list")) == len(hands.state.catalog), "everything")


async def test_a_bot_that_goes_and_comes_back(bot: Bot) -> None:
    async with panel(bot.broker_port) as hands:
        await hands.ready()
        bot.kill()
        await hands.toast("Bot offline", "The bot has gone", "error")
        await hands.see(lambda: "The bot is offline" in hands.banner() and "● offline" in hands.text("#head"), "red")
        index = list(hands.rows("coin-list")).index("ETH")
        hands.sheet("coin-list").move_cursor(row=index)
        await hands.pilot.press("space")
        await hands.toast("ETH ON", "waits in the broker and runs when the bot comes back", "warning")
        await hands.see(lambda: hands.light("ETH") == "○→●", "what is and what was asked for")
        bot.start()
        await hands.see(lambda: hands.light("ETH") == "●", "ETH switched on")
        await hands.see(lambda: hands.banner() == "" and "s ago" in hands.text("#head"), "all well")


async def test_a_broker_that_goes_and_comes_back(bot: Bot, mosquitto: Mosquitto) -> None:
    async with panel(bot.broker_port) as hands:
        await hands.ready()
        mosquitto.stop()
        await hands.see(
            lambda: hands.banner().startswith("The broker at") and "no broker" in hands.text("#head"), "red"
        )
        await hands.pilot.press("s")
        await hands.toast("Mode STANDBY", "Not sent: there is no connection.", "warning")
        mosquitto.start()
        await hands.see(lambda: hands.banner() == "" and "s ago" in hands.text("#head"), "all well")
        await hands.pilot.press("s")
        await hands.toast("Mode STANDBY", "Executed in")


async def test_a_panel_without_a_bot_says_so_and_waits(mosquitto: Mosquitto, tmp_path: Path, program: Path) -> None:
    async with panel(mosquitto.port) as hands:
        await hands.see(lambda: "No bot has been seen" in hands.banner(), "the advice")
        where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
        late = Bot(program, tmp_path / "bot", where)
        late.start()
        try:
            await hands.ready()
        finally:
            late.stop()


def fits(sheet: Sheet) -> bool:
    return sheet.virtual_size.width <= sheet.size.width


async def test_nothing_is_cut_off_where_it_is_said_to_fit(bot: Bot) -> None:
    for size, sheets in ((SMALL, ["coin-list"]), ((160, 45), ["coin-list", "position-list"]), (LARGE, ["coin-list"])):
        async with panel(bot.broker_port, size) as hands:
            await hands.ready()
            await hands.pilot.press("p")
            await hands.see(lambda: hands.rows("coin-list")["BTC"][7] != "-", "a signal")
            for name in sheets:
                await hands.see(partial(fits, hands.sheet(name)), f"{name} within {size}")
            assert max(len(line) for line in hands.text("#head").splitlines()) <= size[0] - 2
            for button in hands.app.screen.query(Button):
                assert button.region.right <= size[0]
                assert button.region.width >= len(str(button.label))
            await hands.pilot.press("question_mark")
            await hands.see(lambda: isinstance(hands.app.screen, Help), "the help")
            await hands.pilot.press("escape")


def test_a_login_that_is_refused_ends_the_panel(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "closed", "allow_anonymous false")
    broker.start()
    try:
        with pytest.raises(CliError, match="refused a login without a name") as ended:
            asyncio.run(refused(broker.port))
        assert ended.value.code == "LOGIN_REFUSED"
    finally:
        broker.stop()


async def refused(port: int) -> None:
    async with panel(port) as hands:
        error = await hands.see(lambda: hands.app.return_value, "the end")
        raise error


@pytest.fixture
def served(bot: Bot) -> Iterator[int]:
    """The port of a panel that is served to browsers."""
    port = free_port()
    words = [sys.executable, "-m", "allora_mqtt_cli", "panel", "--serve", f"127.0.0.1:{port}"]
    with (bot.folder / "served.log").open("wb") as log:
        process = subprocess.Popen(words, env=bot.environment, cwd=bot.folder, stdout=log, stderr=log)
    until(lambda: answers(port), "the served panel")
    yield port
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert "Traceback" not in (bot.folder / "served.log").read_text()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return bool(probe.connect_ex(("127.0.0.1", port)) == 0)


async def test_a_browser_sees_the_panel_and_pages_of_others_do_not(served: int) -> None:
    home = f"http://127.0.0.1:{served}"
    async with aiohttp.ClientSession() as session:
        async with session.get(home) as page:
            assert page.status == 200
            assert page.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        async with session.ws_connect(f"{home}/ws?width=120&height=40", headers={"Origin": home}) as page_socket:
            seen = b""
            while b"STANDBY" not in seen or b"BTC" not in seen:
                message = await page_socket.receive(timeout=30)
                seen += message.data if message.type is aiohttp.WSMsgType.BINARY else b""
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        for path, headers in (
            ("/", {"Host": "rebound.example:8765"}),
            ("/ws", {"Origin": "http://another.example"}),
            ("/ws", {"Origin": "null"}),
            ("/ws", {}),
        ):
            async with session.get(f"{home}{path}", headers=upgrade | headers) as answer:
                assert answer.status == 403, (path, headers)


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--serve", "0.0.0.0:8765"], "NOT_LOOPBACK"), (["--serve", "8765"], "USAGE"), ([], "USAGE")],
)
def test_where_the_panel_is_not_shown(tmp_path: Path, program: Path, words: list[str], code: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run([program, "panel", *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"({code})" in done.stderr
