from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from allora_mqtt.market.account import RestingOrder
from allora_mqtt.protocol.messages import Side
from allora_mqtt.trading.portfolio import VISIBLE_AFTER, Holding, Portfolio, Results, exit_reason
from tests.unit.trading.things import (
    NOW,
    account,
    holding,
    plan,
    position,
    prediction,
    quote,
    resting,
    settings,
)

START = Results(NOW.date(), Decimal(1000), Decimal(1000))


def held(*holdings: Holding) -> Portfolio:
    portfolio = Portfolio()
    portfolio.holdings = {one.symbol: one for one in holdings}
    return portfolio


def test_results_of_a_day_are_counted_from_its_start() -> None:
    later = START.at(Decimal(1100), NOW + timedelta(hours=1))
    assert (later.day_start_usd, later.peak_usd) == (Decimal(1000), Decimal(1100))
    assert later.daily_pct(Decimal(1050)) == 5
    assert later.daily_pct(Decimal(950)) == -5


def test_a_new_day_starts_at_the_equity_it_finds_and_keeps_the_peak() -> None:
    later = replace(START, peak_usd=Decimal(1200)).at(Decimal(900), NOW + timedelta(days=1))
    assert (later.day, later.day_start_usd, later.peak_usd) == (date(2026, 5, 2), Decimal(900), Decimal(1200))
    assert later.drawdown_pct(Decimal(900)) == 25


@pytest.mark.parametrize("amount", ["-700", "-1", "0.5", "50000"])
def test_moved_money_changes_no_result(amount: str) -> None:
    before, moved = Decimal(800), Decimal(amount)
    results = replace(START, peak_usd=Decimal(1600))
    after = results.moved(moved, before + moved)
    assert round(after.daily_pct(before + moved), 9) == results.daily_pct(before) == -20
    assert round(after.drawdown_pct(before + moved), 9) == results.drawdown_pct(before) == 50
    assert round(after.daily_usd(before + moved), 9) == results.daily_usd(before) == -200
    assert round(after.steady_usd(before + moved), 9) == 800
    assert Results.from_state(after.to_state()) == after


def test_an_emptied_account_keeps_its_results_until_money_comes_back_days_later() -> None:
    empty = START.moved(Decimal(-900), Decimal(0))
    assert [empty.daily_pct(Decimal(0)), empty.daily_usd(Decimal(0)), empty.steady_usd(Decimal(0))] == [-10, -100, 900]
    tomorrow = empty.at(Decimal(0), NOW + timedelta(days=1))
    assert [tomorrow.daily_pct(Decimal(0)), tomorrow.daily_usd(Decimal(0)), tomorrow.peak_usd] == [0, 0, 1000]
    back = tomorrow.moved(Decimal(450), Decimal(450)).at(Decimal(450), NOW + timedelta(days=1))
    assert [back.daily_pct(Decimal(450)), back.daily_usd(Decimal(450)), back.drawdown_pct(Decimal(450))] == [0, 0, 10]


def test_the_first_deposit_is_what_losses_are_counted_from() -> None:
    empty = Results(NOW.date(), Decimal(0), Decimal(0))
    funded = empty.moved(Decimal(1000), Decimal(1000)).at(Decimal(1000), NOW)
    left = Decimal(900)
    assert [funded.daily_pct(left), funded.drawdown_pct(left), funded.daily_usd(left)] == [-10, 10, -100]


def test_results_of_an_earlier_version_are_read() -> None:
    assert Results.from_state({"day": "2026-05-01", "day_start_usd": "1000", "peak_usd": "1000"}) == START


def test_a_day_is_one_of_utc() -> None:
    midnight = datetime(2026, 5, 2, 1, tzinfo=timezone(timedelta(hours=2)))
    assert START.at(Decimal(900), midnight).day == date(2026, 5, 1)
    assert START.at(Decimal(900), midnight.astimezone(UTC) + timedelta(hours=1)).day == date(2026, 5, 2)


def test_an_account_without_money_has_lost_nothing() -> None:
    empty = Results(NOW.date(), Decimal(0), Decimal(0))
    assert empty.daily_pct(Decimal(0)) == empty.drawdown_pct(Decimal(0)) == 0
    assert empty.tripped(Decimal(0), settings()) == {}


