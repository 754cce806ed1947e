"""The grid of prices and sizes, and how numbers are written on the wire."""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

MAX_PRICE_DECIMALS = 6
MAX_SIGNIFICANT_FIGURES = 5


def tick_size(price: Decimal, sz_decimals: int) -> Decimal:
    """The distance between neighbouring prices near `price` (which must be positive).

    A perpetual's price has at most 5 significant figures and at most `6 - sz_decimals` decimals; an integer is
    always allowed.
    """
    by_figures = price.adjusted() - (MAX_SIGNIFICANT_FIGURES - 1)
    by_decimals = sz_decimals - MAX_PRICE_DECIMALS
    return Decimal(1).scaleb(min(0, max(by_figures, by_decimals)))


def is_on_price_grid(price: Decimal, sz_decimals: int) -> bool:
    """Whether an order may carry this price (which must be positive)."""
    return price % tick_size(price, sz_decimals) == 0


def is_on_size_grid(size: Decimal, sz_decimals: int) -> bool:
    """Whether an order may carry this size."""
    return size % Decimal(1).scaleb(-sz_decimals) == 0


def round_price(price: Decimal, sz_decimals: int, rounding: str = ROUND_HALF_EVEN) -> Decimal:
    """The price on the grid next to `price`; never below one tick."""
    tick = tick_size(price, sz_decimals)
    return max(price.quantize(tick, rounding=rounding), tick)


def floor_price(price: Decimal, sz_decimals: int) -> Decimal:
    """The highest price on the grid that is not above `price`; never below one tick."""
    return round_price(price, sz_decimals, ROUND_FLOOR)


def ceil_price(price: Decimal, sz_decimals: int) -> Decimal:
    """The lowest price on the grid that is not below `price`."""
    return round_price(price, sz_decimals, ROUND_CEILING)


def floor_size(size: Decimal, sz_decimals: int) -> Decimal:
    """The highest size on the grid that is not above `size`."""
    return size.quantize(Decimal(1).scaleb(-sz_decimals), rounding=ROUND_FLOOR)


def to_wire(value: Decimal, decimals: int | None = None) -> str:
    """A number as the exchange writes it: a plain string with at least one decimal, no exponent.

    Args:
        value: The number.
        decimals: Round to this many decimals first.
    """
    if decimals is not None:
        value = value.quantize(Decimal(1).scaleb(-decimals))
    text = f"{value:f}" if value else "0"
    if "." not in text:
        return f"{text}.0"
    text = text.rstrip("0")
    return f"{text}0" if text.endswith(".") else text
