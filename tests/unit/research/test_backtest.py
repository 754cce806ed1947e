"""Rules of the backtest one by one."""

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from allora_mqtt.research.predictions import Skill, synthetic
from allora_mqtt.research.problems import ResearchError
from allora_mqtt.research.run import Assumptions
from tests.unit.research.things import HOUR_S, UNIVERSE, Ohlc, backtest, bars, hour, known, series

CALM: Ohlc = (50000, 50100, 49900, 50000)
FREE = Assumptions(Decimal(1000), Decimal(0), Decimal(0), Decimal(0))


def test_a_prediction_is_not_used_before_it_is_known() -> None:
    history = [series(bars(*[CALM] * 4))]
    at_once = backtest(history, [known(hour(1), 51000)], FREE).go()
    late = backtest(history, [known(hour(1), 51000, delay_s=5)], FREE).go()
    assert [decision.at for decision in at_once.decisions if decision.acted] == [hour(1)]
    # By the next price, an hour later, it is older than half an hour: the live rule for stale predictions.
    assert late.trades == []
    assert {decision.direction for decision in late.decisions} == {"HOLD"}


def test_orders_pay_spread_and_slippage() -> None:
    costly = Assumptions(Decimal(1000), spread_bps=Decimal(10), slippage_bps=Decimal(5), funding_rate=Decimal(0))
    history = [series(bars(*[CALM] * 3))]
    trade = backtest(history, [known(hour(0), 51000)], costly).go().trades[0]
    assert (trade.entry_price, trade.exit_price) == (
        Decimal(50050),
        Decimal(49950),
    )  # 5 bps of half the spread, 5 of slippage


def test_the_spread_is_held_against_its_limit() -> None:
    wide = Assumptions(Decimal(1000), spread_bps=Decimal(60))
    run = backtest([series(bars(*[CALM] * 3))], [known(hour(0), 51000)], wide).go()
    assert run.trades == []
    assert list(run.refusals) == ["the spread of % is above max_spread_pct"]


def test_a_gap_over_the_stop_fills_at_the_open_and_one_inside_a_bar_at_the_stop() -> None:
    through = [series(bars(CALM, (50000, 50000, 48000, 48000), CALM))]
    over = [series(bars(CALM, (48000, 48000, 48000, 48000), CALM))]
    prediction = [known(hour(0), 51000)]
    assert backtest(through, prediction, FREE).go().trades[0].exit_price == 49500
    assert backtest(over, prediction, FREE).go().trades[0].exit_price == 48000


@pytest.mark.parametrize(("predicted", "worst"), [(51000, 49500), (49000, 50500)])
def test_where_a_bar_holds_both_the_stop_comes_first(predicted: int, worst: int) -> None:
    history = [series(bars((50000, 52000, 48000, 50000), CALM))]
    trade = backtest(history, [known(hour(0), predicted)], FREE).go().trades[0]
    assert (trade.reason, trade.exit_price) == ("stop", Decimal(worst))


def test_one_entry_for_each_prediction() -> None:
    stopped: Ohlc = (50000, 50100, 49500, 50000)
    history = [series(bars(*[stopped] * 4, span_s=300))]
    run = backtest(history, [known(hour(0), 50600)], FREE, cooldown_s=0).go()
    assert [decision.acted for decision in run.decisions] == [True, False, False, False]
    assert [trade.reason for trade in run.trades] == ["stop"]
    assert run.refusals == {"this prediction has been traded on": 3}


