from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allora_mqtt.simulator.ticks import (
    ceil_price,
    floor_price,
    floor_size,
    is_on_price_grid,
    is_on_size_grid,
    tick_size,
    to_wire,
)
from allora_mqtt.simulator.universe import Asset
from tests.unit.simulator.bench import UNIVERSE

PRICES = st.decimals(min_value="0.000001", max_value="999999", places=8, allow_nan=False).filter(lambda px: px > 0)


def allowed_by_the_book(price: Decimal, sz_decimals: int) -> bool:
    """The rule as it is documented, by counting characters."""
    text = f"{price:f}"
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    if not fraction:
        return True
    figures = len((whole + fraction).lstrip("0"))
    return figures <= 5 and len(fraction) <= 6 - sz_decimals


@given(asset=st.sampled_from(UNIVERSE.assets), price=PRICES)
def test_the_grid_is_the_documented_rule_for_every_asset(asset: Asset, price: Decimal) -> None:
    assert is_on_price_grid(price, asset.sz_decimals) == allowed_by_the_book(price, asset.sz_decimals)


@given(asset=st.sampled_from(UNIVERSE.assets), price=PRICES)
def test_rounding_ends_on_the_grid_and_within_a_tick(asset: Asset, price: Decimal) -> None:
    low, high = floor_price(price, asset.sz_decimals), ceil_price(price, asset.sz_decimals)
    assert allowed_by_the_book(low, asset.sz_decimals)
    assert allowed_by_the_book(high, asset.sz_decimals)
    tick = tick_size(price, asset.sz_decimals)
    assert low <= max(price, tick)
    assert price <= high < price + tick or high == tick


@pytest.mark.parametrize(
    ("price", "sz_decimals", "expected"),
    [
        ("1234.5", 1, True),
        ("1234.56", 1, False),
        ("0.001234", 0, True),
        ("0.0012345", 0, False),
        ("0.01234", 1, True),
        ("0.012345", 1, False),
        ("0.0123456", 0, False),
        ("123456", 5, True),
        ("123456.0", 5, True),
        ("123456.1", 0, False),
    ],
)
def test_examples_of_the_price_rule(price: str, sz_decimals: int, *, expected: bool) -> None:
    assert is_on_price_grid(Decimal(price), sz_decimals) is expected


def test_sizes_keep_to_their_decimals() -> None:
    assert is_on_size_grid(Decimal("0.001"), 3)
    assert not is_on_size_grid(Decimal("0.0001"), 3)
    assert floor_size(Decimal("1.2399"), 2) == Decimal("1.23")


@pytest.mark.parametrize(
    ("value", "text"),
    [("30135", "30135.0"), ("1903.950", "1903.95"), ("1E+2", "100.0"), ("-0.00785", "-0.00785"), ("-0", "0.0")],
)
def test_numbers_are_written_as_the_exchange_does(value: str, text: str) -> None:
    assert to_wire(Decimal(value)) == text
