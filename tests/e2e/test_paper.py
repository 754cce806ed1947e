"""Paper from end to end: the bot at the prices of an exchange in another process, which it only ever reads."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Watcher, connected
from tests.support.exchange import Exchange
from tests.support.net import until
from tests.support.program import Bot
from tests.support.proxy import Proxy

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

_SOON_S = 120
_FACTOR = 1.5
"""How far the live exchange's prices are from those that a simulator would make up itself."""
LIVELY = {
    "BOT_NETWORK": "paper",
    "ALLORA_API_KEY": "an-api-key",
    "SIM_FOLLOW_INTERVAL_S": "1",
    "TRADE_PRICE_GAP_PCT": "0.01",
    "TRADE_MAX_EXPOSURE_USD": "100000",
    "TRADE_COOLDOWN_S": "0",
    "TRADE_EXIT_BUFFER_PCT": "50",
    "TRADE_SL_RATIO": "5",
    "TRADE_TP_RATIO": "5",
    "BOT_RECONCILE_INTERVAL_S": "2",
}
REAL_KEY = "c0" * 32
"""A key as somebody has it who moves between paper and mainnet."""
REAL_ACCOUNT = "0x" + "c1" * 20


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Exchange]:
    """Plays HyperLiquid's mainnet and Allora's network; not started yet."""
    exchange = Exchange(tmp_path / "live", epoch_s=1)
    yield exchange
    exchange.kill()


@pytest.fixture
def line(live: Exchange) -> Iterator[Proxy]:
    """Between the bot and the live exchange; it reads along."""
    with Proxy(live.port, reads_http=True) as proxy:
        yield proxy


@pytest.fixture
def start(tmp_path: Path, program: Path, live: Exchange, line: Proxy) -> Iterator[Callable[[], Bot]]:
    bots: list[Bot] = []

    def begin() -> Bot:
        where = {
            "HL_BASE_URL": f"http://127.0.0.1:{line.port}",
            "HL_SECRET_KEY": REAL_KEY,
            "HL_ACCOUNT_ADDRESS": REAL_ACCOUNT,
            "ALLORA_BASE_URL": f"http://127.0.0.1:{live.port}/v2",
        }
        bots.append(Bot(program, tmp_path / "bot", None, **LIVELY, **where))
        bots[-1].start()
        return bots[-1]

    yield begin
    for bot in bots:
        bot.stop()


def watch(bot: Bot) -> Watcher:
    return until(lambda: connected(bot.broker_port), "the broker", _SOON_S)


def hyperliquid(watcher: Watcher) -> Any:
    health = watcher.json("health")
    return health and health["hyperliquid"]


def shift(live: Exchange, coin: str, factor: float) -> None:
    body = json.dumps({"coin": coin, "factor": factor}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{live.port}/sim/price", body)
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own URL
        assert answer.status == 200


def mark(live: Exchange, coin: str) -> Decimal:
    request = urllib.request.Request(f"http://127.0.0.1:{live.port}/info", b'{"type": "metaAndAssetCtxs"}')
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own URL
        meta, contexts = json.load(answer)
    names = [asset["name"] for asset in meta["universe"]]
    return Decimal(contexts[names.index(coin)]["markPx"])


def held(watcher: Watcher) -> dict[str, Any]:
    return {position["symbol"]: position for position in watcher.json("positions") or []}


def protected(watcher: Watcher, coin: str) -> Any:
    position = held(watcher).get(coin)
    return position if position and position["stop_price"] else None


def test_a_day_on_paper(live: Exchange, line: Proxy, start: Callable[[], Bot]) -> None:
    bot = start()
    with watch(bot) as watcher:
        # The live exchange is away: the bot is there, waits, and says so.
        watcher.wait("availability", "online", _SOON_S)
        until(lambda: (hyperliquid(watcher) or {}).get("last_error"), "what is wrong", _SOON_S)
        until(lambda: "No prices from http://127.0.0.1" in bot.log.read_text(), "the log", _SOON_S)
        live.start()
        for coin in ("BTC", "ETH"):
            shift(live, coin, _FACTOR)
        until(lambda: watcher.json("catalog"), "the catalog", _SOON_S)
        info = watcher.json("info")
        assert info["network"] == "paper"
        assert info["account_address"] != REAL_ACCOUNT, "paper has an account of its own"

        # It trades at the live exchange's prices.
        watcher.command("cryptos/set", "response/cryptos", {"value": {"BTC": 14}})
        assert watcher.command("mode/set", "response/mode", {"value": "ACTIVE"})["status"] == "EXECUTED"
        position = until(lambda: protected(watcher, "BTC"), "a position with its stop", _SOON_S)
        assert abs(Decimal(str(position["entry_price"])) / mark(live, "BTC") - 1) < Decimal("0.03")
        assert watcher.command("mode/set", "response/mode", {"value": "STANDBY"})["status"] == "EXECUTED"

        # A shock there hits the stop here.
        shift(live, "BTC", 0.7 if position["side"] == "LONG" else 1.4)
        closed = until(lambda: watcher.all("event/position_closed"), "the stop", _SOON_S)
        assert json.loads(closed[0])["reason"] == "stop"

        # An outage: no entry at old prices, and all is well again afterwards.
        live.kill()
        until(lambda: hyperliquid(watcher)["state"] != "ok", "the outage noticed", _SOON_S)
        watcher.command("mode/set", "response/mode", {"value": "ACTIVE"})
        live.start()
        until(lambda: hyperliquid(watcher)["state"] == "ok", "health", _SOON_S)
        until(lambda: protected(watcher, "BTC"), "a new position", _SOON_S)
        watcher.command("mode/set", "response/mode", {"value": "STANDBY"})
        before = until(lambda: protected(watcher, "BTC"), "the position", _SOON_S)
    assert bot.stop() == 0

    # The paper account outlives a restart.
    bot.start()
    with watch(bot) as watcher:
        after = until(lambda: protected(watcher, "BTC"), "the position again", _SOON_S)
    assert (after["side"], after["size"], after["ours"]) == (before["side"], before["size"], True)
    assert bot.stop() == 0
    assert "Traceback" not in bot.log.read_text()

    assert live.arrivals() == []
    # The live exchange was read, by one query, and nothing else.
    assert line.requests
    assert {(request.path, json.dumps(request.body)) for request in line.requests} == {
        ("/info", '{"type": "metaAndAssetCtxs"}')
    }
