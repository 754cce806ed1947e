"""From a prediction to a position: what is sent, what is stored first, and what is not sent."""

import asyncio
import json
import random
from decimal import Decimal

import pytest

from allora_mqtt.market.predictions import Prediction
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.messages import Direction
from allora_mqtt.simulator import account as sim
from allora_mqtt.simulator.world import Arrival
from tests.integration.trading.bench import BTC, ETH, ETH_SHORT, EXTRA_COINS, FIRST_EXTRA, SOL, Bench, until

TWENTY = {coin: FIRST_EXTRA + number for number, coin in enumerate(EXTRA_COINS)} | {"ETH": ETH, "BTC": BTC}


async def test_two_predictions_become_two_positions_with_stop_and_target_at_the_exchange(bench: Bench) -> None:
    bench.signal(ETH=0.01, BTC=-0.02)
    bot = await bench.start({"ETH": ETH, "BTC": BTC})
    await bench.holding("ETH", "BTC")
    positions = bench.positions()
    assert positions["ETH"] > 0 > positions["BTC"]
    for coin, gap in (("ETH", Decimal("0.01")), ("BTC", Decimal("-0.02"))):
        resting = bench.resting(coin)
        assert set(resting) == {"sl", "tp"}
        assert {order.size for order in resting.values()} == {abs(positions[coin])}
        assert all(order.request.reduce_only and not order.is_waiting for order in resting.values())
        stop, target = resting["sl"].request.trigger, resting["tp"].request.trigger
        assert stop is not None
        assert target is not None
        assert float(target.px) == pytest.approx(float(bench.mark(coin) * (1 + gap)), rel=2e-4)
        assert float(stop.px) == pytest.approx(float(bench.mark(coin) * (1 - gap / 2)), rel=2e-4)
        assert abs(positions[coin]) * bench.mark(coin) <= 100
    assert {signal.symbol: signal.direction for signal in bot.seen.signals if signal.acted} == {
        "ETH": Direction.BUY,
        "BTC": Direction.SELL,
    }
    await until(lambda: {fill.symbol for fill in bot.seen.fills} == {"ETH", "BTC"}, "the fills are told")
    assert [arrival.action["leverage"] for arrival in bench.sent("updateLeverage")] == [2, 2]


async def test_an_order_is_in_the_database_when_it_arrives(bench: Bench) -> None:
    found: dict[int, list[tuple[str, str | None]]] = {}
    world = bench.simulator.world
    arrive = world.arrive

    def look_into_the_database(body: object) -> Arrival:
        arrival = arrive(body)
        found[arrival.nonce] = bench.stored("select status, envelope from orders where nonce = ?", arrival.nonce)
        return arrival

    world.arrive = look_into_the_database  # type: ignore[method-assign] # a look at that moment
    bench.signal(ETH=0.01, BTC=0.01)
    bot = await bench.start({"ETH": ETH, "BTC": BTC})
    await bench.holding("ETH", "BTC")
    await bot.engine.close("ETH", "command")
    arrivals = bench.sent()
    assert len(arrivals) == 3
    for arrival in arrivals:
        rows = found[arrival.nonce]
        assert len(rows) == len(arrival.action["orders"])
        assert {status for status, _ in rows} == {"sending"}
        stored = json.loads(json.loads(next(envelope for _, envelope in rows if envelope not in {None, "null"})))
        assert stored["action"] == arrival.action
        assert stored["nonce"] == arrival.nonce


