import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allora_mqtt.protocol.commands import (
    ACTIONS,
    Activate,
    ActivateSet,
    Body,
    CancelOrders,
    Close,
    Envelope,
    Flatten,
    History,
    Mode,
    Performance,
    Ping,
    PublishState,
    RefreshCatalog,
    ReloadConfig,
    ResetBreaker,
    SearchCatalog,
    SetConfig,
    SetCrypto,
    SetCryptos,
    SetMode,
    Shutdown,
    Switch,
    Trades,
    brief,
    write,
)
from allora_mqtt.protocol.errors import ErrorCode
from allora_mqtt.protocol.messages import ErrorInfo, Response, Status
from allora_mqtt.protocol.reading import MAX_DEPTH, MAX_PAYLOAD_BYTES, Parsed, read
from allora_mqtt.protocol.topics import Address, Slot
from tests.unit.protocol.strategies import addresses, bodies, envelopes, json_values, texts

MODE = Address(Slot.MODE)
CRYPTOS = Address(Slot.CRYPTOS)
BTC = Address(Slot.CRYPTO, "BTC")
CONFIG = Address(Slot.CONFIG)
GAP = Address(Slot.CONFIG_KEY, "price_gap_pct")

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)

FULL_ENVELOPE: dict[str, Any] = {
    "id": "7f3a",
    "issued_at": "2026-11-20T11:00:00+01:00",
    "expires_at": "2026-11-20T10:05:00.250Z",
    "source": "cli:alice",
    "transaction": {"step": [1, None, "x"]},
}


def request(name: str) -> Address:
    return Address(Slot.REQUEST, name)


def body(address: Address, payload: str) -> Body:
    parsed = read(address, payload.encode())
    assert parsed.error is None, parsed.error
    assert parsed.body is not None
    return parsed.body


def refusal(address: Address, payload: str | bytes) -> Parsed:
    parsed = read(address, payload.encode() if isinstance(payload, str) else payload)
    assert parsed.body is None
    assert parsed.error is not None
    return parsed


def code(address: Address, payload: str | bytes) -> ErrorCode:
    error = refusal(address, payload).error
    assert error is not None
    return error.code


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("form", ["{0}", "  {0}\r\n", '"{0}"', '{{"value":"{0}"}}', '{{ "value" : " {0} " }}'])
def test_a_mode_is_read_bare_and_as_json_in_any_case(mode: Mode, form: str) -> None:
    for word in (mode.value, mode.value.lower(), mode.value.capitalize()):
        assert body(MODE, form.format(word)) == SetMode(value=mode)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ("BTC,ETH", {"BTC": None, "ETH": None}),
        ("BTC", {"BTC": None}),
        (" BTC , kPEPE \n", {"BTC": None, "kPEPE": None}),
        ("BTC:14,ETH:13", {"BTC": 14, "ETH": 13}),
        ("BTC : 14, ETH", {"BTC": 14, "ETH": None}),
        ("NONE", {}),
        ("none\n", {}),
        ('"BTC,ETH:13"', {"BTC": None, "ETH": 13}),
        ('["BTC","ETH"]', {"BTC": None, "ETH": None}),
        ('["BTC:14","ETH"]', {"BTC": 14, "ETH": None}),
        ("[]", {}),
        ('{"BTC":14,"ETH":13}', {"BTC": 14, "ETH": 13}),
        ('{"BTC":14,"ETH":null}', {"BTC": 14, "ETH": None}),
        ("{}", {}),
        ('{"value":{"BTC":14}}', {"BTC": 14}),
        ('{"value":["BTC"]}', {"BTC": None}),
        ('{"value":"BTC:14,ETH"}', {"BTC": 14, "ETH": None}),
        ('{"value":"NONE"}', {}),
        ('{"value":{}}', {}),
    ],
)
def test_the_set_of_symbols_is_read_in_each_of_its_forms(payload: str, expected: dict[str, int | None]) -> None:
    assert body(CRYPTOS, payload) == SetCryptos(value=expected)