@pytest.mark.parametrize(("equity", "tripped"), [("950.01", []), ("950", ["daily_loss"]), ("900", ["daily_loss"])])
def test_a_daily_loss_trips_at_its_limit(equity: str, tripped: list[str]) -> None:
    found = START.tripped(Decimal(equity), settings(max_daily_loss_pct=5, max_drawdown_pct=50))
    assert list(found) == tripped


def test_a_daily_loss_says_how_much_was_lost() -> None:
    found = START.tripped(Decimal(940), settings(max_daily_loss_pct=5))
    assert found == {"daily_loss": "lost 6.00 % today, the limit is 5 %"}


@pytest.mark.parametrize(("equity", "tripped"), [("900.01", []), ("900", ["drawdown"])])
def test_a_drawdown_trips_at_its_limit_below_the_peak(equity: str, tripped: list[str]) -> None:
    results = Results(NOW.date(), Decimal(900), Decimal(1000))
    found = results.tripped(Decimal(equity), settings(max_daily_loss_pct=50, max_drawdown_pct=10))
    assert list(found) == tripped
    assert all(reason == "10.00 % below the highest equity, the limit is 10 %" for reason in found.values())


def test_both_limits_on_losses_trip_together_and_are_reset_one_by_one() -> None:
    limits, equity = settings(max_daily_loss_pct=5, max_drawdown_pct=10), Decimal(890)
    assert list(START.tripped(equity, limits)) == ["daily_loss", "drawdown"]
    assert list(START.restarted(["daily_loss"], equity).tripped(equity, limits)) == ["drawdown"]
    assert list(START.restarted(["drawdown"], equity).tripped(equity, limits)) == ["daily_loss"]
    assert START.restarted(["daily_loss", "drawdown"], equity).tripped(equity, limits) == {}


def test_a_clock_that_is_set_back_hides_no_loss() -> None:
    earlier = START.at(Decimal(900), NOW - timedelta(days=1))
    assert earlier == START
    assert list(earlier.tripped(Decimal(900), settings(max_daily_loss_pct=5))) == ["daily_loss"]


def test_results_come_back_from_the_store_as_they_were() -> None:
    results = Results(NOW.date(), Decimal("1000.123456"), Decimal("1e3"))
    assert Results.from_state(results.to_state()) == results


def test_a_holding_comes_back_from_its_row_and_is_to_be_seen_anew() -> None:
    one = replace(holding(), seen=True)
    assert Holding.from_row(one.row()) == holding()


def test_what_is_open_and_what_is_on_its_way_count_once_each() -> None:
    portfolio = held(holding("ETH", size=Decimal("0.05"), entry_price=Decimal(2000)))
    portfolio.pending = {"BTC": plan("BTC", "100"), "ETH": plan("ETH", "70")}
    portfolio.take(account(position("0.05", "ETH", "2100"), position("-2", "SOL", "100"), free="500"))
    book = portfolio.book(7)
    assert book.orders_last_minute == 7
    assert book.notional_usd == {"ETH": Decimal(105), "BTC": 100, "SOL": 200}
    assert portfolio.exposure_usd() == 405
    assert book.free_margin_usd == 500 - 50 - 35


def test_a_position_counts_before_the_account_shows_it() -> None:
    portfolio = held(holding("ETH", size=Decimal("0.05"), entry_price=Decimal(2000)))
    portfolio.take(account())
    assert portfolio.exposure_usd() == 100


def test_without_an_account_no_margin_is_free() -> None:
    assert Portfolio().book(0).free_margin_usd == 0


def test_what_was_filled_and_is_not_shown_yet_still_binds_margin() -> None:
    portfolio = held(holding("ETH", size=Decimal("0.05"), entry_price=Decimal(2000)))
    portfolio.take(account(free="500"))
    assert portfolio.book(0).free_margin_usd == 400
    portfolio.take(account(position("0.05"), free="450"))
    assert portfolio.book(0).free_margin_usd == 450


def test_an_order_that_somebody_else_has_resting_counts_and_a_stop_does_not() -> None:
    portfolio = held()
    portfolio.take(account(position("0.05", "ETH", "2000")))
    rests = replace(resting("BTC", None), reduce_only=False, size=Decimal("0.01"), limit_price=Decimal(50_000))
    portfolio.resting = [rests, replace(rests, symbol="ETH", size=Decimal("0.001")), resting("SOL", "sl")]
    assert portfolio.book(0).notional_usd == {"ETH": Decimal(150), "BTC": Decimal(500)}


