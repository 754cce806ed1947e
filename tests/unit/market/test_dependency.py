from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allora_mqtt.market.dependency import Dependency
from allora_mqtt.protocol.messages import HealthState


def watched() -> tuple[Dependency, list[bool]]:
    dependency, changes = Dependency("allora"), list[bool]()
    dependency.on_change = lambda _dependency, is_open: changes.append(is_open)
    return dependency, changes


def broken(at: float = 100) -> Dependency:
    dependency = Dependency("allora")
    for _ in range(5):
        dependency.failed(at, "no answer")
    return dependency


def test_five_failures_open_the_breaker_and_only_the_fifth_says_so() -> None:
    dependency, changes = watched()
    for count in range(1, 7):
        dependency.failed(100, "no answer")
        assert dependency.is_open is (count >= 5)
    assert changes == [True]
    assert dependency.opened_at == 100


@pytest.mark.parametrize(("outcomes", "opens"), [("FSFSFSFSF", True), ("FSSFSSFSSFSSFSSFSS", False), ("FFFFSF", True)])
def test_it_opens_by_what_failed_among_the_last_ten_calls(outcomes: str, *, opens: bool) -> None:
    dependency = Dependency("allora")
    for outcome in outcomes:
        if outcome == "F":
            dependency.failed(100, "no answer")
        elif not dependency.is_open:
            dependency.succeeded(100, 5)
    assert dependency.is_open is opens


def test_failures_older_than_a_minute_open_nothing() -> None:
    dependency = Dependency("allora")
    for at in (100, 116, 132, 148, 160):
        dependency.failed(at, "no answer")
    assert not dependency.is_open, "the first is a minute old by then"
    dependency.failed(161, "no answer")
    assert dependency.is_open


def test_an_open_breaker_lets_one_probe_through_after_fifteen_seconds_and_no_second_one() -> None:
    dependency = broken(100)
    assert [dependency.health(now).breaker for now in (114.9, 115)] == ["open", "half_open"]
    assert [dependency.admits(now) for now in (100, 114.9, 115, 115, 130, 174.9)] == [False, False, True] + [False] * 3
    assert dependency.admits(175), "the first probe has died without a word"


def test_a_probe_that_called_nobody_makes_room_for_the_next() -> None:
    dependency = broken(100)
    assert dependency.admits(115)
    dependency.give_back()
    assert dependency.admits(115)


def test_who_is_asked_to_hurry_probes_at_once_and_alone() -> None:
    dependency = broken(100)
    dependency.hurry()
    assert [dependency.admits(101) for _ in range(2)] == [True, False]
    dependency.failed(101, "still no answer")
    assert not dependency.admits(102)


def test_a_probe_that_fails_opens_it_for_as_long_again_without_another_event() -> None:
    dependency, changes = watched()
    for _ in range(5):
        dependency.failed(100, "no answer")
    assert dependency.admits(116)
    dependency.failed(116, "still no answer")
    assert [dependency.admits(now) for now in (130, 131, 131)] == [False, True, False]
    assert (changes, dependency.last_error, dependency.opened_at) == ([True], "still no answer", 100)


def test_a_probe_that_succeeds_closes_it_and_says_so_once() -> None:
    dependency, changes = watched()
    for _ in range(5):
        dependency.failed(100, "no answer")
    assert dependency.admits(116)
    for now in (116, 117):
        dependency.succeeded(now, 5)
    assert changes == [True, False]
    assert [dependency.admits(117) for _ in range(3)] == [True] * 3
    health = dependency.health(117)
    assert (health.state, health.breaker, health.last_error) == (HealthState.OK, "closed", None)
    assert health.last_success_at == datetime.fromtimestamp(117, UTC)
    for _ in range(4):
        dependency.failed(118, "no answer")
    assert not dependency.is_open, "what failed before it closed counts no more"


def test_a_breaker_reset_by_hand_counts_from_the_beginning_and_says_so() -> None:
    dependency, changes = watched()
    for _ in range(5):
        dependency.failed(100, "no answer")
    assert dependency.reset()
    assert not dependency.reset()
    assert dependency.admits(100)
    for _ in range(4):
        dependency.failed(100, "no answer")
    assert changes == [True, False]
    assert dependency.health(100).state is HealthState.DEGRADED, "the failure is not forgotten"


def test_one_failure_degrades_for_a_minute_without_opening() -> None:
    dependency = Dependency("allora")
    dependency.failed(100, "no answer")
    health = dependency.health(100)
    assert (health.state, health.breaker, health.last_success_at) == (HealthState.DEGRADED, "closed", None)
    assert [dependency.is_troubled(now) for now in (159.9, 160)] == [True, False]
    assert dependency.health(160).last_error == "no answer"


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
    assert not dependency.admits(10_001)
    assert dependency.admits(100)


@given(st.lists(st.tuples(st.sampled_from(["ask", "fail", "answer", "back"]), st.integers(0, 20)), max_size=60))
def test_never_are_two_probes_under_way(steps: list[tuple[str, int]]) -> None:
    dependency, now = broken(0), 0
    probe_since: int | None = None
    for step, pause in steps:
        now += pause
        was_open = dependency.is_open
        if step == "ask" and dependency.admits(now) and was_open:
            assert probe_since is None or now - probe_since >= 60
            probe_since = now
        elif step == "back":
            dependency.give_back()
            probe_since = None
        elif step == "fail":
            dependency.failed(now, "no answer")
            probe_since = None
        elif step == "answer":
            dependency.succeeded(now, 1)
            probe_since = None