async def test_a_prediction_is_traded_on_once_and_the_next_one_again(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    await bot.engine.close("ETH", "command")
    await bench.looks()
    assert bench.positions() == {}
    assert "this prediction has been traded on" in bot.engine.signals["ETH"].reasons
    bench.next_epoch()
    await bench.holding("ETH")
    assert len(bench.entries()) == 2


async def test_a_new_prediction_adds_nothing_to_an_open_position(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    size = bench.positions()["ETH"]
    bench.next_epoch()
    why = "there is a position or an order on its way already"
    await until(lambda: why in bot.engine.signals["ETH"].reasons, "the new prediction is looked at")
    await bench.looks()
    assert (bench.positions()["ETH"], len(bench.entries())) == (size, 1)


async def test_a_log_return_is_traded_on_as_a_price(bench: Bench) -> None:
    bench.signal(BTC=-0.01)
    bot = await bench.start({"BTC": 1})
    await bench.holding("BTC")
    assert bench.positions()["BTC"] < 0
    assert float(bot.engine.signals["BTC"].gap_pct or 0) == pytest.approx(-1, abs=0.01)


async def test_a_gap_below_the_threshold_is_held(bench: Bench) -> None:
    bench.signal(ETH=0.002)
    bot = await bench.start({"ETH": ETH})
    await until(lambda: "ETH" in bot.engine.signals, "a signal")
    await bench.looks()
    assert bot.engine.signals["ETH"].direction is Direction.HOLD
    assert bench.sent() == []


@pytest.mark.parametrize("mode", [Mode.STANDBY, Mode.STOPPED])
async def test_nothing_leaves_while_the_gate_is_closed(bench: Bench, mode: Mode) -> None:
    bench.signal(ETH=0.01, BTC=-0.02, SOL=0.03)
    bot = await bench.start({"ETH": ETH, "BTC": BTC, "SOL": SOL}, mode)
    await until(lambda: len(bot.feed.predictions) == 3, "the predictions are there")
    await bench.looks(5)
    assert list(bench.simulator.world.arrivals) == []
    assert (mode is Mode.STANDBY) is (set(bot.engine.signals) == {"ETH", "BTC", "SOL"})


@pytest.mark.parametrize("seed", range(2))
async def test_no_entry_leaves_after_entries_are_blocked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    bench.signal(**dict.fromkeys(TWENTY, 0.02))
    bench.faults({"path": "/exchange", "kind": "latency", "seconds": 0.25})
    bot = await bench.start(TWENTY, Mode.STANDBY, max_open_positions=30, amount_usd=20)
    await until(lambda: len(bot.feed.predictions) > 20 and bot.portfolio.account, "all coins signal")
    passed, enter = [], bot.gate.enter

    def count() -> None:
        enter()
        passed.append(bench.clock())

    monkeypatch.setattr(bot.gate, "enter", count)
    bot.follow(TWENTY, max_open_positions=30, amount_usd=20)
    await until(bench.entries, "the first entry")
    await asyncio.sleep(random.Random(seed).uniform(0, 1))  # noqa: S311 - not for secrets
    assert await bot.engine.block_entries()
    left = len(passed)
    under_way = len(bot.portfolio.pending)
    await until(lambda: not bot.portfolio.pending, "every entry has ended")
    await bench.looks()
    # The exchange may read later what was handed to a socket before; there must be no more than that.
    assert len(bench.entries()) + len(bench.sent("updateLeverage")) <= left == len(passed)
    assert under_way > 4, "the test proves nothing when nothing was held back"
    assert set(bench.positions()) == set(bot.portfolio.holdings)
    assert 0 < len(bench.positions()) < len(TWENTY)


async def test_limits_hold_when_many_coins_signal_at_once(bench: Bench) -> None:
    bench.signal(**dict.fromkeys(TWENTY, 0.02))
    bot = await bench.start(TWENTY, max_open_positions=30, max_exposure_usd=350)
    await until(lambda: len(bot.portfolio.holdings) == 3 and not bot.portfolio.pending, "three positions")
    await bench.looks(5)
    worth = sum(abs(size) * bench.mark(coin) for coin, size in bench.positions().items())
    assert (len(bench.positions()), len(bench.entries())) == (3, 3)
    assert worth <= 350
    assert any("max_exposure_usd" in reason for one in bot.engine.signals.values() for reason in one.reasons)


async def test_no_more_positions_than_allowed(bench: Bench) -> None:
    bench.signal(**dict.fromkeys(TWENTY, 0.02))
    await bench.start(TWENTY, max_open_positions=2)
    await until(lambda: len(bench.positions()) == 2, "two positions")
    await bench.looks(5)
    assert len(bench.entries()) == 2


async def test_a_partial_fill_sizes_stop_and_target(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults({"path": "/exchange", "type": "order", "kind": "partial_fill", "count": 1})
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    asked = Decimal(bench.entries()[0].action["orders"][0]["s"])
    size = bench.positions()["ETH"]
    assert Decimal(0) < size < asked
    assert bot.portfolio.holdings["ETH"].size == size
    assert {order.size for order in bench.resting("ETH").values()} == {size}


async def test_an_order_refused_for_its_margin_leaves_no_trace_of_a_position(bench: Bench) -> None:
    # A resting order binds the account's money, which only the exchange counts.
    price = (bench.mark("BTC") * Decimal("0.97")).quantize(Decimal(1))
    size = (Decimal(9_980) * 20 / bench.mark("BTC")).quantize(Decimal("0.0001"))
    request = sim.OrderRequest(bench.asset("BTC").index, is_buy=True, px=price, size=size)
    statuses = bench.simulator.world.exchange.place(bench.account, [request], "na", bench.clock())
    assert "resting" in statuses[0], statuses
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH}, max_leverage=1, amount_usd=500, max_exposure_usd=1_000_000)
    await until(lambda: any(order.status == "error" for order in bot.seen.orders), "the refusal")
    await until(lambda: not bot.portfolio.pending, "the entry is given up")
    await bench.looks()
    assert "Insufficient margin" in (bot.seen.orders[0].error or "")
    assert (bot.portfolio.holdings, bot.portfolio.exposure_usd(), bench.positions()) == ({}, size * price, {})
    assert await bot.ledger.open_positions() == []
    assert bench.resting("BTC")["limit"].size == size
    assert len(bench.entries()) == 1


async def test_an_entry_that_finds_no_match_within_its_slippage_is_given_up(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH}, max_slippage_pct="0.01")
    await until(lambda: any("could not immediately match" in (one.error or "") for one in bot.seen.orders), "a refusal")
    await until(lambda: not bot.portfolio.pending, "the entry is given up")
    assert await bot.ledger.open_positions() == []
    assert bench.resting("ETH") == {}


