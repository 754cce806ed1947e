"""How positions end, and that none stays without its stop."""

import asyncio
import time
from decimal import Decimal

import pytest

from allora_mqtt.market.hyperliquid import AccountState
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.errors import BotError, ErrorCode
from tests.integration.trading.bench import BTC, ETH, ETH_SHORT, SOL, Bench, Bot, until


async def hold_eth(bench: Bench, topic: int = ETH, **options: object) -> Bot:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": topic}, **options)  # type: ignore[arg-type] # of several kinds
    await bench.holding("ETH")
    return bot


async def test_a_stop_that_is_hit_closes_the_position_and_the_coin_cools_down(bench: Bench) -> None:
    bot = await hold_eth(bench)
    await bench.shift("ETH", 0.99)
    closed = await bench.closed("stop")
    assert closed.closed_pnl_usd < 0
    assert (bench.positions(), bench.resting("ETH"), bot.portfolio.holdings) == ({}, {}, {})
    bench.next_epoch()
    await until(lambda: any("cooling down" in why for why in bot.engine.signals["ETH"].reasons), "it cools down")
    assert len(bench.entries()) == 1
    bench.clock.advance(600)
    await bench.holding("ETH")


async def test_a_target_that_is_hit_closes_the_position_with_a_profit(bench: Bench) -> None:
    bot = await hold_eth(bench)
    await bench.shift("ETH", 1.012)
    closed = await bench.closed("target")
    assert closed.closed_pnl_usd > 0
    assert bench.positions() == {}
    assert bot.portfolio.cooling_until == {}
    rows = bench.stored("select close_reason, closed_pnl_usd from positions")
    assert rows == [("target", str(closed.closed_pnl_usd))]


async def test_a_position_closed_by_hand_is_booked_as_closed_elsewhere_and_its_exits_go(bench: Bench) -> None:
    await hold_eth(bench)
    exits = {order.oid: order for order in bench.resting("ETH").values()}
    bench.by_hand("ETH", str(bench.positions()["ETH"]), is_buy=False, reduce_only=True)
    # The exchange takes them away by itself; that is not relied on.
    bench.account.orders |= exits
    await bench.closed("closed_elsewhere")
    await until(lambda: bench.sent("cancel"), "they are cancelled")
    assert {cancel["o"] for cancel in bench.sent("cancel")[0].action["cancels"]} == set(exits)
    assert bench.resting("ETH") == {}


async def test_a_position_made_smaller_by_hand_is_still_ours_at_its_new_size(bench: Bench) -> None:
    bot = await hold_eth(bench)
    half = (bench.positions()["ETH"] / 2).quantize(Decimal("0.001"))
    bench.by_hand("ETH", str(half), is_buy=False, reduce_only=True)
    left = bench.positions()["ETH"]
    await until(lambda: bot.portfolio.holdings["ETH"].size == left, "the new size")
    assert await bot.engine.close("ETH", "command") == left
    assert (await bench.closed("command")).size == left


