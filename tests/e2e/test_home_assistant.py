"""The real Home Assistant finds the bot, shows it, steers it, and keeps it over every restart: `make e2e`."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT as REPOSITORY
from tests.support.client import Watcher
from tests.support.home_assistant import ROOT, VERSION, HomeAssistant
from tests.support.net import until
from tests.support.production_broker import TLS, ProductionBroker
from tests.support.program import CHECKOUT, Bot

pytestmark = [pytest.mark.real_peers, pytest.mark.timeout(900)]

GUIDE = REPOSITORY / "docs" / "home-assistant.md"
LIVELY = {"SIM_EPOCH_S": "3", "TRADE_PRICE_GAP_PCT": "0.01", "MQTT_DISCOVERY_CRYPTOS": "BTC,ETH"}
COIN = {"switch.bot_crypto_{}"} | {
    f"sensor.bot_crypto_{{}}_{what}" for what in ("price", "prediction", "gap", "accuracy", "position")
}


class House:
    """The broker of the documentation, a bot and Home Assistant, which log in over TLS and see what their roles may."""

    def __init__(self, folder: Path) -> None:
        self.mosquitto = ProductionBroker.as_in(folder / "mosquitto", GUIDE)
        self.mosquitto.add("alices-bot", "bot", "-b", "bots/alice")
        self.mosquitto.add("homeassistant", "home-assistant", "-b", "bot", "-b", "bots/alice")
        self.mosquitto.add("somebody", "operator")
        self.mosquitto.start()
        self.bot = Bot(CHECKOUT, folder / "bot", self.mosquitto.settings("bot", TLS), **LIVELY)
        self.bot.start()
        login, ca = self.login("homeassistant"), self.mosquitto.client("homeassistant") / "ca.crt"
        self.hass = HomeAssistant(self.mosquitto.ports[TLS], login=login, ca=ca)
        self.hass.start()

    def login(self, name: str) -> tuple[str, str]:
        return name, self.mosquitto.password(name)

    def end(self) -> None:
        self.hass.remove()
        self.bot.stop()
        self.mosquitto.stop()

    def entities(self, base: str = "bot") -> set[str]:
        """Return what Home Assistant has registered for a bot's device, whether it is there now or not."""
        found = self.hass.render(f"{{{{ device_entities(device_id('select.{base}_mode')) | join(' ') }}}}")
        return set(found.split())

    def away(self) -> list[str]:
        """Return the entities of bots that are unavailable."""
        states = self.hass.states()
        return [name for name in states if ".bot" in name and states[name]["state"] == "unavailable"]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    if not (ROOT / "srv" / f"installed-{VERSION}").exists():
        pytest.skip("Home Assistant is not installed: tests/e2e/install_home_assistant")
    house = House(tmp_path_factory.mktemp("house"))
    yield house
    house.end()


@pytest.fixture
def watcher(house: House) -> Iterator[Watcher]:
    with Watcher(house.mosquitto.port, login=house.login("somebody")) as watcher:
        watcher.wait("availability", "online", 60)
        yield watcher


@pytest.fixture(autouse=True)
def it_says_nothing(house: House) -> Iterator[None]:
    """No test may leave a warning about a template or a payload in Home Assistant's log."""
    yield
    # That the broker was away it may say.
    assert [line for line in house.hass.complaints() if "mqtt.client" not in line] == []


def test_every_entity_appears_and_is_available(house: House, watcher: Watcher) -> None:
    hass = house.hass
    hass.wait("select.bot_mode", "STANDBY", 60)
    wanted = json.loads(retained(house, "homeassistant/device/allora_mqtt_bot/config"))["cmps"]
    assert {component["def_ent_id"] for component in wanted.values()} == house.entities()
    until(lambda: not house.away(), "all of them available", 30)
    hass.wait("binary_sensor.bot_connected", "on")
    hass.wait("binary_sensor.bot_problem", "off")
    hass.wait("sensor.bot_equity", str(watcher.json("account")["equity_usd"]))
    assert [hass.state(f"switch.bot_crypto_{coin}") for coin in ("btc", "eth")] == ["off", "off"]
    assert not [name for name, entity in hass.states().items()
                if ".bot_" in name and entity["attributes"].get("assumed_state")]  # fmt: skip