@pytest.mark.parametrize(
    ("payload", "switch", "topic_id"),
    [
        ("ON", Switch.ON, None),
        ("off", Switch.OFF, None),
        (" On\n", Switch.ON, None),
        ('"OFF"', Switch.OFF, None),
        ('{"value":"ON"}', Switch.ON, None),
        ('{"value":"on","topic_id":14}', Switch.ON, 14),
        ('{"value":"OFF","topic_id":null}', Switch.OFF, None),
        ('{"value":true}', Switch.ON, None),
        ('{"value":false}', Switch.OFF, None),
        ('{"value":"ON","symbol":"BTC"}', Switch.ON, None),
    ],
)
def test_one_symbol_is_switched_in_each_form(payload: str, switch: Switch, topic_id: int | None) -> None:
    assert body(BTC, payload) == SetCrypto(symbol="BTC", value=switch, topic_id=topic_id)


@pytest.mark.parametrize(
    ("address", "payload", "expected"),
    [
        (CONFIG, '{"price_gap_pct":0.4,"max_leverage":3}', {"price_gap_pct": 0.4, "max_leverage": 3}),
        (CONFIG, '{"value":{"strategy":"allora_gap"}}', {"strategy": "allora_gap"}),
        (GAP, "0.4", {"price_gap_pct": "0.4"}),
        (GAP, '"0.4"', {"price_gap_pct": "0.4"}),
        (GAP, '{"value":0.4}', {"price_gap_pct": 0.4}),
        (GAP, '{"value":"0.4"}', {"price_gap_pct": "0.4"}),
    ],
)
def test_settings_are_read_together_or_one_by_one(address: Address, payload: str, expected: dict[str, Any]) -> None:
    assert body(address, payload) == SetConfig(value=expected)


@pytest.mark.parametrize("payload", ["", " \n", "PRESS", "press", '"PRESS"', "{}", '{"id":"a"}'])
@pytest.mark.parametrize(
    "action",
    [
        Flatten(),
        CancelOrders(),
        RefreshCatalog(),
        PublishState(),
        ResetBreaker(),
        ReloadConfig(),
        Ping(),
        History(limit=50),
        Trades(limit=50),
        Performance(days=30),
        SearchCatalog(search="", availability="all", active=None),
        ActivateSet.model_validate({"name": "popular"}),
        Shutdown(),
    ],
    ids=lambda action: str(action.name),
)
def test_an_action_that_needs_no_argument_is_a_press_of_a_button(action: Body, payload: str) -> None:
    assert body(request(action.name), payload) == action


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ('{"symbol":"BTC"}', Close(symbol="BTC")),
        ('{"name":"allora"}', ResetBreaker.model_validate({"name": "allora"})),
        ('{"limit":7}', History(limit=7)),
        (
            '{"limit":1,"symbol":"ETH","since":"2026-11-20T10:00:00Z"}',
            Trades(limit=1, symbol="ETH", since=NOW),
        ),
        ('{"days":90}', Performance(days=90)),
        (
            '{"search":"bt","availability":"both","active":true}',
            SearchCatalog(search="bt", availability="both", active=True),
        ),
        ('{"symbol":"DOGE","topic_id":3}', Activate(symbol="DOGE", topic_id=3)),
        ('{"name":"layer1"}', ActivateSet.model_validate({"name": "layer1"})),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_an_action_takes_its_arguments_as_json(payload: str, expected: Body) -> None:
    assert body(request(expected.name), payload) == expected


def test_the_actions_are_those_of_the_contract() -> None:
    assert set(ACTIONS) == {
        "close", "flatten", "cancel_orders", "refresh_catalog", "publish_state", "reset_breaker", "reload_config",
        "ping", "history", "trades", "events", "performance", "catalog", "activate", "activate_set", "shutdown",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("address", "own"),
    [
        (MODE, '"value":"ACTIVE"'),
        (CRYPTOS, '"value":["BTC"]'),
        (BTC, '"value":"ON","topic_id":14'),
        (CONFIG, '"value":{"max_leverage":3}'),
        (GAP, '"value":0.4'),
        (request("close"), '"symbol":"BTC"'),
        (request("reset_breaker"), '"name":"allora"'),
    ],
)
def test_the_envelope_stands_beside_the_command_everywhere(address: Address, own: str) -> None:
    parsed = read(address, f"{{{own},{json.dumps(FULL_ENVELOPE)[1:]}".encode())
    assert parsed.error is None
    assert parsed.body == body(address, f"{{{own}}}")
    assert parsed.envelope == Envelope(
        id="7f3a",
        issued_at=NOW,
        expires_at=datetime(2026, 11, 20, 10, 5, 0, 250_000, UTC),
        source="cli:alice",
        transaction={"step": [1, None, "x"]},
    )


