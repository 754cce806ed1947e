"""G4: after STANDBY's response no order leaves that would raise the exposure, whatever the exchange does meanwhile.

The bot's line to the exchange runs through a proxy of ours that notes each request when its last byte was read from
the bot. The arrival of STANDBY's response begins a new era there, after everything was read that the bot had handed to
the kernel before: no clocks are compared, and nothing that was sent in time can look late.
"""

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.guarantees.record import percentile_ms, record
from tests.guarantees.scale import IS_LONG, SCALE, chance
from tests.guarantees.sender import Plan, Sender
from tests.guarantees.standing import LIVELY, own_broker
from tests.guarantees.storm import VERSIONS
from tests.support.client import Watcher
from tests.support.exchange import Exchange, raises_exposure
from tests.support.mosquitto import MOSQUITTO, Mosquitto
from tests.support.net import until
from tests.support.program import CHECKOUT, Bot
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600 if IS_LONG else 300)]

_COINS = 50
_TRIALS_BETWEEN_FLATTENS = 10
_ORDERS: dict[str, Any] = {"path": "/exchange", "type": "order"}
_REFUSED = {**_ORDERS, "kind": "partial_fill", "share": 0, "probability": 0.85}
"""An order without a match leaves its coin free to signal again, so that there is something to hold back each time."""


def _trouble(rng: random.Random) -> tuple[str, list[dict[str, Any]]]:
    """Return what the exchange and the predictor do in one trial, with a name for it."""
    slow = {**_ORDERS, "kind": "latency", "seconds": rng.uniform(0, 3)}
    return rng.choice(
        [
            ("slow", [slow, _REFUSED]),
            ("slow", [slow, _REFUSED]),
            ("orders hang", [{**_ORDERS, "kind": "hang"}]),
            ("queries hang", [_REFUSED, {"path": "/info", "kind": "hang"}]),
            ("predictions hang", [_REFUSED, {"path": "/v2", "kind": "hang"}]),
            ("answers lost", [{**_ORDERS, "kind": "answer_lost", "probability": 0.2}, _REFUSED]),
            ("quick", [_REFUSED]),
        ]
    )


class _Trials:
    """A bot with many coins that signal all the time, told to trade and to stop trading, again and again."""

    def __init__(self, sender: Sender, exchange: Exchange, line: Proxy, rng: random.Random) -> None:
        self._sender = sender
        self._exchange = exchange
        self._line = line
        self._rng = rng
        self._number = 0
        self.late: list[str] = []
        self.orders = 0
        self.busy = 0
        self.waits_s: list[float] = []
        self.kinds: dict[str, int] = {}

    def run(self, trials: int) -> None:
        for trial in range(trials):
            if trial % _TRIALS_BETWEEN_FLATTENS == 0:
                self._exchange.faults()
                until(lambda: self._tell("request/flatten", {})[1] == "EXECUTED", "a flatten", 60)
            self._try_once()

    def _try_once(self) -> None:
        kind, faults = _trouble(self._rng)
        self._exchange.faults(*faults)
        # What the trial before has broken would keep the bot from trading for a while.
        self._tell("request/reset_breaker", {})
        era = self._line.mark()
        assert self._tell("mode/set", {"value": "ACTIVE"})[1] == "EXECUTED"
        time.sleep(self._rng.uniform(0.1, 1.5))
        wait_s, status = self._tell(
            "mode/set", {"value": self._rng.choice(["STANDBY", "STANDBY", "STOPPED"])}, mark=True
        )
        assert status == "EXECUTED"
        self.waits_s.append(wait_s)
        time.sleep(self._rng.choice([0.2, 0.4, 1.0, 3.2]))
        requests = [each for each in self._line.requests if each.era >= era and _is_entry(each.path, each.body)]
        sent = sum(each.era == era for each in requests)
        self.orders += sent
        self.busy += sent > 0
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        self.late += [f"trial {self._number} ({kind}): {each}" for each in requests if each.era > era]

    def _tell(self, topic: str, fields: dict[str, str], *, mark: bool = False) -> tuple[float, str]:
        self._number += 1
        identifier = f"standby-{self._number}"
        arrived = threading.Event()

        def on_response() -> None:
            # On the network thread, at once: what leaves the bot while this test is asleep counts.
            if mark:
                self._line.mark()
            arrived.set()

        self._sender.on_first_response[identifier] = on_response
        self._sender.send(Plan(identifier, topic, json.dumps({**fields, "id": identifier})))
        assert arrived.wait(60), f"no answer to {topic}"
        sending = self._sender.sendings[identifier]
        at, response = sending.responses[0]
        return at - sending.sent_at, response["status"]


