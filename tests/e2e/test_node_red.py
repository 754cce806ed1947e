"""The flows of `examples/node-red` in the real Node-RED, clicked in Chromium: `make e2e`."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support import node_red
from tests.support.client import Watcher
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.node_red import Browser, NodeRed
from tests.support.program import CHECKOUT, Bot

pytestmark = [pytest.mark.real_peers, pytest.mark.timeout(300)]

KIT = ROOT / "examples" / "node-red"
DASHBOARD, CORE = KIT / "flows-dashboard.json", KIT / "flows-core.json"
SETTINGS = {"SIM_EPOCH_S": "5", "TRADE_PRICE_GAP_PCT": "0.01", "TRADE_EXIT_BUFFER_PCT": "50"}
TOO_WIDE = """
[...document.querySelectorAll('.am-row > *, .am-tile, .am-command > *')]
    .filter((each) => each.scrollWidth > each.clientWidth + 1).map((each) => each.innerText)
"""
"""What does not fit into its place on the page."""
ON, OFF = ".am-coins-on [data-symbol={}]", ".am-coins-off [data-symbol='{}']"


class Desk:
    """A broker, a bot, Node-RED with the flows, and somebody who listens."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.mosquitto = Mosquitto(folder / "mosquitto", *passwords(folder))
        self.mosquitto.start()
        login = {"MQTT_USERNAME": "alice", "MQTT_PASSWORD": "wonder land"}
        self.where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(self.mosquitto.port), **login, **settings}
        self.bot = Bot(CHECKOUT, folder / "bot", {**self.where, "MQTT_BASE_TOPIC": "bots/alice"}, **SETTINGS)
        self.bot.start()
        self.node_red = NodeRed(folder / "node-red", {**self.where, "MQTT_BASE_TOPIC": "bots/alice"})
        self.node_red.start()
        self.node_red.deploy(DASHBOARD, CORE)

    def end(self) -> None:
        self.node_red.stop()
        self.bot.stop()
        self.mosquitto.stop()

    def listen(self) -> Watcher:
        return Watcher(self.mosquitto.port, "bots/alice", login=("alice", "wonder land"))