def test_a_position_is_seen_once_the_account_shows_it_and_takes_its_size() -> None:
    portfolio = held(holding(), holding("BTC", Side.SHORT))
    portfolio.take(account(position("0.03"), position("0.5", "BTC")))
    assert (portfolio.holdings["ETH"].size, portfolio.holdings["ETH"].seen) == (Decimal("0.03"), True)
    assert not portfolio.holdings["BTC"].seen, "the account has one the other way"


def test_a_position_that_was_seen_and_is_not_there_is_gone() -> None:
    portfolio = held(holding())
    portfolio.take(account(position("0.05")))
    assert portfolio.gone(NOW) == []
    portfolio.take(account())
    assert [one.symbol for one in portfolio.gone(NOW)] == ["ETH"]


def test_a_position_that_turned_round_is_gone() -> None:
    portfolio = held(replace(holding(), seen=True))
    portfolio.take(account(position("-0.05")))
    assert [one.symbol for one in portfolio.gone(NOW)] == ["ETH"]


def test_a_young_position_may_not_be_shown_yet() -> None:
    portfolio = held(holding())
    portfolio.take(account())
    assert portfolio.gone(NOW + VISIBLE_AFTER) == []
    assert [one.symbol for one in portfolio.gone(NOW + VISIBLE_AFTER + timedelta(microseconds=1))] == ["ETH"]


def test_without_an_account_nothing_is_gone_or_foreign() -> None:
    portfolio = held(replace(holding(), seen=True))
    assert (portfolio.gone(NOW + timedelta(days=1)), portfolio.foreign()) == ([], [])


def test_what_the_bot_neither_holds_nor_expects_is_foreign() -> None:
    portfolio = held(holding())
    portfolio.pending = {"BTC": plan("BTC")}
    portfolio.take(account(position("1"), position("1", "BTC"), position("1", "SOL")))
    assert portfolio.foreign() == ["SOL"]


def test_stop_and_target_of_a_symbol_are_told_apart() -> None:
    portfolio = Portfolio()
    portfolio.resting = [resting("BTC", "sl", 1), resting("ETH", "tp", 2), resting("ETH", None, 3)]
    found = portfolio.exit_order("ETH", "tp")
    assert found is not None
    assert found.oid == 2
    assert portfolio.exit_order("ETH", "sl") is None


@pytest.mark.parametrize(
    ("stops", "protected"),
    [
        ([], False),
        ([resting("ETH", "sl")], True),
        ([resting("ETH", "sl", size=Decimal("0.049"))], False),
        ([resting("ETH", "sl", size=Decimal("0.02")), resting("ETH", "sl", 2, size=Decimal("0.03"))], True),
        ([resting("ETH", "sl", size=Decimal(0), follows_position=True)], True),
        ([resting("ETH", "tp")], False),
        ([resting("BTC", "sl")], False),
        ([resting("ETH", "sl", side="BUY")], False),
    ],
)
def test_a_position_is_protected_by_stops_for_the_whole_of_it(stops: list[RestingOrder], protected: bool) -> None:  # noqa: FBT001 - a case
    portfolio = held(holding())
    portfolio.resting = stops
    assert portfolio.is_protected(holding()) is protected


def test_the_horizon_ends_a_position_even_without_price_or_prediction() -> None:
    one = holding()
    assert exit_reason(one, None, None, settings(), one.expires_at) == "horizon"
    assert exit_reason(one, None, None, settings(), one.expires_at - timedelta(microseconds=1)) is None


@pytest.mark.parametrize(
    ("side", "predicted", "reason"),
    [
        (Side.LONG, "1980", None),
        (Side.LONG, "1979.99", "prediction_turned"),
        (Side.LONG, "2500", None),
        (Side.SHORT, "2020", None),
        (Side.SHORT, "2020.01", "prediction_turned"),
        (Side.SHORT, "1500", None),
    ],
)
def test_a_prediction_ends_a_position_only_beyond_the_buffer(side: Side, predicted: str, reason: str | None) -> None:
    found = exit_reason(holding(side=side), prediction(predicted), quote("2000"), settings(exit_buffer_pct=1), NOW)
    assert found == reason


def test_a_prediction_without_a_price_ends_nothing() -> None:
    assert exit_reason(holding(), prediction("1"), None, settings(), NOW) is None
    assert exit_reason(holding(), None, quote(), settings(), NOW) is None
