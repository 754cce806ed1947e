"""The device message, against what Home Assistant takes and what the bot publishes and understands."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest

from allora_mqtt.discovery.device import config_topic, encode, merged, message, watch_list
from allora_mqtt.protocol.commands import Activate, CancelOrders, Flatten, RefreshCatalog, ResetBreaker, SetCrypto
from allora_mqtt.protocol.reading import read
from allora_mqtt.protocol.runtime import HardLimits, RuntimeSettings
from allora_mqtt.protocol.schema import MESSAGES
from allora_mqtt.protocol.topics import Topics
from tests.unit.discovery.things import subject

COMMON = {"p", "name", "uniq_id", "def_ent_id", "obj_id", "ic", "qos"}
OPTIONAL = {"ent_cat", "dev_cla"}
STATE = {"stat_t", "val_tpl"}
ATTRIBUTES = {"json_attr_t", "json_attr_tpl"}
KEYS = {
    "select": STATE | {"ops", "cmd_t", "cmd_tpl"},
    "text": STATE | {"cmd_t", "cmd_tpl", "max"},
    "number": STATE | {"cmd_t", "cmd_tpl", "min", "max", "step", "mode", "unit_of_meas"},
    "switch": STATE | {"cmd_t", "pl_on", "pl_off", "stat_on", "stat_off"},
    "button": {"cmd_t", "pl_prs"},
    "sensor": STATE | ATTRIBUTES | {"unit_of_meas", "stat_cla", "sug_dsp_prc", "ops"},
    "binary_sensor": STATE | ATTRIBUTES | {"exp_aft"},
    "event": STATE | {"evt_typ"},
}
"""What a component of each platform may have: Home Assistant's abbreviations, as every version since 2024.11 knows."""

WHOLE = message(subject("BTC", "kPEPE"))
COMPONENTS: dict[str, dict[str, Any]] = WHOLE["cmps"]


def of(platform: str) -> dict[str, dict[str, Any]]:
    return {key: component for key, component in COMPONENTS.items() if component["p"] == platform}


def test_at_the_top_is_only_what_no_version_rejects() -> None:
    assert set(WHOLE) == {"dev", "o", "avty_t", "cmps"}
    assert set(WHOLE["dev"]) == {"ids", "name", "mf", "mdl", "sw"}
    assert set(WHOLE["o"]) == {"name", "sw"}
    assert WHOLE["avty_t"] == "bot/availability"


@pytest.mark.parametrize("key", COMPONENTS)
def test_a_component_has_what_its_platform_knows_and_is_neither_retained_nor_optimistic(key: str) -> None:
    component = COMPONENTS[key]
    assert set(component) >= COMMON
    assert set(component) <= COMMON | OPTIONAL | KEYS[component["p"]]
    assert component["qos"] == 1
    assert component["p"] == "button" or component["stat_t"]
    assert re.fullmatch(rf"{component['p']}\.[a-z0-9_]+", component["def_ent_id"])
    assert component["def_ent_id"].endswith(f".{component['obj_id']}")
    assert component.get("ent_cat") in ({None, "diagnostic"} if "sensor" in component["p"] else {None, "config"})


def test_what_should_be_there_is_there() -> None:
    assert set(of("select")) == {"mode", "strategy"}
    assert set(of("text")) == {"add_crypto"}
    assert set(of("switch")) == {"crypto_btc", "crypto_kpepe"}
    assert set(of("button")) == {"flatten", "cancel_orders", "refresh_catalog", "reset_breaker"}
    assert set(of("number")) == set(RuntimeSettings.model_fields) - {"strategy"}
    assert set(of("event")) == {"fill", "position_closed"}
    assert set(of("binary_sensor")) == {"connected", "problem"}
    coins = {f"crypto_{coin}_{what}" for coin in ("btc", "kpepe")
             for what in ("price", "prediction", "gap", "accuracy", "position")}  # fmt: skip
    own = {"equity", "daily_pnl", "exposure", "positions", "last_signal", "last_order", "last_command"}
    assert set(of("sensor")) == coins | own


@pytest.mark.parametrize("key", ["uniq_id", "def_ent_id"])
def test_nothing_is_there_twice(key: str) -> None:
    found = [component[key] for component in COMPONENTS.values()]
    assert len(set(found)) == len(found)


def test_every_state_comes_from_a_topic_that_the_bot_publishes() -> None:
    published = {f"bot/{topic}" for topic in (*MESSAGES, "mode")} | {"bot/cryptos/BTC", "bot/cryptos/kPEPE"}
    for component in COMPONENTS.values():
        assert {component.get("stat_t", "bot/mode"), component.get("json_attr_t", "bot/mode")} <= published


