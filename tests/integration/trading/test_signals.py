"""What becomes of a prediction before an order: age, gates, strategies of others, record, and what came of it."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from allora_mqtt.market.allora import AlloraClient
from allora_mqtt.market.allora_chain import AlloraChain, AlloraWithChain
from allora_mqtt.market.predictions import Origin
from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.messages import Direction, SignalView
from allora_mqtt.trading.skill import Skill
from allora_mqtt.trading.strategy import BUILT_IN, Situation, Verdict
from tests.integration.trading.bench import BTC, EPOCH_S, ETH, ETH_SHORT, SOL, Bench, Bot, until

MAINNET = "allora-mainnet-1"


async def said(bot: Bot, what: str, symbol: str = "ETH") -> None:
    """Wait until the newest signal of a symbol has a reason with these words."""
    signals = bot.engine.signals
    await until(
        lambda: symbol in signals and any(what in reason for reason in signals[symbol].reasons),
        f"{what!r} in {signals.get(symbol)}",
    )


def told(bot: Bot, symbol: str = "ETH") -> list[tuple[Direction, str]]:
    """Direction and last reason of every signal that was told."""
    return [(one.direction, one.reasons[-1]) for one in bot.seen.signals if one.symbol == symbol]


# its age


async def test_every_signal_says_how_old_its_prediction_is_and_which_limit_holds(bench: Bench) -> None:
    bench.signal(ETH=0.001, BTC=0.001)
    bot = await bench.start({"ETH": ETH_SHORT, "BTC": BTC}, Mode.STANDBY)
    await said(bot, "300 s is the limit (its horizon of 5m)")
    await said(bot, "1800 s is the limit (ALLORA_MAX_AGE_S)", "BTC")


async def test_a_topic_that_publishes_hourly_is_usable_for_as_long_as_the_setting_says(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bench.faults({"path": "/v2", "type": str(ETH), "kind": "stale_prediction", "seconds": 3000})
    bot = await bench.start({"ETH": ETH})
    await said(bot, "s old, and 1800 s is the limit (ALLORA_MAX_AGE_S)")
    assert bot.engine.signals["ETH"].direction is Direction.HOLD
    await bench.stop(bot)
    await bench.start({"ETH": ETH}, max_age_s=4500)
    await bench.holding("ETH")


# gates


async def test_a_gate_refuses_and_the_record_says_so(bench: Bench) -> None:
    bench.signal(ETH=0.02)
    bot = await bench.start({"ETH": ETH}, min_skill_pct=50)
    await said(bot, "gate min_skill_pct: 0 predictions of topic 9 are resolved, and 50 are wanted")
    signal = bot.engine.signals["ETH"]
    assert (signal.direction, signal.acted) == (Direction.BUY, False)
    await until(lambda: bench.stored("select 1 from signals where reasons like '%min_skill_pct%'"), "the row")
    assert bench.sent() == []
    bot.follow({"ETH": ETH})
    await bench.holding("ETH")


async def test_the_confidence_gate_looks_at_the_networks_own_interval(bench: Bench) -> None:
    bench.signal(ETH=0.02, BTC=0.005)
    bot = await bench.start({"ETH": ETH}, Mode.STANDBY)
    await until(lambda: "ETH" in bot.feed.predictions, "a prediction")
    known = bot.feed.predictions["ETH"]
    mark = bench.mark("ETH")
    bot.feed.predictions["ETH"] = replace(known, interval_68=(mark - 1, known.price), interval_95=(mark - 2, mark - 1))
    bot.follow({"ETH": ETH}, min_confidence_band_pct=68)
    await said(bot, "inside the network's 68 % interval")
    assert bench.sent() == []
    bot.follow({"ETH": ETH}, min_confidence_band_pct=95)
    await bench.holding("ETH")


async def test_volatility_is_measured_from_the_marks(bench: Bench) -> None:
    bench.signal(ETH=0.002)
    bot = await bench.start({"ETH": ETH}, Mode.STANDBY, strategy="volatility", price_gap_pct="0.1")
    await said(bot, "the volatility needs 24 samples and there are 0")
    history = bot.engine._thoughts._history
    for number in range(25):
        await bench.shift("ETH", 1.0001 if number % 2 else 1 / 1.0001)
        await until(lambda: abs(bot.feed.quotes["ETH"].at - bench.clock()) < 5, "a new quote")
        bench.clock.advance(300)
        await until(lambda at=number: len(history.of("ETH")) > at + 1, "a sample")  # type: ignore[misc] # a default, not an argument
    await said(bot, "1.0 times the volatility of")
    assert bot.engine.signals["ETH"].direction is Direction.BUY


# strategies of others


async def test_a_strategy_that_fails_holds_and_the_others_coins_go_on(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def moody(situation: Situation) -> Verdict:
        if situation.quote.symbol == "ETH":
            raise SystemExit(3)
        return Verdict(Direction.SELL, ("a feeling",))

    bench.signal(ETH=0.02, BTC=0.02)
    bot = await bench.start({"ETH": ETH, "BTC": BTC}, strategies={**BUILT_IN, "moody": moody}, strategy="moody")
    await said(bot, "the strategy moody failed: SystemExit: 3")
    await bench.holding("BTC")
    assert bench.positions()["BTC"] < 0
    await bench.looks()
    assert bot.is_running
    assert bot.engine.signals["ETH"].direction is Direction.HOLD
    assert len([record for record in caplog.records if "moody failed" in record.message]) == 1


# the record


async def test_each_kind_of_refusal_is_told_once_however_often_the_price_moves(bench: Bench) -> None:
    bench.signal(ETH=0.02)
    bot = await bench.start({"ETH": ETH}, Mode.STANDBY)
    await said(bot, "no entries in STANDBY")
    for number in range(6):
        await bench.shift("ETH", 1.0002)
        bot.follow({"ETH": ETH}, Mode.STANDBY if number % 2 else Mode.ACTIVE, max_funding_pct=0, min_skill_pct=1)
        await said(bot, "no entries in STANDBY" if number % 2 else "gate min_skill_pct")
    reasons = [reason for _, reason in told(bot)]
    assert reasons.count("no entries in STANDBY") == 1
    assert len([reason for reason in reasons if "min_skill_pct" in reason]) == 1
    count = len(told(bot))
    await until(lambda: len(bench.stored("select 1 from signals")) == count, "every one is stored, and no more")


async def test_refusals_by_risk_are_in_the_record_too(bench: Bench) -> None:
    bench.signal(ETH=0.02, BTC=0.02, SOL=0.02)
    bot = await bench.start({"ETH": ETH, "BTC": BTC, "SOL": SOL}, max_open_positions=2)
    await until(lambda: len(bench.positions()) == 2, "two positions")
    (left,) = {"ETH", "BTC", "SOL"} - set(bench.positions())
    await said(bot, "the limit is max_open_positions", left)
    await until(lambda: bench.stored("select 1 from signals where reasons like '%max_open_positions%'"), "the row")


# what came of it


async def test_skill_is_measured_published_and_used_by_its_gate(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    gate: dict[str, Any] = {"min_skill_pct": 60, "skill_window": 5}
    bot = await bench.start({"ETH": ETH_SHORT}, **gate)
    for number in range(5):
        await until(
            lambda at=number: len(bench.stored("select 1 from predictions")) == at + 1,  # type: ignore[misc] # a default, not an argument
            f"prediction {number}",
        )
        await said(bot, f"gate min_skill_pct: {number} predictions of topic 13 are resolved, and 5 are wanted")
        begun = bot.feed.predictions["ETH"].at
        await bench.shift("ETH", 1.001 if number else 0.999)
        bench.clock.advance(begun + 300 - bench.clock() + 1)
        await until(lambda at=number: bot.engine.skill(ETH_SHORT).samples == at + 1, "it is resolved")  # type: ignore[misc] # a default, not an argument
        bench.clock.advance(begun + EPOCH_S - bench.clock() + 1)
    assert bot.engine.skill(ETH_SHORT) == Skill(5, 4)
    await bench.holding("ETH")
    await bench.stop(bot)
    bot = await bench.start({"ETH": ETH_SHORT}, Mode.STANDBY, **gate)
    await until(lambda: bot.engine.skill(ETH_SHORT) == Skill(5, 4), "it is known after a restart")


async def test_what_came_due_while_the_bot_was_away_is_found_out(bench: Bench) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH_SHORT}, Mode.STANDBY)
    await until(lambda: bench.stored("select 1 from predictions"), "the prediction")
    await bench.shift("ETH", 1.01)
    await bench.stop(bot)
    bench.clock.advance(3600)
    bot = await bench.start({"ETH": ETH_SHORT}, Mode.STANDBY)
    await until(lambda: bench.stored("select 1 from predictions where note like '%candle%'"), "it is resolved")
    ((right, outcome),) = bench.stored("select is_right, outcome_price from predictions where note is not null")
    assert right == 1
    assert Decimal(outcome) == pytest.approx(bench.mark("ETH"), rel=Decimal("0.001"))


# where it is read


async def test_the_chain_takes_the_apis_place_and_its_value_is_the_same_prediction(bench: Bench) -> None:
    bench.signal(ETH=0.01, BTC=0.01)
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    await bot.engine.close("ETH", "command")
    api = bot.feed._allora
    assert isinstance(api, AlloraClient)
    chain = AlloraChain(bench.simulator.url, MAINNET, 2, bot._session)
    bot.feed._allora = AlloraWithChain(api, chain, lambda: 0.0)
    bench.faults({"path": "/v2", "kind": "http_503"})
    bot.follow({"ETH": ETH, "BTC": BTC})
    await bench.holding("BTC")
    assert bot.feed.predictions["BTC"].origin is Origin.CHAIN
    await said(bot, "read from the chain", "BTC")
    await bench.looks()
    await asyncio.sleep(0.5)
    assert bot.feed.predictions["ETH"].origin is Origin.API
    assert set(bench.positions()) == {"BTC"}
    # In a market as flat as this one the next value would be the same again.
    bench.signal(ETH=0.011, BTC=0.01)
    bench.next_epoch()
    await bench.holding("ETH", "BTC")
    assert bot.engine.signals["ETH"].reasons[1].endswith("read from the chain")


async def test_a_topic_that_hangs_holds_up_no_other(bench: Bench) -> None:
    bench.signal(ETH=0.01, BTC=0.01)
    bench.faults({"path": "/v2", "type": str(ETH), "kind": "hang"})
    bot = await bench.start({"ETH": ETH, "BTC": BTC}, Mode.STANDBY, timeout_s=30)
    await until(lambda: "BTC" in bot.feed.predictions, "the other one's prediction")
    first = bot.feed.predictions["BTC"].at
    bench.next_epoch()
    await until(lambda: bot.feed.predictions["BTC"].at > first, "and its next one")
    assert "ETH" not in bot.feed.predictions


async def test_what_is_published_is_in_the_books_by_then(bench: Bench) -> None:
    bench.signal(ETH=0.01, BTC=0.0001)
    bot = await bench.start({"ETH": ETH})
    missing, seen = [], []

    def look(signal: SignalView) -> None:
        seen.append(signal.symbol)
        missing.extend([] if bench.stored("select 1 from signals where signal_id = ?", signal.signal_id) else [signal])

    bot.seen.on_signal = look  # type: ignore[method-assign] # a look into the books at that moment
    bot.follow({"ETH": ETH, "BTC": BTC})
    await bench.holding("ETH")
    await until(lambda: {"ETH", "BTC"} <= set(seen), "both were published")
    assert missing == []