async def test_a_prediction_older_than_its_horizon_is_held_with_its_age(bench: Bench) -> None:
    bench.signal(ETH=0.02)
    bot = await bench.start({"ETH": ETH_SHORT}, Mode.STANDBY)
    await until(lambda: "ETH" in bot.feed.predictions, "a prediction")
    bench.clock.advance(400)
    signals = bot.engine.signals
    await until(lambda: "ETH" in signals and signals["ETH"].direction is Direction.HOLD, "held")
    assert "s old, and 300 s is the limit" in bot.engine.signals["ETH"].reasons[0]


@pytest.mark.parametrize(("kind", "why"), [("absurd_prediction", "% away"), ("stale_prediction", "s old")])
async def test_a_prediction_that_cannot_be_true_is_held_with_a_reason(bench: Bench, kind: str, why: str) -> None:
    bench.signal(ETH=0.02)
    bench.faults({"path": "/v2", "type": str(ETH), "kind": kind})
    bot = await bench.start({"ETH": ETH})
    await until(lambda: "ETH" in bot.engine.signals, "a signal")
    await bench.looks()
    signal = bot.engine.signals["ETH"]
    assert (signal.direction, signal.acted) == (Direction.HOLD, False)
    assert why in signal.reasons[0]
    assert bench.sent() == []


async def test_a_prediction_that_is_no_number_is_none_and_says_so(bench: Bench) -> None:
    bench.signal(ETH=0.02)
    bench.faults({"path": "/v2", "type": str(ETH), "kind": "nan_prediction"})
    bot = await bench.start({"ETH": ETH})
    await until(lambda: "cannot be read" in (bot.feed.allora_health.last_error or ""), "the reason")
    assert (bot.engine.signals, bench.sent()) == ({}, [])
    bench.faults()
    bench.clock.advance(20)
    await bench.holding("ETH")


async def test_a_prediction_of_astronomic_size_stops_nothing(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults({"path": "/v2", "type": str(TWENTY["DOGE"]), "kind": "http_503"})
    bot = await bench.start({"DOGE": TWENTY["DOGE"], "ETH": ETH})
    # The largest price that is read, of a coin that costs cents: the gap has more than 28 digits.
    price, now = Decimal("9.9e20"), bench.clock()
    bot.feed.predictions["DOGE"] = Prediction(TWENTY["DOGE"], "DOGE", price, None, None, 8 * 3600, now)
    await bench.holding("ETH")
    await until(lambda: "DOGE" in bot.engine.signals, "a signal")
    assert "% away from the mark price" in bot.engine.signals["DOGE"].reasons[0]
    assert bot.is_running


async def test_a_log_return_becomes_a_price_once_and_does_not_follow_the_mark(bench: Bench) -> None:
    bench.signal(BTC=0.01)
    bot = await bench.start({"BTC": 1}, Mode.STANDBY)
    await until(lambda: "BTC" in bot.engine.signals, "a signal")
    price = bot.feed.predictions["BTC"].price
    await bench.shift("BTC", 1.01)
    await until(lambda: abs(Decimal(bot.engine.signals["BTC"].gap_pct or 1)) < Decimal("0.02"), "the gap is gone")
    await asyncio.sleep(0.7)
    assert bot.feed.predictions["BTC"].price == price
    assert bot.engine.signals["BTC"].direction is Direction.HOLD


async def test_coins_without_a_known_spread_are_not_entered(bench: Bench) -> None:
    bench.signal(ETH=0.02)
    bench.faults({"path": "/info", "type": "metaAndAssetCtxs", "kind": "null_mids"})
    bot = await bench.start({"ETH": ETH})
    # The first signals come before the account has been read, and that is then their reason.
    await until(
        lambda: "ETH" in bot.engine.signals and "the spread is not known" in bot.engine.signals["ETH"].reasons,
        "the reason",
    )
    assert bench.sent() == []
    bench.faults()
    await bench.holding("ETH")