@pytest.mark.parametrize(
    ("key", "field", "expected"),
    [
        ("flatten", "pl_prs", Flatten()),
        ("cancel_orders", "pl_prs", CancelOrders()),
        ("refresh_catalog", "pl_prs", RefreshCatalog()),
        ("reset_breaker", "pl_prs", ResetBreaker()),
        ("crypto_kpepe", "pl_on", SetCrypto.model_validate({"symbol": "kPEPE", "value": "ON"})),
        ("crypto_kpepe", "pl_off", SetCrypto.model_validate({"symbol": "kPEPE", "value": "OFF"})),
    ],
)
def test_what_is_sent_is_a_command_that_says_who_sent_it(key: str, field: str, expected: object) -> None:
    address = Topics().address(COMPONENTS[key]["cmd_t"])
    assert address is not None
    parsed = read(address, COMPONENTS[key][field].encode())
    assert (parsed.body, parsed.envelope.source) == (expected, "home-assistant")


@pytest.mark.parametrize("component", [*of("number").values(), *of("select").values(), *of("text").values()])
def test_what_is_sent_with_a_value_is_a_command_too(component: dict[str, Any]) -> None:
    value = {"number": "3", "select": component.get("ops", [""])[0], "text": '"DOGE"'}[component["p"]]
    address = Topics().address(component["cmd_t"])
    assert address is not None
    parsed = read(address, re.sub(r"\{\{ value.*?\}\}", value, component["cmd_tpl"]).encode())
    assert parsed.error is None
    assert parsed.envelope.source == "home-assistant"
    if component["p"] == "text":
        assert parsed.body == Activate(symbol="DOGE")


def test_a_number_has_the_bounds_of_its_setting_and_of_the_hard_limit() -> None:
    limited = message(subject(limits=HardLimits(max_leverage=7, amount_usd=Decimal("99.5"))))["cmps"]
    assert [limited["max_leverage"][key] for key in ("min", "max", "step")] == [1, 7, 1]
    assert [limited["amount_usd"][key] for key in ("min", "max", "step")] == [5, 99.5, 5]
    assert limited["amount_usd"]["unit_of_meas"] == "USD"
    assert limited["cooldown_s"]["dev_cla"] == "duration"
    assert limited["tp_ratio"]["name"] == "TP ratio"


def test_only_active_expires_and_only_where_that_is_set() -> None:
    assert "expires_at" not in COMPONENTS["mode"]["cmd_tpl"]
    template = message(subject(expiry_s=30))["cmps"]["mode"]["cmd_tpl"]
    assert template.startswith(
        '{"value":"{{ value }}","source":"home-assistant"{% if value == \'ACTIVE\' %},"expires_at"'
    )
    assert "seconds=30" in template
    assert "msg_exp_int" not in json.dumps(message(subject(expiry_s=30)))


def test_two_bots_share_nothing() -> None:
    bases = ["bot", "bots/alice", "bots_/alice", "bots/_alice", "bots_-alice", "bots-alice", "bots_alice"]
    shown = [message(subject("BTC", base=base)) for base in bases]
    for ids in (
        [config_topic("homeassistant", Topics(base)) for base in bases],
        [each["dev"]["ids"][0] for each in shown],
        [component["uniq_id"] for each in shown for component in each["cmps"].values()],
    ):
        assert len(set(ids)) == len(ids)
        assert all(re.fullmatch("[A-Za-z0-9_/-]+", each) for each in ids)
    assert [each["dev"]["name"] for each in shown[:2]] == ["AlloraMind", "AlloraMind bots alice"]
    assert shown[1]["cmps"]["crypto_btc"]["def_ent_id"] == "switch.bots_alice_crypto_btc"


def test_with_fifty_coins_or_all_of_them_it_is_far_from_what_brokers_and_the_bot_can_take() -> None:
    """The embedded broker takes 16 MiB, mosquitto 256, and the bot reads back 1 MiB of its own message."""
    sizes = [len(encode(message(subject(*(f"COIN{number}" for number in range(coins)), base="bots/alice"))))
             for coins in (0, 50, 229)]  # fmt: skip
    assert sizes[0] < 20_000
    assert sizes[1] < 160_000
    assert sizes[2] < 700_000


def test_the_watch_list_is_symbols_and_sets_each_coin_once() -> None:
    sets = {"two": ["ETH", "BTC"], "odd": ["A/B", "#", "SOL"]}
    assert watch_list(["two", "DOGE", "BTC", "odd"], sets) == ["BTC", "DOGE", "ETH", "SOL"]
    assert merged(["kpepe", "BTC"], ["kPEPE", "ETH"]) == ["BTC", "ETH", "kPEPE"]


def test_the_same_bot_is_always_the_same_bytes() -> None:
    assert encode(message(subject("BTC"))) == encode(message(subject("BTC")))
