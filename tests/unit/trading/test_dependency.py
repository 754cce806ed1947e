from datetime import UTC, datetime

import pytest

from allora_mqtt.protocol.messages import HealthState
from allora_mqtt.trading.dependency import Dependency


def broken(at: float = 100) -> Dependency:
    dependency = Dependency("allora")
    for _ in range(5):
        dependency.failed(at, "no answer")
    return dependency


def test_five_failures_in_a_row_open_the_breaker_and_only_the_fifth_says_so() -> None:
    dependency = Dependency("allora")
    assert [dependency.failed(100, "no answer") for _ in range(6)] == [False, False, False, False, True, False]
    assert not dependency.allows(100)
    assert dependency.opened_at == 100


def test_an_answer_in_between_starts_the_count_again() -> None:
    dependency = Dependency("allora")
    for _ in range(3):
        for _ in range(4):
            assert not dependency.failed(100, "no answer")
        assert not dependency.succeeded(100, 5)
    assert dependency.allows(100)
    assert dependency.last_error is None


def test_an_open_breaker_lets_a_probe_through_after_fifteen_seconds() -> None:
    dependency = broken(100)
    assert [dependency.allows(now) for now in (100, 114.9, 115)] == [False, False, True]
    assert [dependency.health(now).breaker for now in (114.9, 115)] == ["open", "half_open"]


def test_a_probe_that_fails_opens_it_for_as_long_again_without_another_event() -> None:
    dependency = broken(100)
    assert not dependency.failed(116, "still no answer")
    assert [dependency.allows(now) for now in (130, 131)] == [False, True]
    assert dependency.last_error == "still no answer"


def test_a_probe_that_succeeds_closes_it_and_says_so_once() -> None:
    dependency = broken(100)
    assert dependency.succeeded(116, 5)
    assert not dependency.succeeded(117, 5)
    assert dependency.allows(117)
    health = dependency.health(117)
    assert (health.state, health.breaker, health.last_error) == (HealthState.OK, "closed", None)
    assert health.last_success_at == datetime.fromtimestamp(117, UTC)


def test_a_breaker_reset_by_hand_counts_from_the_beginning() -> None:
    dependency = broken(100)
    assert dependency.reset()
    assert not dependency.reset()
    assert dependency.allows(100)
    assert not dependency.failed(100, "no answer")
    assert dependency.health(100).state is HealthState.DEGRADED, "the failure is not forgotten"


def test_one_failure_degrades_without_opening() -> None:
    dependency = Dependency("allora")
    dependency.failed(100, "no answer")
    health = dependency.health(100)
    assert (health.state, health.breaker, health.last_success_at) == (HealthState.DEGRADED, "closed", None)


def test_latencies_are_those_of_the_newest_answers() -> None:
    dependency = Dependency("allora")
    assert dependency.health(0).latency_p50_ms is None
    for latency in [1000.0] * 50 + [float(number) for number in range(200)]:
        dependency.succeeded(0, latency)
    health = dependency.health(0)
    assert health.latency_p50_ms == pytest.approx(100, abs=1)
    assert health.latency_p99_ms == pytest.approx(198, abs=1)


def test_a_clock_that_was_set_back_does_not_keep_an_open_breaker_shut() -> None:
    dependency = broken(at=10_000)
    assert not dependency.allows(10_001)
    assert dependency.allows(100)
