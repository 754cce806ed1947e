"""Somebody trades on the same account by hand, or the exchange itself does."""

from decimal import Decimal

from tests.integration.trading.bench import ETH, Bench, until
from tests.integration.trading.test_recovery import hold_eth


async def test_a_position_made_larger_by_hand_gets_a_stop_for_the_whole_of_it(bench: Bench) -> None:
    bot = await hold_eth(bench)
    before = {order.oid for order in bench.resting("ETH").values()}
    trigger = bench.resting("ETH")["sl"].request.trigger
    bench.by_hand("ETH", "0.1", is_buy=True)
    await until(lambda: bench.resting("ETH")["sl"].grouping == "positionTpsl", "a stop that follows the position")
    await until(lambda: not before & set(bench.account.orders), "the old ones are gone")
    assert len(bench.account.orders) == 2
    assert bench.resting("ETH")["sl"].request.trigger == trigger
    size = bench.positions()["ETH"]
    await until(lambda: bench.stored("select size from positions") == [(str(size),)], "its size is in the books")
    sent = len(bench.sent())
    await bench.looks(5)
    assert len(bench.sent()) == sent, "a stop that is there is left alone"
    assert bot.portfolio.exposure_usd() > 250
    await bench.shift("ETH", 0.99)
    await bench.closed("stop")
    assert bench.positions() == {}


async def test_a_position_turned_round_by_hand_is_booked_as_closed_and_the_new_one_is_left_alone(bench: Bench) -> None:
    bot = await hold_eth(bench)
    bench.by_hand("ETH", "0.2", is_buy=False)
    await bench.closed("closed_elsewhere")
    await until(lambda: bot.portfolio.foreign() == ["ETH"], "it is reported")
    sent = len(bench.sent())
    await bench.looks(5)
    assert bench.positions()["ETH"] < 0
    assert len(bench.sent()) == sent
    assert bench.resting("ETH") == {}


async def test_a_coin_cools_down_after_a_liquidation_and_after_a_restart_too(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH}, max_leverage=1, amount_usd=1000)
    await bench.holding("ETH")
    bench.remove(bench.resting("ETH")["sl"])
    bench.account.cash_usd = Decimal(1)
    bench.simulator.world.tick()
    await bench.shift("ETH", 0.9)
    await bench.closed("liquidation")
    assert bot.portfolio.cooling_until["ETH"] > bench.clock()
    await bench.stop(bot)
    bot = await bench.start({"ETH": ETH})
    assert bot.portfolio.cooling_until["ETH"] > bench.clock()


async def test_a_stop_that_leaves_a_part_of_its_position_is_followed_by_another(bench: Bench) -> None:
    await hold_eth(bench)
    stop = bench.resting("ETH")["sl"]
    stop.size /= 2
    await until(lambda: bench.resting("ETH")["sl"].grouping == "positionTpsl", "a stop for the whole of it")
    await until(lambda: stop.oid not in bench.account.orders, "the smaller one is gone")