def test_the_controls_do_what_they_say(house: House, watcher: Watcher) -> None:
    hass = house.hass
    hass.do("switch.turn_on", "switch.bot_crypto_btc")
    hass.wait("switch.bot_crypto_btc", "on")
    watcher.wait("cryptos", '{"BTC":14}')
    for key, value in (("max_leverage", 3), ("price_gap_pct", 0.05), ("tp_ratio", 1.5)):
        hass.do("number.set_value", f"number.bot_{key}", value=value)
        hass.wait(f"number.bot_{key}", str(value))
        until(lambda key=key, value=value: watcher.json("config")[key]["value"] == value, key)  # type: ignore[misc] # mypy cannot see it
    hass.do("select.select_option", "select.bot_strategy", option="volatility")
    hass.wait("select.bot_strategy", "volatility")
    hass.do("select.select_option", "select.bot_strategy", option="allora_gap")
    for action in ("cancel_orders", "refresh_catalog", "reset_breaker"):
        hass.do("button.press", f"button.bot_{action}")
        hass.wait("sensor.bot_last_command", f"{action} EXECUTED")
        assert hass.states()["sensor.bot_last_command"]["attributes"]["source"] == "home-assistant"
    hass.do("select.select_option", "select.bot_mode", option="ACTIVE")
    hass.wait("select.bot_mode", "ACTIVE")
    watcher.wait("mode", "ACTIVE")
    for mode in ("STOPPED", "STANDBY"):
        hass.do("select.select_option", "select.bot_mode", option=mode)
        hass.wait("select.bot_mode", mode)


def test_it_shows_a_trade_from_signal_to_end_and_flatten_ends_it(house: House) -> None:
    hass = house.hass
    hass.do("number.set_value", "number.bot_price_gap_pct", value=0.01)
    hass.do("switch.turn_on", "switch.bot_crypto_btc")
    hass.do("select.select_option", "select.bot_mode", option="ACTIVE")
    until(lambda: hass.state("sensor.bot_crypto_btc_position") in {"LONG", "SHORT"}, "a position", 60)
    position = hass.states()["sensor.bot_crypto_btc_position"]["attributes"]
    assert position["stop_price"]
    assert position["target_price"]
    until(lambda: hass.state("sensor.bot_positions") == "1", "one position")
    until(lambda: float(hass.state("sensor.bot_exposure") or 0) > 0, "exposure")
    assert " BTC" in (hass.state("sensor.bot_last_signal") or "")
    assert hass.state("sensor.bot_last_order") in {"BUY BTC filled", "SELL BTC filled"}
    assert hass.states()["event.bot_fill"]["attributes"]["symbol"] == "BTC"
    for what in ("price", "prediction", "gap"):
        float(hass.state(f"sensor.bot_crypto_btc_{what}") or "nothing")
    hass.do("button.press", "button.bot_flatten")
    hass.wait("select.bot_mode", "STANDBY")
    hass.wait("sensor.bot_crypto_btc_position", "FLAT")
    hass.wait("sensor.bot_positions", "0")
    closed = hass.states()["event.bot_position_closed"]["attributes"]
    assert closed["event_type"] == ("profit" if closed["pnl_usd"] > 0 else "loss")


def test_a_coin_comes_with_its_entities_and_goes_without_a_trace(house: House, watcher: Watcher) -> None:
    hass, before = house.hass, house.entities()
    doge = {name.format("doge") for name in COIN}
    hass.do("text.set_value", "text.bot_add_crypto", value=" doge")
    hass.wait("switch.bot_crypto_doge", "on")
    until(lambda: house.entities() == before | doge, "its entities")
    assert hass.state("text.bot_add_crypto") == ""
    until(lambda: "DOGE" in watcher.json("cryptos"), "DOGE in the active set")
    hass.do("switch.turn_off", "switch.bot_crypto_doge")
    until(lambda: house.entities() == before, "they are gone")
    assert not doge & hass.states().keys()
    hass.do("text.set_value", "text.bot_add_crypto", value="NOSUCHCOIN")
    hass.wait("sensor.bot_last_command", "activate REJECTED")
    assert hass.states()["sensor.bot_last_command"]["attributes"]["error"]["code"] == "UNKNOWN_SYMBOL"
    # One that is always shown stays, and is off.
    hass.do("switch.turn_on", "switch.bot_crypto_eth")
    until(lambda: hass.state("sensor.bot_crypto_eth_price") not in {None, "unknown"}, "its price")
    hass.do("switch.turn_off", "switch.bot_crypto_eth")
    hass.wait("sensor.bot_crypto_eth_price", "unknown")
    assert house.entities() == before