def _is_entry(path: str, body: Any) -> bool:
    return path == "/exchange" and raises_exposure(body["action"])


@contextmanager
def _trading_bot(folder: Path, port: int, version: str) -> Iterator[tuple[Exchange, Proxy]]:
    with ExitStack() as stack:
        exchange = stack.enter_context(Exchange(folder / "exchange", epoch_s=1))
        line = stack.enter_context(Proxy(exchange.port, reads_http=True))
        settings = {
            **LIVELY,
            "HL_BASE_URL": f"http://127.0.0.1:{line.port}",
            "HL_WEIGHT_PER_MINUTE": "1000000",
            "HL_TIMEOUT_S": "2",
            "TRADE_AMOUNT_USD": "10",
        }
        where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(port), "MQTT_PROTOCOL": version}
        bot = Bot(CHECKOUT, folder / "bot", where, **settings)
        bot.start()
        stack.callback(bot.stop)
        with Watcher(port) as watcher:
            watcher.wait("availability", "online", 60)
            tradable = until(lambda: _tradable(watcher), "a catalog")
            assert watcher.command("cryptos/set", "response/cryptos", {"value": tradable})["status"] == "EXECUTED"
        yield exchange, line


def _tradable(watcher: Watcher) -> list[str] | None:
    catalog = watcher.json("catalog")
    if catalog is None:
        return None
    both = [symbol for symbol, entry in catalog.items() if entry["availability"] == "both"]
    return both[:_COINS] or None


@contextmanager
def _sender(where: str, folder: Path) -> Iterator[tuple[Sender, Exchange, Proxy]]:
    version = where.rpartition(" ")[2]
    with ExitStack() as stack:
        if where.startswith("mosquitto"):
            if MOSQUITTO is None:
                pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
            mosquitto = Mosquitto(folder / "mosquitto")
            mosquitto.start()
            stack.callback(mosquitto.stop)
            port = mosquitto.port
        else:
            port = stack.enter_context(own_broker(folder / "broker"))
        exchange, line = stack.enter_context(_trading_bot(folder, port, version))
        yield stack.enter_context(Sender(port, "standby", VERSIONS[version])), exchange, line


WHERE = pytest.mark.parametrize("where", ["mosquitto, MQTT 5", "own broker, MQTT 3.1.1"])


@WHERE
def test_after_the_response_no_order_leaves(where: str, tmp_path: Path) -> None:
    with _sender(where, tmp_path) as (sender, exchange, line):
        trials = _Trials(sender, exchange, line, chance(f"G4 {where}"))
        trials.run(SCALE.standby_trials)
        record(
            "G4",
            where,
            trials=SCALE.standby_trials,
            trials_with_orders=trials.busy,
            orders_before=trials.orders,
            orders_after=len(trials.late),
            p50_ms=percentile_ms(trials.waits_s, 0.5),
            p99_ms=percentile_ms(trials.waits_s, 0.99),
            **{kind.replace(" ", "_"): count for kind, count in trials.kinds.items()},
        )
        assert trials.late == []
        # A bot that never wanted to trade would pass too.
        assert trials.busy >= max(1, SCALE.standby_trials // 5)


@WHERE
def test_standby_overtakes_a_thousand_commands_that_wait(where: str, tmp_path: Path) -> None:
    queue = [f"queue-{number}" for number in range(1000)]
    with _sender(where, tmp_path) as (sender, exchange, _):
        exchange.faults({"path": "/info", "kind": "hang"})
        for identifier in queue:
            sender.send(Plan(identifier, "request/performance", json.dumps({"days": 3650, "id": identifier})))
        standby = sender.ask(Plan("standby", "mode/set", '{"value":"STANDBY","id":"standby"}'), 120)
        until(lambda: set(queue) <= sender.answered(), "an answer to every one", 240)
        at = standby.responses[0][0]
        overtaken = sum(sender.sendings[identifier].responses[0][0] > at for identifier in queue)
        record("G4", f"{where}, 1000 commands waiting", overtaken=overtaken)
        assert standby.responses[0][1]["status"] == "EXECUTED"
        assert overtaken > 0
        ends = [sender.sendings[identifier].responses[0][0] for identifier in queue]
        assert ends == sorted(ends), "everything else keeps its order"
