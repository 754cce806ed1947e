"""The books against the simulated exchange's own: every fill, fee and hour of funding, to the smallest unit."""

from datetime import timedelta
from decimal import Decimal

import pytest

from allora_mqtt.protocol.books import TradeView
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.research.books import read_books
from allora_mqtt.store.books import Books
from tests.integration.trading.bench import BTC, ETH, ON_BOTH, SOL, Bench, Bot, until

pytestmark = ON_BOTH


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allora_mqtt.trading.bookkeeping._INTERVAL_S", 0.1)


def booked(bench: Bench) -> Decimal:
    """What the books say that the account has earned."""
    fills = bench.stored("select closed_pnl_usd, fee_usd from fills")
    funding = bench.stored("select amount_usd from funding")
    return sum((Decimal(pnl) - Decimal(fee) for pnl, fee in fills), Decimal(0)) + sum(
        (Decimal(amount) for (amount,) in funding), Decimal(0)
    )


async def complete(bench: Bench) -> None:
    """Wait until everything that the exchange has booked is in the books."""
    account = bench.account
    await until(lambda: len(bench.stored("select 1 from fills")) == len(account.fills), "all fills")
    await until(lambda: len(bench.stored("select 1 from funding")) == len(account.fundings), "all funding")


async def whole_trades(bot: Bot) -> list[TradeView]:
    page = await Books(bot.database).trades(500, None, None, None)
    assert page.next is None
    return page.trades or []


async def test_the_accounts_money_is_its_start_and_what_the_books_say(bench: Bench) -> None:
    bench.signal(ETH=0.01, BTC=-0.01, SOL=0.01)
    bench.by_hand("BNB", "0.3", is_buy=False)
    bot = await bench.start({"ETH": ETH, "BTC": BTC, "SOL": SOL}, max_daily_loss_pct=50)
    await bench.holding("ETH", "BTC", "SOL")
    bot.follow({}, Mode.STANDBY)
    bench.clock.advance(3 * 3600)
    await until(lambda: len(bench.account.fundings) == 12, "three hours of funding for four positions")
    await bench.shift("ETH", 1.012)  # the target
    await bench.closed("target")
    bench.by_hand("BTC", "0.0005", is_buy=True, reduce_only=True)  # a part of it, past the bot
    await bench.shift("BTC", 1.02)  # the stop of the rest
    await bench.closed("stop")
    bench.by_hand("BNB", "0.5", is_buy=True)  # turned round
    bench.clock.advance(3600)
    await bot.engine.close("SOL", "command")
    bench.by_hand("BNB", "0.2", is_buy=False)
    assert bench.positions() == {}
    await complete(bench)
    assert bench.account.cash_usd - 10_000 == booked(bench)
    trades = await whole_trades(bot)
    assert sum((trade.pnl_usd for trade in trades), Decimal(0)) == booked(bench)
    found: set[tuple[object, ...]] = {(trade.symbol, str(trade.side), trade.ours, trade.reason) for trade in trades}
    assert found == {
        ("ETH", "LONG", True, "target"),
        ("BTC", "SHORT", True, "stop"),
        ("SOL", "LONG", True, "command"),
        ("BNB", "SHORT", False, "closed_elsewhere"),
        ("BNB", "LONG", False, "closed_elsewhere"),
    }
    assert all(trade.topic_id and trade.signal_id for trade in trades if trade.ours)
    assert all(trade.funding_usd for trade in trades if trade.symbol != "BNB" or trade.side == "SHORT")
    assert all(closed.pnl_usd is not None and closed.fees_usd for closed in bot.seen.closed)
    performance = await Books(bot.database).performance(bench.clock.now() - timedelta(days=1), bench.clock.now())
    assert performance.pnl_usd == booked(bench)
    assert sum((day.pnl_usd for day in performance.days), Decimal(0)) == booked(bench)
    assert (performance.trades, performance.wins + performance.losses) == (3, 3)
    assert performance.foreign.trades == 2
    assert {topic.topic_id for topic in performance.topics} == {ETH, BTC, SOL}
    own = {trade.symbol: trade for trade in trades if trade.ours}
    report = read_books(bench.database_url, None, None)
    assert {each.symbol: (each.pnl_usd, each.fees_usd, -each.funding_usd) for each in report.trades} == {
        symbol: (trade.pnl_usd, trade.fees_usd, trade.funding_usd) for symbol, trade in own.items()
    }
    assert report.figures.funding_usd == -sum(trade.funding_usd for trade in own.values())
    assert {each.symbol: each.reason for each in report.trades} == {"ETH": "target", "BTC": "stop", "SOL": "command"}


async def test_funding_is_taken_over_once_and_after_a_time_away(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    bench.clock.advance(3600)
    await until(lambda: bench.account.fundings, "the first hour at the exchange")
    bench.clock.advance(301)
    await until(lambda: bench.stored("select 1 from funding"), "the first hour")
    await bench.stop(bot)
    bench.clock.advance(2 * 3600)
    await until(lambda: len(bench.account.fundings) == 3, "two hours more at the exchange")
    bot = await bench.start({"ETH": ETH})
    await until(lambda: len(bench.stored("select 1 from funding")) == 3, "what was paid meanwhile")
    bench.clock.advance(3600)
    await until(lambda: len(bench.account.fundings) == 4, "the next hour at the exchange")
    bench.clock.advance(301)
    await until(lambda: len(bench.stored("select 1 from funding")) == 4, "the next hour")
    paid = {(line["time"], Decimal(line["delta"]["usdc"])) for line in bench.account.fundings}
    stored = bench.stored("select funding_id, amount_usd, trade_id is not null from funding")
    assert {(int(key.partition("-")[0]), Decimal(amount)) for key, amount, _ in stored} == paid
    assert all(is_booked for *_, is_booked in stored)


async def test_funding_that_cannot_be_asked_for_is_taken_over_later(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults({"path": "/info", "type": "userFunding", "kind": "http_500"})
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    bench.clock.advance(3600)
    await until(lambda: bench.account.fundings, "an hour of funding")
    await bench.looks()
    assert bot.is_running
    assert bench.stored("select 1 from funding") == []
    bench.faults()
    bench.clock.advance(61)
    await until(lambda: bench.stored("select 1 from funding"), "it is booked")


async def test_a_liquidation_is_a_trade_that_says_so(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH}, max_leverage=1, amount_usd=1000)
    await bench.holding("ETH")
    bench.remove(bench.resting("ETH")["sl"])
    bench.account.cash_usd = Decimal(1)
    bench.simulator.world.tick()
    await bench.shift("ETH", 0.9)
    await bench.closed("liquidation")
    (trade,) = await whole_trades(bot)
    assert trade.reason == "liquidation"
    assert trade.open_size == 0
    assert trade.pnl_usd == booked(bench)
