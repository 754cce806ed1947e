"""Reading what others wrote: numbers and texts from an answer, with bounds on both."""

import re
import reprlib
from decimal import Decimal, InvalidOperation

_MAX_DIGITS_TEXT = 100
_MAX_MAGNITUDE = 20
_MAX_INT = 2**63
"""What databases keep a whole number in."""
_MAX_CASH_USD = 100_000_000
_MAX_TIME_S = 100_000_000_000
"""The year 5138: far enough for a time in seconds, and not enough for one in milliseconds."""
_MAX_TEXT = 64
_MAX_QUOTE = 200
_SYMBOL = re.compile(r"[A-Za-z0-9:_-]{1,20}")
"""Symbols become part of an MQTT topic: no wildcard, no slash, nothing that a broker does not route."""


def to_decimal(raw: object) -> Decimal:
    """Read a number from an answer.

    Args:
        raw: a string such as `"0.02"`, an int, a float or a Decimal.

    Returns:
        The exact, finite value; its magnitude lies between 1e-20 and 1e20, or it is zero.

    Raises:
        ValueError: it is no number, not finite, or of a size that no price, amount or rate has.
    """
    if isinstance(raw, bool) or not isinstance(raw, str | int | float | Decimal):
        raise ValueError(f"{type(raw).__name__} is not a number")  # noqa: TRY004 - one kind of error for every bad value
    text = str(raw)
    if len(text) > _MAX_DIGITS_TEXT:
        raise ValueError("a number of more than 100 characters")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number") from None
    if not value.is_finite():
        raise ValueError(f"{text!r} is not a finite number")
    if not value:
        return Decimal(0)
    if abs(value.adjusted()) > _MAX_MAGNITUDE:
        raise ValueError(f"{text!r} is out of any plausible range")
    return value


def to_cash(raw: object) -> Decimal:
    """Read what one fill or one hour of funding brought or cost, in USD.

    Raises:
        ValueError: as `to_decimal`, and for more than the exchange lets anybody have in one order.
    """
    value = to_decimal(raw)
    if abs(value) > _MAX_CASH_USD:
        raise ValueError(f"{value} USD is out of any plausible range")
    return value


def to_positive(raw: object) -> Decimal:
    """Read a number that must be above zero, such as a price.

    Raises:
        ValueError: as `to_decimal`, and for zero and negative values.
    """
    value = to_decimal(raw)
    if value <= 0:
        raise ValueError(f"{value} is not above zero")
    return value


def to_amount(raw: object) -> Decimal:
    """Read a number that must not be below zero, such as a size.

    Raises:
        ValueError: as `to_decimal`, and for negative values.
    """
    value = to_decimal(raw)
    if value < 0:
        raise ValueError(f"{value} is below zero")
    return value


def optional_positive(raw: object) -> Decimal | None:
    """Read a price that may be missing, null or junk: then it is None."""
    try:
        return to_positive(raw)
    except ValueError:
        return None


def optional_decimal(raw: object) -> Decimal | None:
    """Read a number that may be missing, null or junk: then it is None."""
    try:
        return to_decimal(raw)
    except ValueError:
        return None


def to_int(raw: object) -> int:
    """Read an id or a count given as an int or as its digits.

    Raises:
        ValueError: it is neither, is negative, or does not fit into 64 bits.
    """
    value = to_decimal(raw)
    if value != value.to_integral_value():
        raise ValueError(f"{value} is not a whole number")
    if not 0 <= value < _MAX_INT:
        raise ValueError(f"{value} is out of any plausible range")
    return int(value)


def to_time_s(raw: object, *, per_second: int = 1) -> float:
    """Read a moment.

    Args:
        raw: the number as it came.
        per_second: its unit; 1000 for milliseconds.

    Returns:
        Unix seconds.

    Raises:
        ValueError: it is no number, or no time that a calendar has.
    """
    at = to_decimal(raw) / per_second
    if not 0 < at < _MAX_TIME_S:
        raise ValueError(f"{at} is not a time in seconds since 1970")
    return float(at)


def to_symbol(raw: object) -> str:
    """Read the name of an asset.

    Raises:
        ValueError: it is no text, or none that can be part of a topic.
    """
    if not isinstance(raw, str) or not _SYMBOL.fullmatch(raw):
        raise ValueError(f"{quoted(raw)!r} is not a symbol")
    return raw


def to_text(raw: object) -> str:
    """Read a word of the other side's, such as a status: printable, not empty, at most 64 characters.

    Raises:
        ValueError: it is anything else.
    """
    if not isinstance(raw, str) or not 0 < len(raw) <= _MAX_TEXT or not raw.isprintable():
        raise ValueError(f"{quoted(raw)!r} is not a short text")
    return raw


def quoted(raw: object) -> str:
    """Make a text from outside fit for one line of an error message: printable, at most 200 characters."""
    # Objects and arrays may be nested as deep as the stack allows.
    found = reprlib.repr(raw) if isinstance(raw, dict | list) else str(raw)
    text = "".join(char if char.isprintable() else " " for char in found[: _MAX_QUOTE * 2])
    text = " ".join(text.split())
    return text if len(text) <= _MAX_QUOTE else text[: _MAX_QUOTE - 1] + "…"
