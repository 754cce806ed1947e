import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allora_mqtt.protocol import spool
from allora_mqtt.protocol.commands import (
    ACTIONS,
    ActivateSet,
    Body,
    Close,
    Envelope,
    Mode,
    Ping,
    ResetBreaker,
    SetConfig,
    SetCrypto,
    SetCryptos,
    SetMode,
    Switch,
)
from allora_mqtt.protocol.messages import Status
from tests.unit.protocol.strategies import bodies, envelopes, json_values, texts

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)


@given(bodies, envelopes)
def test_what_is_written_is_read_back(body: Body, envelope: Envelope) -> None:
    parsed = spool.read(spool.write(body, envelope))
    assert (parsed.body, parsed.envelope, parsed.name, parsed.error) == (body, envelope, body.name, None)


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ({"name": "mode", "value": "standby"}, SetMode(value=Mode.STANDBY)),
        ({"name": "cryptos", "value": ["BTC", "ETH:13"]}, SetCryptos(value={"BTC": None, "ETH": 13})),
        ({"name": "cryptos", "value": {}}, SetCryptos(value={})),
        (
            {"name": "cryptos", "symbol": "BTC", "value": "ON", "topic_id": 14},
            SetCrypto(symbol="BTC", value=Switch.ON, topic_id=14),
        ),
        ({"name": "config", "value": {"max_leverage": 3}}, SetConfig(value={"max_leverage": 3})),
        ({"name": "close", "symbol": "BTC"}, Close(symbol="BTC")),
        ({"name": "close", "arguments": {"symbol": "BTC"}}, Close(symbol="BTC")),
        ({"name": "activate_set", "arguments": {"name": "defi"}}, ActivateSet(name="defi")),
        ({"name": "activate_set"}, ActivateSet()),
        ({"name": "reset_breaker", "arguments": {"name": "allora"}}, ResetBreaker(name="allora")),
        ({"name": "ping", "arguments": {}, "id": "a"}, Ping()),
    ],
)
def test_commands_as_people_write_them(content: dict[str, Any], body: Body) -> None:
    assert spool.read(json.dumps(content).encode()).body == body


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_is_known_by_its_name(name: str) -> None:
    assert spool.read(json.dumps({"name": name}).encode()).name == name


@pytest.mark.parametrize(
    ("content", "name", "code", "hint"),
    [
        (b"", "unknown", "BAD_JSON", "one JSON object"),
        (b"STANDBY", "unknown", "BAD_JSON", "one JSON object"),
        (b'["mode"]', "unknown", "BAD_JSON", "one JSON object"),
        (b'{"name":"mode","value":', "unknown", "BAD_JSON", "looks like JSON"),
        (b"\xff\xfe", "unknown", "BAD_JSON", "UTF-8"),
        (b"{" + b" " * spool.MAX_FILE_BYTES + b"}", "unknown", "TOO_LARGE", "longer than"),
        (b'{"value":"STANDBY"}', "unknown", "BAD_VALUE", '"name"'),
        (b'{"name":7,"value":"STANDBY"}', "unknown", "BAD_VALUE", '"name"'),
        (b'{"name":"Mode","value":"STANDBY"}', "unknown", "UNSUPPORTED_ACTION", "mode, cryptos, config, close"),
        (b'{"name":"../mode","value":"STANDBY"}', "unknown", "UNSUPPORTED_ACTION", "no command"),
        (b'{"name":"mode"}', "mode", "BAD_VALUE", '"value"'),
        (b'{"name":"cryptos"}', "cryptos", "BAD_VALUE", '"value"'),
        (b'{"name":"cryptos","symbol":1,"value":"ON"}', "cryptos", "BAD_VALUE", "symbol"),
        (b'{"name":"cryptos","symbol":"B/T","value":"ON"}', "cryptos", "BAD_VALUE", "symbol"),
        (b'{"name":"mode","value":"STANDBY","arguments":{}}', "mode", "BAD_VALUE", "arguments"),
        (b'{"name":"close","arguments":["BTC"]}', "close", "BAD_VALUE", "arguments"),
        (b'{"name":"close","symbol":"BTC","arguments":{"symbol":"ETH"}}', "close", "BAD_VALUE", "twice"),
        (b'{"name":"ping","arguments":{"id":"a"}}', "ping", "BAD_VALUE", "'id'"),
        (b'{"name":"flatten","value":"now"}', "flatten", "BAD_VALUE", "value"),
    ],
)
def test_what_is_no_command_is_refused_with_a_reason(content: bytes, name: str, code: str, hint: str) -> None:
    parsed = spool.read(content)
    assert parsed.body is None
    assert parsed.error is not None
    assert (parsed.name, parsed.error.code) == (name, code)
    assert hint in parsed.error.message


@pytest.mark.parametrize("name", [None, "no such command", "mode", "close"])
def test_a_refusal_knows_whose_command_it_was(name: str | None) -> None:
    parsed = spool.read(
        json.dumps({"name": name, "arguments": 1, "id": "a", "source": "cron", "expires_at": "x"}).encode()
    )
    assert parsed.error is not None
    assert parsed.envelope == Envelope(id="a", source="cron")


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_command_or_a_refusal(content: bytes) -> None:
    parsed = spool.read(content)
    assert (parsed.body is None) is (parsed.error is not None)


@given(st.sampled_from(["mode", "cryptos", "config", *ACTIONS]), st.dictionaries(texts, json_values, max_size=4))
def test_any_fields_are_a_command_or_a_refusal(name: str, fields: dict[str, Any]) -> None:
    parsed = spool.read(json.dumps({**fields, "name": name}).encode())
    assert parsed.name == name
    assert (parsed.body is None) is (parsed.error is not None)


@given(texts, st.integers(1, 10**6))
def test_names_sort_by_time_and_are_names_of_files(command_id: str, later_ms: int) -> None:
    first, second = (
        spool.file_name(NOW, command_id),
        spool.file_name(NOW + timedelta(milliseconds=later_ms), command_id),
    )
    assert first < second
    assert "/" not in first
    assert spool.is_command_file(first)


@pytest.mark.parametrize(
    ("name", "is_command"),
    [("a.json", True), ("a", True), (".a.json", False), ("a.json.tmp", False), (".a.tmp", False)],
)
def test_files_that_are_being_written_are_left_alone(name: str, is_command: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert spool.is_command_file(name) is is_command


def test_where_commands_end() -> None:
    well = {status for status in Status if spool.ended_in(status) == spool.PROCESSED}
    assert well == {Status.EXECUTED, Status.DUPLICATE, Status.SUPERSEDED}


@pytest.mark.parametrize("name", ["a.json", "ä" * 127, "x" * 255, "7-a.json"])
def test_a_response_is_found_by_the_name_of_the_command(name: str) -> None:
    found = spool.response_name(12, name)
    assert len(f".{found}.tmp".encode()) <= 255
    assert spool.is_response_to(name, found)
    assert not spool.is_response_to(name, spool.ended_name(12, name))
    assert not spool.is_response_to(f"b-{name}", found)
    assert not spool.is_response_to(name, found.removeprefix("12-"))