@pytest.mark.parametrize(
    ("address", "payload"),
    [
        (MODE, '{"value":"FASTER","id":"a1","transaction":7}'),
        (MODE, '{"id":"a1","transaction":7}'),
        (CRYPTOS, '{"value":14,"id":"a1","transaction":7}'),
        (CRYPTOS, '{"BTC":14,"id":"a1","transaction":7}'),
        (BTC, '{"value":"MAYBE","id":"a1","transaction":7}'),
        (BTC, '{"value":"ON","symbol":"ETH","id":"a1","transaction":7}'),
        (BTC, '{"topic_id":14,"id":"a1","transaction":7}'),
        (CONFIG, '{"value":{},"id":"a1","transaction":7}'),
        (CONFIG, '{"max_leverage":3,"id":"a1","transaction":7}'),
        (GAP, '{"value":[],"id":"a1","transaction":7}'),
        (GAP, '{"id":"a1","transaction":7}'),
        (request("close"), '{"symbol":"B-T-C","id":"a1","transaction":7}'),
        (request("close"), '{"id":"a1","transaction":7}'),
        (request("ping"), '{"value":1,"id":"a1","transaction":7}'),
        (request("fly"), '{"id":"a1","transaction":7}'),
        (MODE, '{"value":"ACTIVE","issued_at":"soon","id":"a1","transaction":7}'),
        (MODE, '{"value":"ACTIVE","id":"a1","transaction":7,"source":""}'),
    ],
)
def test_a_command_that_cannot_be_read_is_answered_with_its_own_id(address: Address, payload: str) -> None:
    envelope = refusal(address, payload).envelope
    assert (envelope.id, envelope.transaction) == ("a1", 7)


@pytest.mark.parametrize(
    "field",
    ['"id":""', f'"id":"{"x" * 129}"', '"id":7', '"id":"a\\u0000"', '"id":"a\\n"', '"source":"a\\u001fb"',
     '"source":true', '"issued_at":"2026-11-20T10:00:00"', '"expires_at":"never"', '"issued_at":[]',
     '"issued_at":"0001-01-01T00:00:00+01:00"', '"expires_at":"9999-12-31T23:59:59-01:00"', '"transaction":1e999'],
)  # fmt: skip
def test_a_bad_envelope_refuses_the_command(field: str) -> None:
    assert code(MODE, f'{{"value":"ACTIVE",{field}}}') is ErrorCode.BAD_VALUE


def test_labels_of_full_length_are_taken() -> None:
    parsed = read(MODE, json.dumps({"value": "ACTIVE", "id": "ö" * 128, "source": "x"}).encode())
    assert parsed.envelope == Envelope(id="ö" * 128, source="x")


@pytest.mark.parametrize(
    ("address", "payload"),
    [
        (MODE, b"\xff"),
        (MODE, b"ACTIVE\x80"),
        (MODE, b'{"value":"\xc3\x28"}'),
        (MODE, '{"value":"ACTIVE"'),
        (MODE, "{'value':'ACTIVE'}"),
        (MODE, '{"value":"ACTIVE"}{}'),
        (MODE, '{"value":"STANDBY","value":"ACTIVE"}'),
        (MODE, '{"value":NaN}'),
        (MODE, '{"value":Infinity}'),
        (MODE, '{"value":"\\ud800"}'),
        (MODE, '{"\\ud800":1,"value":"ACTIVE"}'),
        (MODE, '{"value":"ACTIVE","transaction":' + "9" * 5000 + "}"),
        (CRYPTOS, "["),
        (CRYPTOS, '["BTC",]'),
        (CRYPTOS, '{"BTC":14,"BTC":15}'),
        (request("ping"), '"'),
        (request("ping"), '{"transaction":{"a":1,"a":1}}'),
    ],
)
def test_what_looks_like_json_and_is_not_is_bad_json(address: Address, payload: str | bytes) -> None:
    assert code(address, payload) is ErrorCode.BAD_JSON


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("address", [MODE, CRYPTOS, request("ping")])
def test_json_nested_deeper_than_a_response_can_hold_is_bad_json(address: Address) -> None:
    for levels in (MAX_DEPTH + 1, 300, *range(950, 1000), 30_000):
        assert code(address, nested(levels)) is ErrorCode.BAD_JSON
        assert code(address, f'{{"transaction":{nested(levels)}}}') is ErrorCode.BAD_JSON
    assert read(request("ping"), f'{{"transaction":{nested(MAX_DEPTH - 1)}}}'.encode()).error is None


