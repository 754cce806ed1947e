"""Positions that somebody else opened become the bot's own, where that is asked for."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from allora_mqtt.control import views
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.errors import WarningCode
from allora_mqtt.simulator import account as sim
from allora_mqtt.store.books import Books
from tests.integration.trading.bench import ETH, ETH_SHORT, Bench, Bot, until

LONG_ENOUGH_S = 11


async def long_enough(bench: Bench) -> None:
    """Let what is there now have been there for long."""
    await bench.looks(3)
    bench.clock.advance(LONG_ENOUGH_S)


async def adopted(bench: Bench, size: str = "0.05", *, is_buy: bool = True, topic: int = ETH, **options: Any) -> Bot:
    bot = await bench.start({"ETH": topic}, adopts=True, **options)
    bench.by_hand("ETH", size, is_buy=is_buy)
    await long_enough(bench)
    await bench.holding("ETH")
    return bot


def exit_by_hand(bench: Bench, kind: sim.TpSl, factor: str) -> int:
    """Place a stop or a target on the exchange's own page; returns its number."""
    trigger = sim.Trigger((bench.mark("ETH") * Decimal(factor)).quantize(Decimal(1)), is_market=True, kind=kind)
    size = abs(bench.positions()["ETH"])
    is_buy = bench.positions()["ETH"] < 0
    request = sim.OrderRequest(bench.asset("ETH").index, is_buy, trigger.px, size, True, "Gtc", trigger)
    before = set(bench.account.orders)
    bench.simulator.world.exchange.place(bench.account, [request], "na", bench.clock())
    (oid,) = set(bench.account.orders) - before
    return oid


async def test_left_alone_unless_asked_for(bench: Bench) -> None:
    bot = await bench.start({"ETH": ETH})
    bench.by_hand("ETH", "0.05", is_buy=True)
    await long_enough(bench)
    await bench.looks(6)
    assert (bot.portfolio.foreign(), bot.portfolio.holdings, bench.sent()) == (["ETH"], {}, [])
    assert bench.stored("select 1 from positions") == []


async def test_a_position_of_an_active_coin_gets_a_stop_a_target_and_an_end(bench: Bench) -> None:
    bot = await adopted(bench, topic=ETH_SHORT)
    mark = bench.mark("ETH")
    exits = bench.resting("ETH")
    prices = {kind: order.request.trigger.px for kind, order in exits.items() if order.request.trigger}
    assert Decimal("0.9985") <= prices["sl"] / mark < Decimal("0.9987"), "the floor of a stop"
    assert Decimal("1.002") < prices["tp"] / mark <= Decimal("1.0025"), "the smallest gap that is traded on"
    assert all(order.grouping == "positionTpsl" for order in exits.values())
    holding = bot.portfolio.holdings["ETH"]
    assert (holding.size, holding.entry_price, holding.is_adopted) == (Decimal("0.05"), holding.entry_price, True)
    assert bench.stored("select open_reason, topic_id, side from positions") == [("adopted", ETH_SHORT, "LONG")]
    ((content,),) = await _until_stored(bench, "select content from events where type = 'position_adopted'")
    assert holding.position_id in content
    (warning,) = views.position_warnings(bot.portfolio, {})
    assert (warning.code, "ETH" in warning.message) == (WarningCode.ADOPTED_POSITION, True)
    bench.clock.advance(301)
    closed = await bench.closed("horizon")
    assert (closed.size, bench.positions(), bench.account.orders) == (Decimal("0.05"), {}, {})
    (trade,) = (await Books(bot.database).trades(10, None, None, None)).trades or []
    assert (trade.ours, trade.reason, trade.topic_id, trade.signal_id) == (True, "horizon", ETH_SHORT, None)
    assert trade.pnl_usd == closed.pnl_usd == bench.account.cash_usd - 10_000


async def test_a_short_one_is_stopped_and_booked_like_any_other(bench: Bench) -> None:
    bot = await adopted(bench, is_buy=False)
    await bench.shift("ETH", 1.01)
    assert (await bench.closed("stop")).side == "SHORT"
    assert bot.portfolio.cooling_until["ETH"] > bench.clock()


async def test_not_at_the_first_look(bench: Bench) -> None:
    bench.by_hand("ETH", "0.05", is_buy=True)
    bot = await bench.start({"ETH": ETH}, adopts=True)
    await bench.looks(6)
    assert (bot.portfolio.foreign(), bench.sent()) == (["ETH"], [])
    await long_enough(bench)
    await bench.holding("ETH")


