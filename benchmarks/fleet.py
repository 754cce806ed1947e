"""Many bots on one broker: a few as processes, many as the protocol layer alone."""

import secrets
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks import ground
from benchmarks.asker import Asker
from benchmarks.bench import Bench
from benchmarks.figures import Goal, Section, Spread, Table, percentile, ratios, spread
from benchmarks.ground import MOSQUITTO_5, cpu_s
from tests.support.footprint import Footprint
from tests.support.mosquitto import Mosquitto

_TRIPS: Final = 60
_LIMIT_S: Final = 3.0
_MIB_IN_KIB: Final = 1024
_ENOUGH: Final = 3.0


def run(bench: Bench) -> Section:
    """Measure it on mosquitto, MQTT 5: each bot idle, one of them asked."""
    rows, p50_ms = [], {}
    for count in bench.scale.fleets:
        bench.say(f"{count} bots")
        row, p50_ms[count] = _fleet(bench, count)
        rows.append(row)
    bench.say(f"{bench.scale.crowd} clients of the protocol layer")
    row, _ = _crowd(bench)
    rows.append(row)
    few, many = min(p50_ms), max(p50_ms)
    return Section(
        key="fleet",
        title="A fleet",
        about=(
            "Bots on one mosquitto, idle, all on one market; one command at a time to each in turn. "
            f"For {bench.scale.crowd} there the protocol layer runs alone, in one process: the bot's own link to the "
            "broker for each, with its topics, retained state and a heartbeat every 5 s, and no journal."
        ),
        tables=(
            Table(
                title="By number of bots",
                head=("on one broker", "p50 ms", "p99 ms", "broker, % of a core", "bots, % of a core each", "MB each"),
                rows=tuple(rows),
            ),
        ),
        goals=(
            Goal(
                what=f"p50 with {many} bots, against {few}",
                limit=_ENOUGH,
                measured=ratios(p50_ms[many], p50_ms[few]),
                unit="x",
            ),
        ),
        notes=(_on_paper(rows[-2], rows[-1]),),
    )


def _fleet(bench: Bench, count: int) -> tuple[tuple[str | Spread, ...], list[float]]:
    where = bench.folder / f"fleet-{count}"
    with ExitStack() as stack:
        market = stack.enter_context(ground.Market(where / "market"))
        broker = _broker(stack, where)
        bots, askers = [], []
        for number in range(count):
            base, key = f"bots/{number}", f"0x{secrets.token_hex(32)}"
            folder = where / f"bot-{number}"
            settings = {"HL_SECRET_KEY": key, "BOT_HEARTBEAT_INTERVAL_S": "5", "BOT_QUOTE_INTERVAL_S": "3"}
            bots.append(stack.enter_context(ground.bot(folder, broker.port, "5", market.port, base, **settings)))
            askers.append(stack.enter_context(Asker(broker.port, base, "5")))
        cpu_before = [cpu_s(bot.pid) for bot in bots]
        broker_before, began = cpu_s(broker.pid), time.monotonic()
        time.sleep(5)
        lasted = time.monotonic() - began
        broker_pct = (cpu_s(broker.pid) - broker_before) / lasted * 100
        each_pct = [(cpu_s(bot.pid) - before) / lasted * 100 for bot, before in zip(bots, cpu_before, strict=True)]
        memory = [Footprint.of(bot.pid).memory_kib / _MIB_IN_KIB for bot in bots]
        rounds = [_asked(askers) for _ in range(bench.scale.rounds)]
    p50 = [percentile(samples, 0.5) for samples in rounds]
    p99 = spread([percentile(samples, 0.99) for samples in rounds])
    named = f"{count} bots" if count > 1 else "1 bot"
    return (named, spread(p50), p99, spread([broker_pct]), spread(each_pct), spread(memory)), p50


def _crowd(bench: Bench) -> tuple[tuple[str | Spread, ...], list[float]]:
    where, count = bench.folder / "crowd", bench.scale.crowd
    with ExitStack() as stack:
        broker = _broker(stack, where)
        crowd = stack.enter_context(
            ground.program(where / "crowd.log", *ground.module("benchmarks.crowd", str(broker.port), str(count)))
        )
        askers = [stack.enter_context(Asker(broker.port, f"bots/{number}", "5")) for number in range(0, count, 10)]
        time.sleep(2)
        broker_before, crowd_before, began = cpu_s(broker.pid), cpu_s(crowd.pid), time.monotonic()
        time.sleep(10)
        lasted = time.monotonic() - began
        broker_pct = (cpu_s(broker.pid) - broker_before) / lasted * 100
        each_pct = (cpu_s(crowd.pid) - crowd_before) / lasted * 100 / count
        each_mb = Footprint.of(crowd.pid).memory_kib / _MIB_IN_KIB / count
        rounds = [_asked(askers) for _ in range(bench.scale.rounds)]
    p50 = [percentile(samples, 0.5) for samples in rounds]
    p99 = spread([percentile(samples, 0.99) for samples in rounds])
    name = f"{count} clients, the protocol layer alone"
    return (name, spread(p50), p99, spread([broker_pct]), spread([each_pct]), spread([each_mb])), p50


def _asked(askers: list[Asker]) -> list[float]:
    count = max(5, _TRIPS // len(askers))
    return [took for asker in askers for took in asker.trips(count, 1, _LIMIT_S).took_ms]


def _broker(stack: ExitStack, where: Path) -> Mosquitto:
    return stack.enter_context(ground.mosquitto(MOSQUITTO_5, where / "broker"))


def _on_paper(fleet: tuple[str | Spread, ...], crowd: tuple[str | Spread, ...]) -> str:
    """Say what breaks first, from what was measured."""
    bot_pct, bot_mb, broker_pct = fleet[4], fleet[5], crowd[3]
    if not (isinstance(bot_pct, Spread) and isinstance(bot_mb, Spread) and isinstance(broker_pct, Spread)):
        raise TypeError("a row of a fleet holds measured values from its second cell on")
    per_core = 100 / max(bot_pct.median, 0.01)
    per_gb = 1024 / bot_mb.median
    return (
        f"On paper: one core carries about {per_core:.0f} idle bots, a gigabyte of memory {per_gb:.0f}. The broker, "
        f"with the whole crowd on it, uses {broker_pct.median:.2f} % of a core. What breaks first is HyperLiquid's "
        "limit of 1,200 weight a minute for an IP address: a bot that asks for prices every 3 s uses a third of it. "
        "Then it is the machine that the bots run on, long before the broker."
    )
