"""STANDBY under load: how long after its publish the last order leaves, with every coin signalling."""

import json
import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks import ground
from benchmarks.asker import Asker
from benchmarks.bench import Bench
from benchmarks.figures import Goal, Section, Spread, Table, percentile
from benchmarks.latency import ECHO, responders
from benchmarks.scale import COINS
from tests.guarantees.sender import Plan, Sender
from tests.guarantees.storm import VERSIONS
from tests.support.exchange import raises_exposure
from tests.support.proxy import Proxy

_OWN_MS: Final = 20.0
_HANGS: Final = "hanging"
_DELAYS_S: Final = {"100 ms": 0.1, "1 s": 1.0}
_SETTINGS: Final = {"HL_TIMEOUT_S": "2", "ALLORA_REQUESTS_PER_MINUTE": "3000"}
"""Each coin's prediction every 4 s, prices every second, up to 400 entries in a minute."""
_PATIENCE_S: Final = 8.0
"""For how long a first order is waited for; a trial without any shows nothing."""
_WATCHED_S: Final = 1.0
"""For how long after the answer orders are looked for."""


@dataclass
class _Kind:
    """What was seen of one kind of exchange, ms; orders are counted."""

    last_order_ms: list[float] = field(default_factory=list)
    response_ms: list[float] = field(default_factory=list)
    orders: int = 0
    busy: int = 0
    """Trials in which orders left at all: the others show nothing."""
    late: int = 0


def run(bench: Bench) -> Section:
    """Measure it: ACTIVE, a while, STANDBY, again and again, the exchange's line read along by a proxy."""
    where = bench.folder / "standby"
    kinds = {name: _Kind() for name in (*_DELAYS_S, _HANGS)}
    with ExitStack() as stack:
        market = stack.enter_context(ground.Market(where / "market", epoch_s=2))
        line = stack.enter_context(Proxy(market.port, reads_http=True))
        port = stack.enter_context(ground.broker(ground.MOSQUITTO_5, where / "broker"))
        stack.enter_context(ground.bot(where / "bot", port, "5", line.port, **_SETTINGS))
        echo = stack.enter_context(responders(where, port, "5", with_peers=False))[ECHO]
        sender = stack.enter_context(Sender(port, "standby", VERSIONS["5"]))
        ground.trade(port, COINS, mode="STANDBY")
        trials = _Trials(sender, market, line, random.Random(4))  # noqa: S311 - pauses, no secret
        round_trips_ms: list[float] = []
        for number in range(bench.scale.standby_trials):
            for name, kind in kinds.items():
                bench.say(f"trial {number + 1} of {bench.scale.standby_trials}, exchange {name}")
                trials.run(name, kind)
            round_trips_ms.append(_round_trip_ms(echo))
    return _section(kinds, percentile(round_trips_ms, 0.5))


class _Trials:
    """A bot that is told to trade and to stop."""

    def __init__(self, sender: Sender, market: ground.Market, line: Proxy, rng: random.Random) -> None:
        self._sender = sender
        self._market = market
        self._line = line
        self._rng = rng
        self._number = 0

    def run(self, name: str, kind: _Kind) -> None:
        """Let the bot trade on an exchange of this kind, and stop it."""
        self._market.faults(*_faults(name))
        # What the trial before has broken would keep the bot from trading for a while.
        self._tell("request/reset_breaker", {})
        started = time.monotonic()
        self._tell("mode/set", {"value": "ACTIVE"})
        while not self._orders_at(started) and time.monotonic() - started < _PATIENCE_S:
            time.sleep(0.01)
        # Longer, and a few trials would use up the orders of a minute.
        time.sleep(self._rng.uniform(0.05, 0.4))
        published_at, answered_at = self._tell("mode/set", {"value": "STANDBY"})
        time.sleep(_WATCHED_S)
        at = self._orders_at(started)
        kind.orders += len(at)
        kind.busy += bool(at)
        kind.late += sum(each > answered_at for each in at)
        kind.response_ms.append((answered_at - published_at) * 1000)
        kind.last_order_ms.append(max([0.0, *((each - published_at) * 1000 for each in at)]))

    def _orders_at(self, since: float) -> list[float]:
        """Return when orders that would open or add to a position have left since a time."""
        return [each.at for each in self._line.requests if each.at >= since and _is_entry(each.path, each.body)]

    def _tell(self, topic: str, fields: dict[str, str]) -> tuple[float, float]:
        """Return when it was published, and when its answer came."""
        self._number += 1
        identifier, arrived = f"standby-{self._number}", threading.Event()
        self._sender.on_first_response[identifier] = arrived.set
        self._sender.send(Plan(identifier, topic, json.dumps({**fields, "id": identifier})))
        if not arrived.wait(60):
            raise TimeoutError(f"no answer to {topic}")
        sending = self._sender.sendings[identifier]
        return sending.sent_at, sending.responses[0][0]


def _faults(name: str) -> list[dict[str, Any]]:
    if name == _HANGS:
        return [{**ground.ORDERS, "kind": "hang"}]
    slow = {"kind": "latency", "seconds": _DELAYS_S[name]}
    return [ground.NO_MATCH, {**slow, "path": "/exchange"}, {**slow, "path": "/info"}]


def _is_entry(path: str, body: Any) -> bool:
    return path == "/exchange" and raises_exposure(body["action"])


def _round_trip_ms(echo: Asker) -> float:
    return percentile(echo.trips(20, 1, 2).took_ms, 0.5)


def _section(kinds: dict[str, _Kind], round_trip_ms: float) -> Section:
    rows = tuple(
        (
            name,
            f"{len(kind.last_order_ms)}, {kind.busy} with orders",
            str(kind.orders),
            _range(kind.last_order_ms),
            _range(kind.response_ms),
            str(kind.late),
        )
        for name, kind in kinds.items()
    )
    worst = [percentile(kind.last_order_ms, 0.99) for kind in kinds.values()]
    return Section(
        key="standby",
        title="STANDBY under load",
        about=(
            f"The bot trades {COINS} coins that signal all the time (prices every second, each prediction every 4 s, "
            "up to 400 entries in a minute, none of them matched); then STANDBY is published. A proxy between bot and "
            "exchange notes when it has read each order from the bot, on the clock of the sender. Told is how long "
            "after the publish the last order left (0: none left after it). A message's round trip through the broker "
            f"(echo, p50) took {round_trip_ms:.1f} ms beside it."
        ),
        tables=(
            Table(
                title="From the publish of STANDBY",
                head=(
                    *("exchange", "trials", "orders sent", "last order p50 / p99 / max ms"),
                    *("response p50 / p99 / max ms", "orders after the response"),
                ),
                rows=rows,
            ),
        ),
        notes=tuple(
            f"No order left at all with the exchange {name}: nothing is shown of it."
            for name, kind in kinds.items()
            if not kind.busy
        ),
        goals=(
            Goal(
                what="STANDBY to last order, p99 of the worst kind of exchange (20 ms and one round trip)",
                limit=_OWN_MS + round_trip_ms,
                measured=Spread(median=max(worst), low=min(worst), high=max(worst)),
                unit="ms",
            ),
        ),
    )


def _range(samples: list[float]) -> str:
    return " / ".join(f"{percentile(samples, share):.1f}" for share in (0.5, 0.99, 1))
