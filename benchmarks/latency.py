"""Publish to response, and commands in a second: the bot beside an echo, one that writes to disk first, and peers."""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks import ground
from benchmarks.asker import COMMLIB, PLAIN, Asker, Speech, Trips
from benchmarks.bench import Bench
from benchmarks.environments import peer
from benchmarks.figures import Bar, Chart, Goal, Section, Spread, Table, percentile, ratios, spread
from benchmarks.ground import EMBEDDED, MOSQUITTO_3, MOSQUITTO_5, MOSQUITTO_SAVING, BrokerKind
from benchmarks.poller import Writer
from benchmarks.scale import COINS

BOT: Final = "allora-mqtt"
ECHO: Final = "paho echo (the floor)"
FSYNC: Final = "paho echo, fsync first"
AIOMQTT: Final = "aiomqtt echo"
RPC: Final = "commlib RPC"
RPC_AS_SHIPPED: Final = "commlib RPC, as shipped"
POLLER: Final = "SQLite poller, every 10 s"

_SPEECHES: Final[Mapping[str, Speech]] = {RPC: COMMLIB, RPC_AS_SHIPPED: COMMLIB}
_LIMIT_S: Final = 3.0
_SETTLE_S: Final = 6.0
_PAUSES_S: Final = (1.3, 0.7, 2.9, 1.9, 3.7)
"""Between commands to the poller: they must not keep step with it."""

Rounds = dict[str, list[Trips]]
"""What each responder did in each round."""


def run(bench: Bench) -> Section:
    """Measure it on each broker."""
    kinds = (MOSQUITTO_5, MOSQUITTO_SAVING, *((MOSQUITTO_3,) if bench.scale.is_wide else ()), EMBEDDED)
    tables, charts, goals = [], [], []
    for kind in kinds:
        measured = _on_broker(bench, kind)
        tables += _tables(kind, measured)
        if kind == MOSQUITTO_5:
            charts += _charts(kind, measured)
            goals += _goals(measured)
    return Section(
        key="latency",
        title="Command latency and throughput",
        about=(
            "`ping` commands, QoS 1, from one client. The bot has the command in its journal, fsync and all, before "
            "it acknowledges it, and its end before it answers: two writes for each. Beside it in each round, in an "
            "order that changes: a bare paho client that sends each message back; the same with an append and fsync "
            "first; an aiomqtt client; commlib's RPC service (hummingbot's MQTT bridge is built on it), as shipped "
            "and with TCP_NODELAY; and a poller that looks into an SQLite table every 10 s, as the earlier bot did. "
            "mosquitto has `set_tcp_nodelay` and saves what it holds every half hour; one that saves each change "
            "(mosquitto/mosquitto.conf) has a table of its own. Trading means: prices every 3 s, a prediction for "
            "each coin every 20 s, and up to 100 entries in a minute, none of which is matched."
        ),
        tables=tuple(tables),
        charts=tuple(charts),
        goals=tuple(goals),
        notes=(
            (
                "A mosquitto that saves each change writes all that it holds to its disk again and again: with many "
                "coins the bot's own state, which is retained, keeps it busy, and commands and answers wait in line "
                "behind it."
            ),
        ),
    )


def _on_broker(bench: Bench, kind: BrokerKind) -> dict[str, Rounds]:
    """Return the rounds by what was done: idle or trading, and how many in flight."""
    where = bench.folder / kind.words.replace(" ", "-").replace(",", "")
    is_main = kind == MOSQUITTO_5
    levels = (1, 8, 64) if bench.scale.is_wide or is_main else (1,)
    found: dict[str, Rounds] = {}
    with ExitStack() as stack:
        market = stack.enter_context(ground.Market(where / "market"))
        market.faults(ground.NO_MATCH)
        port = stack.enter_context(ground.broker(kind, where / "broker"))
        bench.say(f"{kind.words}: starting what answers")
        stack.enter_context(ground.bot(where / "bot", port, kind.version, market.port, **ground.STEADILY))
        askers = {BOT: stack.enter_context(Asker(port, "bot", kind.version))}
        askers |= stack.enter_context(responders(where, port, kind.version, with_peers=is_main))
        poller = stack.enter_context(_poller(where)) if is_main else None
        for level in levels:
            bench.say(f"{kind.words}: idle, {level} in flight")
            among = askers if level == 1 else {name: askers[name] for name in (BOT, ECHO, FSYNC)}
            found[f"idle {level}"] = _rounds(bench, among, level)
        ground.trade(port, COINS)
        bench.say(f"{kind.words}: {COINS} coins trading")
        time.sleep(_SETTLE_S)
        for level in levels if bench.scale.is_wide else (1,):
            found[f"trading {level}"] = _rounds(bench, {name: askers[name] for name in (BOT, ECHO, FSYNC)}, level)
        if poller is not None:
            bench.say("waiting for the poller's last look")
            found["idle 1"][POLLER] = [Trips(poller.waited_ms(), 0.0)]
    return found


