"""A bot with everything it stands on, each in a process of its own: broker, exchange, and the line between."""

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.guarantees.audit import Audit
from tests.support.client import Watcher, connected
from tests.support.exchange import Exchange
from tests.support.mosquitto import Mosquitto
from tests.support.net import free_port, until
from tests.support.postgres import Postgres
from tests.support.program import CHECKOUT, Bot
from tests.support.proxy import Proxy

LIVELY = {
    "TRADE_PRICE_GAP_PCT": "0.01",
    "TRADE_MAX_OPEN_POSITIONS": "50",
    "TRADE_MAX_EXPOSURE_USD": "100000",
    "TRADE_MAX_ORDERS_PER_MINUTE": "1200",
    "ALLORA_REQUESTS_PER_MINUTE": "60000",
    "TRADE_COOLDOWN_S": "0",
    "BOT_RECONCILE_INTERVAL_S": "2",
}
"""Settings of a bot that trades whenever it may."""


@dataclass
class Standing:
    """The bot and its surroundings.

    Args:
        bot: reaches its broker through `line`.
        exchange: outlives the bot.
        line: between bot and broker.
        broker_port: for everybody else.
        database: the bot's, as `Audit` wants it.
    """

    bot: Bot
    exchange: Exchange
    line: Proxy
    broker_port: int
    database: Path | str

    def watcher(self) -> Watcher:
        """Return a client that sees everything, what is retained first."""
        return Watcher(self.broker_port)

    def flatten(self) -> None:
        """Close everything; the exchange must not hold a position afterwards."""
        with self.watcher() as watcher:
            until(lambda: watcher.ask("flatten", 60)["status"] == "EXECUTED", "a flatten that is confirmed", 120)
            assert self.exchange.positions(self.address(watcher)) == {}

    def address(self, watcher: Watcher) -> str:
        """Return the address of the account that the bot trades for."""
        info = until(lambda: watcher.json("info"), "the bot's info")
        return str(info["account_address"])

    def accepted_cloids(self) -> Counter[str]:
        """Return how often the exchange has accepted each order of ours."""
        cloids: Counter[str] = Counter()
        for arrival in self.exchange.arrivals():
            action, outcome = arrival["action"], arrival["outcome"] or {}
            if action["type"] == "order" and outcome.get("status") == "ok":
                answers = outcome["response"]["data"]["statuses"]
                orders = zip(action["orders"], answers, strict=False)
                cloids.update(order["c"] for order, answer in orders if "error" not in answer)
        return cloids

    def disagreements(self, audit: Audit, timeout_s: float = 30) -> list[str]:
        """Return where the bot's journal, its retained state, its memory and the exchange differ once all is quiet."""
        with self.watcher() as watcher:
            watcher.wait("availability", "online", 60)
            watcher.command("mode/set", "response/mode", {"value": "STANDBY"})
            found: list[str] = []

            def agree() -> bool:
                found[:] = self._differences(watcher, audit)
                return not found

            try:
                until(agree, "agreement", timeout_s)
            except AssertionError:
                return found
        return []

    def _differences(self, watcher: Watcher, audit: Audit) -> list[str]:
        status, beat = watcher.json("status"), watcher.json("heartbeat")
        if status is None or beat is None:
            return ["no status or no heartbeat"]
        saved = {str(key): json.loads(str(value)) for key, value in audit.ask("select key, value from state")}
        active = {
            str(symbol): topic
            for symbol, topic in audit.ask("select symbol, topic_id from crypto_configs where is_active")
        }
        settings = {
            str(key): Decimal(str(value))
            for key, value in audit.ask("select key, value from settings where key <> 'strategy'")
        }
        shown = watcher.json("config")
        at_exchange = self.exchange.positions(self.address(watcher))
        views: dict[str, list[Any]] = {
            "mode": [(watcher.last("mode") or b"").decode(), status["mode"], beat["mode"]],
            "revision": [saved["revision"], status["revision"], beat["revision"]],
            "cryptos": [active, watcher.json("cryptos"), status["active_cryptos"]],
            "settings": [settings, {key: Decimal(str(shown[key]["value"])) for key in settings}],
            "positions": [
                {coin: abs(Decimal(size)) for coin, size in at_exchange.items()},
                {each["symbol"]: Decimal(str(each["size"])) for each in watcher.json("positions") if each["ours"]},
                {
                    symbol: Decimal(str(size))
                    for symbol, size in audit.ask("select symbol, size from positions where closed_at is null")
                },
            ],
        }
        return [f"{what}: {says}" for what, says in views.items() if any(each != says[0] for each in says)]


@contextmanager
def standing(
    folder: Path,
    mosquitto: Mosquitto | None,
    version: str,
    *,
    epoch_s: float = 1,
    once_started: Callable[[], None] = lambda: None,
    postgres: Postgres | None = None,
    **settings: str,
) -> Iterator[Standing]:
    """Bring the bot up on mosquitto, or on our own broker in a process of its own, and end everything afterwards.

    Args:
        folder: of everything.
        mosquitto: the broker; our own without.
        version: of MQTT.
        epoch_s: how often there are new predictions.
        once_started: called when the bot's process has been started, before anything is expected of it.
        postgres: keeps the bot's books; SQLite does without.
        **settings: of the bot.
    """
    with ExitStack() as stack:
        port = mosquitto.port if mosquitto is not None else stack.enter_context(own_broker(folder / "broker"))
        exchange = stack.enter_context(Exchange(folder / "exchange", epoch_s=epoch_s))
        line = stack.enter_context(Proxy(port))
        where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(line.port), "MQTT_PROTOCOL": version}
        if postgres is not None:
            settings["BOT_DATABASE_URL"] = postgres.url()
        bot = Bot(CHECKOUT, folder / "bot", where, **{**LIVELY, **exchange.settings, **settings})
        bot.start()
        stack.callback(bot.stop)
        once_started()
        try:
            with until(lambda: connected(port), "the broker") as watcher:
                watcher.wait("availability", "online", 60)
        except AssertionError as error:
            raise AssertionError(f"{error}; the bot said: {bot.log.read_text()[-8000:]}") from error
        database = folder / "bot" / "data" / "bot.sqlite3" if postgres is None else postgres.url()
        yield Standing(bot, exchange, line, port, database)


@contextmanager
def own_broker(folder: Path) -> Iterator[int]:
    """Start the broker that the bot brings along, alone, so that it outlives the bot."""
    port = free_port()
    broker = Bot(CHECKOUT, folder, None, EMBEDDED_BROKER_BIND=f"127.0.0.1:{port}")
    with broker.log.open("ab") as log:
        process = subprocess.Popen(
            [CHECKOUT, "broker"], cwd=folder, env=broker.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        with until(lambda: connected(port), "our own broker", 60):
            pass
        yield port
    finally:
        process.kill()
        process.wait(10)
