"""One bad day of orders: a bot that trades all the time dies at every step, and the exchange loses its answers.

What is looked at afterwards is the exchange, which outlives the bot, and the bot's database; not the bot's own words.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from eth_account import Account

from allora_mqtt.simulator_process import simulator_key
from tests.guarantees.audit import Audit
from tests.guarantees.dying import POINTS, PROCESSES, live
from tests.guarantees.scale import Scale
from tests.guarantees.watched_account import Seen, WatchedAccount
from tests.support.client import Watcher, connected
from tests.support.exchange import Exchange
from tests.support.net import until
from tests.support.program import CHECKOUT, Bot

MAX_EXPOSURE_USD = 350
MAX_POSITIONS = 4
_SETTINGS = {
    "DEFAULT_ACTIVE_CRYPTOS": "BTC:14,ETH:9,SOL:10,AVAX:101,BNB:102",
    "HL_TIMEOUT_S": "4",
    "TRADE_PRICE_GAP_PCT": "0.01",
    "TRADE_EXIT_BUFFER_PCT": "0",
    "TRADE_COOLDOWN_S": "0",
    "TRADE_MAX_OPEN_POSITIONS": str(MAX_POSITIONS),
    "TRADE_MAX_EXPOSURE_USD": str(MAX_EXPOSURE_USD),
    "TRADE_MAX_DAILY_LOSS_PCT": "100",
    "TRADE_MAX_DRAWDOWN_PCT": "100",
    "BOT_RECONCILE_INTERVAL_S": "1",
    "BOT_HEARTBEAT_INTERVAL_S": "5",
}
_LIFE_S = 8
"""A point that is not passed by then is not passed in this life; the bot is killed wherever it is."""
_SETTLED_S = 120
_LIVES_BETWEEN_CHECKS = 20
_ORDERS: dict[str, Any] = {"path": "/exchange", "type": "order"}
_ANY: dict[str, Any] = {"path": "/exchange"}
TROUBLES: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "answers lost": [{**_ANY, "kind": "answer_lost", "probability": 0.4}],
    "answers spoilt": [{**_ANY, "kind": "malformed", "probability": 0.4}],
    "500": [{**_ANY, "kind": "http_500", "probability": 0.4}],
    "429": [{**_ORDERS, "kind": "http_429", "probability": 0.5}],
    "resets": [{**_ANY, "kind": "reset", "probability": 0.4}],
    "hangs": [{**_ORDERS, "kind": "hang", "seconds": 3, "probability": 0.3}],
    "slow": [{**_ORDERS, "kind": "latency", "seconds": 2.5, "probability": 0.5}],
    "in parts": [{**_ORDERS, "kind": "partial_fill", "probability": 0.6}],
    "in parts, answers lost": [
        {**_ORDERS, "kind": "partial_fill", "probability": 0.6},
        {**_ANY, "kind": "answer_lost", "probability": 0.4},
    ],
    "shown late": [
        {"path": "/info", "kind": "late_fills", "seconds": 2},
        {"path": "/info", "type": "clearinghouseState", "kind": "lagging_state", "seconds": 2},
    ],
    "shown late, answers lost": [
        {"path": "/info", "kind": "late_fills", "seconds": 2},
        {"path": "/info", "type": "clearinghouseState", "kind": "lagging_state", "seconds": 2, "probability": 0.5},
        {**_ANY, "kind": "answer_lost", "probability": 0.4},
    ],
}
_NARROW = ["rows stored/after", "outcome stored/before"]
"""Where every run begins: the order is stored and has not left; it has run, and its answer is not handled."""
_NUISANCES: list[list[dict[str, Any]]] = [
    [],
    [{**_ORDERS, "kind": "answer_lost", "count": 1}],
    [{**_ORDERS, "kind": "http_429", "count": 1}],
    [{**_ORDERS, "kind": "http_500", "count": 1}],
    [{**_ORDERS, "kind": "latency", "seconds": 0.7, "count": 2}],
    [{"path": "/info", "kind": "http_500", "count": 2}],
]
"""What a bot has to cope with while it puts a stop back."""
_LOST_ANSWERS = """
create trigger if not exists test_astray after update of status on orders when new.status = 'unknown'
  begin insert into test_effects (kind, thing, value) values ('astray', new.nonce, new.purpose); end;
