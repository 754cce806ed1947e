"""G5: it starts in STANDBY; a command that ran before does not run again at the start, one that has not does."""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.guarantees.audit import Audit
from tests.guarantees.record import record
from tests.guarantees.scale import IS_LONG, SCALE, chance
from tests.guarantees.standing import LIVELY, Standing, standing
from tests.support.client import Watcher, connected
from tests.support.exchange import Exchange, entries
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.program import CHECKOUT, Bot

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

COINS = "BTC:14,ETH:13"
NOT_CARRIED_OUT = "a command that may forbid entries has not been carried out yet"
REFUSED = "select signal_id from signals where direction <> 'HOLD' and not acted"


@dataclass(frozen=True)
class Case:
    """How the command was sent, whether it ran, how the bot ended, and whether its database is still there."""

    version: str
    sent: str
    when: str
    end: str
    journal: str

    def __str__(self) -> str:
        return f"MQTT {self.version}, {self.sent}, {self.when}, {self.end}, journal {self.journal}"


ALL = [
    Case(*parts)
    for parts in itertools.product(
        ("5", "3.1.1"),
        ("live", "QoS 1 retained", "QoS 0 retained"),
        ("ran before", "sent while away"),
        ("SIGKILL", "SIGTERM"),
        ("kept", "lost"),
    )
]
CASES = ALL if IS_LONG else chance("G5").sample(ALL, SCALE.start_cases)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_start_runs_what_has_not_run_and_nothing_else(case: Case, mosquitto: Mosquitto, tmp_path: Path) -> None:
    with standing(tmp_path, mosquitto, case.version, DEFAULT_ACTIVE_CRYPTOS=COINS) as here, here.watcher() as watcher:
        assert _entries_while_tempted(here.exchange, watcher) == 0
        if case.when == "ran before":
            _send(watcher, case)
            _until_it_trades(here.exchange, watcher)
            if case.journal == "lost":
                # The mailbox and the journal both know that it ran; the one that is left has to be up to date.
                until(lambda: not _mailbox(here), "an empty mailbox")
            _end(here.bot, case)
        else:
            _end(here.bot, case)
            _send(watcher, case)
        arrivals = _last_arrival(here.exchange)
        _start_again(here.bot, watcher)
        if case.when == "ran before":
            assert _entries_while_tempted(here.exchange, watcher, arrivals) == 0
            assert watcher.last("mode") == b"STANDBY"
        else:
            _until_it_trades(here.exchange, watcher, arrivals)
        runs = _runs(watcher)
        record("G5", f"mosquitto, {case}", ran=len(runs), mode=(watcher.last("mode") or b"").decode())
        assert len(runs) == 1


@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM"])
def test_with_the_broker_in_the_bot_nothing_of_an_earlier_life_runs(end: str, tmp_path: Path) -> None:
    case = Case("3.1.1", "QoS 1 retained", "ran before", end, "kept")
    with _alone(tmp_path) as (bot, exchange), until(lambda: connected(bot.broker_port), "the broker") as watcher:
        watcher.wait("availability", "online", 30)
        _send(watcher, case)
        _until_it_trades(exchange, watcher)
        _end(bot, case)
        arrivals = _last_arrival(exchange)
        _start_again(bot, watcher)
        left = _entries_while_tempted(exchange, watcher, arrivals)
        record("G5", f"own broker in the bot, {end}", ran=len(_runs(watcher)), entries_after_start=left)
        assert (watcher.last("mode"), left, len(_runs(watcher))) == (b"STANDBY", 0, 1)


DEFAULTS = [
    ("LAST", "kept", None, "ACTIVE"),
    ("LAST", "lost", None, "STANDBY"),
    ("LAST", "kept", "STANDBY", "STANDBY"),
    ("ACTIVE", "lost", None, "ACTIVE"),
    ("ACTIVE", "kept", "STOPPED", "STOPPED"),
    ("STANDBY", "kept", None, "STANDBY"),
]


@pytest.mark.parametrize(
    ("default_mode", "journal", "while_away", "expected"),
    DEFAULTS if IS_LONG else chance("G5 defaults").sample(DEFAULTS, 2),
)
def test_the_default_mode_decides_what_nothing_else_does(
    default_mode: str,
    journal: str,
    while_away: str | None,
    expected: str,
    *,
    mosquitto: Mosquitto,
    tmp_path: Path,
) -> None:
    case = Case("5", "QoS 1 retained", "ran before", "SIGKILL", journal)
    with (
        standing(tmp_path, mosquitto, "5", BOT_DEFAULT_MODE=default_mode, DEFAULT_ACTIVE_CRYPTOS=COINS) as here,
        here.watcher() as watcher,
    ):
        assert watcher.command("mode/set", "response/mode", {"value": "ACTIVE"})["status"] == "EXECUTED"
        _end(here.bot, case)
        if while_away is not None:
            watcher.publish("mode/set", while_away)
        arrivals = _last_arrival(here.exchange)
        _start_again(here.bot, watcher)
        until(lambda: watcher.last("mode") == expected.encode(), f"mode {expected}")
        if expected == "ACTIVE":
            _until_it_trades(here.exchange, watcher, arrivals)
        else:
            until(lambda: watcher.json("heartbeat")["mode"] == expected, f"a heartbeat in {expected}")
            if expected == "STANDBY":
                assert _entries_while_tempted(here.exchange, watcher, arrivals) == 0
            assert watcher.last("mode") == expected.encode()
            assert entries(here.exchange.arrivals(arrivals)) == []
        record("G5", f"BOT_DEFAULT_MODE={default_mode}, journal {journal}, {while_away} while away", mode=expected)