@pytest.mark.parametrize(
    ("address", "payload"),
    [
        (MODE, ""),
        (MODE, "FASTER"),
        (MODE, "ACTIVE,STANDBY"),
        (MODE, "AC\x00TIVE"),
        (MODE, "null"),
        (MODE, "[]"),
        (MODE, "{}"),
        (MODE, '{"mode":"ACTIVE"}'),
        (MODE, '{"value":null}'),
        (MODE, '{"value":"ACTIVE","please":true}'),
        (CRYPTOS, ""),
        (CRYPTOS, '""'),
        (CRYPTOS, '{"value":""}'),
        (CRYPTOS, "BTC,,ETH"),
        (CRYPTOS, "BTC,BTC"),
        (CRYPTOS, "BTC:14, BTC:15"),
        (CRYPTOS, "BTC:"),
        (CRYPTOS, "BTC:0"),
        (CRYPTOS, "BTC:14:13"),
        (CRYPTOS, "BTC:price"),
        (CRYPTOS, "BTC ETH"),
        (CRYPTOS, "A" * 21),
        (CRYPTOS, "BTC/USD"),
        (CRYPTOS, '["BTC",14]'),
        (CRYPTOS, '{"BTC":true}'),
        (CRYPTOS, '{"BTC":1.5}'),
        (CRYPTOS, '{"BTC":1000000001}'),
        (CRYPTOS, '{"BTC":"x"}'),
        (CRYPTOS, '{"value":null}'),
        (CRYPTOS, ",".join(f"A{index}" for index in range(1001))),
        (BTC, ""),
        (BTC, "1"),
        (BTC, "true"),
        (BTC, "{}"),
        (BTC, '{"value":1}'),
        (BTC, '{"value":"ON","topic_id":0}'),
        (BTC, '{"value":"ON","topic_id":true}'),
        (BTC, '{"value":"ON","symbol":"ETH"}'),
        (Address(Slot.CRYPTO, "B.TC"), "ON"),
        (Address(Slot.CRYPTO, ""), "ON"),
        (CONFIG, ""),
        (CONFIG, "0.4"),
        (CONFIG, "[]"),
        (CONFIG, "{}"),
        (CONFIG, '{"value":{}}'),
        (CONFIG, '{"value":0.4}'),
        (CONFIG, '{"max_leverage":null}'),
        (CONFIG, '{"max_leverage":true}'),
        (CONFIG, '{"max_leverage":[3]}'),
        (CONFIG, '{"max_leverage":1e999}'),
        (CONFIG, json.dumps({"x" * 65: 1})),
        (CONFIG, json.dumps({f"key{index}": 1 for index in range(101)})),
        (GAP, "[0.4]"),
        (GAP, '{"value":null}'),
        (GAP, '{"value":true}'),
        (GAP, '{"value":{"price_gap_pct":0.4}}'),
        (GAP, '{"price_gap_pct":0.4}'),
        (Address(Slot.CONFIG_KEY, "x" * 65), "1"),
        (request("ping"), "PONG"),
        (request("ping"), "[]"),
        (request("ping"), '{"loud":true}'),
        (request("close"), ""),
        (request("close"), '{"symbol":""}'),
        (request("close"), '{"symbol":"BTC\\n"}'),
        (request("history"), '{"limit":0}'),
        (request("history"), '{"limit":501}'),
        (request("history"), '{"limit":true}'),
        (request("trades"), '{"since":"2026-11-20"}'),
        (request("trades"), '{"since":"0001-01-01T00:00:00+01:00"}'),
        (request("events"), '{"types":["gossip"]}'),
        (request("events"), '{"types":"order"}'),
        (request("events"), '{"before":"yesterday"}'),
        (request("performance"), '{"days":0}'),
        (request("performance"), '{"days":3651}'),
        (request("performance"), '{"days":"all"}'),
        (request("catalog"), '{"availability":"none"}'),
        (request("catalog"), json.dumps({"search": "x" * 65})),
        (request("activate"), ""),
        (request("activate"), '{"symbol":"D-OGE"}'),
        (request("activate_set"), '{"name":"Popular"}'),
        (request("activate_set"), '{"name":""}'),
        (request("reset_breaker"), '{"name":""}'),
        (request("reset_breaker"), '{"breaker":"allora"}'),
    ],
)
def test_what_can_be_decoded_and_means_nothing_is_a_bad_value(address: Address, payload: str) -> None:
    assert code(address, payload) is ErrorCode.BAD_VALUE


