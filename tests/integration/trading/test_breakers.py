"""The breakers of the exchange's two doors: what goes on, what does not, and that all of it comes back."""

from typing import Any

import pytest

from allora_mqtt.protocol.errors import BotError
from tests.integration.trading.bench import BTC, ETH, ETH_SHORT, Bench, Bot, until

NO_ORDERS: dict[str, Any] = {"path": "/exchange", "kind": "http_503"}


async def break_the_exchange(bench: Bench, bot: Bot) -> None:
    bench.faults(NO_ORDERS)
    for _ in range(5):
        with pytest.raises(BotError):
            await bot.engine._executor.probe()
    assert bot.hyperliquid.exchange_health.is_open
    assert bot.seen.breakers == [("hyperliquid_exchange", True)]


def reasons(bot: Bot, symbol: str) -> list[str]:
    signal = bot.engine.signals.get(symbol)
    return [] if signal is None else signal.reasons


async def test_without_orders_there_are_no_entries_until_a_probe_was_answered(bench: Bench) -> None:
    bot = await bench.start({"ETH": ETH})
    await until(lambda: "ETH" in bot.engine.signals, "a signal")
    await break_the_exchange(bench, bot)
    bench.signal(ETH=0.01)
    bench.next_epoch()
    await until(lambda: "the breaker hyperliquid_exchange is open" in reasons(bot, "ETH"), "the reason")
    assert not bot.hyperliquid.info_health.is_open, "reading goes on"
    assert bench.entries() == []
    bench.faults()
    bench.clock.advance(16)
    await until(lambda: ("hyperliquid_exchange", False) in bot.seen.breakers, "the probe closes it", 20)
    assert bench.sent("noop")
    await bench.holding("ETH")


async def test_exits_by_rule_wait_for_the_probe_and_a_person_is_obeyed_at_once(bench: Bench) -> None:
    bench.signal(ETH=0.01, BTC=0.01)
    bot = await bench.start({"ETH": ETH_SHORT, "BTC": BTC})
    await bench.holding("ETH", "BTC")
    await break_the_exchange(bench, bot)
    arrived = len(bench.sent())
    bench.clock.advance(301)
    await until(lambda: len(bench.sent("noop")) > 5, "a probe")
    await bench.looks(5)
    assert (len(bench.sent("noop")), len(bench.sent())) == (6, arrived), "nothing more before another 15 s have passed"
    with pytest.raises(BotError):
        await bot.engine.close("BTC", "command")
    assert len(bench.sent()) > arrived, "it was tried all the same"
    tries = len(bench.sent()) + len(bench.sent("noop"))
    await bench.looks(5)
    assert len(bench.sent()) + len(bench.sent("noop")) <= tries + 1, "what became of it is asked by a probe too"
    bench.faults()
    assert await bot.engine.close("BTC", "command") > 0
    assert ("hyperliquid_exchange", False) in bot.seen.breakers
    await bench.closed("horizon")


async def test_a_breaker_is_reset_by_its_name_and_says_so(bench: Bench) -> None:
    bot = await bench.start({"ETH": ETH})
    await until(lambda: bot.portfolio.account, "the account")
    await break_the_exchange(bench, bot)
    assert bot.feed.reset_breakers("allora") == []
    assert bot.feed.reset_breakers("hyperliquid_exchange") == ["hyperliquid_exchange"]
    assert bot.seen.breakers[-1] == ("hyperliquid_exchange", False)


async def test_without_information_no_exit_by_price_is_made(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    bench.faults({"path": "/info", "kind": "http_500"})
    await until(lambda: bot.hyperliquid.info_health.is_open, "the breaker opens", 20)
    sent = len(bench.sent())
    bench.signal(ETH=-0.05)
    bench.next_epoch()
    prediction = bot.feed.predictions["ETH"].at
    await until(lambda: bot.feed.predictions["ETH"].at > prediction, "a prediction that has turned", 20)
    bot.engine._on_news()
    await until(lambda: not bot.engine._wake.is_set(), "the cycle has looked")
    assert len(bench.sent()) == sent
    assert set(bench.resting("ETH")) == {"sl", "tp"}
    bench.faults()
    bench.clock.advance(16)
    await bench.closed("prediction_turned")
