"""The kit of `examples/home-assistant` in the real Home Assistant, the dashboard clicked in Chromium: `make e2e`."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT as CHECKED_OUT
from tests.support import node_red
from tests.support.client import Watcher
from tests.support.home_assistant import ROOT, VERSION, HomeAssistant
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.node_red import Browser
from tests.support.program import CHECKOUT, Bot

pytestmark = [pytest.mark.real_peers, pytest.mark.timeout(600)]

KIT = CHECKED_OUT / "examples" / "home-assistant"
LIVELY = {
    "SIM_EPOCH_S": "3",
    "TRADE_PRICE_GAP_PCT": "0.01",
    "BOT_DEFAULT_MODE": "LAST",
    # Positions stay until somebody closes them.
    "TRADE_EXIT_BUFFER_PCT": "50",
    "TRADE_TP_RATIO": "10",
    "TRADE_SL_RATIO": "10",
}
CONFIGURATION = """
lovelace:
  dashboards:
    allora-mind:
      mode: yaml
      title: AlloraMind
      filename: dashboard.yaml
history:
automation:
  - alias: told
    use_blueprint:
      path: allora-mqtt/notify.yaml
      input:
        kinds: [fill, position_closed, breaker_opened]
        send:
          - action: mqtt.publish
            data:
              topic: "told/{{ trigger.id }}"
              payload: "{{ title }}: {{ message }}"
              qos: 1
  - alias: told as it is
    use_blueprint:
      path: allora-mqtt/notify.yaml
      input: {}
  - alias: flatten
    use_blueprint:
      path: allora-mqtt/flatten_button.yaml
      input:
        pressed:
          - trigger: event
            event_type: pressed
  - alias: heartbeat
    use_blueprint:
      path: allora-mqtt/standby_without_heartbeat.yaml
      input:
        missing_for:
          seconds: 2
  - alias: night
    use_blueprint:
      path: allora-mqtt/standby_at_night.yaml
      input:
        at: "03:00:00"
"""
AUTOMATIONS = ["told", "told_as_it_is", "flatten", "heartbeat", "night"]
WRONG = "hui-error-card, hui-warning, hui-error-badge, hui-error-section, ha-alert[alert-type=error]"
"""How a card shows that it is unknown, badly configured, or that its entity is not there."""
TOO_WIDE = """(() => {
    const all = (root) => [...root?.querySelectorAll('*') ?? []].flatMap((one) => [one, ...all(one.shadowRoot)])
    return all(document).filter((one) => ['table', 'ha-markdown', 'ha-markdown-element'].includes(one.localName))
        .filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.innerText)
})()"""
"""Tables that do not fit into their cards."""


class House:
    """A broker, a bot, and Home Assistant.

    Args:
        folder: of broker and bot.
        configuration: Home Assistant's.
        files: what lies beside it.
        **settings: further ones of the bot.
    """

    def __init__(self, folder: Path, configuration: str, files: Path | None = None, **settings: str) -> None:
        self.mosquitto = Mosquitto(folder / "mosquitto")
        self.mosquitto.start()
        where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(self.mosquitto.port)}
        self.bot = Bot(CHECKOUT, folder / "bot", where, **LIVELY, **settings)
        self.bot.start()
        self.hass = HomeAssistant(self.mosquitto.port, configuration, files)
        self.hass.start()
        self.hass.wait("select.bot_mode", "STANDBY", 60)

    def end(self) -> None:
        self.hass.remove()
        self.bot.stop()
        self.mosquitto.stop()

    def last_source(self) -> str | None:
        """Return who has sent the last command."""
        source: str | None = self.hass.states()["sensor.bot_last_command"]["attributes"].get("source")
        return source

    def holds(self, coin: str) -> bool:
        return self.hass.state(f"sensor.bot_crypto_{coin}_position") in {"LONG", "SHORT"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    if not (ROOT / "srv" / f"installed-{VERSION}").exists():
        pytest.skip("Home Assistant is not installed: tests/e2e/install_home_assistant")
    if not (node_red.ROOT / "node_modules").exists():
        pytest.skip("Chromium's driver is not installed: tests/e2e/install_node_red")
    house = House(tmp_path_factory.mktemp("house"), CONFIGURATION, KIT)
    yield house
    house.end()


@pytest.fixture(autouse=True)
def it_ends_well(house: House) -> Iterator[None]:
    """No test may leave a position, or a warning about a blueprint, a template or a payload in Home Assistant's log."""
    yield
    house.hass.do("button.press", "button.bot_flatten")
    house.hass.wait("sensor.bot_last_command", "flatten EXECUTED")
    house.hass.wait("sensor.bot_positions", "0")
    assert house.hass.complaints() == []


@pytest.fixture(params=[(1400, 1000, "dark"), (390, 844, "light")], ids=["dark", "phone"])
def page(house: House, request: pytest.FixtureRequest) -> Iterator[Browser]:
    with Browser(*request.param) as browser:
        browser.do(None, "addInitScript", {"content": house.hass.login})
        browser.open(f"http://127.0.0.1:{house.hass.port}/allora-mind/bot")
        browser.see("hui-heading-card :text('Control')", timeout_s=60)
        yield browser


def button(name: str) -> str:
    return f"hui-button-card:has-text('{name}') ha-card"


