from decimal import Decimal

import pytest

from allora_mqtt.market.wire import optional_decimal, optional_positive, quoted, to_decimal, to_int, to_positive


@pytest.mark.parametrize(
    ("raw", "value"),
    [("0.02", "0.02"), (3, "3"), (0.1, "0.1"), ("-1e-8", "-1e-8"), ("0E-40", "0"), (Decimal("1.50"), "1.50")],
)
def test_numbers_are_read_exactly(raw: object, value: str) -> None:
    assert to_decimal(raw) == Decimal(value)


@pytest.mark.parametrize(
    "raw",
    [None, True, "", "x", "NaN", "Infinity", float("nan"), float("-inf"), "1e21", "1e-21", "1" * 101, []],
)
def test_what_is_no_number_is_refused(raw: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the texts are Python's own for some
        to_decimal(raw)
    assert optional_decimal(raw) is None


def test_a_number_with_thousands_of_digits_is_refused() -> None:
    with pytest.raises(ValueError, match="digits"):
        to_decimal(10**5000)


def test_prices_are_above_zero() -> None:
    for raw in ("0", "-1"):
        with pytest.raises(ValueError, match="not above zero"):
            to_positive(raw)
    assert optional_positive("0") is None
    assert optional_positive("2") == 2


def test_whole_numbers() -> None:
    assert to_int("9") == 9
    with pytest.raises(ValueError, match="not a whole number"):
        to_int("9.5")


def test_quoted_text_is_one_bounded_line() -> None:
    assert quoted("a\nb\x1b[31m\t c") == "a b [31m c"
    assert len(quoted("x" * 5000)) == 200
