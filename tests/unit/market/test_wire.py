from decimal import Decimal

import pytest

from allora_mqtt.market.wire import (
    optional_decimal,
    optional_positive,
    quoted,
    to_amount,
    to_decimal,
    to_int,
    to_positive,
    to_symbol,
    to_text,
    to_time_s,
)


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


@pytest.mark.parametrize("raw", [2**63, -(2**63), "1e19"])
def test_a_whole_number_that_no_database_holds_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="range"):
        to_int(raw)


def test_times_are_read_in_their_unit_and_are_in_some_calendar() -> None:
    assert to_time_s("1795000000") == to_time_s(1_795_000_000_000, per_second=1000) == 1_795_000_000
    for raw in (1_795_000_000_000, 0, -1, "1e19", "NaN", None):
        with pytest.raises(ValueError, match=r"a time|a finite number|a number"):
            to_time_s(raw)


@pytest.mark.parametrize("raw", ["#", "a/b", "A B", "A.B", "", "A" * 21, "Ä", None, 5])
def test_what_would_not_fit_into_a_topic_is_no_symbol(raw: object) -> None:
    assert [to_symbol(symbol) for symbol in ("BTC", "kPEPE", "xyz:TSLA")] == ["BTC", "kPEPE", "xyz:TSLA"]
    with pytest.raises(ValueError, match="is not a symbol"):
        to_symbol(raw)


@pytest.mark.parametrize("raw", ["", "x" * 65, "two\nlines", None, 5])
def test_words_are_short_and_printable(raw: object) -> None:
    assert to_text("Close Long") == "Close Long"
    with pytest.raises(ValueError, match="not a short text"):
        to_text(raw)


def test_sizes_are_not_below_zero() -> None:
    assert to_amount("0.0") == 0
    with pytest.raises(ValueError, match="below zero"):
        to_amount("-0.1")


def test_what_is_nested_without_end_is_quoted_all_the_same() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert len(quoted(nested)) <= 200