@pytest.mark.parametrize("payload", ["", " \n", '""', '{"value":" "}'])
def test_an_empty_payload_never_empties_the_set_and_the_answer_says_what_does(payload: str) -> None:
    error = refusal(CRYPTOS, payload).error
    assert error is not None
    assert "NONE" in error.message


@pytest.mark.parametrize("name", ["fly", "", "FLATTEN", "mode", "close ", "ö" * 100])
@pytest.mark.parametrize("payload", ["", "{}", '{"symbol":"BTC"}'])
def test_an_action_that_does_not_exist_is_unsupported_and_the_answer_lists_those_that_do(
    name: str, payload: str
) -> None:
    parsed = refusal(request(name), payload)
    assert parsed.name == name
    assert parsed.error is not None
    assert parsed.error.code is ErrorCode.UNSUPPORTED_ACTION
    assert all(action in parsed.error.message for action in ACTIONS)


@pytest.mark.parametrize("address", [MODE, CRYPTOS, BTC, CONFIG, GAP, request("ping"), request("fly")])
def test_a_payload_that_is_too_long_is_refused_unread(address: Address) -> None:
    assert code(address, b" " * (MAX_PAYLOAD_BYTES + 1)) is ErrorCode.TOO_LARGE
    assert read(MODE, b"ACTIVE" + b" " * (MAX_PAYLOAD_BYTES - 6)).body == SetMode(value=Mode.ACTIVE)
    assert MAX_PAYLOAD_BYTES == 64 * 1024


def test_the_bound_of_a_payload_is_the_callers() -> None:
    assert read(MODE, b"ACTIVE", max_bytes=6).error is None
    too_large = read(MODE, b"ACTIVE", max_bytes=5)
    assert too_large.error is not None
    assert too_large.error.code is ErrorCode.TOO_LARGE


@pytest.mark.parametrize(
    ("address", "payload"),
    [(MODE, '"' + "x" * 60_000 + '"'), (GAP, json.dumps({"value": ["x" * 60_000]})), (CRYPTOS, '{"BTC":true}'),
     (CRYPTOS, "BTC:x"), (MODE, '{"value":"ACTIVE","issued_at":"x"}'), (CRYPTOS, "S" * 9000 + "," + "S" * 9000),
     (CRYPTOS, json.dumps({"\x01" * 9000: 1})), (CONFIG, json.dumps({"k" * 9000: 1})),
     (CONFIG, '{"%s":1,"%s":2}' % (("k" * 9000,) * 2))],
)  # fmt: skip
def test_what_was_wrong_is_said_in_one_short_line(address: Address, payload: str) -> None:
    error = refusal(address, payload).error
    assert error is not None
    assert len(error.message) < 250
    assert error.message.isprintable()
    assert "Value error" not in error.message


@pytest.mark.parametrize(
    ("address", "name"),
    [(MODE, "mode"), (CRYPTOS, "cryptos"), (BTC, "cryptos"), (CONFIG, "config"), (GAP, "config"),
     (request("close"), "close"), (request("fly"), "fly")],
)  # fmt: skip
def test_every_command_has_the_name_its_answer_goes_by(address: Address, name: str) -> None:
    for payload in (b"", b"ACTIVE", b"\xff", b" " * (MAX_PAYLOAD_BYTES + 1)):
        assert read(address, payload).name == name


RISKLESS: list[Body] = [
    SetMode(value=Mode.STANDBY),
    SetMode(value=Mode.STOPPED),
    SetCryptos(value={}),
    SetCrypto(symbol="BTC", value=Switch.OFF),
    Close(symbol="BTC"),
    Flatten(),
    CancelOrders(),
]
RISKY: list[Body] = [
    SetMode(value=Mode.ACTIVE),
    SetCryptos(value={"BTC": 14}),
    SetCrypto(symbol="BTC", value=Switch.ON),
    SetConfig(value={"max_leverage": 3}),
    Activate(symbol="BTC"),
    ActivateSet(),
    ResetBreaker(),
    Shutdown(),
]
URGENT: list[Body] = [SetMode(value=Mode.STANDBY), SetMode(value=Mode.STOPPED), Close(symbol="BTC"), Flatten()]


