"""The kit in `examples/home-assistant`: it names nothing that discovery does not publish or the bot does not take."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from allora_mqtt.discovery.device import message, watch_list
from allora_mqtt.protocol.commands import Flatten, Mode, SetMode
from allora_mqtt.protocol.messages import BreakerChanged, FillView, Position, PositionClosed
from allora_mqtt.protocol.reading import read
from allora_mqtt.protocol.topics import Event, Topics
from allora_mqtt.settings import Settings
from tests.conftest import ROOT
from tests.unit.discovery.things import subject

KIT = ROOT / "examples" / "home-assistant"
BLUEPRINTS = sorted((KIT / "blueprints" / "automation" / "allora-mqtt").glob("*.yaml"))
SHOWN = watch_list(Settings().mqtt.discovery_cryptos, Settings().bot.crypto_sets)
COMPONENTS: dict[str, dict[str, Any]] = message(subject(*SHOWN))["cmps"]
ENTITIES = {component["def_ent_id"]: component for component in COMPONENTS.values()}
PLATFORMS = "|".join({component["p"] for component in COMPONENTS.values()})
SHORT = {
    "name": "name",
    "unique_id": "uniq_id",
    "default_entity_id": "def_ent_id",
    "icon": "ic",
    "qos": "qos",
    "options": "ops",
    "state_topic": "stat_t",
    "command_topic": "cmd_t",
    "command_template": "cmd_tpl",
    "payload_press": "pl_prs",
    "value_template": "val_tpl",
    "unit_of_measurement": "unit_of_meas",
    "device_class": "dev_cla",
    "state_class": "stat_cla",
    "suggested_display_precision": "sug_dsp_prc",
    "entity_category": "ent_cat",
    "expire_after": "exp_aft",
}
"""The keys of YAML in the words of discovery."""


def blueprint(path: Path) -> dict[str, Any]:
    """Read a blueprint; what it takes from its user is a text here."""
    content: dict[str, Any] = yaml.safe_load(re.sub(r"(!input \w+)", r'"\1"', path.read_text()))
    return content


def is_input(content: object) -> bool:
    return isinstance(content, str) and content.startswith("!input ")


def every(content: Any) -> Iterator[Any]:
    """Yield everything that is in a YAML document, itself included."""
    yield content
    if isinstance(content, dict):
        for value in content.values():
            yield from every(value)
    elif isinstance(content, list):
        for value in content:
            yield from every(value)


def named(text: str) -> set[str]:
    """Return the entities that a text names."""
    return set(re.findall(rf"\b(?:{PLATFORMS})\.bot_\w+", text))


DASHBOARD = (KIT / "dashboard.yaml").read_text()
CARDS = [each for each in every(yaml.safe_load(DASHBOARD)) if isinstance(each, dict)]


def test_every_entity_of_the_kit_is_there() -> None:
    texts = {path.name: path.read_text() for path in [KIT / "dashboard.yaml", *BLUEPRINTS]}
    used = {name: named(text) for name, text in texts.items()}
    assert len(used["dashboard.yaml"]) > 15
    assert used["standby_without_heartbeat.yaml"] == {"binary_sensor.bot_connected"}
    assert set().union(*used.values()) <= set(ENTITIES)


def test_every_coin_that_is_always_shown_has_its_switch() -> None:
    assert {f"switch.bot_crypto_{symbol.lower()}" for symbol in SHOWN} <= named(DASHBOARD)


def test_the_tables_find_every_coin_and_name_what_it_has() -> None:
    found = [
        {entity for entity in ENTITIES if re.match(each, entity)} for each in re.findall("'match', '(.+?)'", DASHBOARD)
    ]
    coins = [f"sensor.bot_crypto_{symbol.lower()}_" for symbol in SHOWN]
    assert found == [{f"{coin}position" for coin in coins}, {f"{coin}price" for coin in coins}]
    others = set(re.findall(r"own ~ '(\w+)'", DASHBOARD))
    assert others == {"prediction", "gap"}
    assert {f"{coin}{other}" for coin in coins for other in others} <= set(ENTITIES)
    assert set(re.findall(r"\bits\.(\w+)", DASHBOARD)) <= set(Position.model_fields)
    assert {component["name"].split(" ")[1] for entity, component in ENTITIES.items() if entity in found[1]} == {
        "price"
    }


def test_the_attributes_on_the_dashboard_are_those_of_the_entity() -> None:
    template = ENTITIES["binary_sensor.bot_problem"]["json_attr_tpl"]
    for attribute in re.findall(r"state_attr\(entity, '(\w+)'\)", DASHBOARD):
        assert f"{attribute}=value_json.{attribute}" in template


def test_more_risk_and_flatten_are_asked_about_and_stopping_is_not() -> None:
    asked: set[str] = set()
    direct: set[str] = set()
    for action in CARDS:
        if "perform_action" in action:
            what = action.get("data", {}).get("option") or action["target"]["entity_id"]
            (asked if "confirmation" in action else direct).add(what)
    assert asked == {"ACTIVE", "button.bot_flatten"}
    assert direct == {"STANDBY", "STOPPED", "button.bot_cancel_orders"}
    assert {Mode.STANDBY, Mode.STOPPED, Mode.ACTIVE} <= asked | direct


def test_no_card_of_the_mode_opens_a_dialog_that_sets_it_without_asking() -> None:
    cards = [card for card in CARDS if card.get("entity") == "select.bot_mode"]
    assert len(cards) == 2
    for card in cards:
        assert card["tap_action"] == {"action": "none"}
        assert card["type"] == "entity" or card["icon_tap_action"] == {"action": "none"}
        assert "features" not in card


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
class TestBlueprint:
    def test_it_uses_each_of_its_inputs_and_no_other(self, path: Path) -> None:
        content = blueprint(path)
        declared = content.pop("blueprint")["input"]
        used = {each.removeprefix("!input ") for each in every(content) if is_input(each)}
        assert used == set(declared)
        assert all("selector" in each and "name" in each for each in declared.values())

    def test_what_it_sends_is_a_command_that_is_retained_only_where_that_is_allowed(self, path: Path) -> None:
        for each in every(blueprint(path)):
            if isinstance(each, dict) and each.get("action") == "mqtt.publish":
                data = each["data"]
                address = Topics().address(data["topic"].replace("{{ base_topic }}", "bot"))
                assert address is not None
                assert data["qos"] == 1
                parsed = read(address, payload(data["payload"]))
                assert parsed.error is None
                assert parsed.body in {SetMode(value=Mode.STANDBY), Flatten()}
                assert (parsed.envelope.source or "").startswith("home-assistant:")
                assert parsed.envelope.issued_at is not None or parsed.body == Flatten()
                assert not data.get("retain") or isinstance(parsed.body, SetMode)

    def test_what_it_listens_to_is_published(self, path: Path) -> None:
        triggers = blueprint(path)["triggers"]
        for trigger in [] if is_input(triggers) else triggers:
            if trigger["trigger"] == "mqtt":
                assert trigger["topic"] == f"{{{{ base_topic ~ '/event/{Event(trigger['id'])}' }}}}"


def payload(template: str) -> bytes:
    """Return what Home Assistant makes of a payload that is a dictionary in a template."""
    inner = template.strip().removeprefix("{{").removesuffix("| to_json }}")
    content = ast.literal_eval(inner.strip().replace("utcnow().isoformat()", "'2026-01-02T03:04:05.678901+00:00'"))
    return json.dumps(content).encode()


def test_a_message_says_only_what_the_event_has() -> None:
    text = next(path for path in BLUEPRINTS if path.stem == "notify").read_text()
    _, fill, closed, breaker = re.split(r"\{% (?:if|elif|else)|\{%- (?:elif|else)", text)[:4]
    for part, model in ((fill, FillView), (closed, PositionClosed), (breaker, BreakerChanged)):
        used = set(re.findall(r"\bit\.(\w+)", part))
        assert used
        assert used <= set(model.model_fields)


def test_the_entities_written_by_hand_are_those_of_discovery() -> None:
    content = yaml.safe_load((KIT / "configuration.yaml").read_text())["mqtt"]
    assert len(content) == 8
    for ((platform, entity),) in (each.items() for each in content):
        assert entity.pop("availability") == [{"topic": "bot/availability"}]
        assert entity.pop("device")["identifiers"] == ["allora_mqtt_bot"]
        component = ENTITIES[entity["default_entity_id"]]
        assert platform == component["p"]
        assert {SHORT[key]: value for key, value in entity.items()} == {
            key: value for key, value in component.items() if key in SHORT.values()
        }
