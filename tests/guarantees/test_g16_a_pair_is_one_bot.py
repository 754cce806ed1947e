"""G16: of two bots for one account one acts at a time; when it dies, the other goes on where it was."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guarantees.pair import LEASE_S, Pair, freezing, pair
from tests.guarantees.record import percentile_ms, record
from tests.guarantees.scale import IS_LONG, chance
from tests.guarantees.sender import Plan
from tests.support.exchange import entries
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.postgres import Postgres, running_postgres

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800 if IS_LONG else 240)]

_KILLS = 30 if IS_LONG else 2
_TURNS = 10 if IS_LONG else 1
_TAKEN_OVER_S = 30.0
"""Far more than it takes, on a machine that has other work."""


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A PostgreSQL that a test may crash."""
    with running_postgres() as server:
        yield server


def test_a_spare_takes_over_from_one_that_is_killed(tmp_path: Path, mosquitto: Mosquitto, server: Postgres) -> None:
    rng, took_s = chance("pair"), []
    with pair(tmp_path, mosquitto, server) as both:
        both.watcher.command("mode/set", "response/mode", {"value": "ACTIVE"}, 30)
        until(lambda: entries(both.exchange.arrivals()), "an entry")
        for _ in range(_KILLS):
            both.send(rng.randrange(5, 20))
            time.sleep(rng.uniform(0, 1))
            both.send(3)
            killed_at = time.monotonic()
            both.active.bot.kill()
            both.send(5)
            both.ping()
            took_s.append(time.monotonic() - killed_at)
            both.active.bot.start()
            both.turn_over()
            until(both.spare.is_waiting, "a spare that waits again", 60)
        both.settle()
        until(lambda: both.watcher.last("mode") == b"ACTIVE", "the mode that was commanded last")
        numbers = both.holder()
        agree(both)
        record(
            "G16",
            "the active one is killed",
            takeovers=_KILLS,
            commands=len(both.sender.sendings),
            lost=len(both.lost()),
            doubled=len(both.doubled()),
            takeover_p50_ms=percentile_ms(took_s, 0.5),
            takeover_max_ms=percentile_ms(took_s, 1),
            lease_s=LEASE_S,
        )
        assert (both.lost(), both.doubled(), both.strangers()) == ([], [], set())
        assert numbers == 1 + _KILLS
        assert max(took_s) < _TAKEN_OVER_S


def test_one_that_was_frozen_for_longer_than_its_lease_does_nothing_any_more(
    tmp_path: Path, mosquitto: Mosquitto, server: Postgres
) -> None:
    rng = chance("frozen")
    with pair(tmp_path, mosquitto, server) as both:
        both.watcher.command("mode/set", "response/mode", {"value": "ACTIVE"}, 30)
        until(lambda: entries(both.exchange.arrivals()), "an entry")
        for _ in range(_TURNS):
            both.send(5)
            # While it has commands and orders under way.
            time.sleep(rng.uniform(0, 0.5))
            both.active.freeze()
            both.send(5)
            both.ping()
            sent, holder = both.active.actions(), both.holder()
            both.active.thaw()
            until(both.active.is_waiting, "one that stands by", 30)
            time.sleep(1)
            assert both.active.actions() == sent, "it sent something when it was no longer in charge"
            assert both.holder() == holder
            assert both.ping() < LEASE_S, "the other one was disturbed"
            both.turn_over()
        both.settle()
        agree(both)
        record(
            "G16",
            "the active one is frozen",
            takeovers=_TURNS,
            commands=len(both.sender.sendings),
            lost=len(both.lost()),
            doubled=len(both.doubled()),
            sent_when_thawed=0,
        )
        assert (both.lost(), both.doubled(), both.strangers()) == ([], [], set())


@pytest.mark.parametrize("when", ["before", "after"])
# Each body is read twice, the second time to find its end.
@pytest.mark.parametrize("passage", [1, 3, 5, 7, 9] if IS_LONG else [5])
def test_one_that_was_frozen_while_an_order_left_doubles_nothing(
    when: str, passage: int, tmp_path: Path, mosquitto: Mosquitto, server: Postgres
) -> None:
    """Before: it looks whether it may send. After: it has looked, and the bytes go to the socket when it wakes."""
    program = freezing(tmp_path, f"body read/{when}", passage)
    with pair(tmp_path, mosquitto, server, program) as both:
        frozen = both.active
        both.sender.send(Plan("go", "mode/set", '{"value":"ACTIVE","id":"go"}'))
        until(frozen.is_frozen, "a bot that is frozen with an order on its way", 60)
        both.send(5)
        both.ping()
        both.turn_over()
        # The one that took over has found out what became of what was on its way.
        unknown = "select count(*) from orders where status in ('sending', 'unknown') and signal_id is not null"
        until(lambda: both.audit.ask(unknown) == [(0,)], "no entry of which nothing is known", 60)
        sent = frozen.actions()
        frozen.thaw()
        until(frozen.is_waiting, "one that stands by", 30)
        time.sleep(1)
        left = frozen.actions() - sent
        both.settle()
        agree(both)
        record(
            "G16",
            f"frozen {when} the last look, order {passage}",
            lost=len(both.lost()),
            doubled=len(both.doubled()),
            sent_when_thawed=left,
        )
        assert left <= (when == "after")
        assert (both.lost(), both.doubled(), both.strangers()) == ([], [], set())