async def test_stops_removed_behind_our_back_are_there_again_within_five_seconds(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.signal(ETH=0.01, BTC=-0.01)
    bot = await bench.start({"ETH": ETH, "BTC": BTC}, reconcile_interval_s=1)
    await bench.holding("ETH", "BTC")
    monkeypatch.setattr("allora_mqtt.trading.reconciler._BUSY_INTERVAL_S", 1.0)
    monkeypatch.setattr("allora_mqtt.trading.reconciler._ACCOUNT_INTERVAL_S", 5.0)
    bot.engine.reconciler.look_soon()
    stops = {coin: bot.portfolio.holdings[coin].stop_price for coin in ("ETH", "BTC")}
    for coin in stops:
        bench.remove(bench.resting(coin)["sl"])
    began = time.monotonic()
    await until(lambda: all("sl" in bench.resting(coin) for coin in stops), "both stops are there again")
    assert time.monotonic() - began < 5
    for coin, price in stops.items():
        trigger = bench.resting(coin)["sl"].request.trigger
        assert trigger is not None
        assert trigger.px == price
    assert set(bench.positions()) == {"ETH", "BTC"}


async def test_a_position_whose_stop_is_refused_is_closed(bench: Bench) -> None:
    await hold_eth(bench)
    bench.remove(bench.resting("ETH")["sl"])
    # Below where the stop was, so that the exchange takes no such stop any more.
    await bench.shift("ETH", 0.98)
    await bench.closed("no_stop")
    assert bench.positions() == {}


async def test_a_position_ends_with_the_horizon_of_its_prediction(bench: Bench) -> None:
    await hold_eth(bench, ETH_SHORT)
    bench.clock.advance(301)
    closed = await bench.closed("horizon")
    assert closed.symbol == "ETH"
    assert (bench.positions(), bench.resting("ETH")) == ({}, {})


async def test_a_position_ends_when_the_prediction_turns_against_it(bench: Bench) -> None:
    await hold_eth(bench)
    bench.signal(ETH=-0.02)
    bench.next_epoch()
    await bench.closed("prediction_turned")


async def test_a_prediction_against_it_by_less_than_the_buffer_leaves_a_position(bench: Bench) -> None:
    bot = await hold_eth(bench)
    bench.signal(ETH=-0.009)
    bench.next_epoch()
    await until(lambda: (bot.engine.signals["ETH"].gap_pct or 0) < 0, "the prediction has turned")
    await bench.looks()
    assert "ETH" in bench.positions()


@pytest.mark.parametrize("standby_exits", ["manage", "hold"])
async def test_exit_rules_in_standby_follow_the_setting(bench: Bench, standby_exits: str) -> None:
    bot = await hold_eth(bench, ETH_SHORT, standby_exits=standby_exits)
    bot.follow({"ETH": ETH_SHORT}, Mode.STANDBY)
    bench.clock.advance(301)
    if standby_exits == "manage":
        await bench.closed("horizon")
    else:
        await bench.looks(8)
        assert "ETH" in bench.positions()


async def test_foreign_positions_are_reported_and_never_touched(bench: Bench) -> None:
    bench.by_hand("SOL", "3", is_buy=True)
    bench.signal(ETH=0.01, SOL=-0.05)
    bot = await bench.start({"ETH": ETH, "SOL": SOL})
    await bench.holding("ETH")
    assert bot.portfolio.foreign() == ["SOL"]
    assert "there is a position or an order on its way already" in bot.engine.signals["SOL"].reasons
    with pytest.raises(BotError) as refused:
        await bot.engine.close("SOL", "command")
    assert refused.value.code is ErrorCode.NOT_ALLOWED
    await bot.engine.block_entries()
    assert await bot.engine.flatten("flatten") == (["ETH"], ["SOL"])
    assert bench.positions() == {"SOL": Decimal(3)}
    touched = {order["a"] for arrival in bench.sent() for order in arrival.action["orders"]}
    assert touched == {bench.asset("ETH").index}


async def test_an_order_of_somebody_else_is_not_cancelled(bench: Bench) -> None:
    bot = await hold_eth(bench)
    oid = max(bench.account.orders) + 1000
    foreign = next(iter(bench.account.orders.values()))
    bench.account.orders[oid] = type(foreign)(
        oid=oid,
        request=type(foreign.request)(bench.asset("BTC").index, is_buy=True, px=Decimal(20_000), size=Decimal("0.001")),
        size=Decimal("0.001"),
        grouping="na",
        placed_ms=0,
        status_ms=0,
    )
    await bot.engine.block_entries()
    assert await bot.engine.cancel_entries() == 0
    await bot.engine.flatten("flatten")
    assert list(bench.account.orders) == [oid]


async def test_closing_what_is_not_there_says_so(bench: Bench) -> None:
    bot = await bench.start()
    await until(lambda: bot.portfolio.account, "the account")
    with pytest.raises(BotError) as refused:
        await bot.engine.close("ETH", "command")
    assert refused.value.code is ErrorCode.NO_POSITION


async def test_flatten_closes_everything_though_answers_are_lost(bench: Bench) -> None:
    bench.signal(ETH=0.01, BTC=-0.01, SOL=0.01)
    bot = await bench.start({"ETH": ETH, "BTC": BTC, "SOL": SOL})
    await bench.holding("ETH", "BTC", "SOL")
    await bot.engine.block_entries()
    bench.faults(
        {"path": "/exchange", "type": "order", "kind": "answer_lost", "count": 1},
        {"path": "/info", "type": "clearinghouseState", "kind": "http_500", "count": 4},
    )
    closed, foreign = await bot.engine.flatten("flatten")
    assert (bench.positions(), foreign, bot.portfolio.holdings) == ({}, [], {})
    assert {one.symbol for one in bot.seen.closed} == {"ETH", "BTC", "SOL"}
    assert set(closed) <= {"ETH", "BTC", "SOL"}
    fills = {(fill["coin"], fill["dir"][:4]) for fill in bench.account.fills}
    assert len(fills) == len([fill for fill in bench.account.fills if fill["dir"].startswith("Close")]) + 3


async def test_flatten_closes_an_entry_that_was_on_its_way(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults({"path": "/exchange", "type": "order", "kind": "latency", "seconds": 0.3, "count": 1})
    bot = await bench.start({"ETH": ETH})
    await until(bench.entries, "the entry has left")
    assert await bot.engine.block_entries()
    closed, _ = await bot.engine.flatten("flatten")
    assert (closed, bench.positions()) == (["ETH"], {})


async def test_flatten_that_cannot_close_says_what_is_left(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = await hold_eth(bench)
    monkeypatch.setattr("allora_mqtt.trading.closing._FLAT_ROUNDS", 2)
    await bot.engine.block_entries()
    bench.faults({"path": "/exchange", "type": "order", "kind": "http_429"})
    with pytest.raises(BotError, match=r"Not everything is closed .ETH: .*The stops stay"):
        await bot.engine.flatten("flatten")
    assert set(bench.resting("ETH")) == {"sl", "tp"}


async def test_an_exit_that_is_refused_is_not_repeated_at_every_price(bench: Bench) -> None:
    bot = await hold_eth(bench, ETH_SHORT)
    bench.faults({"path": "/exchange", "type": "order", "kind": "http_429"})
    sent = len(bench.sent())
    bench.clock.advance(301)
    await until(lambda: len(bench.sent()) == sent + 4, "four tries")
    await asyncio.sleep(0.7)
    assert len(bench.sent()) == sent + 4
    bench.faults()
    await bench.closed("horizon")
    assert bot.is_running


async def test_a_close_that_filled_is_not_sent_again_while_the_account_still_shows_the_position(bench: Bench) -> None:
    bot = await hold_eth(bench)
    world = bench.simulator.world
    world.remember(bench.account, bench.clock())
    bench.clock.advance(1)
    bench.faults({"path": "/info", "type": "clearinghouseState", "kind": "lagging_state", "seconds": 0.9})
    assert await bot.engine.close("ETH", "command") > 0
    assert (await bench.closed("command")).reason == "command"
    # A stop that is looked for meanwhile may be asked for once more, and refused; a close may not.
    assert bench.stored("select count(*) from orders where purpose = 'exit'") == [(1,)]


async def test_a_position_that_one_look_misses_keeps_its_stop_and_its_owner(bench: Bench) -> None:
    bot = await hold_eth(bench)
    read = bot.hyperliquid.user_state
    looks = 0

    async def late() -> AccountState:
        nonlocal looks
        looks += 1
        state = await read()
        state.positions.clear()
        return state

    bot.hyperliquid.user_state = late  # type: ignore[method-assign] # an exchange that is late
    await until(lambda: looks > 3, "looks that miss the position")
    bot.hyperliquid.user_state = read  # type: ignore[method-assign] # and in time again
    await bench.looks()
    assert set(bench.resting("ETH")) == {"sl", "tp"}
    assert set(bot.portfolio.holdings) == {"ETH"}
    assert (bot.portfolio.foreign(), bot.seen.closed) == ([], [])


async def test_a_position_that_stays_away_without_a_fill_is_given_up_after_a_while(bench: Bench) -> None:
    bot = await hold_eth(bench)
    bench.account.positions.clear()
    await bench.looks()
    assert set(bot.portfolio.holdings) == {"ETH"}
    bench.clock.advance(11)
    await bench.closed("unknown")


async def test_a_liquidation_is_seen_and_named(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    await bench.start({"ETH": ETH}, max_leverage=1, amount_usd=1000)
    await bench.holding("ETH")
    bench.remove(bench.resting("ETH")["sl"])
    bench.account.cash_usd = Decimal(1)
    bench.simulator.world.tick()
    await bench.shift("ETH", 0.9)
    await bench.closed("liquidation")
