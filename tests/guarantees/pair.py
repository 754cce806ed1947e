"""Two bots for one account, each with a folder and lines of its own, on one PostgreSQL and one broker."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from paho.mqtt.enums import MQTTProtocolVersion

from tests.guarantees.audit import ENDS, Audit
from tests.guarantees.sender import Plan, Sender
from tests.guarantees.standing import LIVELY
from tests.support.client import Watcher
from tests.support.exchange import Exchange
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.postgres import Postgres
from tests.support.program import CHECKOUT, Bot
from tests.support.proxy import Proxy

LEASE_S = 3.0
COINS = "BTC:14,ETH:13"
_KEY = f"0x{'5b' * 32}"


@dataclass
class Half:
    """One bot of the pair.

    Attributes:
        database: its line to PostgreSQL.
        exchange: its line to the exchange, on which everything that it sends is noted.
    """

    bot: Bot
    database: Proxy
    exchange: Proxy

    def freeze(self) -> None:
        os.kill(self.bot.pid, signal.SIGSTOP)

    def is_frozen(self) -> bool:
        return Path(f"/proc/{self.bot.pid}/stat").read_text().rpartition(") ")[2].startswith("T")

    def thaw(self) -> None:
        os.kill(self.bot.pid, signal.SIGCONT)

    def actions(self) -> int:
        """Count what it has sent to the exchange that was not a question."""
        return sum(request.path == "/exchange" for request in self.exchange.requests)

    def said(self) -> str:
        return self.bot.log.read_text()

    def is_waiting(self) -> bool:
        """Whether the newest thing it has said of the lease is that another has it."""
        said = self.said()
        return said.rfind("Another bot has the lease") > said.rfind("This bot has the lease")


@dataclass
class Pair:
    """Both of them, and everything they have in common."""

    active: Half
    spare: Half
    postgres: Postgres
    exchange: Exchange
    sender: Sender
    watcher: Watcher
    audit: Audit
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10_000, 100_000)))

    def send(self, count: int, pause_s: float = 0.0) -> list[Plan]:
        """Send settings with values that tell each from every other."""
        plans = []
        for number in (next(self.numbers) for _ in range(count)):
            value = f"1.{number}1"
            payload = f'{{"value":{value},"id":"pair-{number}"}}'
            plans.append(Plan(f"pair-{number}", "config/tp_ratio/set", payload, value=value))
            self.sender.send(plans[-1])
            time.sleep(pause_s)
        return plans

    def ping(self, timeout_s: float = 60) -> float:
        """Ask for a sign of life, and return how long that took, in seconds."""
        number = next(self.numbers)
        sending = self.sender.ask(Plan(f"ping-{number}", "request/ping", f'{{"id":"ping-{number}"}}'), timeout_s)
        return sending.responses[0][0] - sending.sent_at

    def turn_over(self) -> None:
        """Let the two change their parts."""
        self.active, self.spare = self.spare, self.active

    def holder(self) -> int:
        """Return which holder of the lease is the present one."""
        ((number,),) = self.audit.ask("select number from lease")
        return int(str(number))

    def settle(self) -> None:
        """Wait until every command has come to its end and been answered."""
        self.sender.all_acknowledged(60)
        until(lambda: self.sender.answered() >= self.sender.acknowledged(), "an answer to every command", 90)
        until(lambda: all(each.answered for each in self.audit.commands()), "answers that the broker has", 30)

    def lost(self) -> list[str]:
        """Return the commands that the broker had and that did not come to an end."""
        ended = {command.id for command in self.audit.commands() if command.status in ENDS}
        return sorted(self.sender.acknowledged() - ended)

    def doubled(self) -> list[str]:
        """Return the commands, and the orders at the exchange, that had their effect twice."""
        values = Counter(self.audit.settings("tp_ratio"))
        ids = Counter(each.id for each in self.audit.commands() if each.id and each.duplicate_of is None)
        ends = {str(seq): len(found) for seq, found in self.audit.ends().items()}
        cloids = Counter(
            order["c"]
            for arrival in self.exchange.arrivals()
            if arrival["action"]["type"] == "order" and (arrival["outcome"] or {}).get("status") == "ok"
            for order, answer in zip(
                arrival["action"]["orders"], arrival["outcome"]["response"]["data"]["statuses"], strict=False
            )
            if "error" not in answer
        )
        return [each for counts in (values, ids, ends, cloids) for each, count in counts.items() if count > 1]

    def strangers(self) -> set[str]:
        """Return the orders at the exchange that are in no books: sent by a bot that may not write any more."""
        known = {str(order_id) for (order_id,) in self.audit.ask("select order_id from orders")}
        sent = [
            arrival["action"]["orders"] for arrival in self.exchange.arrivals() if arrival["action"]["type"] == "order"
        ]
        return {order["c"] for orders in sent for order in orders} - known


_FREEZING = """#!{python}
import signal, sys
sys.path.insert(0, {root!r})
from tests.guarantees.dying import arm
from allora_mqtt_cli.main import main
arm({point!r}, {passage}, signal.SIGSTOP)
sys.exit(main(sys.argv[1:]))
"""


def freezing(folder: Path, point: str, passage: int) -> Path:
    """Return the bot's command, which freezes at the n-th passage of a point that `dying` names."""
    program = folder / "freezing"
    root = str(Path(__file__).parents[2])
    program.write_text(_FREEZING.format(python=sys.executable, root=root, point=point, passage=passage))
    program.chmod(0o755)
    return program


@contextmanager
def pair(
    folder: Path, mosquitto: Mosquitto, postgres: Postgres, program: Path = CHECKOUT, **settings: str
) -> Iterator[Pair]:
    """Start both; the first one trades.

    Args:
        folder: of everything.
        mosquitto: the broker.
        postgres: the database.
        program: what the first one is started by.
        **settings: of both.
    """
    with ExitStack() as stack:
        exchange = stack.enter_context(Exchange(folder / "exchange", epoch_s=1))
        halves: list[Half] = []
        for name in ("first", "second"):
            database = stack.enter_context(Proxy(postgres.port))
            line = stack.enter_context(Proxy(exchange.port, reads_http=True))
            where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port), "MQTT_PROTOCOL": "5"}
            wanted = {
                **LIVELY,
                **exchange.settings,
                "HL_BASE_URL": f"http://127.0.0.1:{line.port}",
                "HL_SECRET_KEY": _KEY,
                "DEFAULT_ACTIVE_CRYPTOS": COINS,
                "BOT_DATABASE_URL": postgres.url(database.port),
                "BOT_PAIR": "true",
                "BOT_LEASE_S": str(LEASE_S),
                "BOT_DEFAULT_MODE": "LAST",
                **settings,
            }
            halves.append(Half(Bot(CHECKOUT if halves else program, folder / name, where, **wanted), database, line))
            stack.callback(_end, halves[-1].bot)
        first, second = halves
        sender = stack.enter_context(Sender(mosquitto.port, "pair", MQTTProtocolVersion.MQTTv5))
        watcher = stack.enter_context(Watcher(mosquitto.port))
        first.bot.start()
        watcher.wait("availability", "online", 60)
        second.bot.start()
        until(second.is_waiting, "a spare that waits", 60)
        yield Pair(first, second, postgres, exchange, sender, watcher, Audit(postgres.url()))
        for half in halves:
            before, found, after = half.said().partition("Traceback")
            assert not found, before[-1000:] + after[:8000]
            assert postgres.PASSWORD not in half.said()


def _end(bot: Bot) -> None:
    if bot.is_alive():
        os.kill(bot.pid, signal.SIGCONT)
    bot.stop()