async def test_a_coin_that_is_not_active_is_left_alone_and_said_so_until_it_is(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bot = await bench.start({}, adopts=True)
    bench.by_hand("ETH", "0.05", is_buy=True)
    await long_enough(bench)
    await bench.looks(6)
    assert bench.sent() == []
    assert bot.engine.adoption is not None
    (warning,) = views.position_warnings(bot.portfolio, bot.engine.adoption.refused)
    assert (warning.code, "ETH (it is not active)" in warning.message) == (WarningCode.FOREIGN_POSITION, True)
    assert caplog.text.count("is left alone") == 1
    bot.follow({"ETH": ETH}, Mode.STANDBY)
    await bench.holding("ETH")
    assert bot.engine.adoption.refused == {}


async def test_a_stop_of_somebody_else_is_kept_and_a_target_added(bench: Bench) -> None:
    bench.by_hand("ETH", "0.05", is_buy=True)
    theirs = exit_by_hand(bench, "sl", "0.95")
    bot = await bench.start({"ETH": ETH}, adopts=True)
    await long_enough(bench)
    await until(lambda: "tp" in bench.resting("ETH"), "a target")
    await bench.looks(6)
    assert len(bench.account.orders) == 2
    assert bench.resting("ETH")["sl"].oid == theirs
    trigger = bench.resting("ETH")["sl"].request.trigger
    assert trigger is not None
    assert bot.portfolio.holdings["ETH"].stop_price == trigger.px
    assert bench.sent("cancel") == []


async def test_a_target_of_somebody_else_is_kept_and_a_stop_added(bench: Bench) -> None:
    bench.by_hand("ETH", "0.05", is_buy=True)
    theirs = exit_by_hand(bench, "tp", "1.05")
    await bench.start({"ETH": ETH}, adopts=True)
    await long_enough(bench)
    await bench.holding("ETH")
    await bench.looks(4)
    assert {order.oid for order in bench.account.orders.values()} == {theirs, bench.resting("ETH")["sl"].oid}


async def test_an_adopted_position_outlives_a_restart_and_is_booked_when_closed_by_hand(bench: Bench) -> None:
    bot = await adopted(bench)
    before = dict(bot.portfolio.holdings)
    orders = set(bench.account.orders)
    await bench.stop(bot)
    # With the setting gone it stays what it has become.
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    assert bot.portfolio.holdings == before
    assert set(bench.account.orders) == orders
    bench.by_hand("ETH", "0.05", is_buy=False, reduce_only=True)
    closed = await bench.closed("closed_elsewhere")
    assert closed.pnl_usd is not None
    assert bench.stored("select close_reason, open_reason from positions") == [("closed_elsewhere", "adopted")]
    assert bench.stored("select position_id is not null, reason from trades") == [(1, "closed_elsewhere")]


async def test_a_crash_right_after_it_was_stored_leaves_it_with_a_stop_at_the_next_start(bench: Bench) -> None:
    bot = await bench.start({"ETH": ETH}, adopts=True)
    bench.by_hand("ETH", "0.05", is_buy=True)
    bench.faults({"path": "/exchange", "kind": "reset"})
    await long_enough(bench)
    await until(lambda: bench.stored("select 1 from positions"), "it is stored")
    await bench.stop(bot)
    assert bench.account.orders == {}
    bench.faults()
    bench.clock.advance(30)
    await bench.start({"ETH": ETH}, adopts=True)
    await bench.holding("ETH")
    assert set(bench.resting("ETH")) == {"sl", "tp"}
    assert len(bench.stored("select 1 from positions")) == 1


async def test_nothing_is_adopted_while_an_entry_is_not_known_to_have_ended(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    # It runs, its answer is lost, and nothing more can be learnt of it.
    bench.faults(
        {"path": "/exchange", "type": "order", "kind": "answer_lost", "count": 1},
        {"path": "/info", "type": "orderStatus", "kind": "http_500"},
    )
    bot = await bench.start({"ETH": ETH}, adopts=True)
    await until(lambda: "ETH" in bench.positions(), "the entry has run")
    await long_enough(bench)
    await bench.looks(3)
    await long_enough(bench)
    await bench.looks(3)
    assert bench.stored("select 1 from positions where open_reason is not null") == []
    bench.faults()
    bot.feed.hyperliquid_health.reset()
    await bench.holding("ETH")
    assert not bot.portfolio.holdings["ETH"].is_adopted


async def test_a_position_of_ours_that_is_shown_after_its_end_is_not_adopted(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH}, adopts=True)
    await bench.holding("ETH")
    bench.clock.advance(120)
    await bench.looks()
    await bot.engine.close("ETH", "command")
    # Half of the time that it was there: long enough for a look on any machine.
    bench.faults({"path": "/info", "type": "clearinghouseState", "kind": "lagging_state", "seconds": 60})
    await until(lambda: bot.portfolio.foreign() == ["ETH"], "it is shown once more")
    bench.faults()
    await until(lambda: bot.portfolio.foreign() == [], "and not any more")
    assert len(bench.stored("select 1 from positions")) == 1


async def test_a_stopped_bot_adopts_nothing(bench: Bench) -> None:
    bot = await bench.start({"ETH": ETH}, Mode.STOPPED, adopts=True)
    bench.by_hand("ETH", "0.05", is_buy=True)
    await long_enough(bench)
    await bench.looks(6)
    assert (bot.portfolio.foreign(), bench.sent()) == (["ETH"], [])


async def _until_stored(bench: Bench, query: str) -> list[tuple[Any, ...]]:
    while not (found := bench.stored(query)):
        await asyncio.sleep(0.01)
    return found