def test_the_limit_on_losses_ends_entries_until_somebody_resets_it() -> None:
    falls: Ohlc = (50000, 50000, 40000, 50000)
    history = [series(bars(*[falls, CALM] * 20))]
    predictions = [known(hour(number), 51000) for number in range(40)]
    lossy: dict[str, Any] = {
        "amount_usd": 500,
        "max_exposure_usd": 5000,
        "max_symbol_exposure_usd": 5000,
        "max_daily_loss_pct": 1,
        "cooldown_s": 0,
    }
    stopped = backtest(history, predictions, FREE, **lossy).go()
    assert [trip.name for trip in stopped.tripped] == ["daily_loss"]
    assert len(stopped.trades) == 1
    assert "a limit on losses was reached" in stopped.refusals
    resumed = backtest(history, predictions, replace(FREE, resume_after_h=10), **lossy).go()
    assert len(resumed.tripped) > 1
    assert len(resumed.trades) > 1


def test_an_account_that_cannot_carry_its_loss_is_liquidated() -> None:
    history = [series(bars(CALM, (50000, 50000, 30000, 30000), CALM))]
    run = backtest(
        history,
        [known(hour(0), 53000)],
        Assumptions(Decimal(100)),
        amount_usd=90,
        max_leverage=40,
        max_exposure_usd=10_000,
        max_symbol_exposure_usd=10_000,
        sl_ratio=10,
        max_daily_loss_pct=100,
        max_drawdown_pct=100,
    ).go()
    assert [trade.reason for trade in run.trades] == ["liquidation"]
    assert run.equity[-1].equity_usd >= 0


def test_funding_comes_from_the_data_where_it_has_it() -> None:
    first, second, *others = bars(*[CALM] * 4)
    history = [series([first, replace(second, funding_rate=Decimal("0.001")), *others])]
    world = replace(FREE, funding_rate=Decimal("0.0001"))
    run = backtest(
        history,
        [known(hour(0), 51000)],
        world,
        amount_usd="251.25",
        max_exposure_usd=1000,
        max_symbol_exposure_usd=1000,
    ).go()
    # The first hour at the assumed rate, 0.01 x 50,000 x 0.0001; from the second on, three hours at the data's.
    assert run.trades[0].funding_usd == Decimal("0.05") + 3 * Decimal("0.5")


def test_coins_trade_side_by_side_on_one_account() -> None:
    other: Ohlc = (2000, 2010, 1990, 2000)
    history = [series(bars(*[CALM] * 3)), series(bars(*[other] * 3), "ETH")]
    predictions = [known(hour(0), 51000), known(hour(0), 2040, symbol="ETH", topic_id=9)]
    run = backtest(history, predictions, FREE).go()
    assert {trade.symbol for trade in run.trades} == {"BTC", "ETH"}
    assert sum((trade.pnl_usd for trade in run.trades), Decimal(1000)) == run.equity[-1].equity_usd
    one_only = backtest(history, predictions, FREE, max_open_positions=1).go()
    assert len({trade.symbol for trade in one_only.trades}) == 1


def test_an_unknown_coin_is_refused() -> None:
    with pytest.raises(ResearchError, match="UNKNOWN_SYMBOL"):
        backtest([series(bars(CALM, CALM), "NOSUCH")], [])


def test_synthetic_predictions_are_as_skilled_as_stated_and_repeatable() -> None:
    walk = [50000]
    for number in range(600):
        walk.append(walk[-1] + (37 * number * number % 401) - 200)
    history = series(bars(*[(a, max(a, b), min(a, b), b) for a, b in pairwise(walk)]))
    oracle = synthetic(history, UNIVERSE, Skill(1, 7, 7200, 3600), 5)
    for each in oracle[:50]:
        truth = history.price_at(each.prediction.at + 7200)
        assert abs(each.prediction.price - truth) / truth < Decimal("0.0001")
    assert {each.known_at - each.prediction.at for each in oracle} == {5}
    assert all(each.prediction.at + 7200 <= history.end for each in oracle)
    assert oracle[-1].prediction.at + 7200 > history.end - HOUR_S - 5
    one, again, other = (
        [each.prediction.price for each in synthetic(history, UNIVERSE, Skill(0.3, seed, 7200, 3600), 5)]
        for seed in (7, 7, 8)
    )
    assert one == again
    assert one != other