@pytest.mark.parametrize("waiting", ["STANDBY", None])
def test_the_mode_of_a_start_holds_once_nothing_that_waits_has_taken_it_back(
    waiting: str | None, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    with (
        standing(tmp_path, mosquitto, "5", BOT_DEFAULT_MODE="LAST", DEFAULT_ACTIVE_CRYPTOS=COINS) as here,
        here.watcher() as watcher,
    ):
        assert watcher.command("mode/set", "response/mode", {"value": "ACTIVE"})["status"] == "EXECUTED"
        _until_it_trades(here.exchange, watcher)
        here.bot.kill()
        if waiting is not None:
            watcher.publish("mode/set", waiting)
        arrivals = _last_arrival(here.exchange)
        here.line.cut()
        here.bot.start()
        audit = Audit(here.bot.folder / "data" / "bot.sqlite3")
        seen = len(audit.ask(REFUSED))
        until(lambda: len(audit.ask(REFUSED)) >= seen + 3, "signals that call for an entry", 60)
        assert entries(here.exchange.arrivals(arrivals)) == []
        here.line.mend()
        if waiting is None:
            # What it held before keeps it from an entry in the same coins for a while; the gate does not any more.
            until(lambda: _is_let_through(watcher), "a signal that nothing but the market holds back", 60)
            # One that it does not hold is entered.
            watcher.command("cryptos/SOL/set", "response/cryptos", {"value": "ON"})
            _until_it_trades(here.exchange, watcher, arrivals)
        else:
            watcher.wait("mode", waiting)
            assert _entries_while_tempted(here.exchange, watcher, arrivals) == 0
        record("G5", f"BOT_DEFAULT_MODE=LAST, no line at first, {waiting} waits", mode=waiting or "ACTIVE")


def _is_let_through(watcher: Watcher) -> bool:
    signals = [json.loads(payload) for payload in watcher.all("event/signal")]
    newest = signals[-1] if signals else {"direction": "HOLD"}
    return newest["direction"] != "HOLD" and NOT_CARRIED_OUT not in newest["reasons"]


def _send(watcher: Watcher, case: Case) -> None:
    watcher.publish("mode/set", "ACTIVE", retain=case.sent != "live", qos=0 if case.sent == "QoS 0 retained" else 1)


def _end(bot: Bot, case: Case) -> None:
    if case.end == "SIGKILL":
        bot.kill()
    else:
        assert bot.stop() == 0
    if case.journal == "lost":
        for file in (bot.folder / "data").glob("bot.sqlite3*"):
            file.unlink()


def _start_again(bot: Bot, watcher: Watcher) -> None:
    former = watcher.json("info")["instance_id"]
    bot.start()
    until(lambda: watcher.json("info")["instance_id"] != former, "the next life", 40)


def _until_it_trades(exchange: Exchange, watcher: Watcher, since: int = 0) -> None:
    watcher.wait("mode", "ACTIVE")
    until(lambda: entries(exchange.arrivals(since)), "an entry at the exchange", 30)


def _entries_while_tempted(exchange: Exchange, watcher: Watcher, since: int = 0) -> int:
    """Count entries after the strategy has wanted one three times."""
    seen = len(watcher.all("event/signal"))

    def wanted() -> list[dict[str, Any]]:
        signals = [json.loads(payload) for payload in watcher.all("event/signal")[seen:]]
        return [signal for signal in signals if signal["direction"] != "HOLD"]

    until(lambda: len(wanted()) >= 3, "signals that call for an entry", 40)
    assert not any(signal["acted"] for signal in wanted())
    return len(entries(exchange.arrivals(since)))


def _last_arrival(exchange: Exchange) -> int:
    return max((arrival["seq"] for arrival in exchange.arrivals()), default=0)


def _mailbox(here: Standing) -> bytes | None:
    with here.watcher() as fresh:
        fresh.publish("marker", "x")
        until(lambda: fresh.last("marker"), "everything that is retained")
        return fresh.last("mode/set")


def _runs(watcher: Watcher) -> set[str]:
    """Return when ACTIVE ran, however often that was said."""
    said: list[dict[str, Any]] = [json.loads(payload) for payload in watcher.all("response/mode")]
    return {each["executed_at"] for each in said if each["status"] == "EXECUTED" and each["data"]["mode"] == "ACTIVE"}


@contextmanager
def _alone(folder: Path) -> Iterator[tuple[Bot, Exchange]]:
    """Start a bot with the broker that it brings along."""
    with Exchange(folder / "exchange", epoch_s=1) as exchange:
        bot = Bot(CHECKOUT, folder / "bot", None, DEFAULT_ACTIVE_CRYPTOS=COINS, **LIVELY, **exchange.settings)
        bot.start()
        try:
            yield bot, exchange
        finally:
            bot.stop()
