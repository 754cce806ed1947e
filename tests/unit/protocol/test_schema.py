import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allora_mqtt.protocol.commands import Body, Envelope, write
from allora_mqtt.protocol.schema import MESSAGES, export
from allora_mqtt.protocol.topics import Topics
from tests.unit.protocol.json_schema import faults, misfits
from tests.unit.protocol.strategies import bodies, envelopes, instances

DOCUMENT = export()
DEFINITIONS: dict[str, Any] = DOCUMENT["$defs"]

DESIRED_STATE = {"mode/set", "cryptos/set", "cryptos/{symbol}/set", "config/set", "config/{key}/set"}
ACTIONS = {
    "close", "flatten", "cancel_orders", "refresh_catalog", "publish_state", "reset_breaker", "reload_config", "ping",
    "history", "trades", "events", "performance", "catalog", "activate", "activate_set", "shutdown",
}  # fmt: skip
STATE = {
    "status", "info", "config", "cryptos", "cryptos/{symbol}", "catalog", "account", "positions", "health",
    "last_command", "heartbeat",
}  # fmt: skip
EVENTS = {
    "mode_changed", "crypto_changed", "signal", "order", "fill", "position_closed", "breaker_opened", "breaker_closed",
    "command",
}  # fmt: skip


def test_every_command_of_the_contract_is_there() -> None:
    assert set(DOCUMENT["commands"]) == DESIRED_STATE | {f"request/{name}" for name in ACTIONS}


def test_every_message_of_the_contract_is_there() -> None:
    assert set(DOCUMENT["messages"]) == STATE | {f"event/{name}" for name in EVENTS} | {
        "response/{name}",
        "log/{level}",
    }


def test_the_document_is_json_schema_of_2020_12() -> None:
    assert json.loads(json.dumps(DOCUMENT, allow_nan=False)) == DOCUMENT
    assert DOCUMENT["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    schemas = DOCUMENT["commands"] | DOCUMENT["messages"] | DEFINITIONS
    assert [fault for name, schema in schemas.items() for fault in faults(schema, DEFINITIONS, name)] == []


def test_every_definition_is_used_or_is_a_commands_own() -> None:
    text = json.dumps(DOCUMENT)
    unused = {name for name in DEFINITIONS if f'"#/$defs/{name}"' not in text}
    inlined = {schema["title"] for schema in DOCUMENT["commands"].values()} | {"Envelope"}
    assert unused <= inlined


@pytest.mark.parametrize("topic", DOCUMENT["commands"])
def test_each_command_takes_the_envelope_and_nothing_unknown(topic: str) -> None:
    schema = DOCUMENT["commands"][topic]
    assert set(Envelope.model_fields) <= set(schema["properties"])
    assert not set(Envelope.model_fields) & set(schema["required"])
    assert schema["additionalProperties"] is False
    assert schema["description"]
    assert ("value" in schema["required"]) is topic.endswith("/set")


@settings(max_examples=60, deadline=None)
@given(command=bodies, envelope=envelopes)
def test_every_command_that_is_written_fits_its_schema(command: Body, envelope: Envelope) -> None:
    address, payload = write(command, envelope)
    topic = Topics("bot").command(address).removeprefix("bot/")
    if topic not in DOCUMENT["commands"]:
        topic = "cryptos/{symbol}/set"
    schema = DOCUMENT["commands"][topic]
    content = json.loads(payload)
    assert list(misfits(content, schema, DEFINITIONS)) == []
    assert list(misfits(content | {"nonsense": 1}, schema, DEFINITIONS)) != []


@pytest.mark.parametrize(
    ("topic", "content"),
    [
        ("mode/set", {}),
        ("mode/set", {"value": "FASTER"}),
        ("mode/set", {"value": "ACTIVE", "id": ""}),
        ("cryptos/set", {"value": {"BTC": 0}}),
        ("cryptos/{symbol}/set", {"value": "ON", "topic_id": "x"}),
        ("cryptos/{symbol}/set", {"value": "ON", "symbol": "BTC"}),
        ("config/set", {"value": {}}),
        ("config/set", {"value": {"max_leverage": []}}),
        ("config/{key}/set", {"value": None}),
        ("config/{key}/set", {"value": {"max_leverage": 3}}),
        ("request/close", {}),
        ("request/close", {"symbol": "B/C"}),
        ("request/history", {"limit": 501}),
        ("request/catalog", {"availability": "none"}),
        ("request/ping", {"loud": True}),
    ],
)
def test_what_is_no_command_does_not_fit(topic: str, content: dict[str, Any]) -> None:
    assert list(misfits(content, DOCUMENT["commands"][topic], DEFINITIONS)) != []


@pytest.mark.parametrize("value", [0.4, 3, "allora_gap"])
def test_one_setting_is_a_scalar(value: object) -> None:
    assert list(misfits({"value": value}, DOCUMENT["commands"]["config/{key}/set"], DEFINITIONS)) == []


@pytest.mark.parametrize("topic", MESSAGES)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_message_fits_its_schema(topic: str, data: st.DataObject) -> None:
    message = data.draw(instances(MESSAGES[topic]))
    content = json.loads(message.model_dump_json())
    assert list(misfits(content, DOCUMENT["messages"][topic], DEFINITIONS)) == []


def test_times_are_marked_as_such_in_both_directions() -> None:
    beat = DEFINITIONS["Heartbeat"]["properties"]["at"]
    assert (beat["type"], beat["format"]) == ("string", "date-time")
    issued = DOCUMENT["commands"]["mode/set"]["properties"]["issued_at"]["anyOf"]
    assert {"type": "string", "format": "date-time"} in issued


def test_money_is_a_number_and_counts_are_whole() -> None:
    account = DEFINITIONS["Account"]["properties"]
    assert account["equity_usd"]["type"] == "number"
    value = DEFINITIONS["SettingState"]["properties"]["value"]["anyOf"]
    assert [form["type"] for form in value] == ["integer", "string", "number"]
