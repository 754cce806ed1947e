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


def test_a_rule_ends_with_its_time() -> None:
    now = [100.0]
    faults = FaultBook(random.Random(1), lambda: now[0])  # noqa: S311 -- not for secrets
    faults.rules = FAULT_RULES.validate_python([{"path": "/info", "kind": "reset", "for_s": 10}])
    now[0] = 109.9
    assert strikes(faults, "/info") == 1
    now[0] = 110.0
    assert strikes(faults, "/info") == 0
    assert faults.rules == []


def test_a_rule_of_a_coin_strikes_what_names_it() -> None:
    faults = book({"path": "/info", "kind": "reset", "coin": "ETH"})
    assert len(faults.take("/info", "l2Book", TRANSPORT_KINDS, {"ETH"})) == 1
    assert faults.take("/info", "l2Book", TRANSPORT_KINDS, {"BTC"}) == []
    assert faults.take("/info", "meta", TRANSPORT_KINDS, ()) == []


def test_chance_is_repeated_by_its_seed() -> None:
    rule = {"path": "/info", "kind": "reset", "probability": 0.5}
    runs = [[strikes(faults, "/info") for _ in range(50)] for faults in (book(rule), book(rule))]
    assert runs[0] == runs[1]
    assert 0 < sum(runs[0]) < 50


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
        {"path": "/info", "kind": "http_500", "seconds": 1},
        {"path": "/info", "kind": "latency", "share": 0.5},
        {"path": "/info", "kind": "lagging_state", "coin": "ETH"},
        {"path": "/info", "kind": "latency", "for_s": 0},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        book(rule)
