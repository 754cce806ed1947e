import json
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_UP, Decimal
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allora_mqtt.market.precision import is_valid_price, is_valid_size, round_price, round_size

_UNIVERSE = json.loads(resources.files("allora_mqtt.simulator").joinpath("universe.json").read_text(encoding="utf-8"))
SZ_DECIMALS = {row["name"]: int(row["szDecimals"]) for row in _UNIVERSE["assets"]}

prices = st.decimals(min_value="0.000001", max_value="10000000", allow_nan=False, allow_infinity=False, places=12)
sizes = st.decimals(min_value="-1e9", max_value="1e9", allow_nan=False, allow_infinity=False, places=10)
modes = st.sampled_from([ROUND_HALF_EVEN, ROUND_DOWN, ROUND_UP, ROUND_FLOOR, ROUND_CEILING])


def decimals_in(text: str) -> int:
    """Decimals counted on the digits, trailing zeros aside."""
    return len(text.partition(".")[2].rstrip("0"))


def figures_in(text: str) -> int:
    """Significant figures counted on the digits."""
    whole, _, fraction = text.lstrip("-").partition(".")
    return len((whole + fraction.rstrip("0")).lstrip("0"))


def obeys_the_rule(text: str, sz_decimals: int) -> bool:
    is_whole = decimals_in(text) == 0
    return is_whole or (figures_in(text) <= 5 and decimals_in(text) <= 6 - sz_decimals)


def test_the_universe_is_the_real_one() -> None:
    assert len(SZ_DECIMALS) == 229
    assert SZ_DECIMALS["BTC"] == 5


@settings(max_examples=25, deadline=None)
@given(price=prices, rounding=modes)
def test_every_rounded_price_obeys_the_rule_for_every_asset(price: Decimal, rounding: str) -> None:
    for symbol, sz_decimals in SZ_DECIMALS.items():
        try:
            rounded = round_price(price, sz_decimals, rounding)
        except ValueError:
            assert price < Decimal(1).scaleb(sz_decimals - 6), symbol
            continue
        text = str(rounded)
        assert "E" not in text, symbol
        assert obeys_the_rule(text, sz_decimals), (symbol, text)
        assert is_valid_price(rounded, sz_decimals), symbol
        assert round_price(rounded, sz_decimals, rounding) == rounded, symbol
        # Not coarser than it has to be: the error is below one step of the fifth figure, or of the last decimal.
        step = max(Decimal(1).scaleb(sz_decimals - 6), min(Decimal(1), Decimal(1).scaleb(price.adjusted() - 4)))
        assert abs(rounded - price) < step, symbol


@settings(max_examples=25, deadline=None)
@given(size=sizes)
def test_sizes_never_grow_and_have_the_assets_decimals(size: Decimal) -> None:
    for symbol, sz_decimals in SZ_DECIMALS.items():
        rounded = round_size(size, sz_decimals)
        assert decimals_in(str(rounded)) <= sz_decimals, symbol
        assert "E" not in str(rounded), symbol
        assert abs(rounded) <= abs(size), symbol
        assert abs(size - rounded) < Decimal(1).scaleb(-sz_decimals), symbol


@settings(max_examples=200, deadline=None)
@given(price=prices, places=st.integers(0, 8), sz_decimals=st.integers(0, 5))
def test_the_check_of_prices_is_the_rule(price: Decimal, places: int, sz_decimals: int) -> None:
    candidate = round(price, places)
    expected = candidate > 0 and obeys_the_rule(f"{candidate:f}", sz_decimals)
    assert is_valid_price(candidate, sz_decimals) == expected


@pytest.mark.parametrize(
    ("price", "sz_decimals", "expected"),
    [
        ("67123.456", 5, "67123"),
        ("123456.7", 5, "123457"),
        ("2900.549", 4, "2900.5"),
        ("0.123456789", 0, "0.12346"),
        ("0.00001234567", 0, "0.000012"),
        ("99999.6", 0, "100000"),
        ("9.99996", 1, "10"),
        ("1.23456", 5, "1.2"),
    ],
)
def test_known_prices(price: str, sz_decimals: int, expected: str) -> None:
    assert str(round_price(Decimal(price), sz_decimals)) == expected


def test_known_sizes() -> None:
    assert str(round_size(Decimal("0.0199999"), 3)) == "0.019"
    assert str(round_size(Decimal("-0.0199999"), 3)) == "-0.019"
    assert str(round_size(Decimal(1200), 0)) == "1200"
    assert str(round_size(Decimal("0.0000001"), 5)) == "0"
    assert is_valid_size(Decimal("0.019"), 3)
    assert not is_valid_size(Decimal("0.0191"), 3)
    assert not is_valid_size(Decimal(0), 3)


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "0", "-1"])
def test_a_price_is_finite_and_above_zero(bad: str) -> None:
    with pytest.raises(ValueError, match="not"):
        round_price(Decimal(bad), 2)
    assert not is_valid_price(Decimal(bad), 2)


def test_a_price_that_would_become_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="smallest price step"):
        round_price(Decimal("0.04"), 5, ROUND_DOWN)
    with pytest.raises(ValueError, match="finite"):
        round_size(Decimal("NaN"), 2)
