import random
from typing import Any

import pytest
from pydantic import ValidationError

from allora_mqtt.simulator.faults import FAULT_RULES, TRANSPORT_KINDS, FaultBook


def book(*rules: dict[str, Any]) -> FaultBook:
    faults = FaultBook(random.Random(1))  # noqa: S311 -- not for secrets
    faults.rules = FAULT_RULES.validate_python(rules)
    return faults


def strikes(faults: FaultBook, path: str, kind: str | None = None, times: int = 1) -> int:
    return sum(len(faults.take(path, kind, TRANSPORT_KINDS)) for _ in range(times))


def test_a_rule_strikes_its_path_and_type_only() -> None:
    faults = book({"path": "/info", "type": "meta", "kind": "reset"}, {"path": "/v2", "kind": "http_429"})
    assert strikes(faults, "/info", "meta") == 1
    assert strikes(faults, "/info", "allMids") == 0
    assert strikes(faults, "/exchange", "meta") == 0
    assert strikes(faults, "/v2/allora/consumer/x", "14") == 1


def test_a_rule_ends_after_its_count() -> None:
    faults = book({"path": "/info", "kind": "reset", "count": 2})
    assert strikes(faults, "/info", times=5) == 2
    assert faults.rules == []


def test_a_rule_strikes_its_share_of_requests() -> None:
    faults = book({"path": "/info", "kind": "reset", "probability": 0.25})
    assert 200 < strikes(faults, "/info", times=1_000) < 300


def test_a_rule_of_the_content_is_not_taken_by_the_transport() -> None:
    assert strikes(book({"path": "/info", "kind": "null_mids", "count": 1}), "/info") == 0


@pytest.mark.parametrize(
    "rule",
    [
        {"path": "/info"},
        {"path": "/other", "kind": "reset"},
        {"path": "/info", "kind": "explode"},
        {"path": "/info", "kind": "latency", "seconds": -1},
        {"path": "/info", "kind": "latency", "probability": 0},
        {"path": "/info", "kind": "latency", "count": 0},
        {"path": "/info", "kind": "latency", "second": 1},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        book(rule)
