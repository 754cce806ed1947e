"""What every dashboard sees: 200 coins whose prices change all the time."""

import json
import threading
import time
from collections import Counter
from contextlib import ExitStack
from typing import Final, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks import ground
from benchmarks.bench import Bench
from benchmarks.figures import Goal, Section, Table, percentile, spread
from benchmarks.scale import COINS
from tests.support.client import Watcher

_QUOTE_INTERVAL_S: Final = 0.2
_SETTLE_S: Final = 5.0
_SPEED: Final = 600
"""Seconds of the market in a second: every price is another one at every look."""
_COIN_LEVELS: Final = 3


def run(bench: Bench) -> Section:
    """Measure it in STANDBY, with every coin active: what is published does not depend on the mode."""
    where, cpu_pct, per_coin, others, lags_ms, looks = bench.folder / "fanout", [], [], [], [], []
    with ExitStack() as stack:
        market = stack.enter_context(ground.Market(where / "market", speed=_SPEED))
        port = stack.enter_context(ground.broker(ground.MOSQUITTO_5, where / "broker"))
        interval = {"BOT_QUOTE_INTERVAL_S": str(_QUOTE_INTERVAL_S), "BOT_HEARTBEAT_INTERVAL_S": "1"}
        bot = stack.enter_context(ground.bot(where / "bot", port, "5", market.port, **interval))
        market.faults(ground.NO_MATCH)
        ground.trade(port, COINS)
        with Watcher(port) as watcher:
            watcher.command("mode/set", "response/mode", {"value": "STANDBY"}, ground.ONLINE_S)
        time.sleep(_SETTLE_S)
        counter = stack.enter_context(_Counter(port))
        for number in range(bench.scale.rounds):
            bench.say(f"round {number + 1} of {bench.scale.rounds}")
            seconds = bench.scale.fanout_s / bench.scale.rounds
            counter.begin()
            began, cpu, asked = time.monotonic(), ground.cpu_s(bot.pid), time.monotonic()
            time.sleep(seconds)
            lasted = time.monotonic() - began
            cpu_pct.append((ground.cpu_s(bot.pid) - cpu) / lasted * 100)
            seen, lags = counter.end()
            of_coins = sum(count for topic, count in seen.items() if _is_coin(topic))
            per_coin.append(of_coins / COINS / lasted)
            others.append((seen.total() - of_coins) / lasted)
            lags_ms += lags
            prices = [each for each in market.log(asked) if each.get("type") == "metaAndAssetCtxs"]
            looks.append(len(prices) / lasted)
    return Section(
        key="fanout",
        title="State fan-out",
        about=(
            f"{COINS} active coins, all prices new at every look. The bot asks for all of them at once, here as often "
            f"as its settings allow (`BOT_QUOTE_INTERVAL_S={_QUOTE_INTERVAL_S}`: five times a second at most; the "
            "default is every 3 s). A dashboard needs no more than one value a second and coin."
        ),
        tables=(
            Table(
                title=f"With {COINS} coins, mosquitto, MQTT 5",
                head=("what", "measured"),
                rows=(
                    ("prices of all coins read, /s", spread(looks)),
                    ("messages per coin, /s", spread(per_coin)),
                    ("other messages, /s", spread(others)),
                    ("processor of the bot, % of a core", spread(cpu_pct)),
                    ("loop lag of the heartbeats, median ms", spread([percentile(lags_ms, 0.5)])),
                    ("loop lag of the heartbeats, worst ms", spread([max(lags_ms)])),
                ),
            ),
        ),
        goals=(Goal(what="Messages per coin in a second", limit=1.05, measured=spread(per_coin), unit="/s"),),
    )


class _Counter:
    """Counts what the bot publishes, and keeps the lags of its heartbeats."""

    def __init__(self, port: int) -> None:
        self._seen: Counter[str] = Counter()
        self._lags_ms: list[float] = []
        self._lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("bot/#", 1)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        time.sleep(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def begin(self) -> None:
        """Count from now on."""
        with self._lock:
            self._seen, self._lags_ms = Counter(), []

    def end(self) -> tuple[Counter[str], list[float]]:
        """Return what was counted, and the lags, ms."""
        with self._lock:
            return self._seen, self._lags_ms

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        with self._lock:
            self._seen[message.topic] += 1
            if message.topic.endswith("/heartbeat"):
                self._lags_ms.append(json.loads(message.payload)["loop_lag_ms"])


def _is_coin(topic: str) -> bool:
    return topic.startswith("bot/cryptos/") and topic.count("/") == _COIN_LEVELS - 1