"""


@dataclass
class ExecutionAftermath:
    """What there is to look at when the day is over.

    Attributes:
        kills: how often the bot died, by the point at which it did.
        lost_answers: actions of which the bot had to find out what became of them.
        wrongs: what must not be: doubled orders, orphaned positions, and where database and exchange differ.
        seen: the worst that was seen at the exchange.
        trades: orders that were filled.
    """

    kills: Counter[str] = field(default_factory=Counter)
    lost_answers: int = 0
    wrongs: list[str] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)
    trades: int = 0

    def of(self, kind: str) -> list[str]:
        """Return the wrongs of one kind."""
        return [wrong for wrong in self.wrongs if wrong.startswith(kind)]


class _DyingBot:
    """The bot that kills itself where it is told to."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.environment = Bot(CHECKOUT, folder, None, **settings).environment
        self.broker_port = int(self.environment["EMBEDDED_BROKER_BIND"].rpartition(":")[2])
        self.log = folder / "bot.log"
        self._process: ForkServerProcess | None = None

    def start(self, dies_at: str | None = None, **settings: str) -> None:
        arguments = (self.folder, {**self.environment, **settings}, self.log, dies_at)
        self._process = PROCESSES.Process(target=live, args=arguments)
        self._process.start()

    def is_alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.join(10)

    def stop(self) -> None:
        """End it as a service manager would."""
        if self._process is not None and self._process.is_alive():
            self._process.terminate()
            self._process.join(30)
            assert self._process.exitcode == 0, self.log.read_text()[-8000:]


class _Storm:
    """Brings the day about."""

    def __init__(self, bot: _DyingBot, exchange: Exchange, account: WatchedAccount, rng: random.Random) -> None:
        self._bot = bot
        self._exchange = exchange
        self._account = account
        self._rng = rng
        self._database = bot.folder / "data" / "bot.sqlite3"
        self.after = ExecutionAftermath(seen=account.seen)

    def rage(self, kills: int) -> None:
        """Live and die so many times, and look at what there is now and then."""
        for point in _NARROW:
            self._live(f"{point}:1", [], _SETTLED_S)
        points: list[str] = []
        for life in range(kills - len(_NARROW)):
            if life % _LIVES_BETWEEN_CHECKS == 0:
                self.check()
            points = points or self._rng.sample(POINTS, len(POINTS))
            dies_at = f"{points.pop()}:{self._rng.choice([1, 1, 2, 3, 5])}"
            self._live(dies_at, self._rng.choice(list(TROUBLES.values())), _LIFE_S)
        self.check(is_last=True)

    def _live(self, dies_at: str, trouble: list[dict[str, Any]], longest_s: float) -> None:
        self._exchange.faults(*trouble)
        point = dies_at.rpartition(":")[0]
        robs = "stop" in point or "protected" in point or self._rng.random() < 0.1
        self._bot.start(dies_at, BOT_DEFAULT_MODE="ACTIVE")
        self._account.is_bot_alive = True
        deadline = time.monotonic() + longest_s
        while self._bot.is_alive() and time.monotonic() < deadline:
            time.sleep(0.1)
            if robs:
                robs = not self._account.rob()
        self._account.is_bot_alive = False
        self.after.kills["anywhere" if self._bot.is_alive() else point] += 1
        self._bot.kill()

    def check(self, *, is_last: bool = False) -> None:
        """Start a bot that only looks, and hold what it finds against the exchange; the last one closes everything."""
        self._exchange.faults()
        self._bot.start(BOT_DEFAULT_MODE="STANDBY", BOT_STANDBY_EXITS="hold")
        with until(lambda: connected(self._bot.broker_port), "the bot", _SETTLED_S) as watcher:
            watcher.wait("availability", "online", _SETTLED_S)
            audit = Audit(self._database)
            with audit._open() as connection:
                connection.executescript(_LOST_ANSWERS)
            found: list[str] = []

            def agrees() -> bool:
                found[:] = self._differences(audit, watcher.json("positions") or [])
                return not found

            try:
                until(agrees, "agreement", _SETTLED_S)
            except AssertionError:
                self.after.wrongs += found
            if is_last:
                self._flatten(watcher)
        self._account.take_fills()
        self.after.wrongs += self._doubled(audit)
        astray = audit.ask("select count(distinct thing) from test_effects where kind = 'astray'")
        self.after.lost_answers = int(str(astray[0][0]))
        self.after.trades = len({fill["oid"] for fill in self._account.fills.values()})
        self._bot.stop()

    def _differences(self, audit: Audit, shown: list[dict[str, Any]]) -> list[str]:
        """Return where the exchange, the database and what is published differ."""
        open_rows = audit.ask("select symbol, side, size from positions where closed_at is null")
        booked = {str(symbol): Decimal(str(size)) * (1 if side == "LONG" else -1) for symbol, side, size in open_rows}
        held = self._account.positions()
        found = [f"orphaned: {coin} {size}" for coin, size in held.items() if coin not in booked]
        found += [f"different: {coin}: {held.get(coin)} at the exchange, {size}" for coin, size in booked.items()
                  if held.get(coin) != size]  # fmt: skip
        found += [f"orphaned: {each['symbol']} is taken for foreign" for each in shown if not each["ours"]]
        lost = audit.ask("select order_id, purpose, status from orders where status in ('sending', 'unknown')")
        return found + [f"unended: {row}" for row in lost]

    def _doubled(self, audit: Audit) -> list[str]:
        """Return orders and positions that the exchange has had twice, and orders that nobody had written down."""
        accepted: Counter[str] = Counter()
        for arrival in self._exchange.arrivals():
            action, outcome = arrival["action"], arrival["outcome"] or {}
            if action["type"] == "order" and outcome.get("status") == "ok":
                accepted.update(order["c"] for order in action["orders"])
        found = [f"doubled: order {cloid} was taken {count} times" for cloid, count in accepted.items() if count > 1]
        known = {str(row[0]) for row in audit.ask("select order_id from orders")}
        found += [f"doubled: order {cloid} was sent and never stored" for cloid in accepted if cloid not in known]
        entries = {str(row[0]) for row in audit.ask("select order_id from orders where purpose = 'entry'")}
        first_fills: dict[int, dict[str, Any]] = {}
        for fill in sorted(self._account.fills.values(), key=lambda fill: fill["tid"]):
            first_fills.setdefault(fill["oid"], fill)
        found += [
            f"doubled: {fill['coin']} was entered at a size of {fill['startPosition']}"
            for fill in first_fills.values()
            if fill.get("cloid") in entries and Decimal(fill["startPosition"]) != 0
        ]
        acted = audit.ask(
            "select signal_id from orders where purpose = 'entry' and cast(filled_size as real) > 0 "
            "group by signal_id having count(*) > 1"
        )
        return found + [f"doubled: signal {row[0]} was traded on twice" for row in acted]

    def _flatten(self, watcher: Watcher) -> None:
        """Close everything; the exchange must hold nothing of ours afterwards."""
        until(lambda: watcher.ask("flatten", 60)["status"] == "EXECUTED", "a flatten that is confirmed", 120)
        state = self._account.state()
        left = [order["oid"] for order in state["orders"]]
        if state["clearinghouse"]["assetPositions"] or left:
            self.after.wrongs.append(f"orphaned: {json.dumps(state['clearinghouse']['assetPositions'])} {left}")


