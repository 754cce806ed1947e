from decimal import Decimal
from typing import Any

import pytest

from allora_mqtt.market.precision import is_valid_price, is_valid_size
from allora_mqtt.protocol.messages import Direction
from allora_mqtt.trading.risk import Book, EntryPlan, OrderPace, Refused, exit_prices, plan_entry
from tests.unit.trading.things import NOW_S, asset, book, quote, settings


def entry(
    direction: Direction = Direction.BUY,
    gap: str = "1",
    mark: str = "2000",
    sz_decimals: int = 4,
    max_leverage: int = 25,
    against: Book | None = None,
    spread_pct: str | None = "0.02",
    **changes: Any,
) -> EntryPlan | Refused:
    coin = asset(sz_decimals=sz_decimals, max_leverage=max_leverage)
    market = quote(mark, spread_pct=spread_pct)
    return plan_entry(direction, Decimal(gap), market, coin, settings(**changes), against or book(), NOW_S)


def made(answer: EntryPlan | Refused) -> EntryPlan:
    assert isinstance(answer, EntryPlan), answer
    return answer


def why(answer: EntryPlan | Refused) -> str:
    assert isinstance(answer, Refused)
    return answer.reason


def test_an_entry_is_the_amount_times_the_leverage_with_the_size_rounded_down() -> None:
    plan = made(entry(mark="1999", amount_usd=50, max_leverage=2, max_slippage_pct="0.5"))
    assert plan.limit_price == Decimal("2008.9")
    assert plan.size == Decimal("0.0497")
    assert plan.notional_usd == Decimal("0.0497") * Decimal("2008.9")
    assert plan.margin_usd == plan.notional_usd / 2


@pytest.mark.parametrize("sz_decimals", range(6))
@pytest.mark.parametrize("mark", ["0.9473", "13.377", "2099.9", "97531"])
@pytest.mark.parametrize("direction", [Direction.BUY, Direction.SELL])
def test_whatever_the_steps_an_entry_is_valid_and_costs_no_more_than_asked(
    direction: Direction, mark: str, sz_decimals: int
) -> None:
    rich = book("1000000")
    amounts: dict[str, Any] = {"amount_usd": 50_000, "max_exposure_usd": 1_000_000}
    amounts["max_symbol_exposure_usd"] = 1_000_000
    plan = made(entry(direction, gap="25", mark=mark, sz_decimals=sz_decimals, against=rich, **amounts))
    assert is_valid_size(plan.size, sz_decimals)
    for price in (plan.limit_price, plan.stop_price, plan.target_price):
        assert is_valid_price(price, sz_decimals)
    assert plan.size * max(plan.limit_price, Decimal(mark)) == plan.notional_usd <= 100_000
    slip = (plan.limit_price - Decimal(mark)) / Decimal(mark) * 100
    assert (slip if direction is Direction.BUY else -slip) <= Decimal("0.5")


def test_the_leverage_is_the_lower_of_the_setting_and_the_asset() -> None:
    assert made(entry(max_leverage=3)).leverage == 2
    plan = plan_entry(Direction.BUY, Decimal(1), quote(), asset(max_leverage=3), settings(max_leverage=10), book(), 0)
    assert made(plan).leverage == 3


@pytest.mark.parametrize(("direction", "sign"), [(Direction.BUY, 1), (Direction.SELL, -1)])
def test_stop_and_target_lie_on_their_sides_at_their_shares_of_the_gap(direction: Direction, sign: int) -> None:
    plan = made(entry(direction, gap=str(sign), sl_ratio="0.5", tp_ratio="1"))
    assert plan.stop_price == 2000 - sign * 10
    assert plan.target_price == 2000 + sign * 20


def test_stop_and_target_have_floors_that_a_spread_and_two_fees_do_not_reach() -> None:
    stop, target = exit_prices(Decimal(2000), Decimal("0.01"), asset(), settings(), is_buy=True)
    assert (stop, target) == (Decimal(1997), Decimal(2004))


def test_a_huge_gap_puts_no_price_at_or_below_zero() -> None:
    stop, target = exit_prices(Decimal(2000), Decimal(900), asset(), settings(sl_ratio=10), is_buy=True)
    assert (stop, target) == (Decimal(200), Decimal(3800))
    stop, target = exit_prices(Decimal(2000), Decimal(900), asset(), settings(sl_ratio=10), is_buy=False)
    assert (stop, target) == (Decimal(3800), Decimal(200))


@pytest.mark.parametrize(("is_buy", "expected"), [(True, (1991, 2018)), (False, (2009, 1982))])
def test_stop_and_target_are_rounded_towards_the_entry(is_buy: bool, expected: tuple[int, int]) -> None:  # noqa: FBT001 - a case
    # Prices of an asset with six decimals of size have none of their own.
    stop, target = exit_prices(Decimal(2000), Decimal("0.93"), asset(sz_decimals=6), settings(), is_buy=is_buy)
    assert (int(stop), int(target)) == expected