@pytest.mark.parametrize("first", ["hass", "bot"])
def test_a_coin_that_goes_while_home_assistant_is_away_leaves_nothing_either(house: House, first: str) -> None:
    hass, before = house.hass, house.entities()
    hass.do("text.set_value", "text.bot_add_crypto", value="DOGE")
    until(lambda: len(house.entities()) == len(before) + len(COIN), "its entities")
    hass.stop()
    with Watcher(house.mosquitto.port, login=house.login("somebody")) as watcher:
        assert watcher.command("cryptos/DOGE/set", "response/cryptos", {"value": "OFF"})["status"] == "EXECUTED"
        until(lambda: b"doge" not in retained(house, "homeassistant/device/allora_mqtt_bot/config"), "it is gone")
    if first == "hass":
        hass.start()
    else:
        house.bot.stop()
        hass.start()
        house.bot.start()
    until(lambda: house.entities() == before and is_whole(house), "nothing of it is left", 90)


def test_a_second_bot_is_a_second_device(house: House, tmp_path: Path) -> None:
    first = house.entities()
    alice = Bot(
        CHECKOUT,
        tmp_path / "alice",
        house.mosquitto.settings("alices-bot", TLS),
        MQTT_BASE_TOPIC="bots/alice",
        **LIVELY,
    )
    alice.start()
    try:
        house.hass.wait("select.bots_alice_mode", "STANDBY", 60)
        house.hass.do("select.select_option", "select.bots_alice_mode", option="STOPPED")
        house.hass.wait("select.bots_alice_mode", "STOPPED")
        house.hass.wait("select.bot_mode", "STANDBY")
        assert house.entities() == first
        assert len(house.entities("bots_alice")) == len(first)
        assert alice.cli("discovery", "clear").returncode == 0
        until(lambda: "select.bots_alice_mode" not in house.hass.states(), "the second one is gone")
        assert house.entities() == first
    finally:
        alice.stop()


@pytest.mark.parametrize("one", ["mosquitto", "bot", "hass"])
def test_after_the_restart_of_one_nothing_is_unavailable(house: House, one: str) -> None:
    before = house.entities()
    restarted = getattr(house, one)
    restarted.stop()
    if one == "bot":
        house.hass.wait("select.bot_mode", "unavailable")
    restarted.start()
    until(lambda: is_whole(house), "everything is back", 60)
    assert house.entities() == before


@pytest.mark.parametrize("order", list(itertools.permutations(["mosquitto", "bot", "hass"])), ids="-".join)
def test_in_whatever_order_they_start_nothing_is_unavailable(house: House, order: tuple[str, ...]) -> None:
    before = house.entities()
    for each in reversed(order):
        getattr(house, each).stop()
    for each in order:
        getattr(house, each).start()
    until(lambda: is_whole(house), "everything is back", 90)
    assert house.entities() == before


def test_cleared_it_is_gone_and_back_with_the_next_start(house: House, watcher: Watcher) -> None:
    del watcher
    before = house.entities()
    done = house.bot.cli_json("discovery", "clear")
    assert done["topic"] == "homeassistant/device/allora_mqtt_bot/config"
    until(lambda: not [name for name in house.hass.states() if ".bot_" in name], "nothing is left")
    house.bot.stop()
    house.bot.start()
    until(lambda: is_whole(house), "everything is back", 60)
    assert house.entities() == before


def is_whole(house: House) -> bool:
    hass = house.hass
    return hass.state("select.bot_mode") == "STANDBY" and hass.state("binary_sensor.bot_connected") == "on" and not (
        house.away()
    )  # fmt: skip


def retained(house: House, topic: str) -> bytes:
    with Watcher(house.mosquitto.port, topic.partition("/")[0], login=house.login("homeassistant")) as watcher:
        return until(lambda: watcher.last(topic.partition("/")[2]), topic)
