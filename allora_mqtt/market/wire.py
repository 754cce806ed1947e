"""Reading what others wrote: numbers and texts from an answer, with bounds on both."""

from decimal import Decimal, InvalidOperation

_MAX_DIGITS_TEXT = 100
_MAX_MAGNITUDE = 20
_MAX_QUOTE = 200


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


def to_positive(raw: object) -> Decimal:
    """Read a number that must be above zero, such as a price.

    Raises:
        ValueError: as `to_decimal`, and for zero and negative values.
    """
    value = to_decimal(raw)
    if value <= 0:
        raise ValueError(f"{value} is not above zero")
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
    """Read a whole number given as an int or as its digits.

    Raises:
        ValueError: it is neither.
    """
    value = to_decimal(raw)
    if value != value.to_integral_value():
        raise ValueError(f"{value} is not a whole number")
    return int(value)


def quoted(raw: object) -> str:
    """Make a text from outside fit for one line of an error message: printable, at most 200 characters."""
    text = "".join(char if char.isprintable() else " " for char in str(raw)[: _MAX_QUOTE * 2])
    text = " ".join(text.split())
    return text if len(text) <= _MAX_QUOTE else text[: _MAX_QUOTE - 1] + "…"
