"""Whether a journal of a million past commands makes the next one slower."""

import random
import sqlite3
import time
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Final

from benchmarks import ground
from benchmarks.asker import Asker
from benchmarks.bench import Bench
from benchmarks.figures import Goal, Section, Table, ratios, spread
from benchmarks.latency import one_round, per_s, quantiles
from tests.support.program import Bot

_EMPTY: Final = "empty"
_LIMIT_OF_NOISE: Final = 1.1
_COPIES: Final = """
insert into bot_commands (command_id, name, topic, payload, payload_hash, channel, packet_id, retained, source,
                          received_at, status, response, executed_at, answered)
with recursive numbers(number) as (select 1 union all select number + 1 from numbers where number < ?)
select 'past-' || number, name, topic, payload, payload_hash, channel, packet_id, retained, source,
       received_at, status, response, executed_at, 1
from numbers, (select * from bot_commands where status = 'EXECUTED' limit 1)
"""


def run(bench: Bench) -> Section:
    """Measure it: two bots on one broker, one with a past."""
    past = f"{bench.scale.past_commands:,} past commands"
    where = bench.folder / "history"
    with ExitStack() as stack:
        market = stack.enter_context(ground.Market(where / "market"))
        port = stack.enter_context(ground.broker(ground.MOSQUITTO_5, where / "broker"))
        bench.say(f"writing {past}")
        _give_a_past(where / "old", port, market.port, bench.scale.past_commands)
        online_s, askers = {}, {}
        for name, base in ((_EMPTY, "new"), (past, "old")):
            started = time.monotonic()
            stack.enter_context(_bot(where / base, port, market.port, base))
            online_s[name] = time.monotonic() - started
            askers[name] = stack.enter_context(Asker(port, base, "5"))
        bench.say("asking both")
        rng = random.Random(1)  # noqa: S311 - an order, no secret
        one_round(askers, bench.scale.trips // 4, 1, rng)
        single = [one_round(askers, bench.scale.trips, 1, rng) for _ in range(bench.scale.rounds)]
        many = [one_round(askers, bench.scale.trips * 4, 64, rng) for _ in range(bench.scale.rounds)]
    rows = [
        (
            name,
            spread(quantiles([each[name] for each in single], 0.5)),
            spread(quantiles([each[name] for each in single], 0.99)),
            per_s([each[name] for each in many]),
            spread([online_s[name]]),
        )
        for name in askers
    ]
    slower = ratios(*(quantiles([each[name] for each in single], 0.5) for name in (past, _EMPTY)))
    return Section(
        key="history",
        title="A long past",
        about=f"Two bots on one mosquitto, MQTT 5, asked in turn: one with an empty journal, one with {past} in it.",
        tables=(
            Table(
                title="Commands, by what is in the journal",
                head=("journal", "p50 ms", "p99 ms", "commands/s, 64 in flight", "start to catalog s"),
                rows=tuple(rows),
            ),
        ),
        goals=(
            Goal(
                what=f"p50 with {past}, against an empty journal (a tenth is noise)",
                limit=_LIMIT_OF_NOISE,
                measured=slower,
                unit="x",
            ),
        ),
    )


def _give_a_past(folder: Path, port: int, market_port: int, count: int) -> None:
    """Let a bot run one command, end it, and copy that command's row."""
    with _bot(folder, port, market_port, "old") as bot, Asker(port, "old", "5") as asker:
        asker.trips(1, 1, 10)
        database = Path(bot.environment["BOT_DATA_DIR"]) / "bot.sqlite3"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(_COPIES, (count,))
        connection.commit()


def _bot(folder: Path, port: int, market_port: int, base: str) -> AbstractContextManager[Bot]:
    # Each of them trades for an account of its own.
    key = f"0x{base.encode().hex():0>64}"
    return ground.bot(folder, port, "5", market_port, base, HL_SECRET_KEY=key)