def test_one_that_is_cut_off_from_the_database_leaves_the_exchange_and_the_session_to_the_other(
    tmp_path: Path, mosquitto: Mosquitto, server: Postgres
) -> None:
    with pair(tmp_path, mosquitto, server) as both:
        both.watcher.command("mode/set", "response/mode", {"value": "ACTIVE"}, 30)
        until(lambda: entries(both.exchange.arrivals()), "an entry")
        for _ in range(_TURNS):
            both.active.database.cut()
            both.send(5)
            both.ping()
            sent = both.active.actions()
            time.sleep(2 * LEASE_S)
            # It is at the broker and the exchange still, and does not know that there is another.
            assert both.active.actions() == sent
            assert both.ping() < LEASE_S, "the other one was disturbed"
            both.active.database.mend()
            until(both.active.is_waiting, "one that stands by", 30)
            both.turn_over()
        both.settle()
        agree(both)
        record(
            "G16",
            "the active one is cut off from PostgreSQL",
            takeovers=_TURNS,
            commands=len(both.sender.sendings),
            lost=len(both.lost()),
            doubled=len(both.doubled()),
            sent_when_cut_off=0,
        )
        assert (both.lost(), both.doubled(), both.strangers()) == ([], [], set())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["restarts", "crashes"])
def test_when_postgresql_comes_back_there_is_one_that_acts(
    number: signal.Signals, tmp_path: Path, mosquitto: Mosquitto, server: Postgres
) -> None:
    with pair(tmp_path, mosquitto, server) as both:
        both.watcher.command("mode/set", "response/mode", {"value": "ACTIVE"}, 30)
        until(lambda: entries(both.exchange.arrivals()), "an entry")
        for away_s in [0.0, 2 * LEASE_S][-_TURNS:]:
            both.send(10)
            server.stop(number)
            both.send(10)
            time.sleep(away_s)
            server.start()
            both.ping()
            until(lambda: sum(half.is_waiting() for half in (both.active, both.spare)) == 1, "one that waits", 30)
            before = [half.actions() for half in (both.active, both.spare)]
            time.sleep(LEASE_S)
            acted = [half.actions() - count for half, count in zip((both.active, both.spare), before, strict=True)]
            assert min(acted) == 0, "both of them send"
            if both.active.is_waiting():
                both.turn_over()
        both.settle()
        agree(both)
        record(
            "G16",
            f"PostgreSQL {'restarts' if number == signal.SIGINT else 'crashes'}",
            commands=len(both.sender.sendings),
            lost=len(both.lost()),
            doubled=len(both.doubled()),
            both_active=0,
        )
        assert (both.lost(), both.doubled(), both.strangers()) == ([], [], set())


def test_a_bot_that_ends_in_order_hands_over_at_once(tmp_path: Path, mosquitto: Mosquitto, server: Postgres) -> None:
    with pair(tmp_path, mosquitto, server) as both:
        began = time.monotonic()
        assert both.active.bot.stop() == 0
        both.ping()
        record("G16", "the active one is stopped", takeover_ms=round((time.monotonic() - began) * 1000))
        # One that waits ends as soon as it is told to.
        both.active.bot.start()
        until(both.active.is_waiting, "a spare that waits", 60)
        assert both.active.bot.stop() == 0


def test_a_bot_that_is_no_pair_does_not_start_on_another_ones_books(
    tmp_path: Path, mosquitto: Mosquitto, server: Postgres
) -> None:
    with pair(tmp_path, mosquitto, server) as both:
        both.spare.bot.stop()
        both.spare.bot.environment["BOT_PAIR"] = "false"
        both.spare.bot.start()
        assert both.spare.bot.wait(60) == 2
        assert "Another bot with MQTT_BASE_TOPIC=bot uses this PostgreSQL database" in both.spare.said()
        # Nor on the books of another account.
        both.active.bot.stop()
        both.spare.bot.environment["HL_SECRET_KEY"] = f"0x{'5c' * 32}"
        both.spare.bot.start()
        assert both.spare.bot.wait(60) == 2
        assert "has for MQTT_BASE_TOPIC=bot the books of sim account 0x" in both.spare.said()
        record("G16", "another bot, another account", exit_code=2)


def agree(both: Pair) -> None:
    """See that what the account holds is what the books say."""
    both.watcher.command("mode/set", "response/mode", {"value": "STANDBY"}, 30)
    address = both.watcher.json("info")["account_address"]

    def same() -> bool:
        held = {coin for coin, size in both.exchange.positions(address).items() if float(size)}
        booked = {str(symbol) for (symbol,) in both.audit.ask("select symbol from positions where closed_at is null")}
        return held == booked

    until(same, "the same positions in the books and at the exchange", 30)
