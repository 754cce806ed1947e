import json
from datetime import UTC, datetime
from typing import Any

import pytest

from allora_mqtt.protocol.messages import Availability, Response
from allora_mqtt_cli import outcome
from allora_mqtt_cli.client import Reply
from allora_mqtt_cli.errors import CliError, ExitCode

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def response(status: str, **fields: Any) -> Response:
    times = {"received_at": NOW, "executed_at": NOW, "duration_ms": 3.14, "revision": 1}
    return Response.model_validate({"id": "a", "name": "mode", "status": status, **times, **fields})


def reply(**fields: Any) -> Reply:
    known = {"has_subscriber": None, "availability": None, "response": None, "round_trip_s": 5.0}
    return Reply(**{"topic": "bot/mode/set", "retained": True, **known, **fields})


@pytest.mark.parametrize(
    ("status", "data", "expected"),
    [
        ("EXECUTED", {}, 0),
        ("REJECTED", {}, 3),
        ("EXPIRED", {}, 3),
        ("SUPERSEDED", {}, 3),
        ("FAILED", {}, 4),
        ("DUPLICATE", {"first": {"status": "EXECUTED"}}, 0),
        ("DUPLICATE", {"first": {"status": "REJECTED"}}, 3),
        ("DUPLICATE", {"first": "FAILED"}, 4),
        ("DUPLICATE", {}, 4),
        ("DUPLICATE", {"first": {"status": "?"}}, 4),
    ],
)
def test_exit_codes(status: str, data: dict[str, Any], expected: int) -> None:
    answer = response(status, data=data)
    assert outcome.exit_code(answer) == expected
    problem = outcome.problem(answer)
    assert (problem is None) is (expected == 0)
    assert problem is None or (problem.exit_code == expected and problem.message)


def test_the_bots_own_error_is_passed_on_with_the_whole_response() -> None:
    error = {"code": "OUT_OF_RANGE", "message": "Too high."}
    problem = outcome.problem(response("REJECTED", error=error, source="cli:a"))
    assert problem is not None
    document = problem.as_json()
    assert document["error"] == error
    assert document["status"] == "REJECTED"
    assert document["source"] == "cli:a"
    json.dumps(document)


def test_what_is_in_force_is_said() -> None:
    answer = response("EXECUTED", data={"mode": "ACTIVE", "active": {"BTC": 14}, "idle": True, "none": []})
    assert outcome.sentence(answer) == "Executed in 3.1 ms: mode ACTIVE, active (BTC 14), idle yes, none (none)."
    assert outcome.sentence(response("EXECUTED")) == "Executed in 3.1 ms."


def test_long_data_is_cut() -> None:
    assert outcome.describe(list(range(20))).endswith("11, and 8 more")
    assert outcome.describe({"a": {"b": {"c": {"d": 1}}}}) == "a (b (c (…)))"


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"availability": Availability.ONLINE}, "NO_ANSWER", "has not answered within 5 s"),
        ({"availability": Availability.OFFLINE}, "BOT_OFFLINE", "waits in the broker and runs when the bot comes back"),
        ({}, "NO_BOT", "waits in the broker"),
        ({"retained": False, "has_subscriber": True}, "NO_BOT", "waits in a session"),
        ({"retained": False, "has_subscriber": False}, "NO_BOT", "is gone"),
        ({"retained": False}, "NO_BOT", "if the bot has a session"),
    ],
)
def test_silence_is_explained(fields: dict[str, Any], code: str, said: str) -> None:
    error: CliError = outcome.no_answer(reply(**fields), 5)
    assert error.exit_code is ExitCode.NO_ANSWER
    assert error.code == code
    assert said in error.message


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("PRESS", "PRESS"),
        ('{"limit":5,"id":"a"}', "limit 5"),
        ('{"value":{"BTC":null,"ETH":9},"id":"a"}', "BTC, ETH 9"),
        ('["BTC","ETH"]', "BTC, ETH"),
        ('{"value":', '{"value":'),
        (None, ""),
        ("x" * 99, "x" * 60 + "…"),
    ],
)
def test_what_a_payload_says(payload: str | None, said: str) -> None:
    assert outcome.said(payload) == said


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ('{"name":"mode","value":"ACTIVE","id":"a"}', "ACTIVE"),
        ('{"name":"activate_set","arguments":{"name":"defi"}}', "name defi"),
        ('{"name":"ping"}', ""),
    ],
)
def test_what_a_file_says(payload: str, said: str) -> None:
    assert outcome.said(payload, "spool") == said
