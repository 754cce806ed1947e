"""What a second run finds of the first, which ended in the middle."""

from datetime import timedelta
from decimal import Decimal

from allora_mqtt.protocol.messages import Side
from allora_mqtt.trading.portfolio import Holding
from tests.integration.trading.bench import BTC, ETH, ETH_SHORT, ON_BOTH, SOL, Bench, until

pytestmark = ON_BOTH

LOST = {"path": "/exchange", "type": "order", "kind": "answer_lost", "count": 1}


async def test_positions_are_found_again_with_all_that_is_known_of_them(bench: Bench) -> None:
    bench.signal(ETH=0.01, BTC=-0.01)
    bot = await bench.start({"ETH": ETH_SHORT, "BTC": BTC})
    await bench.holding("ETH", "BTC")
    before = dict(bot.portfolio.holdings)
    await bench.stop(bot)
    bot = await bench.start({"ETH": ETH_SHORT, "BTC": BTC})
    await bench.holding("ETH", "BTC")
    assert bot.portfolio.holdings == before
    await bench.looks()
    assert len(bench.entries()) == 2, "the predictions were traded on before"
    bench.clock.advance(301)
    assert (await bench.closed("horizon")).symbol == "ETH"


async def test_a_stop_that_was_hit_in_between_is_booked_and_cools_down(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    await bench.stop(bot)
    await bench.shift("ETH", 0.99)
    bench.clock.advance(11)
    bot = await bench.start({"ETH": ETH})
    await bench.closed("stop")
    await bench.stop(bot)
    bench.next_epoch()
    bot = await bench.start({"ETH": ETH})
    await until(lambda: "ETH" in bot.engine.signals, "a signal")
    await until(lambda: any("cooling down" in why for why in bot.engine.signals["ETH"].reasons), "it cools down")


async def test_an_entry_under_way_when_the_first_run_ended_is_adopted_by_the_second(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults({"path": "/exchange", "type": "order", "kind": "latency", "seconds": 0.3, "count": 1})
    bot = await bench.start({"ETH": ETH})
    await until(bench.entries, "the entry has left")
    await bench.stop(bot)
    await until(lambda: "ETH" in bench.positions(), "it runs while nobody is there")
    bot = await bench.start({"ETH": ETH})
    assert bot.portfolio.exposure_usd() > 90, "what may run counts from the first moment"
    await bench.holding("ETH")
    assert bot.portfolio.foreign() == []
    assert bot.portfolio.pending == {}
    assert len(bench.entries()) == 1
    assert set(bench.resting("ETH")) == {"sl", "tp"}


async def test_flatten_right_after_a_restart_closes_the_entry_that_was_under_way(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults(LOST)
    bot = await bench.start({"ETH": ETH})
    await until(lambda: "ETH" in bench.positions(), "it has run")
    await bench.stop(bot)
    bot = await bench.start({"ETH": ETH})
    await bot.engine.block_entries()
    closed, foreign = await bot.engine.flatten("flatten")
    assert (closed, foreign, bench.positions()) == (["ETH"], [], {})


async def test_an_entry_that_never_ran_counts_until_it_cannot_run_and_is_then_forgotten(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults({**LOST, "kind": "reset"})
    bot = await bench.start({"ETH": ETH})
    await until(lambda: "unknown" in {order.status for order in bot.seen.orders}, "nothing is known of it")
    await bench.stop(bot)
    bench.signal(ETH=0.01, SOL=0.01)
    bot = await bench.start({"ETH": ETH, "SOL": SOL}, max_open_positions=1)
    await until(lambda: "SOL" in bot.engine.signals and bot.portfolio.account, "SOL signals")
    await until(lambda: any("max_open" in why for why in bot.engine.signals["SOL"].reasons), "there is no room")
    assert len(bench.entries()) == 1
    bench.clock.advance(15)
    await bench.holding("SOL")
    assert bench.stored("select symbol, close_reason from positions where closed_at is not null") == [
        ("ETH", "never_opened")
    ]


async def test_an_entry_that_was_announced_and_not_sent_is_forgotten(bench: Bench) -> None:
    bot = await bench.start({"ETH": ETH})
    now = bench.clock.now()
    one = Decimal(1)
    await bot.ledger.put_position(
        Holding("0x" + "7" * 32, "ETH", Side.LONG, Decimal(0), one, one, one, ETH, "s", now, now + timedelta(1)).row()
    )
    await bench.stop(bot)
    bot = await bench.start({"ETH": ETH})
    assert bot.engine.reconciler.unresolved("ETH")
    await until(lambda: not bot.engine.reconciler.unresolved("ETH"), "it is forgotten")
    await until(lambda: not bench.stored("select 1 from positions where closed_at is null"), "it is stored as closed")
    assert bot.portfolio.holdings == {}


async def test_a_limit_on_losses_that_was_reached_stays_reached(bench: Bench) -> None:
    bot = await bench.start({"ETH": ETH}, max_daily_loss_pct=5)
    await until(lambda: bot.portfolio.results, "the account")
    bench.account.cash_usd = Decimal(9_400)
    trips = "select value from state where key = 'trips' and cast(value as text) like '%daily_loss%'"
    await until(lambda: bench.stored(trips), "the limit is reached and stored")
    await bench.stop(bot)
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH}, max_daily_loss_pct=5)
    await until(lambda: "ETH" in bot.engine.signals and bot.portfolio.account, "a signal")
    await bench.looks()
    assert set(bot.engine.reconciler.losses.trips) == {"daily_loss"}
    assert bot.seen.trips == []
    assert bench.sent() == []
    assert bot.portfolio.results is not None
    assert bot.portfolio.results.day_start_usd == 10_000