@contextmanager
def execution_storm(folder: Path, scale: Scale, rng: random.Random) -> Iterator[ExecutionAftermath]:
    """Live through the day."""
    with _prepared(folder) as (bot, exchange, account):
        storm = _Storm(bot, exchange, account, rng)
        storm.rage(scale.execution_kills)
        yield storm.after


def robbed_again_and_again(folder: Path, count: int, rng: random.Random) -> Seen:
    """Take stops away from a bot that lives, and return how long each took until it was there again."""
    with _prepared(folder) as (bot, exchange, account):
        bot.start(BOT_DEFAULT_MODE="ACTIVE")
        for robbed in range(1, count + 1):
            exchange.faults()
            until(account.rob, "a position with a stop to take away", _SETTLED_S)
            exchange.faults(*rng.choice(_NUISANCES))
            until(lambda robbed=robbed: len(account.seen.restored_s) >= robbed, "a stop again", _SETTLED_S)  # type: ignore[misc] # a default, not an argument
        exchange.faults()
        return account.seen


@contextmanager
def _prepared(folder: Path) -> Iterator[tuple[_DyingBot, Exchange, WatchedAccount]]:
    with ExitStack() as stack:
        exchange = stack.enter_context(Exchange(folder / "exchange", epoch_s=1, speed=60))
        bot = _DyingBot(folder / "bot", **_SETTINGS, **exchange.settings)
        data = folder / "bot" / "data"
        data.mkdir(parents=True, exist_ok=True)
        address = Account.from_key(simulator_key(data / "simulator.key")).address
        account = stack.enter_context(WatchedAccount(exchange, address))
        stack.callback(bot.stop)
        yield bot, exchange, account
