"""How long until the first word, and how much memory: the command line, the bot, and what their imports cost."""

import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks import ground
from benchmarks.bench import Bench
from benchmarks.figures import Bar, Chart, Goal, Section, Spread, Table, spread
from benchmarks.scale import COINS
from tests.support.client import Watcher
from tests.support.footprint import Footprint
from tests.support.program import CHECKOUT, Bot

_MIB_IN_KIB: Final = 1024
_HOUR_S: Final = 3600
_MOST: Final = 12
_IMPORT = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|( *)(\S+)")


def run(bench: Bench) -> Section:
    """Measure it on mosquitto, MQTT 5."""
    where = bench.folder / "start"
    with ExitStack() as stack:
        market = stack.enter_context(ground.Market(where / "market", speed=_HOUR_S / bench.scale.hour_s))
        port = stack.enter_context(ground.broker(ground.MOSQUITTO_5, where / "broker"))
        bench.say("the bot's start")
        online_s = _starts(bench, where, port, market.port)
        started = stack.enter_context(ground.bot(where / "bot", port, "5", market.port))
        bench.say("the command line")
        bare_s = [_took(sys.executable, "-c", "pass") for _ in range(bench.scale.starts)]
        help_s = [_took(str(CHECKOUT), "--help") for _ in range(bench.scale.starts)]
        status_s = [_cli(started, "status") for _ in range(bench.scale.starts)]
        idle_mb = _settled_mb(started.pid)
        bench.say(f"memory with {COINS} coins")
        ground.trade(port, COINS)
        coins_mb = _settled_mb(started.pid)
        bench.say("an hour of the market, at speed")
        time.sleep(bench.scale.hour_s)
        hour_mb = _settled_mb(started.pid)
    return Section(
        key="start",
        title="Start and footprint",
        about="Warm: everything was read from the disk before. Memory is resident (VmRSS), of the bot's process alone.",
        tables=(
            Table(
                title="Time to start, s",
                head=("what", "s", "times a bare Python"),
                rows=tuple(
                    (what, spread(samples), spread([sample / spread(bare_s).median for sample in samples]))
                    for what, samples in (
                        ("python -c pass", bare_s),
                        ("allora-mqtt --help", help_s),
                        ("allora-mqtt status, on a running bot", status_s),
                        ("allora-mqtt run, until `online`", online_s),
                    )
                ),
            ),
            Table(
                title="Memory",
                head=("when", "MB"),
                rows=(
                    ("online, in STANDBY, no coin", spread([idle_mb])),
                    (f"{COINS} coins trading", spread([coins_mb])),
                    ("after an hour of the market at speed", spread([hour_mb])),
                ),
            ),
            *(_profile(module) for module in ("allora_mqtt_cli.main", "allora_mqtt.bot")),
        ),
        charts=(
            Chart(
                name="start",
                title="Time to start",
                unit="s",
                bars=(
                    Bar(label="python -c pass", value=spread(bare_s)),
                    Bar(label="allora-mqtt --help", value=spread(help_s), is_ours=True),
                    Bar(label="allora-mqtt status", value=spread(status_s), is_ours=True),
                    Bar(label="allora-mqtt run, until online", value=spread(online_s), is_ours=True),
                ),
            ),
        ),
        goals=(
            Goal(what="CLI --help", limit=0.3, measured=spread(help_s), unit="s"),
            Goal(what="CLI status", limit=0.5, measured=spread(status_s), unit="s"),
            Goal(what="Memory of the idle bot", limit=90, measured=spread([idle_mb]), unit="MB"),
        ),
    )


def _starts(bench: Bench, where: Path, port: int, market_port: int) -> list[float]:
    """Return how long a bot took from its start to `online`, s, with a journal that is there already."""
    took = []
    mqtt = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(port), "MQTT_BASE_TOPIC": "starts"}
    bot = Bot(CHECKOUT, where / "starts", mqtt, HL_BASE_URL=f"http://127.0.0.1:{market_port}")
    for number in range(bench.scale.starts + 1):
        with Watcher(port, "starts") as watcher:
            # What an earlier start has left at the broker would be taken for this one's.
            watcher.publish("availability", "", retain=True)
            watcher.wait("availability", "")
            started = time.perf_counter()
            bot.start()
            watcher.wait("availability", "online", ground.ONLINE_S)
            # The first start makes the database.
            took += [time.perf_counter() - started] if number else []
        bot.stop()
    return took


def _took(*words: str) -> float:
    started = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True)
    return time.perf_counter() - started


def _cli(bot: Bot, *words: str) -> float:
    started = time.perf_counter()
    done = bot.cli(*words)
    if done.returncode:
        raise RuntimeError(f"allora-mqtt {' '.join(words)} said: {done.stdout}{done.stderr}")
    return time.perf_counter() - started


def _settled_mb(pid: int) -> float:
    time.sleep(5)
    return Footprint.of(pid).memory_kib / _MIB_IN_KIB


def _profile(module: str) -> Table:
    """Return which packages the import of a module spends its time on, each counted once, in its importer's place."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {module}"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["cli", "."])},
        cwd=Path(__file__).parent.parent,
    )
    own_us: dict[str, int] = {}
    for line in done.stderr.splitlines():
        if (found := _IMPORT.match(line)) is not None:
            package = found[4].partition(".")[0]
            own_us[package] = own_us.get(package, 0) + int(found[1])
    most = sorted(own_us.items(), key=lambda item: -item[1])[:_MOST]
    rows = [("all together", _ms(sum(own_us.values()))), *((name, _ms(spent)) for name, spent in most)]
    return Table(title=f"Import of {module}, own time by package, ms", head=("package", "ms"), rows=tuple(rows))


def _ms(spent_us: int) -> Spread:
    return spread([spent_us / 1000])