def test_what_only_takes_risk_away_is_honoured_whatever_its_age() -> None:
    assert all(command.reduces_risk for command in RISKLESS)
    assert not any(command.reduces_risk for command in RISKY)


def test_only_standby_stopped_close_and_flatten_overtake() -> None:
    assert all(command.is_urgent for command in URGENT)
    assert not any(command.is_urgent for command in (*RISKLESS, *RISKY) if command not in URGENT)


def test_modes_are_ranked_by_risk() -> None:
    assert Mode.STOPPED.risk < Mode.STANDBY.risk < Mode.ACTIVE.risk


@settings(max_examples=120, deadline=None)
@given(command=bodies, envelope=st.none() | envelopes)
def test_every_command_that_is_written_is_read_as_itself(command: Body, envelope: Envelope | None) -> None:
    address, payload = write(command, envelope)
    parsed = read(address, payload)
    assert parsed.error is None
    assert parsed.body == command
    assert parsed.envelope == (envelope or Envelope())
    assert parsed.name == command.name


almost_commands = st.dictionaries(
    st.sampled_from(["value", "id", "issued_at", "expires_at", "source", "transaction", "symbol", "topic_id", "name",
                     "limit", "since", "days", "search", "max_leverage"]),
    st.one_of(json_values, st.sampled_from(["ACTIVE", "ON", "BTC:14", "a" * 129, -1, 0, 10**400, 1e308, {"BTC": 14}])),
).map(lambda fields: json.dumps(fields).encode())  # fmt: skip
cut_short = st.tuples(almost_commands, st.integers(0, 60)).map(lambda pair: pair[0][: pair[1]])
payloads = st.one_of(
    st.binary(max_size=200),
    texts.map(str.encode),
    json_values.map(lambda value: json.dumps(value).encode()),
    json_values.map(lambda value: json.dumps(value, ensure_ascii=False).encode()),
    almost_commands,
    cut_short,
)


@settings(max_examples=150, deadline=None)
@given(address=addresses, payload=payloads)
@example(address=MODE, payload=b'{"value":"ACTIVE","transaction":1e999}')
@example(address=MODE, payload=b"[" * 993 + b"]" * 993)
@example(address=request("ping"), payload=b'{"transaction":' + b"[" * 255 + b"]" * 255 + b"}")
@example(address=request("ping"), payload=b'{"transaction":"\\u0000\\ud83d\\ude00"}')
def test_whatever_is_sent_is_read_without_an_exception_and_can_be_answered(address: Address, payload: bytes) -> None:
    parsed = read(address, payload)
    assert (parsed.body is None) is (parsed.error is not None)
    error = None if parsed.error is None else ErrorInfo(code=parsed.error.code, message=parsed.error.message)
    answer = Response(
        id=parsed.envelope.id,
        name=parsed.name,
        status=Status.REJECTED if error else Status.EXECUTED,
        data={} if parsed.body is None else {"command": parsed.body.model_dump(mode="json")},
        error=error,
        transaction=parsed.envelope.transaction,
        source=parsed.envelope.source,
        received_at=NOW,
        executed_at=parsed.envelope.issued_at or NOW,
        duration_ms=0.1,
        revision=1,
    )
    again = answer.model_copy(update={"data": {"first": answer.model_dump(mode="json")}})
    for response in (answer, again):
        encoded = response.model_dump_json().encode("utf-8")
        assert json.loads(encoded) == json.loads(json.dumps(response.model_dump(mode="json"), allow_nan=False))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (SetMode(value=Mode.STANDBY), "STANDBY"),
        (SetCrypto(symbol="BTC", value=Switch.ON), "BTC ON"),
        (SetCryptos.model_validate({"value": "BTC,ETH:9"}), "BTC, ETH 9"),
        (SetCryptos.model_validate({"value": "NONE"}), "NONE"),
        (SetConfig(value={"price_gap_pct": 0.4, "max_leverage": 3}), "price_gap_pct 0.4, max_leverage 3"),
        (Flatten(), None),
        (Close(symbol="BTC"), "BTC"),
    ],
)
def test_a_command_is_told_in_a_few_words(body: Body, said: str | None) -> None:
    assert brief(body) == said


def test_a_command_that_says_much_is_cut() -> None:
    words = brief(SetConfig(value={f"key{number}": 1 for number in range(50)}))
    assert words is not None
    assert len(words) == 80
    assert words.endswith("…")
