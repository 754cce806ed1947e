"""G14, PostgreSQL is away: what cannot be written down waits and is not lost; no entry leaves meanwhile."""

import json
import signal
import time
from pathlib import Path

import pytest

from tests.guarantees.recovery import recovery
from tests.guarantees.scale import IS_LONG, SCALE
from tests.guarantees.sender import Plan
from tests.support.exchange import entries
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.postgres import running_postgres

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300 if IS_LONG else 180)]

ENDS = [signal.SIGINT, signal.SIGQUIT] if IS_LONG else [signal.SIGQUIT]


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_postgresql_is_away(number: signal.Signals, mosquitto: Mosquitto, tmp_path: Path) -> None:
    with running_postgres() as server, recovery(tmp_path, mosquitto, "5", postgres=server) as ready:
        server.stop(number)
        ready.send(20)
        standby = Plan("standby", "mode/set", json.dumps({"value": "STANDBY", "id": "standby"}))
        ready.sender.send(standby)
        until(lambda: ready.watcher.json("health")["store"]["state"] != "ok", "a store that is not well", 30)
        arrivals = len(ready.here.exchange.arrivals())
        time.sleep(SCALE.outage_s)
        assert standby.id not in ready.sender.answered()
        server.start()
        until(lambda: standby.id in ready.sender.answered(), "STANDBY's answer", 60)
        opened = entries(ready.here.exchange.arrivals()[arrivals:])
        (_, response), *more = ready.sender.sendings[standby.id].responses
        assert (response["status"], more, opened) == ("EXECUTED", [], [])
        ready.activate()
        ready.prove(f"PostgreSQL away, {number.name}", away_s=SCALE.outage_s, entries_while_away=len(opened))
        assert server.PASSWORD not in ready.here.bot.log.read_text()


def test_postgresql_comes_after_the_bot(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with running_postgres() as server:
        server.stop()

        log = tmp_path / "bot" / "bot.log"

        def start_when_it_is_missed() -> None:
            until(lambda: "PostgreSQL could not be asked" in log.read_text(), "a bot that misses it", 60)
            time.sleep(SCALE.fault_s)
            server.start()

        with recovery(tmp_path, mosquitto, "5", once_started=start_when_it_is_missed, postgres=server) as ready:
            ready.prove("PostgreSQL comes after the bot", away_s=SCALE.fault_s)
