"""The request budget against the simulator with its limits on, at the fastest intervals there are."""

from dataclasses import dataclass, field

from allora_mqtt.market.budget import ACTIONS_IN_RESERVE, RequestBudget
from allora_mqtt.simulator.limits import IpLimiter
from tests.integration.trading.bench import ETH, EXTRA_COINS, FIRST_EXTRA, Bench, until

MANY = {coin: FIRST_EXTRA + number for number, coin in enumerate(EXTRA_COINS)}


@dataclass
class CountingLimiter(IpLimiter):
    """The simulator's limiter, with a memory of what it refused."""

    refused: list[int] = field(default_factory=list)
    asked: int = 0

    def allows(self, ip: str, weight: int, now_s: float) -> bool:
        self.asked += weight
        allowed = super().allows(ip, weight, now_s)
        if not allowed:
            self.refused.append(weight)
        return allowed


async def test_many_coins_at_the_fastest_intervals_draw_no_refusal(bench: Bench) -> None:
    limiter = CountingLimiter()
    bench.simulator.world.limiter = limiter
    bench.weight_per_minute = 1200
    bench.signal(**dict.fromkeys(MANY, 0.02))
    bot = await bench.start(MANY, max_open_positions=8, reconcile_interval_s=0.05)
    await until(lambda: len(bot.portfolio.holdings) == 8, "many entries", 60)
    looks = bot.seen.account_looks
    await until(lambda: limiter.asked > 700, "most of the limit is used", 60)
    await until(lambda: bot.seen.account_looks > looks, "the account is still looked at", 60)
    assert limiter.refused == []
    assert (bot.hyperliquid.figures().quote_interval_s or 0) > 1.4, "0.15 s was asked for"
    assert await bot.engine.close(next(iter(bench.positions())), "command") > 0
    assert limiter.refused == []


async def test_a_refusal_that_comes_anyway_pauses_reading_and_not_exits(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    bench.faults({"path": "/info", "kind": "http_429", "count": 1})
    await until(lambda: bot.hyperliquid.figures().paused_s > 0, "the pause")
    assert not bot.hyperliquid.info_health.is_open
    assert await bot.engine.close("ETH", "command") > 0
    assert bench.positions() == {}
    assert bot.hyperliquid.figures().paused_s > 0


async def test_a_stop_that_was_refused_for_haste_is_there_before_the_pause_is_over(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    bench.faults({"path": "/exchange", "kind": "http_429", "count": 1})
    bench.remove(bench.resting("ETH")["sl"])
    await until(lambda: "sl" in bench.resting("ETH"), "a stop again")
    assert bench.faults_left() == 0, "the first try was refused"
    assert bot.hyperliquid.figures().paused_s > 0
    await until(lambda: not bot.engine.reconciler._protection.is_missing, "it has been seen")


async def test_an_account_with_few_actions_left_makes_no_entries_and_closes_what_it_has(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    limit = bot.hyperliquid.figures().actions_limit
    assert limit is not None
    bench.account.action_count = limit + 200 - ACTIONS_IN_RESERVE
    await bot.hyperliquid.learn_limits()
    assert bot.hyperliquid.budget.obstacle() is not None
    await bot.engine.flatten("flatten")
    bench.next_epoch()
    await until(lambda: any("actions" in why for why in bot.engine.signals["ETH"].reasons), "the reason")
    assert len(bench.entries()) == 1
    bench.account.action_count = 0
    await bot.hyperliquid.learn_limits()
    await bench.holding("ETH")


async def test_entries_wait_until_the_exchange_has_told_its_count(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults({"path": "/info", "type": "userRateLimit", "kind": "malformed"})
    bot = await bench.start({"ETH": ETH})
    await until(lambda: any("not known yet" in why for one in bot.seen.signals for why in one.reasons), "the reason")
    assert bench.entries() == []
    bot.hyperliquid.line.budget = RequestBudget(10**9)
    bench.faults()
    await bench.holding("ETH")