def test_prices_in_steps_too_coarse_for_a_stop_are_not_traded() -> None:
    reason = why(entry(gap="0.3", mark="0.000154", sz_decimals=0))
    assert reason == "the price steps of ETH are too coarse for a stop and a target this near"
    assert isinstance(entry(gap="3", mark="0.000154", sz_decimals=0), EntryPlan)


def test_a_price_below_the_smallest_step_is_not_traded() -> None:
    reason = why(entry(gap="3", mark="0.0001", sz_decimals=3))
    assert reason == "the price of ETH is below the smallest step that an order can have"


def test_a_second_position_in_a_coin_is_refused_before_anything_else() -> None:
    answer = entry(against=book(ETH="10"), spread_pct=None, max_open_positions=1)
    assert why(answer) == "there is a position or an order on its way already"


def test_the_number_of_positions_is_limited() -> None:
    against = book(BTC="10", SOL="10")
    reason = why(entry(against=against, max_open_positions=2))
    assert reason == "2 positions are open or on their way, the limit is max_open_positions"
    assert isinstance(entry(against=against, max_open_positions=3), EntryPlan)


def test_a_coin_cools_down_after_a_stop_to_the_second() -> None:
    against = book(cooling={"ETH": NOW_S + 90, "BTC": NOW_S + 900})
    assert why(entry(against=against)) == "cooling down for 90 s more after a stop"
    assert isinstance(entry(against=book(cooling={"ETH": NOW_S})), EntryPlan)


@pytest.mark.parametrize(
    ("spread", "reason"),
    [(None, "the spread is not known"), ("0.501", "the spread of 0.501 % is above max_spread_pct")],
)
def test_an_unknown_or_wide_spread_is_refused(spread: str | None, reason: str) -> None:
    assert why(entry(spread_pct=spread, max_spread_pct="0.5")) == reason
    assert isinstance(entry(spread_pct="0.5", max_spread_pct="0.5"), EntryPlan)


def test_an_order_below_the_exchanges_minimum_is_refused_and_not_enlarged() -> None:
    reason = why(entry(mark="97000", sz_decimals=3, amount_usd=40))
    assert reason == "0.00 USD of ETH is below the exchange's minimum of 10 USD; raise amount_usd"
    assert "below the exchange's minimum" in why(entry(amount_usd=5, max_leverage=1, mark="1"))


def test_a_sale_counts_its_limit_price_against_the_minimum() -> None:
    # 10.04 USD at the mark, and less than 10 USD at the worst price it may fill at.
    market, coin = quote("2"), asset(sz_decimals=2, max_leverage=1)
    answer = plan_entry(Direction.SELL, Decimal(-1), market, coin, settings(amount_usd="10.04"), book(), NOW_S)
    assert "below the exchange's minimum" in why(answer)


def test_exposure_may_reach_its_limit_and_not_exceed_it() -> None:
    exact = made(entry(max_exposure_usd=1000)).notional_usd
    fits, exceeds = book(BTC=str(500 - exact)), book(BTC=str(500 - exact + Decimal("0.01")))
    assert isinstance(entry(against=fits, max_exposure_usd=500), EntryPlan)
    assert why(entry(against=exceeds, max_exposure_usd=500)) == (
        f"{500 - exact + Decimal('0.01'):.2f} USD are exposed; {exact:.2f} more would exceed max_exposure_usd"
    )


def test_the_exposure_of_one_coin_may_reach_its_limit_and_not_exceed_it() -> None:
    exact = made(entry(max_symbol_exposure_usd=1000)).notional_usd
    assert isinstance(entry(max_symbol_exposure_usd=exact), EntryPlan)
    assert why(entry(max_symbol_exposure_usd=exact - Decimal("0.01"))) == (
        f"{exact:.2f} USD of ETH would exceed max_symbol_exposure_usd"
    )


def test_an_entry_is_three_orders_and_fits_into_what_a_minute_has_left() -> None:
    assert isinstance(entry(against=book(orders=27), max_orders_per_minute=30), EntryPlan)
    assert why(entry(against=book(orders=28), max_orders_per_minute=30)) == (
        "28 orders were sent in a minute, the limit is max_orders_per_minute"
    )


def test_orders_count_for_a_minute() -> None:
    pace = OrderPace()
    pace.note(3, 100)
    pace.note(1, 130)
    assert [pace.last_minute(now) for now in (130, 159.9, 160, 189.9, 190)] == [4, 4, 1, 1, 0]


def test_a_clock_that_is_set_back_makes_orders_count_for_a_minute_from_then_on() -> None:
    pace = OrderPace()
    pace.note(3, 10_000)
    assert [pace.last_minute(now) for now in (100, 159, 160)] == [3, 3, 0]


def test_free_margin_is_used_up_to_a_reserve_for_fees() -> None:
    margin = made(entry()).margin_usd
    assert isinstance(entry(against=book(str(margin / Decimal("0.95") + Decimal("0.01")))), EntryPlan)
    free = margin / Decimal("0.95") - Decimal("0.01")
    assert why(entry(against=book(str(free)))) == f"{margin:.2f} USD of margin are needed and {free:.2f} are free"
