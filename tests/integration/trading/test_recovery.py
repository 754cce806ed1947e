"""Orders of which nothing is known are brought to their end: looked up, sent again identically, or made impossible."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from allora_mqtt.market.signing import Envelope
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.errors import BotError
from allora_mqtt.simulator import account as sim
from tests.integration.trading.bench import BTC, ETH, ETH_SHORT, ON_BOTH, WALLET, Bench, Bot, until

pytestmark = ON_BOTH

ORDER: dict[str, Any] = {"path": "/exchange", "type": "order", "count": 1}
NOTHING_ARRIVES = [{"path": "/exchange", "type": kind, "kind": "reset"} for kind in ("order", "noop")]


async def hold_eth(bench: Bench, topic: int = ETH, **options: Any) -> Bot:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": topic}, **options)
    await bench.holding("ETH")
    return bot


def statuses(bench: Bench, purpose: str) -> set[str]:
    return {str(row[0]) for row in bench.stored("select status from orders where purpose = ?", purpose)}


async def test_an_entry_that_did_not_arrive_is_sent_again_identically_and_runs_once(bench: Bench) -> None:
    bench.faults({**ORDER, "kind": "reset"})
    await hold_eth(bench)
    first, second = bench.entries()
    assert (first.action, first.nonce) == (second.action, second.nonce)
    assert (first.signer, second.signer) == (None, WALLET.address.lower())
    assert statuses(bench, "entry") == {"filled"}
    assert bench.sent("noop") == []


async def test_an_entry_is_not_sent_again_onto_a_position_that_was_opened_since_the_last_look(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults({**ORDER, "kind": "reset"})
    bot = await bench.start({"ETH": ETH})
    recovery = bot.engine.reconciler.recovery
    allows = recovery.may_open
    asked: list[bool] = []

    def opened_meanwhile(symbol: str) -> bool:
        is_allowed = allows(symbol)
        if not asked:
            bench.by_hand("ETH", "0.05", is_buy=True)
        asked.append(is_allowed)
        return is_allowed

    recovery.may_open = opened_meanwhile
    await until(lambda: asked and not bot.engine.reconciler.unresolved("ETH"), "it is ruled out")
    assert asked[0], "by the last look it was allowed"
    assert (len(bench.entries()), bench.positions()) == (1, {"ETH": Decimal("0.05")})
    assert statuses(bench, "entry") == {"never_ran"}
    await until(lambda: bot.portfolio.foreign() == ["ETH"], "it is left alone")


async def test_an_entry_of_which_nothing_is_known_never_leaves_again_after_standby(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults(*NOTHING_ARRIVES)
    bot = await bench.start({"ETH": ETH})
    await until(lambda: "unknown" in {order.status for order in bot.seen.orders}, "nothing is known of it")
    assert await bot.engine.block_entries()
    sent = len(bench.entries())
    bench.faults()
    await until(lambda: not bot.engine.reconciler.unresolved("ETH"), "it is ruled out")
    assert len(bench.entries()) == sent
    assert {arrival.nonce for arrival in bench.sent("noop")} == {bench.entries()[0].nonce}
    assert (bench.positions(), bot.portfolio.pending) == ({}, {})
    assert statuses(bench, "entry") == statuses(bench, "stop") == {"never_ran"}


async def test_an_entry_of_an_earlier_life_that_is_still_on_its_way_is_made_impossible(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrives = asyncio.Event()

    async def held_up(*_: object) -> None:
        await arrives.wait()

    monkeypatch.setattr("allora_mqtt.simulator.fault_middleware._before", held_up)
    bench.signal(ETH=0.01)
    bench.faults({**ORDER, "kind": "latency"})
    bot = await bench.start({"ETH": ETH})
    await until(bench.entries, "the entry has left")
    await bench.stop(bot)
    bot = await bench.start({"ETH": ETH}, Mode.STANDBY)
    await until(lambda: not bot.engine.reconciler.unresolved("ETH"), "it is ruled out")
    late = bench.entries()[0]
    arrives.set()
    await until(lambda: late.outcome, "it arrives at last")
    assert "duplicate nonce" in str(late.outcome)
    assert bench.positions() == {}


async def test_an_entry_that_would_not_be_made_now_is_not_made_after_a_restart(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults(*NOTHING_ARRIVES)
    bot = await bench.start({"ETH": ETH})
    await until(lambda: "unknown" in {order.status for order in bot.seen.orders}, "nothing is known of it")
    await bench.stop(bot)
    bench.faults()
    sent = len(bench.entries())
    bot = await bench.start({"BTC": BTC})
    await until(lambda: not bot.engine.reconciler.unresolved("ETH"), "it is ruled out")
    assert (len(bench.entries()), bench.positions()) == (sent, {})


async def test_an_entry_under_way_after_a_restart_is_stored_with_what_it_brought(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults({**ORDER, "kind": "answer_lost"}, {**ORDER, "kind": "partial_fill"})
    bot = await bench.start({"ETH": ETH})
    await until(lambda: "ETH" in bench.positions(), "it has run")
    await bench.stop(bot)
    await bench.start({"ETH": ETH}, Mode.STANDBY)
    await bench.holding("ETH")
    columns = "filled_size, average_price, oid"
    ((size, price, oid),) = bench.stored(f"select {columns} from orders where purpose = 'entry'")  # noqa: S608 - constants
    fills = [fill for fill in bench.account.fills if fill["oid"] == oid]
    assert Decimal(size) == bench.positions()["ETH"] == sum(Decimal(fill["sz"]) for fill in fills)
    assert float(price) == pytest.approx(float(fills[0]["px"]), rel=1e-3)


async def test_a_close_without_an_answer_is_followed_to_its_end_and_not_repeated(bench: Bench) -> None:
    bot = await hold_eth(bench)
    size, sent = bench.positions()["ETH"], len(bench.sent())
    bench.faults({**ORDER, "kind": "answer_lost"})
    assert await bot.engine.close("ETH", "command") == size
    assert len(bench.sent()) == sent + 1
    assert bench.stored("select status, filled_size from orders where purpose = 'exit'") == [("filled", str(size))]
    assert (await bench.closed("command")).size == size


async def test_a_close_that_did_not_arrive_is_sent_again_identically(bench: Bench) -> None:
    bot = await hold_eth(bench)
    size = bench.positions()["ETH"]
    bench.faults({**ORDER, "kind": "http_500"})
    assert await bot.engine.close("ETH", "command") == size
    exits = [arrival for arrival in bench.sent() if arrival not in bench.entries()]
    assert len(exits) == 2
    assert exits[0].nonce == exits[1].nonce


async def test_a_close_of_an_earlier_life_is_booked_with_its_reason(bench: Bench) -> None:
    bot = await hold_eth(bench, ETH_SHORT)
    bench.faults({**ORDER, "kind": "latency", "seconds": 0.5})
    sent = len(bench.sent())
    bench.clock.advance(301)
    await until(lambda: len(bench.sent()) > sent, "the close has left")
    await bench.stop(bot)
    await until(lambda: bench.positions() == {}, "it runs while nobody is there")
    bot = await bench.start({"ETH": ETH_SHORT}, Mode.STANDBY)
    assert (await bench.closed("horizon")).symbol == "ETH"
    await until(lambda: statuses(bench, "exit") == {"filled"}, "its end")
    assert len(bench.sent()) == sent + 1


async def test_a_stop_without_an_answer_is_found_and_not_placed_twice(bench: Bench) -> None:
    bot = await hold_eth(bench)
    sent = len(bench.sent())
    bench.faults({**ORDER, "kind": "answer_lost"})
    bench.remove(bench.resting("ETH")["sl"])
    await until(lambda: "sl" in bench.resting("ETH"), "a stop")
    await until(lambda: not statuses(bench, "stop") & {"sending", "unknown"}, "its end is known")
    await bench.looks()
    assert len(bench.sent()) == sent + 1
    assert list(bot.portfolio.holdings) == ["ETH"]


async def test_a_stop_that_may_still_arrive_is_not_followed_by_another(bench: Bench) -> None:
    await hold_eth(bench)
    bench.faults(*NOTHING_ARRIVES)
    bench.remove(bench.resting("ETH")["sl"])
    await until(lambda: bench.sent("noop"), "it cannot be ruled out", 20)
    for _ in range(3):
        bench.clock.advance(1.1)
        await bench.looks()
    assert len({arrival.nonce for arrival in bench.sent() if arrival not in bench.entries()}) == 1
    bench.faults()
    await until(lambda: "sl" in bench.resting("ETH"), "a stop")
    await bench.looks()
    assert set(bench.resting("ETH")) == {"sl", "tp"}
    assert len(bench.account.orders) == 2


async def test_stops_end_in_the_books_when_their_position_has(bench: Bench) -> None:
    bot = await hold_eth(bench)
    await bot.engine.close("ETH", "command")
    await until(lambda: statuses(bench, "stop") | statuses(bench, "target") == {"reduceOnlyCanceled"}, "their end")


async def test_what_the_exchange_has_seen_and_does_not_show_was_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.signal(ETH=0.01)
    bench.faults({**ORDER, "kind": "answer_lost"}, {"path": "/info", "kind": "late_fills", "seconds": 86_000})
    exchange = bench.simulator.world.exchange
    place = exchange.place

    def place_nothing(account: sim.Account, *order: Any) -> list[Any]:
        # As if the exchange had refused the action as a whole: its nonce is used, and there is no order.
        statuses = place(account, *order)
        account.positions.clear()
        return statuses

    monkeypatch.setattr(exchange, "place", place_nothing)
    bot = await bench.start({"ETH": ETH})
    await until(lambda: len(bench.entries()) > 1, "it is sent again")
    assert "duplicate nonce" in str(bench.entries()[1].outcome)
    await bench.looks()
    assert bot.engine.reconciler.unresolved("ETH"), "it may be shown late"
    bench.clock.advance(16)
    await until(lambda: not bot.engine.reconciler.unresolved("ETH"), "it is given up")
    assert statuses(bench, "entry") == {"refused"}


async def test_the_stored_envelope_is_exactly_what_was_sent(bench: Bench) -> None:
    await hold_eth(bench)
    ((stored,),) = bench.stored("select envelope from orders where purpose = 'entry'")
    envelope = Envelope.from_json(json.loads(stored))
    assert envelope.to_json() == json.loads(stored)
    assert (envelope.action, envelope.nonce) == (bench.entries()[0].action, bench.entries()[0].nonce)


async def test_leverage_whose_answer_is_lost_is_not_set_twice_and_the_entry_is_made(bench: Bench) -> None:
    bench.faults({"path": "/exchange", "type": "updateLeverage", "kind": "answer_lost", "count": 1})
    await hold_eth(bench)
    first, second = bench.sent("updateLeverage")
    assert first.nonce == second.nonce
    assert "duplicate nonce" in str(second.outcome)


async def test_leverage_is_set_only_when_it_differs_after_a_restart_too(bench: Bench) -> None:
    bot = await hold_eth(bench)
    await bot.engine.close("ETH", "command")
    await bench.stop(bot)
    bench.next_epoch()
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    assert len(bench.sent("updateLeverage")) == 1
    await bot.engine.close("ETH", "command")
    bot.follow({"ETH": ETH}, max_leverage=3)
    bench.next_epoch()
    await bench.holding("ETH")
    assert [arrival.action["leverage"] for arrival in bench.sent("updateLeverage")] == [2, 3]


async def test_nonces_rise_over_a_restart_with_a_clock_that_was_set_back(bench: Bench) -> None:
    bot = await hold_eth(bench)
    exits = dict(bench.account.orders)
    bench.by_hand("ETH", str(bench.positions()["ETH"]), is_buy=False, reduce_only=True)
    bench.account.orders |= exits
    # The last nonce of this life is that of no order.
    await until(lambda: bench.sent("cancel"), "what is left over is cancelled")
    await bench.stop(bot)
    bench.clock.advance(-5)
    bench.signal(BTC=0.01)
    await bench.start({"BTC": BTC})
    await bench.holding("BTC")
    nonces = [arrival.nonce for arrival in bench.simulator.world.arrivals]
    assert nonces == sorted(set(nonces))


async def test_an_action_budget_that_is_spent_is_not_run_against(bench: Bench) -> None:
    bot = await hold_eth(bench)
    spent = bench.sent()
    bench.account.action_count = 1_000_000
    bench.account.last_over_budget_s = bench.clock()
    bench.simulator.world.limiter = _NoLimit()  # type: ignore[assignment] # with a limiter the budget is enforced too
    with pytest.raises(BotError, match="no entries are made until"):
        await bot.engine.close("ETH", "command")
    assert len(bench.sent()) == len(spent) + 1
    with pytest.raises(BotError, match="nothing was sent"):
        await bot.engine.close("ETH", "command")
    assert len(bench.sent()) == len(spent) + 1
    assert set(bench.resting("ETH")) == {"sl", "tp"}
    bench.clock.advance(11)
    assert await bot.engine.close("ETH", "command") > 0
    bench.signal(ETH=0.01, BTC=0.02)
    bot.follow({"BTC": BTC})
    await until(lambda: "BTC" in bot.engine.signals, "a signal")
    assert any("of its" in why for why in bot.engine.signals["BTC"].reasons)


class _NoLimit:
    def allows(self, *_: object) -> bool:
        return True

    def charge(self, *_: object) -> None: ...


async def test_what_a_close_leaves_over_is_closed_too(bench: Bench) -> None:
    bot = await hold_eth(bench)
    size = bench.positions()["ETH"]
    bench.faults({**ORDER, "kind": "partial_fill", "count": 3})
    assert await bot.engine.close("ETH", "command") == size
    assert bench.positions() == {}
    assert len(bench.sent()) == 5


async def test_flatten_waits_for_an_entry_of_which_nothing_is_known(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults(*NOTHING_ARRIVES)
    bot = await bench.start({"ETH": ETH})
    await until(lambda: "unknown" in {order.status for order in bot.seen.orders}, "nothing is known of it")
    await bot.engine.block_entries()
    bench.faults({"path": "/exchange", "type": "noop", "kind": "reset", "count": 1})
    assert await bot.engine.flatten("flatten") == ([], [])
    assert (bench.positions(), bot.portfolio.pending) == ({}, {})
    assert statuses(bench, "entry") == {"never_ran"}