def passwords(folder: Path) -> list[str]:
    """Make a password file, and return the lines of configuration that ask for it."""
    program = shutil.which("mosquitto_passwd")
    assert program is not None
    folder.mkdir(exist_ok=True)
    file = folder / "passwords"
    subprocess.run([program, "-b", "-c", file, "alice", "wonder land"], check=True, capture_output=True)
    return ["allow_anonymous false", f"password_file {file}"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    if not (node_red.ROOT / "node_modules").exists():
        pytest.skip("Node-RED is not installed: tests/e2e/install_node_red")
    desk = Desk(tmp_path_factory.mktemp("desk"))
    yield desk
    desk.end()


@pytest.fixture
def watcher(desk: Desk) -> Iterator[Watcher]:
    with desk.listen() as watcher:
        watcher.wait("availability", "online", 30)
        watcher.command("mode/set", "response/mode", {"value": "STANDBY"})
        watcher.command("cryptos/set", "response/cryptos", {"value": "NONE"})
        yield watcher


@pytest.fixture
def page(desk: Desk, watcher: Watcher) -> Iterator[Browser]:
    assert watcher.json("cryptos") == {}
    with Browser() as browser:
        browser.open(desk.node_red.dashboard)
        browser.see(".am-says", "alive", 30)
        browser.see(".am-mode", "STANDBY")
        browser.see(".am-active", "No coin is active")
        yield browser
        assert browser.complaints() == []
    assert desk.node_red.errors() == []


def pick(page: Browser, platform: str) -> None:
    page.click(".am-catalog .am-platform .v-field")
    page.click(f".v-overlay .v-list-item-title:text-is('{platform}')")


def test_the_whole_catalog_is_there_to_be_searched_and_filtered(page: Browser, watcher: Watcher) -> None:
    found = watcher.ask("catalog", availability="all")["data"]["cryptos"]
    both = [coin for coin in found if coin["availability"] == "both"]
    rows = ".am-coins-off .am-row[data-symbol]"
    page.see(".am-catalog h3", f"{len(both)}/{len(found)}")
    assert page.count(rows) == len(both)
    pick(page, "All")
    page.see(".am-catalog h3", f"{len(found)}/{len(found)}")
    pick(page, "Allora")
    page.see(".am-catalog h3", f"{sum(coin['availability'] != 'hyperliquid' for coin in found)}/")
    pick(page, "HyperLiquid")
    page.see(".am-catalog h3", f"{sum(coin['availability'] != 'allora' for coin in found)}/")
    page.type(".am-catalog .am-search input", "av")
    wanted = sum("AV" in coin["symbol"].upper() and coin["availability"] != "allora" for coin in found)
    page.see(".am-catalog h3", f"{wanted}/{len(found)}")
    page.type(".am-catalog .am-search input", "zzz")
    page.see(".am-catalog", "No coin matches")
    page.type(".am-catalog .am-search input", "")
    page.click(".am-catalog .am-titles button:has-text('Coin')")
    symbols = [text.split("\n")[0] for text in page.texts(f"{rows} .am-coin")]
    assert symbols == sorted(symbols, key=str.casefold)


def test_a_coin_is_shown_as_it_was_until_the_bot_has_confirmed(desk: Desk, page: Browser, watcher: Watcher) -> None:
    avax = OFF.format("AVAX")
    page.see(avax)
    os.kill(desk.bot.pid, signal.SIGSTOP)
    try:
        page.click(f"{avax} input")
        page.see(f"{avax} .am-pending", "ON …")
        assert not page.is_checked(f"{avax} input")
        assert page.count(ON.format("AVAX")) == 0
    finally:
        os.kill(desk.bot.pid, signal.SIGCONT)
    page.see(ON.format("AVAX"), "topic 101", 30)
    assert page.is_checked(f"{ON.format('AVAX')} input")
    assert page.count(avax) == 0
    watcher.wait("cryptos", '{"AVAX":101}')
    page.see(f"{ON.format('AVAX')}", "%")
    page.click(f"{ON.format('AVAX')} input")
    page.see(avax)
    watcher.wait("cryptos", "{}")


def test_a_topic_can_be_chosen(page: Browser, watcher: Watcher) -> None:
    page.do(f"{OFF.format('ETH')} select", "selectOption", "13")
    page.click(f"{OFF.format('ETH')} input")
    watcher.wait("cryptos", '{"ETH":13}')
    page.see(ON.format("ETH"), "topic 13")


def test_what_the_bot_refuses_it_says_in_its_own_words(page: Browser, watcher: Watcher) -> None:
    pick(page, "All")
    page.type(".am-catalog .am-search input", "0G")
    page.click(f"{OFF.format('0G')} input")
    until(lambda: watcher.json("response/cryptos")["status"] == "REJECTED", "a rejection")
    refused = watcher.json("response/cryptos")
    page.see(".am-problem, .v-snackbar", refused["error"]["message"])
    page.see(".am-problem, .v-snackbar", f"({refused['error']['code']})")
    page.see(".am-history .am-command", "0G ON")
    assert page.count(f"{OFF.format('0G')} .am-pending") == 0


def test_start_asks_first_and_flatten_ends_it(page: Browser, watcher: Watcher) -> None:
    page.click(".am-start")
    page.see(".am-dialog", "Please activate at least one cryptocurrency first.")
    assert page.count(".am-dialog .am-yes") == 0
    page.click(".am-dialog .am-no")
    page.click(".am-set-popular")
    watcher.wait("cryptos", '{"AVAX":101,"BTC":14,"ETH":9,"SOL":10}')
    page.see(".am-active h3", "4/")
    watcher.forget()
    page.click(".am-start")
    page.see(".am-dialog", "4 active coins")
    page.click(".am-dialog .am-no")
    page.click(".am-start")
    page.click(".am-dialog .am-yes")
    page.see(".am-mode", "ACTIVE")
    # Empty ones clear the mailbox.
    assert len([sent for sent in watcher.all("mode/set") if sent]) == 1
    page.see(".am-positions .am-row[data-symbol]", "2x", 40)
    page.see(".am-equity", "$")
    positions = watcher.json("positions")
    assert page.count(".am-positions .am-row[data-symbol]") <= len(positions)
    page.click(".am-flatten")
    page.click(".am-dialog .am-yes")
    page.see(".am-positions", "No open position", 30)
    page.see(".am-mode", "STANDBY")
    page.see(".am-history .am-command", "Flatten")
    page.see(".am-trades [data-trade]", "flatten")
    trades = page.count(".am-trades [data-trade]")
    page.type(".am-results .am-search input", "sol")
    page.see(".am-results", f"/{trades}")
    assert 0 < page.count(".am-trades [data-trade]") < trades
    page.click(".am-stop")
    page.see(".am-mode", "STOPPED")
    page.click(".am-standby")
    page.see(".am-mode", "STANDBY")
    page.click(".am-clear")
    watcher.wait("cryptos", "{}")


def test_the_history_has_the_commands_of_everybody_over_a_reload(desk: Desk, page: Browser, watcher: Watcher) -> None:
    watcher.command("cryptos/SOL/set", "response/cryptos", {"value": "ON", "source": "cron:night"})
    page.click(".am-stop")
    page.see(".am-history .am-command", "Mode STOPPED")
    page.see(".am-history .am-command", "cron:night")
    page.open(desk.node_red.dashboard)
    page.see(".am-history .am-command", "Mode STOPPED")
    page.see(".am-mode", "STOPPED")
    page.see(ON.format("SOL"))


def test_the_light_is_red_after_three_missed_heartbeats_and_when_the_bot_is_dead(desk: Desk, page: Browser) -> None:
    page.see(".am-light.am-green")
    os.kill(desk.bot.pid, signal.SIGSTOP)
    try:
        page.see(".am-light.am-red", timeout_s=10)
        page.see(".am-says", "no heartbeat for")
    finally:
        os.kill(desk.bot.pid, signal.SIGCONT)
    page.see(".am-light.am-green")
    desk.bot.kill()
    page.see(".am-light.am-red")
    page.see(".am-says", "the bot is offline")
    page.click(".am-stop")
    page.see(".v-snackbar, .am-problem", "No answer from the bot to mode/set yet", 20)
    desk.bot.start()
    page.see(".am-light.am-green", timeout_s=40)
    page.see(".am-mode", "STOPPED")


def test_the_core_nodes_send_a_command_and_tell_its_answer(desk: Desk, watcher: Watcher) -> None:
    desk.node_red.press("BTC on", CORE)
    watcher.wait("cryptos", '{"BTC":14}')
    desk.node_red.press("At 23:00", CORE)
    until(lambda: watcher.all("response/mode"), "an answer")
    sent = json.loads(next(each for each in watcher.all("cryptos/BTC/set") if each))
    assert sent["source"] == "node-red"
    assert watcher.json("response/mode")["status"] == "EXECUTED"
    assert desk.node_red.errors() == []


def test_they_sign_where_there_is_a_secret(tmp_path: Path) -> None:
    if not (node_red.ROOT / "node_modules").exists():
        pytest.skip("Node-RED is not installed: tests/e2e/install_node_red")
    desk = Desk(tmp_path, MQTT_COMMAND_SECRET=f"node-red:{'r' * 40}")
    try:
        with desk.listen() as watcher:
            watcher.wait("availability", "online", 30)
            assert watcher.command("mode/set", "response/mode", {"value": "ACTIVE"})["error"]["code"] == "NOT_SIGNED"
            desk.node_red.press("BTC on", CORE)
            watcher.wait("cryptos", '{"BTC":14}', 30)
            answer = until(lambda: watcher.json("response/cryptos"), "an answer")
            assert (answer["status"], answer["signed_by"]) == ("EXECUTED", "node-red")
        assert desk.node_red.errors() == []
    finally:
        desk.end()


def test_the_editor_imports_and_deploys_them(desk: Desk, tmp_path: Path) -> None:
    fresh = NodeRed(tmp_path / "fresh", {**desk.where, "MQTT_BASE_TOPIC": "bots/alice"})
    fresh.start()
    try:
        with Browser() as page:
            page.open(f"http://127.0.0.1:{fresh.port}/")
            page.see("#red-ui-header-button-deploy", timeout_s=60)
            page.do(None, "evaluate", "RED.actions.invoke('core:show-import-dialog')")
            page.type("#red-ui-clipboard-dialog-import-text", DASHBOARD.read_text())
            page.do("#red-ui-clipboard-dialog-import-text", "press", "End")  # it is looked at when a key goes up
            page.click("#red-ui-clipboard-dialog-ok")
            page.see(".red-ui-tab", "AlloraMind")
            page.click("#red-ui-header-button-deploy")
            # With its login: the broker lets nobody else in.
            until(lambda: "Connected to broker" in fresh.said(), "the broker connected", 30)
            page.open(fresh.dashboard)
            page.see(".am-says", "alive", 30)
        assert fresh.errors() == []
    finally:
        fresh.stop()


@pytest.mark.parametrize(
    ("name", "width", "height", "scheme"),
    [("light", 1280, 800, "light"), ("dark", 1280, 800, "dark"), ("phone", 390, 844, "light")],
)
def test_it_fits_on_the_screen(
    desk: Desk, watcher: Watcher, tmp_path: Path, name: str, width: int, height: int, scheme: str
) -> None:
    watcher.ask("activate_set", name="popular")
    watcher.command("mode/set", "response/mode", {"value": "ACTIVE", "source": "cli:alice"})
    until(lambda: len(watcher.json("positions") or []) >= 2, "positions", 60)
    with Browser(width, height, scheme) as page:
        page.open(desk.node_red.dashboard)
        page.see(".am-positions .am-row[data-symbol]", "2x", 30)
        page.see(ON.format("BTC"), "%")
        assert page.do(None, "evaluate", "document.documentElement.scrollWidth") == width
        assert page.do(None, "evaluate", TOO_WIDE) == []
        dark = page.do(None, "evaluate", "document.documentElement.classList.contains('am-dark')")
        assert dark is (scheme == "dark")
        # Where pictures of the documentation are made anew, here are they kept.
        folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
        page.picture(folder / f"node-red-{name}.png")
        page.click(".am-theme")
        assert page.do(None, "evaluate", "document.documentElement.classList.contains('am-dark')") is not dark
        assert page.complaints() == []
    watcher.ask("flatten")
