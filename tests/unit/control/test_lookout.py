"""Which of two bots makes way, and what is no second bot."""

from datetime import UTC, datetime, timedelta

from allora_mqtt.control.lookout import Lookout

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
EARLIER, LATER = START - timedelta(hours=1), START + timedelta(hours=1)


def seconds(number: float) -> datetime:
    return START + timedelta(seconds=number)


def lookout() -> Lookout:
    return Lookout("me", START, ["me, before"], heartbeat_interval_s=1)


def test_its_own_traces_are_no_second_bot() -> None:
    mine = lookout()
    mine.on_info("me, before", EARLIER, START, retained=True)
    mine.on_info("me", START, START, retained=False)
    mine.on_heartbeat("me", START, 1, START)
    mine.on_info("me, before", EARLIER, START, retained=True)
    mine.on_heartbeat("me, before", START, 1, START)
    assert mine.at(START) is None
    assert mine.may_trade(START)


def test_what_a_stranger_has_left_is_waited_on_for_three_heartbeats() -> None:
    mine = lookout()
    mine.on_info("other", EARLIER, START, retained=True)
    stranger = mine.at(seconds(2.9))
    assert stranger is not None
    assert not stranger.is_known_to_live
    assert not mine.may_trade(seconds(2.9))
    assert mine.may_trade(seconds(3.1))


def test_the_younger_of_two_makes_way_and_the_older_goes_on() -> None:
    for started_at, may_trade in ((EARLIER, False), (LATER, True)):
        mine = lookout()
        mine.on_heartbeat("other", started_at + timedelta(seconds=9), 9, START)
        stranger = mine.at(START)
        assert stranger is not None
        assert stranger.is_known_to_live
        assert mine.may_trade(START) is may_trade


def test_of_two_that_started_at_once_one_makes_way() -> None:
    one, two = Lookout("a", START, [], 1), Lookout("b", START, [], 1)
    one.on_heartbeat("b", START, 0, START)
    two.on_heartbeat("a", START, 0, START)
    assert (one.may_trade(START), two.may_trade(START)) == (True, False)


def test_both_make_way_while_they_take_the_session_from_each_other() -> None:
    mine = lookout()
    mine.on_info("me", START, START, retained=False)
    mine.on_info("other", LATER, START, retained=True)
    assert not mine.may_trade(START)
    told = lookout()
    told.on_taken_over(START)
    told.on_info("other", LATER, seconds(1), retained=False)
    assert not told.may_trade(seconds(1))


def test_a_stranger_that_is_heard_beside_us_does_not_take_our_session() -> None:
    mine = lookout()
    mine.on_info("me", START, START, retained=False)
    mine.on_info("other", LATER, START, retained=True)
    mine.on_heartbeat("other", LATER, 0, seconds(1))
    assert mine.may_trade(seconds(1))


def test_a_stranger_is_forgotten_when_nothing_is_heard_of_it() -> None:
    mine = lookout()
    mine.on_taken_over(START)
    assert mine.at(seconds(17)) is not None
    assert mine.at(seconds(19)) is None
    assert mine.may_trade(seconds(19))


def test_a_clock_that_was_set_back_does_not_keep_a_stranger() -> None:
    mine = lookout()
    mine.on_taken_over(LATER)
    assert mine.at(START) is None
