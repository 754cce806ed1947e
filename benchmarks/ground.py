"""What a measurement stands on: brokers, the market, bots and answering programs, each a process of its own."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from benchmarks.scale import COINS
from tests.guarantees.standing import own_broker
from tests.support.client import Watcher
from tests.support.exchange import Exchange
from tests.support.mosquitto import MOSQUITTO, Mosquitto
from tests.support.net import until
from tests.support.program import CHECKOUT, Bot

ONLINE_S: Final = 90.0
ORDERS: Final[dict[str, Any]] = {"path": "/exchange", "type": "order"}
NO_MATCH: Final[dict[str, Any]] = {**ORDERS, "kind": "partial_fill", "share": 0}
"""An order without a match leaves its coin free to signal again, so that there is always something to trade."""
WITHOUT_END: Final = {
    "TRADE_PRICE_GAP_PCT": "0.01",
    "TRADE_MAX_OPEN_POSITIONS": str(COINS),
    "TRADE_MAX_EXPOSURE_USD": "1000000",
    "TRADE_MAX_SYMBOL_EXPOSURE_USD": "100000",
    "TRADE_MAX_ORDERS_PER_MINUTE": "1200",
    "TRADE_AMOUNT_USD": "10",
    "TRADE_MAX_SPREAD_PCT": "10",
    "TRADE_MAX_DAILY_LOSS_PCT": "100",
    "TRADE_MAX_DRAWDOWN_PCT": "100",
    "TRADE_COOLDOWN_S": "0",
    "ALLORA_REQUESTS_PER_MINUTE": "60000",
    "HL_WEIGHT_PER_MINUTE": "1000000",
    "BOT_HEARTBEAT_INTERVAL_S": "1",
    "BOT_QUOTE_INTERVAL_S": "1",
}
"""Settings of a bot that trades whenever it may: far more than anybody would let it."""
STEADILY: Final = {
    "BOT_QUOTE_INTERVAL_S": "3",
    "ALLORA_REQUESTS_PER_MINUTE": "600",
    "TRADE_MAX_ORDERS_PER_MINUTE": "300",
}
"""A busy day: prices as often as by default, each of 200 predictions every 20 s, up to 100 entries in a minute."""


@dataclass(frozen=True, slots=True)
class BrokerKind:
    """A broker and the version of MQTT that is spoken with it."""

    name: str
    version: str

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.name}, MQTT {self.version}"


MOSQUITTO_5: Final = BrokerKind("mosquitto", "5")
MOSQUITTO_3: Final = BrokerKind("mosquitto", "3.1.1")
MOSQUITTO_SAVING: Final = BrokerKind("mosquitto that saves each change", "5")
"""With `mosquitto/mosquitto.conf` of this repository: what it holds survives its own crash."""
EMBEDDED: Final = BrokerKind("embedded amqtt", "3.1.1")


class Market(Exchange):
    """The market of this suite: `benchmarks.market`, in memory."""

    def __init__(self, folder: Path, *, epoch_s: float = 15, speed: float = 1) -> None:
        super().__init__(folder, module="benchmarks.market")
        self._words = ["--port", str(self.port), "--epoch-s", str(epoch_s), "--speed", str(speed)]

    def log(self, since: float = 0) -> list[dict[str, Any]]:
        """Return what it was asked since a time (`time.monotonic()`)."""
        with urlopen(f"http://127.0.0.1:{self.port}/bench/log?since={since}", timeout=60) as answer:
            entries: list[dict[str, Any]] = json.load(answer)
            return entries


@contextmanager
def folder() -> Iterator[Path]:
    """Give a folder on the disk that the checkout's user data would be on: /tmp may be memory."""
    cache = Path.home() / ".cache" / "allora-mqtt"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="bench-") as name:
        yield Path(name)


@contextmanager
def broker(kind: BrokerKind, where: Path) -> Iterator[int]:
    """Start a broker and return its port."""
    if kind == EMBEDDED:
        with own_broker(where) as port:
            yield port
        return
    with mosquitto(kind, where) as started:
        yield started.port


@contextmanager
def mosquitto(kind: BrokerKind, where: Path) -> Iterator[Mosquitto]:
    """Start a mosquitto."""
    if MOSQUITTO is None:
        raise SystemExit("The mosquitto broker is not installed; get it with: apt-get install mosquitto")
    here = Path(__file__).parent
    shipped = here.parent / "mosquitto" / "mosquitto.conf" if kind == MOSQUITTO_SAVING else here / "mosquitto.conf"
    started = Mosquitto(where, shipped=shipped)
    started.start()
    try:
        yield started
    finally:
        started.stop()


@contextmanager
def bot(
    where: Path, port: int, version: str, market_port: int | None, base: str = "bot", **settings: str
) -> Iterator[Bot]:
    """Start a bot that trades without end when it is told to, and wait until it is online.

    Args:
        where: its folder.
        port: of the broker.
        version: of MQTT.
        market_port: where it trades; a simulator of its own without.
        base: its base topic.
        **settings: beside `WITHOUT_END`.
    """
    mqtt = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(port), "MQTT_PROTOCOL": version, "MQTT_BASE_TOPIC": base}
    market = {} if market_port is None else {"HL_BASE_URL": f"http://127.0.0.1:{market_port}"}
    started = Bot(CHECKOUT, where, mqtt, **{**WITHOUT_END, **market, **settings})
    started.start()
    try:
        with Watcher(port, base) as watcher:
            watcher.wait("availability", "online", ONLINE_S)
            until(lambda: watcher.json("catalog"), "a catalog", ONLINE_S)
        yield started
    finally:
        started.stop()


def trade(port: int, coins: int, base: str = "bot", mode: str = "ACTIVE") -> None:
    """Switch that many coins on and let the bot trade them, or only watch them."""
    with Watcher(port, base) as watcher:
        catalog = until(lambda: watcher.json("catalog"), "a catalog", ONLINE_S)
        both = [symbol for symbol, entry in catalog.items() if entry["availability"] == "both"]
        if len(both) < coins:
            raise RuntimeError(f"{coins} coins are to be traded and the market has {len(both)}")
        for topic, value in (("cryptos", both[:coins]), ("mode", mode)):
            response = watcher.command(f"{topic}/set", f"response/{topic}", {"value": value}, ONLINE_S)
            if response["status"] != "EXECUTED":
                raise RuntimeError(f"{topic}/set was answered with {response}")


def stand_by(port: int, base: str = "bot") -> None:
    """Let the bot stop trading, and follow no coin any more."""
    with Watcher(port, base) as watcher:
        for topic, value in (("mode", "STANDBY"), ("cryptos", [])):
            watcher.command(f"{topic}/set", f"response/{topic}", {"value": value}, ONLINE_S)


@contextmanager
def program(log: Path, *words: str | Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program beside the suite, its output kept in a file, and kill it at the end."""
    with log.open("ab") as output:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def module(name: str, *words: str) -> Sequence[str]:
    """Return how to run a module of ours."""
    return (sys.executable, "-m", name, *words)


def cpu_s(pid: int) -> float:
    """Return how much processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
