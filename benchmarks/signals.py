"""From a new prediction to an order at the exchange, and what one look at 1, 20 or 200 coins takes and costs."""

import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks import earlier_bot, ground
from benchmarks.bench import Bench
from benchmarks.figures import Bar, Chart, Goal, Section, Spread, Table, percentile, spread
from benchmarks.market import wide_universe
from benchmarks.scale import COINS
from tests.support.client import Watcher
from tests.support.net import until

_COINS: Final = 20
_EPOCH_S: Final = 4.0
_LATENCY_S: Final = 0.05
_AT_ONCE_S: Final = 0.5
"""An order this soon after its prediction was caused by it; a later one by the price that came before it."""
_AS_SHIPPED: Final = {
    "HL_WEIGHT_PER_MINUTE": "1200",
    "BOT_QUOTE_INTERVAL_S": "3",
    "TRADE_MAX_ORDERS_PER_MINUTE": "60",
}
"""What a cycle costs depends on the bot's own pace: here it is the default one."""
_STEADY_S: Final = 15.0
_PAUSE_S: Final = 8.0
"""Longer than the bot waits before it asks for the same prediction again."""
_SLOW: Final = [{"path": path, "kind": "latency", "seconds": _LATENCY_S} for path in ("/info", "/exchange", "/v2")]


def run(bench: Bench) -> Section:
    """Measure it on mosquitto, MQTT 5."""
    where = bench.folder / "signals"
    own_ms = _signal_to_order(bench, where / "orders")
    ours, theirs, rows = {}, {}, []
    with ExitStack() as stack:
        market = stack.enter_context(ground.Market(where / "market"))
        port = stack.enter_context(ground.broker(ground.MOSQUITTO_5, where / "broker"))
        stack.enter_context(ground.bot(where / "bot", port, "5", market.port, **_AS_SHIPPED))
        market.faults(ground.NO_MATCH, *_SLOW)
        for coins in bench.scale.cycles:
            bench.say(f"a cycle of {coins} coins")
            ours[coins], weight, weight_a_minute = _cycle(market, port, coins)
            rows.append(
                (f"allora-mqtt, {coins} coins", spread([ours[coins]]), spread([weight]), spread([weight_a_minute]))
            )
            ground.stand_by(port)
            time.sleep(_PAUSE_S)
        for coins in bench.scale.earlier:
            bench.say(f"the earlier bot's loop over {coins} coins")
            theirs[coins], weight = _earlier(market, coins)
            pause = earlier_bot.PAUSE_S
            rows.append(
                (
                    f"earlier bot's loop, {coins} coins (and {pause:.0f} s pause after it)",
                    spread([theirs[coins]]),
                    spread([weight]),
                    spread([weight * 60 / (pause + theirs[coins])]),
                )
            )
    return _section(own_ms, ours, theirs, rows)


def _signal_to_order(bench: Bench, where: Path) -> list[float]:
    """Return the bot's own time from a new prediction or price to the order, ms."""
    with ExitStack() as stack:
        market = stack.enter_context(ground.Market(where / "market", epoch_s=_EPOCH_S))
        market.faults(ground.NO_MATCH)
        port = stack.enter_context(ground.broker(ground.MOSQUITTO_5, where / "broker"))
        stack.enter_context(ground.bot(where / "bot", port, "5", market.port))
        ground.trade(port, _COINS)
        with Watcher(port) as watcher:
            topics: dict[str, int] = until(lambda: watcher.json("cryptos"), "the active set")
        bench.say(f"orders for {_COINS} coins")
        # Each coin's first order waits for its leverage to be set.
        time.sleep(_EPOCH_S * 2)
        since = time.monotonic()
        time.sleep(bench.scale.signal_s)
        return own_times_ms(market.log(since - _EPOCH_S), since, topics)


def own_times_ms(log: Sequence[Mapping[str, Any]], since: float, topics: Mapping[str, int]) -> list[float]:
    """Pair each order with the news that caused it.

    Args:
        log: of the market.
        since: orders that came later count.
        topics: the topic of each coin.
    """
    universe = wide_universe()
    news: dict[int, list[float]] = {}
    newest: dict[int, int] = {}
    for entry in log:
        topic, of = entry.get("topic"), entry.get("of")
        if topic is not None and of is not None and entry["ready_at"] is not None and newest.get(topic) != of:
            newest[topic] = of
            news.setdefault(topic, []).append(entry["ready_at"])
    quotes = [each["ready_at"] for each in log if each.get("type") == "metaAndAssetCtxs" and each["ready_at"]]
    found = []
    for entry in log:
        for asset in entry.get("assets", []) if entry["came_at"] >= since else []:
            coin = universe.assets[asset].name
            after_news_s = _since_last(news.get(topics[coin], []), entry["came_at"])
            after_quotes_s = _since_last(quotes, entry["came_at"])
            after_s = after_news_s if after_news_s is not None and after_news_s < _AT_ONCE_S else after_quotes_s
            found += [] if after_s is None else [after_s * 1000]
    return found


