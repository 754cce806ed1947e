"""What the line and the other sides do to orders on their way, and to the bot."""

from decimal import Decimal
from typing import Any

import pytest

from allora_mqtt.protocol.errors import BotError, ErrorCode
from tests.integration.trading.bench import BTC, ETH, ETH_SHORT, Bench, until

EVERY_ORDER: dict[str, Any] = {"path": "/exchange", "type": "order"}
ORDER = {**EVERY_ORDER, "count": 1}


async def test_an_entry_whose_answer_is_lost_is_found_and_adopted_with_its_stop(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults({**ORDER, "kind": "answer_lost"})
    bot = await bench.start({"ETH": ETH})
    await until(lambda: "unknown" in {order.status for order in bot.seen.orders}, "the answer is lost")
    assert bot.portfolio.foreign() == []
    await bench.holding("ETH")
    await bench.looks()
    assert len(bench.entries()) == 1
    assert bot.portfolio.holdings["ETH"].size == bench.positions()["ETH"]
    assert bot.portfolio.pending == {}
    assert set(bench.resting("ETH")) == {"sl", "tp"}
    assert bench.stored("select size from positions where closed_at is null") == [(str(bench.positions()["ETH"]),)]
    # It is a position like any other: its stop ends it.
    await bench.shift("ETH", 0.99)
    await bench.closed("stop")


async def test_a_partial_fill_that_the_account_does_not_show_yet_is_known_from_the_order(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults(
        {**ORDER, "kind": "answer_lost"},
        {**ORDER, "kind": "partial_fill"},
        {"path": "/info", "type": "clearinghouseState", "kind": "lagging_state", "seconds": 600},
    )
    bot = await bench.start({"ETH": ETH})
    await until(lambda: "unknown" in {order.status for order in bot.seen.orders}, "the answer is lost")
    await until(lambda: "ETH" in bot.portfolio.holdings, "the order is looked up")
    await bench.looks(6)
    assert bot.portfolio.holdings["ETH"].size == bench.positions()["ETH"]
    bench.faults()
    await bench.holding("ETH")


async def test_an_entry_that_ran_and_ended_unseen_is_booked_with_its_result(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults(
        {**ORDER, "kind": "answer_lost"},
        {"path": "/info", "type": "orderStatus", "kind": "http_500"},
        {"path": "/info", "type": "clearinghouseState", "kind": "http_500"},
    )
    bot = await bench.start({"ETH": ETH})
    # Without the account nothing is entered; it is known once.
    bench.faults({**ORDER, "kind": "answer_lost"}, {"path": "/info", "type": "orderStatus", "kind": "http_500"})
    await until(lambda: "unknown" in {order.status for order in bot.seen.orders}, "the answer is lost")
    await bench.shift("ETH", 0.99)
    assert bench.positions() == {}
    bench.clock.advance(31)
    bench.faults()
    closed = await bench.closed("stop")
    assert closed.closed_pnl_usd < 0
    assert (bot.portfolio.pending, bot.portfolio.holdings) == ({}, {})


@pytest.mark.parametrize("fault", [{"kind": "http_500"}, {"kind": "reset"}, {"kind": "hang", "seconds": 3}])
async def test_an_entry_that_never_ran_is_given_up_once_it_cannot_run_any_more(
    bench: Bench, fault: dict[str, Any]
) -> None:
    bench.signal(ETH=0.01)
    noop = {**EVERY_ORDER, "type": "noop", **fault}
    bench.faults({**EVERY_ORDER, **fault}, noop)
    bot = await bench.start({"ETH": ETH}, timeout_s=0.5)
    await until(lambda: "unknown" in {order.status for order in bot.seen.orders}, "nothing is known of it")
    await until(lambda: bench.sent("noop"), "it cannot be ruled out", 20)
    assert bot.portfolio.exposure_usd() > 90, "what may still run counts"
    assert bot.engine.reconciler.unresolved("ETH")
    bench.faults()
    await until(lambda: not bot.portfolio.pending, "it is given up")
    assert (bench.positions(), bot.portfolio.exposure_usd()) == ({}, Decimal(0))
    assert len({arrival.nonce for arrival in [*bench.entries(), *bench.sent("noop")]}) == 1
    assert bench.stored("select distinct status from orders") == [("never_ran",)]
    bench.next_epoch()
    await bench.holding("ETH")


async def test_a_position_made_by_hand_is_not_taken_for_an_entry_that_never_ran(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults({**EVERY_ORDER, "kind": "http_500"}, {**EVERY_ORDER, "type": "noop", "kind": "http_500"})
    bot = await bench.start({"ETH": ETH})
    await until(lambda: "unknown" in {order.status for order in bot.seen.orders}, "nothing is known of it")
    bench.by_hand("ETH", "0.01", is_buy=True)
    await bench.looks()
    bench.faults()
    await until(lambda: not bot.engine.reconciler.unresolved("ETH"), "it is given up")
    await bench.looks()
    assert (bot.portfolio.holdings, bot.portfolio.foreign()) == ({}, ["ETH"])
    assert bench.resting("ETH") == {}


async def test_an_entry_that_the_exchange_was_too_busy_for_is_given_up_at_once(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults({**ORDER, "kind": "http_429"})
    bot = await bench.start({"ETH": ETH})
    await until(lambda: "refused" in {order.status for order in bot.seen.orders}, "the refusal")
    await until(lambda: not bot.portfolio.pending, "it is given up")
    assert not bot.engine.reconciler.unresolved("ETH")
    assert await bot.ledger.open_positions() == []


async def test_fills_and_accounts_that_are_shown_late_lose_no_position(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults(
        {"path": "/info", "kind": "late_fills", "seconds": 1.5},
        {"path": "/info", "type": "clearinghouseState", "kind": "lagging_state", "seconds": 1.5},
    )
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    await until(lambda: bot.seen.fills, "the fill")
    assert bot.seen.closed == []
    assert set(bench.resting("ETH")) == {"sl", "tp"}


async def test_without_allora_there_are_no_entries_and_exits_go_on(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH_SHORT})
    await bench.holding("ETH")
    bench.faults({"path": "/v2", "kind": "http_503"})
    await until(lambda: ("allora", True) in bot.seen.breakers, "the breaker opens")
    bot.follow({"ETH": ETH_SHORT, "BTC": BTC})
    bench.signal(ETH=0.01, BTC=0.02)
    bench.clock.advance(301)
    await bench.closed("horizon")
    await bench.looks()
    assert len(bench.entries()) == 1
    bench.faults()
    bench.clock.advance(260)
    await until(lambda: ("allora", False) in bot.seen.breakers, "the breaker closes")
    await bench.holding("ETH", "BTC")


async def test_a_bot_that_starts_without_allora_still_ends_and_protects_its_positions(bench: Bench) -> None:
    bench.signal(ETH=0.01, BTC=0.01)
    bot = await bench.start({"ETH": ETH_SHORT, "BTC": BTC})
    await bench.holding("ETH", "BTC")
    await bench.stop(bot)
    bench.faults({"path": "/v2", "kind": "reset"})
    bench.remove(bench.resting("BTC")["sl"])
    bench.clock.advance(301)
    bot = await bench.start({"ETH": ETH_SHORT, "BTC": BTC})
    await bench.closed("horizon")
    await until(lambda: "sl" in bench.resting("BTC"), "a new stop")
    assert (await bot.engine.flatten("flatten"))[0] == ["BTC"]
    assert bench.positions() == {}


async def test_without_the_exchanges_information_nothing_breaks_and_all_comes_back(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH_SHORT})
    await bench.holding("ETH")
    bench.faults({"path": "/info", "kind": "http_500"})
    await until(lambda: ("hyperliquid", True) in bot.seen.breakers, "the breaker opens")
    bench.clock.advance(301)
    bench.faults({"path": "/info", "kind": "malformed"})
    await until(lambda: "cannot be read" in (bot.feed.hyperliquid_health.last_error or ""), "answers are spoilt")
    assert "ETH" in bench.positions()
    assert set(bench.resting("ETH")) == {"sl", "tp"}
    bench.faults()
    bench.clock.advance(20)
    await bench.closed("horizon")
    assert ("hyperliquid", False) in bot.seen.breakers
    assert bot.is_running


async def test_a_bot_that_starts_without_the_exchange_trades_once_it_is_there(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults({"path": "/info", "kind": "reset"})
    bot = await bench.start({"ETH": ETH})
    await until(lambda: bot.feed.hyperliquid_health.last_error, "the exchange does not answer")
    with pytest.raises(BotError) as unknown:
        await bot.engine.catalog(0.01)
    assert unknown.value.code is ErrorCode.EXCHANGE_UNREACHABLE
    bench.faults()
    bench.clock.advance(20)
    await bench.holding("ETH")


async def test_a_store_that_fails_before_the_order_lets_nothing_leave(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH})
    monkeypatch.setattr(bot.ledger, "add_orders", disk_full)
    await until(lambda: any(signal.acted for signal in bot.seen.signals), "an entry is tried")
    await until(lambda: not bot.portfolio.pending, "it is given up")
    assert bench.entries() == []
    assert bot.portfolio.holdings == {}


async def test_a_store_that_fails_after_the_order_leaves_the_position_ours(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH})
    monkeypatch.setattr(bot.ledger, "update_orders", disk_full)
    put_position = bot.ledger.put_position

    async def put_expected_only(row: dict[str, Any]) -> None:
        await (disk_full() if row["size"] else put_position(row))

    monkeypatch.setattr(bot.ledger, "put_position", put_expected_only)
    await bench.holding("ETH")
    assert bot.portfolio.foreign() == []
    # Nothing of it was stored after it was sent, and still the next run knows it.
    await bench.stop(bot)
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    assert len(bench.entries()) == 1


async def disk_full(*_arguments: object) -> None:
    raise BotError(ErrorCode.STORE_UNAVAILABLE, "The disk is full.")
