import json
from typing import Any

import pytest

from allora_mqtt.discovery.changes import next_message
from allora_mqtt.discovery.device import encode, message
from tests.unit.discovery.things import subject

ONE, BOTH = message(subject("BTC")), message(subject("BTC", "ETH"))


def steps(present: bytes, wanted: dict[str, Any]) -> list[bytes]:
    """Publish until nothing is left to do."""
    found: list[bytes] = []
    while (step := next_message(present, wanted)) is not None:
        assert len(found) < 5
        found.append(step)
        present = step
    return found


def test_what_is_there_already_is_not_sent() -> None:
    assert steps(encode(ONE), ONE) == []


def test_the_first_time_and_for_more_one_message_is_enough() -> None:
    assert steps(b"", ONE) == [encode(ONE)]
    assert steps(encode(ONE), BOTH) == [encode(BOTH)]


def test_what_goes_is_named_by_its_platform_first_and_then_no_more() -> None:
    first, second = steps(encode(BOTH), ONE)
    assert second == encode(ONE)
    going = json.loads(first)["cmps"]
    assert {key: going[key] for key in going.keys() - ONE["cmps"].keys()} == {
        "crypto_eth": {"p": "switch"},
        **{f"crypto_eth_{what}": {"p": "sensor"} for what in ("price", "prediction", "gap", "accuracy", "position")},
    }
    assert {key: going[key] for key in ONE["cmps"]} == ONE["cmps"]
    assert list(going)[6:] == list(ONE["cmps"])


def test_a_crash_between_the_two_is_made_good_with_the_second() -> None:
    first, second = steps(encode(BOTH), ONE)
    assert steps(first, ONE) == [second]


def test_a_component_that_becomes_another_kind_of_entity_goes_first() -> None:
    other = {**ONE, "cmps": {**ONE["cmps"], "mode": {**ONE["cmps"]["mode"], "p": "sensor"}}}
    first, second = steps(encode(other), ONE)
    assert json.loads(first)["cmps"]["mode"] == {"p": "sensor"}
    assert second == encode(ONE)


@pytest.mark.parametrize(
    "garbage",
    [b"\xff", b"null", b"[]", b"7", b'{"cmps":[]}', b'{"cmps":{"x":7,"y":{"p":[]},"z":{}}}', b"[" * 100_000,
     b'{"cmps":{"mode":{}},"cmps":{}}', encode(BOTH)[:-7]],
)  # fmt: skip
def test_garbage_is_replaced(garbage: bytes) -> None:
    assert steps(garbage, ONE) == [encode(ONE)]


def test_components_of_a_stranger_on_our_topic_go_too() -> None:
    first, second = steps(b'{"cmps":{"x":{"p":"light","cmd_t":"x"}}}', ONE)
    assert json.loads(first)["cmps"]["x"] == {"p": "light"}
    assert second == encode(ONE)