def confirm(page: Browser, answer: str) -> None:
    page.click(f"dialog-box ha-button:has-text('{answer}')")
    until(lambda: page.count("dialog-box ha-button") == 0, "the question is gone", 10)


def test_the_dashboard_shows_everything_and_asks_before_it_raises_risk(
    house: House, page: Browser, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    hass = house.hass
    hass.do("select.select_option", "select.bot_mode", option="STANDBY")
    for coin in ("btc", "eth"):
        hass.do("switch.turn_on", f"switch.bot_crypto_{coin}")
        hass.wait(f"switch.bot_crypto_{coin}", "on")
    page.click(button("ACTIVE"))
    page.see("dialog-box :text('Let the bot open positions?')")
    confirm(page, "Cancel")
    assert hass.state("select.bot_mode") == "STANDBY"
    page.click(button("ACTIVE"))
    confirm(page, "OK")
    hass.wait("select.bot_mode", "ACTIVE")
    until(lambda: house.holds("btc") and house.holds("eth"), "positions", 60)
    size = str(hass.states()["sensor.bot_crypto_btc_position"]["attributes"]["size"])
    page.see("hui-markdown-card td", size)
    page.see("hui-markdown-card td", "%")
    page.see("hui-history-graph-card :text('Equity')")
    assert page.count(WRONG) == 0
    assert page.do(None, "evaluate", TOO_WIDE) == []
    assert page.do(None, "evaluate", "document.documentElement.scrollWidth <= innerWidth")
    # Where pictures of the documentation are made anew, here are they kept.
    page.picture(Path(os.environ.get("SCREENSHOTS", tmp_path)) / f"home-assistant-{request.node.callspec.id}.png")
    page.click(button("Close everything"))
    page.see("dialog-box :text('Close every position')")
    confirm(page, "OK")
    hass.wait("sensor.bot_positions", "0")
    page.see("hui-markdown-card :text('No position')")
    assert hass.state("select.bot_mode") == "STANDBY"


def test_home_assistant_takes_every_blueprint(house: House) -> None:
    used = {name: each["state"] for name, each in house.hass.states().items() if name.startswith("automation.")}
    assert used == dict.fromkeys([f"automation.{name}" for name in AUTOMATIONS], "on")


def test_a_button_flattens_and_a_message_says_what_was_closed(house: House) -> None:
    with Watcher(house.mosquitto.port, "told") as told:
        house.hass.do("switch.turn_on", "switch.bot_crypto_btc")
        house.hass.do("select.select_option", "select.bot_mode", option="ACTIVE")
        assert " at " in until(lambda: told.last("fill"), "a message on the fill", 60).decode()
        house.hass.fire("pressed")
        house.hass.wait("sensor.bot_positions", "0")
        house.hass.wait("select.bot_mode", "STANDBY")
        said = until(lambda: told.last("position_closed"), "a message on the end").decode()
    assert re.fullmatch(r"AlloraMind: (BTC|ETH): (LONG|SHORT) closed with [+-]\d+\.\d\d USD \(flatten\)\.", said)


def test_standby_at_night(house: House) -> None:
    house.hass.do("select.select_option", "select.bot_mode", option="ACTIVE")
    house.hass.wait("select.bot_mode", "ACTIVE")
    house.hass.do("automation.trigger", "automation.night")
    house.hass.wait("select.bot_mode", "STANDBY")
    until(lambda: house.last_source() == "home-assistant:night", "that it was this automation")


def test_a_bot_whose_heartbeat_was_missing_is_in_standby_when_it_is_back(house: House) -> None:
    """Its own rule, BOT_DEFAULT_MODE=LAST, would have made it ACTIVE again."""
    hass = house.hass
    hass.do("select.select_option", "select.bot_mode", option="ACTIVE")
    hass.wait("select.bot_mode", "ACTIVE")
    house.bot.kill()
    with Watcher(house.mosquitto.port) as watcher:
        until(lambda: watcher.last("mode/set"), "the command waits", 60)
        house.bot.start()
        hass.wait("select.bot_mode", "STANDBY", 60)
        until(lambda: not watcher.last("mode/set"), "the mailbox is empty")
    until(lambda: house.last_source() == "home-assistant:heartbeat", "that it was this automation")


def test_the_entities_by_hand_show_and_steer_a_bot_without_discovery(tmp_path: Path) -> None:
    if not (ROOT / "srv" / f"installed-{VERSION}").exists():
        pytest.skip("Home Assistant is not installed: tests/e2e/install_home_assistant")
    by_hand = (KIT / "configuration.yaml").read_text()
    house = House(tmp_path, f"\n{by_hand}", MQTT_DISCOVERY="false")
    try:
        wanted = set(re.findall(r"default_entity_id: (\S+\.\S+)$", by_hand, re.MULTILINE))
        hass = house.hass
        until(lambda: all(hass.state(name) not in {None, "unavailable"} for name in wanted), "all of them available")
        found = {name for name in hass.states() if ".bot_" in name}
        assert found == wanted
        hass.do("select.select_option", "select.bot_mode", option="ACTIVE")
        hass.wait("select.bot_mode", "ACTIVE")
        hass.wait("binary_sensor.bot_connected", "on")
        hass.do("button.press", "button.bot_flatten")
        hass.wait("select.bot_mode", "STANDBY")
        assert hass.complaints() == []
    finally:
        house.end()