@contextmanager
def responders(where: Path, port: int, version: str, *, with_peers: bool) -> Iterator[dict[str, Asker]]:
    """Start everything that answers beside the bot, and ask each once."""
    where.mkdir(parents=True, exist_ok=True)
    words = {
        ECHO: ground.module("benchmarks.echo", str(port), "echo", version),
        FSYNC: ground.module("benchmarks.echo", str(port), "fsync", version, "--journal", str(where / "echo.journal")),
    }
    if with_peers:
        words |= {
            AIOMQTT: peer("mqtt", "aiomqtt_echo.py", str(port), "aiomqtt", version, "--nodelay"),
            RPC: peer("mqtt", "commlib_rpc.py", str(port), "rpc", "--nodelay"),
            RPC_AS_SHIPPED: peer("mqtt", "commlib_rpc.py", str(port), "rpcshipped"),
        }
    bases = {ECHO: "echo", FSYNC: "fsync", AIOMQTT: "aiomqtt", RPC: "rpc", RPC_AS_SHIPPED: "rpcshipped"}
    with ExitStack() as stack:
        for name, command in words.items():
            stack.enter_context(ground.program(where / f"{bases[name]}.log", *command))
        yield {
            name: stack.enter_context(Asker(port, bases[name], version, _SPEECHES.get(name, PLAIN))) for name in words
        }


def one_round(askers: Mapping[str, Asker], count: int, in_flight: int, rng: random.Random) -> dict[str, Trips]:
    """Ask everybody, in an order of this round."""
    order = list(askers)
    rng.shuffle(order)
    return {name: askers[name].trips(count, in_flight, _LIMIT_S) for name in order}


def _rounds(bench: Bench, askers: Mapping[str, Asker], in_flight: int) -> Rounds:
    count = bench.scale.trips * (1 if in_flight == 1 else 4)
    rng = random.Random(in_flight)  # noqa: S311 - an order, no secret
    one_round(askers, count // 4, in_flight, rng)
    rounds = [one_round(askers, count, in_flight, rng) for _ in range(bench.scale.rounds)]
    return {name: [each[name] for each in rounds] for name in askers}


@contextmanager
def _poller(where: Path) -> Iterator[Writer]:
    database = where / "poller.sqlite3"
    writer = Writer(database, _PAUSES_S)
    with ground.program(where / "poller.log", *ground.module("benchmarks.poller", str(database))):
        writer.start()
        yield writer


def quantiles(rounds: list[Trips], share: float) -> list[float]:
    """Return this quantile of each round, ms."""
    return [percentile(each.took_ms, share) for each in rounds]


def per_s(rounds: list[Trips]) -> Spread:
    """Return how many commands were answered in a second."""
    return spread([each.per_s for each in rounds])


def _tables(kind: BrokerKind, measured: Mapping[str, Rounds]) -> list[Table]:
    tables = []
    for what, rounds in measured.items():
        state, _, level = what.partition(" ")
        doing = "bot idle" if state == "idle" else f"bot trading {COINS} coins"
        floor = quantiles(rounds[FSYNC], 0.5)
        rows = [
            (
                name,
                spread(quantiles(trips, 0.5)),
                spread(quantiles(trips, 0.99)),
                spread(quantiles(trips, 1)),
                "" if name == POLLER else ratios(quantiles(trips, 0.5), floor),
                "" if name == POLLER else per_s(trips),
            )
            for name, trips in rounds.items()
        ]
        tables.append(
            Table(
                title=f"{kind.words}, {doing}, {level} in flight",
                head=("responder", "p50 ms", "p99 ms", "max ms", "p50, times echo with fsync", "commands/s"),
                rows=tuple(rows),
            )
        )
    return tables


def _charts(kind: BrokerKind, measured: Mapping[str, Rounds]) -> list[Chart]:
    idle = measured["idle 1"]
    latency = Chart(
        name="latency",
        title=f"Publish to response, p50 (line: the rounds), {kind.words}, one in flight",
        unit="ms",
        is_log=True,
        bars=tuple(
            Bar(label=name, value=spread(quantiles(trips, 0.5)), is_ours=name == BOT) for name, trips in idle.items()
        ),
    )
    levels = [what for what in measured if what.startswith("idle")]
    throughput = Chart(
        name="throughput",
        title=f"Commands in a second, {kind.words}, bot idle",
        unit="/s",
        bars=tuple(
            Bar(label=f"{name}, {what.split()[1]} in flight", value=per_s(measured[what][name]), is_ours=name == BOT)
            for name in (BOT, FSYNC)
            for what in levels
        ),
    )
    return [latency, throughput]


def _goals(measured: Mapping[str, Rounds]) -> list[Goal]:
    idle, trading = measured["idle 1"], measured["trading 1"]

    def against_floor(rounds: Rounds, share: float) -> Spread:
        return ratios(quantiles(rounds[BOT], share), quantiles(rounds[FSYNC], share))

    many = [trips.per_s for trips in measured["idle 64"][BOT]]
    single = [trips.per_s for trips in idle[BOT]]
    return [
        Goal(what="p50 idle, against the echo with fsync", limit=1.5, measured=against_floor(idle, 0.5), unit="x"),
        Goal(what="p99 idle, against the echo with fsync", limit=2, measured=against_floor(idle, 0.99), unit="x"),
        Goal(
            what=f"p99 with {COINS} coins trading, against the echo with fsync beside it",
            limit=3,
            measured=against_floor(trading, 0.99),
            unit="x",
        ),
        Goal(
            what="Commands/s with 64 in flight, against one at a time",
            limit=10,
            measured=ratios(many, single),
            unit="x",
            is_least=True,
        ),
    ]