def _since_last(moments: list[float], now: float) -> float | None:
    place = bisect_right(moments, now)
    return None if place == 0 else now - moments[place - 1]


def _cycle(market: ground.Market, port: int, coins: int) -> tuple[float, float, float]:
    """Return how long one look at everything takes, s, its request weight, and the weight in a minute of trading.

    One look: every coin's prediction asked for once, and all prices; the bot asks for both at the same time.
    """
    started = time.monotonic()
    ground.trade(port, coins)
    time.sleep(_STEADY_S)
    log = market.log(started)
    asked: dict[int, Mapping[str, Any]] = {}
    for entry in log:
        if "topic" in entry:
            asked.setdefault(entry["topic"], entry)
    if len(asked) < coins:
        raise RuntimeError(f"only {len(asked)} of {coins} predictions were asked for in {_STEADY_S} s")
    lasted_s = max(entry["ready_at"] for entry in asked.values()) - min(entry["came_at"] for entry in asked.values())
    quotes = [each for each in log if each.get("type") == "metaAndAssetCtxs"]
    price_s = percentile([each["ready_at"] - each["came_at"] for each in quotes if each["ready_at"]], 0.5)
    info = sum(each["weight"] for each in log if each["path"] == "/info")
    return max(lasted_s, price_s), info / len(quotes), info * 60 / _STEADY_S


def _earlier(market: ground.Market, coins: int) -> tuple[float, float]:
    names = [asset.name for asset in wide_universe().live][:coins]
    lasted_s = earlier_bot.loop(f"http://127.0.0.1:{market.port}", names)
    return lasted_s, float(coins * earlier_bot.WEIGHT_PER_COIN)


def _section(
    own_ms: list[float],
    ours: Mapping[int, float],
    theirs: Mapping[int, float],
    rows: list[tuple[str, Spread, Spread, Spread]],
) -> Section:
    own = tuple(percentile(own_ms, share) for share in (0.5, 0.99, 1))
    most = max(ours)
    weight = next(row[2] for row in rows if row[0].startswith(f"allora-mqtt, {most} "))
    return Section(
        key="signals",
        title="Signal to order, and the cycle",
        about=(
            "Own time: from the moment when the market has the answer with a new prediction or price ready to the "
            f"arrival of the order there, {_COINS} coins, {len(own_ms)} orders. Both moments are the market's: the "
            "HTTP in between counts as the bot's. The order is on the bot's disk before it leaves. A cycle: each "
            f"coin's prediction and all prices asked for once, every request answered {_LATENCY_S * 1000:.0f} ms late. "
            "Beside it the earlier bot's loop, modelled from its constants: one coin after another, three requests "
            "each."
        ),
        tables=(
            Table(
                title="News to order, own time",
                head=("p50 ms", "p99 ms", "max ms"),
                rows=(tuple(spread([each]) for each in own),),
            ),
            Table(
                title=f"A cycle at {_LATENCY_S * 1000:.0f} ms API latency",
                head=("who", "cycle s", "HyperLiquid weight a cycle", "weight a minute"),
                rows=tuple(rows),
            ),
        ),
        charts=(
            Chart(
                name="cycle",
                title=f"One look at every coin, {_LATENCY_S * 1000:.0f} ms API latency",
                unit="s",
                is_log=True,
                bars=(
                    *(Bar(label=f"allora-mqtt, {n} coins", value=spread([s]), is_ours=True) for n, s in ours.items()),
                    *(Bar(label=f"earlier bot's loop, {n} coins", value=spread([s])) for n, s in theirs.items()),
                ),
            ),
        ),
        goals=(
            Goal(what="Signal to order, own time, p99", limit=15, measured=spread([own[1]]), unit="ms"),
            Goal(
                what=f"A cycle of {most} coins" + ("" if most == COINS else f" ({COINS} are wanted)"),
                limit=0.5,
                measured=spread([ours[most]]),
                unit="s",
                why="predictions are asked for one by one, eight at a time, which is all that Allora is asked to bear",
            ),
            Goal(what=f"Weight of a cycle of {most} coins", limit=30, measured=weight, unit="weight"),
        ),
    )
