"""The limits on losses: no entries beyond them, told once, until somebody resets them."""

from decimal import Decimal

from tests.integration.trading.bench import BTC, ETH, Bench, Bot, until


async def test_a_daily_loss_blocks_entries_and_is_told_once(bench: Bench) -> None:
    bot = await bench.start({"ETH": ETH}, max_daily_loss_pct=5)
    await until(lambda: bot.portfolio.results, "the account")
    bench.account.cash_usd = Decimal(9_499)
    await until(lambda: bot.seen.trips, "the limit")
    bench.signal(ETH=0.01)
    bench.next_epoch()
    await until(lambda: "ETH" in bot.engine.signals, "a signal")
    await until(lambda: "a limit on losses was reached" in bot.engine.signals["ETH"].reasons, "no entry")
    await bench.looks(5)
    assert bot.seen.trips == [("daily_loss", "lost 5.01 % today, the limit is 5 %")]
    assert bench.entries() == []
    assert await bot.engine.reconciler.losses.reset(None) == ["daily_loss"]
    await bench.holding("ETH")
    assert len(bot.seen.trips) == 1


async def test_a_loss_below_the_limit_blocks_nothing(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH}, max_daily_loss_pct=5)
    await bench.holding("ETH")
    bench.account.cash_usd = Decimal(9_520)
    await bench.looks()
    assert bot.seen.trips == []


async def test_losses_over_several_days_reach_the_drawdown(bench: Bench) -> None:
    bot = await bench.start({"ETH": ETH}, max_daily_loss_pct=50, max_drawdown_pct=8)
    await until(lambda: bot.portfolio.results, "the account")
    for cash in (9_500, 9_150):
        bench.clock.advance(86_400)
        bench.account.cash_usd = Decimal(cash)
        await bench.looks()
    assert [name for name, _ in bot.seen.trips] == ["drawdown"]


async def test_open_positions_and_their_exits_go_on_beyond_the_limit(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH}, max_daily_loss_pct=5)
    await bench.holding("ETH")
    bench.account.cash_usd = Decimal(9_000)
    await until(lambda: bot.seen.trips, "the limit")
    bench.signal(ETH=-0.03)
    bench.next_epoch()
    await bench.closed("prediction_turned")
    assert len(bench.entries()) == 1


async def test_equity_is_kept_for_the_curve(bench: Bench) -> None:
    bot = await bench.start({"ETH": ETH})
    await until(lambda: bench.stored("select equity_usd from equity"), "a point of the curve")
    bench.clock.advance(61)
    await until(lambda: len(bench.stored("select equity_usd from equity")) == 2, "another a minute later")
    assert bot.is_running


async def test_a_limit_that_was_reached_outlives_restart_and_reset_until_somebody_sends_active(bench: Bench) -> None:
    bot = await bench.start({"ETH": ETH}, max_daily_loss_pct=5)
    await until(lambda: bot.portfolio.results, "the account")
    bench.account.cash_usd = Decimal(9_400)
    await until(lambda: bench.stored("select 1 from state where key = 'stood_down' and value = 'true'"), "it is stored")
    await bench.stop(bot)
    bench.account.cash_usd = Decimal(10_000)
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH}, max_daily_loss_pct=5)
    await until(lambda: "a limit on losses was reached" in reasons(bot), "no entry")
    assert (bench.entries(), bot.seen.trips) == ([], [])
    assert await bot.engine.reconciler.losses.reset("daily_loss") == ["daily_loss"]
    assert bot.seen.breakers == [("daily_loss", False)]
    assert bench.stored("select value from state where key = 'stood_down'") == [("true",)]


async def test_the_orders_of_the_last_minute_count_over_a_restart(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    await bench.stop(bot)
    bench.signal(ETH=0.01, BTC=0.01)
    await bench.start({"ETH": ETH, "BTC": BTC}, max_orders_per_minute=5)
    bot = bench.bots[-1]
    limit = "3 orders were sent in a minute, the limit is max_orders_per_minute"
    await until(lambda: limit in reasons(bot, "BTC"), "no entry")
    assert len(bench.entries()) == 1
    bench.clock.advance(61)
    await bench.holding("ETH", "BTC")


def reasons(bot: Bot, symbol: str = "ETH") -> list[str]:
    signal = bot.engine.signals.get(symbol)
    return [] if signal is None else signal.reasons
