"""Rounding sizes and prices to what HyperLiquid accepts for a perpetual.

The exchange's rule: a size has at most `szDecimals` decimals; a price has at most 5 significant figures and at most
`6 - szDecimals` decimals, and a whole number is always allowed.
"""

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal

_SIGNIFICANT_FIGURES = 5
_PERP_DECIMALS = 6
_EXACT = Context(prec=100)
"""Wide enough that a long number is rounded where the rule says and nowhere else."""


def round_size(size: Decimal, sz_decimals: int) -> Decimal:
    """Round a size towards zero, so that an order never grows.

    Args:
        size: in coins; a negative (short) size keeps its sign.
        sz_decimals: the asset's `szDecimals`.

    Returns:
        The size without trailing zeros and without an exponent.

    Raises:
        ValueError: the size is not finite.
    """
    return _plain(_finite(size).quantize(_quantum(sz_decimals), rounding=ROUND_DOWN, context=_EXACT))


def round_price(price: Decimal, sz_decimals: int, rounding: str = ROUND_HALF_EVEN) -> Decimal:
    """Round a price to the finest step that the exchange allows there.

    Args:
        price: in USD, above zero.
        sz_decimals: the asset's `szDecimals`.
        rounding: one of the `decimal` module's modes; `ROUND_UP` for a limit that has to be reached, for example.

    Returns:
        The price without trailing zeros and without an exponent.

    Raises:
        ValueError: the price is not finite, not positive, or rounds to zero.
    """
    if _finite(price) <= 0:
        raise ValueError(f"a price is above zero, and {price} is not")
    rounded = _plain(price.quantize(_tick(price, sz_decimals), rounding=rounding, context=_EXACT))
    if not rounded:
        raise ValueError(f"{price} is below the smallest price step of this asset")
    return rounded


def is_valid_price(price: Decimal, sz_decimals: int) -> bool:
    """Whether the exchange accepts this price as it is."""
    return (
        price.is_finite()
        and price > 0
        and price == price.quantize(_tick(price, sz_decimals), rounding=ROUND_DOWN, context=_EXACT)
    )


def is_valid_size(size: Decimal, sz_decimals: int) -> bool:
    """Whether the exchange accepts this size as it is: above zero and with few enough decimals."""
    return (
        size.is_finite()
        and size > 0
        and size == size.quantize(_quantum(sz_decimals), rounding=ROUND_DOWN, context=_EXACT)
    )


def _tick(price: Decimal, sz_decimals: int) -> Decimal:
    """The finest step near this price; never coarser than 1, because whole numbers are always allowed."""
    by_figures = _SIGNIFICANT_FIGURES - 1 - price.adjusted()
    return _quantum(max(0, min(_PERP_DECIMALS - sz_decimals, by_figures)))


def _quantum(decimals: int) -> Decimal:
    return Decimal(1).scaleb(-decimals)


def _finite(value: Decimal) -> Decimal:
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number")
    return value


def _plain(value: Decimal) -> Decimal:
    if not value:
        return Decimal(0)
    short = value.normalize(_EXACT)
    return short.quantize(Decimal(1), context=_EXACT) if short.as_tuple().exponent > 0 else short  # type: ignore[operator]  # finite: the exponent is an int
