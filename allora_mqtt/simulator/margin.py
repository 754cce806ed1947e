"""Margin: what positions and orders bind, when an account is liquidated, and at which price."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from allora_mqtt.simulator.account import ZERO, Account, Leverage, Position
from allora_mqtt.simulator.universe import Asset, Universe

DEFAULT_LEVERAGE = 20
# Money that leaves an account or a position must leave this share of the notional behind, and the initial margin.
TRANSFER_SHARE = Decimal("0.1")

Marks = Callable[[Asset], Decimal]


def leverage_of(account: Account, asset: Asset) -> Leverage:
    """The leverage set for an asset, or the default: 20x or the asset's maximum, cross where offered."""
    default = Leverage(min(DEFAULT_LEVERAGE, asset.max_leverage), not asset.is_isolated_only)
    return account.leverages.get(asset.index, default)


def maintenance_usd(asset: Asset, notional_usd: Decimal) -> Decimal:
    """Maintenance margin: half the initial margin at the tier's maximum leverage.

    Each higher tier applies to the notional above its bound only, so the margin is continuous (the exchange states
    the same as a deduction).
    """
    total = ZERO
    uppers = [tier.lower_bound_usd for tier in asset.margin_tiers[1:]]
    for tier, upper in zip(asset.margin_tiers, [*uppers, notional_usd], strict=True):
        part = min(notional_usd, upper) - tier.lower_bound_usd
        total += max(ZERO, part) / (2 * tier.max_leverage)
    return total


@dataclass(frozen=True)
class MarginSummary:
    """An account at given marks, all in USD.

    Attributes:
        equity_usd: Cash plus unrealised profit of all positions.
        notional_usd: Sum of the absolute notionals.
        signed_notional_usd: Sum of the signed notionals.
        margin_used_usd: Initial margin of cross positions plus equity of isolated ones.
        cross_equity_usd: Equity without what belongs to isolated positions.
        cross_notional_usd: Absolute notional of cross positions.
        cross_signed_notional_usd: Signed notional of cross positions.
        cross_margin_used_usd: Initial margin of cross positions.
        cross_maintenance_usd: Maintenance margin of cross positions.
    """

    equity_usd: Decimal
    notional_usd: Decimal
    signed_notional_usd: Decimal
    margin_used_usd: Decimal
    cross_equity_usd: Decimal
    cross_notional_usd: Decimal
    cross_signed_notional_usd: Decimal
    cross_margin_used_usd: Decimal
    cross_maintenance_usd: Decimal


def summarize(account: Account, universe: Universe, mark_of: Marks) -> MarginSummary:
    """Value an account at the given marks."""
    equity = cross_equity = account.cash_usd
    notional = signed = used = cross_notional = cross_signed = cross_used = maintenance = ZERO
    for index, position in account.positions.items():
        asset = universe.assets[index]
        mark = mark_of(asset)
        leverage = leverage_of(account, asset)
        value = position.szi * mark
        equity += position.pnl(mark)
        notional += abs(value)
        signed += value
        if leverage.is_cross:
            cross_equity += position.pnl(mark)
            cross_notional += abs(value)
            cross_signed += value
            cross_used += abs(value) / leverage.value
            maintenance += maintenance_usd(asset, abs(value))
        else:
            cross_equity -= position.isolated_usd
            used += position.isolated_usd + position.pnl(mark)
    return MarginSummary(
        equity_usd=equity,
        notional_usd=notional,
        signed_notional_usd=signed,
        margin_used_usd=used + cross_used,
        cross_equity_usd=cross_equity,
        cross_notional_usd=cross_notional,
        cross_signed_notional_usd=cross_signed,
        cross_margin_used_usd=cross_used,
        cross_maintenance_usd=maintenance,
    )


def held_usd(account: Account, universe: Universe, except_oid: int | None = None) -> Decimal:
    """Margin reserved for resting orders that would open or enlarge a position."""
    total = ZERO
    for order in account.orders.values():
        request = order.request
        if order.awaits_trigger or request.reduce_only or order.oid == except_oid:
            continue
        asset = universe.assets[request.asset]
        szi = account.szi(request.asset)
        closing = abs(szi) if (szi < 0) == request.is_buy else ZERO
        total += max(ZERO, order.size - closing) * request.px / leverage_of(account, asset).value
    return total


def liquidation_px(asset: Asset, position: Position, mark: Decimal, *, available_usd: Decimal) -> Decimal | None:
    """The mark price at which a position is liquidated while all others stand still.

    Args:
        asset: The asset.
        position: The position.
        mark: The present mark price.
        available_usd: Equity minus maintenance margin: the account's for a cross position, its own for an isolated one.

    Returns:
        The price, or None when no positive price liquidates. From the exchange's documentation:
        `mark - side * available / size / (1 - l * side)` with l = 1 / (2 * maximum leverage) of the margin tier that
        the position's notional falls into at the liquidation price.
    """
    side = 1 if position.szi > 0 else -1
    size = abs(position.szi)
    # Without the margin that the position itself needs, its margin can be taken anew in each tier.
    equity_usd = available_usd + maintenance_usd(asset, size * mark)
    uppers = [tier.lower_bound_usd for tier in asset.margin_tiers[1:]]
    for tier, upper in zip(asset.margin_tiers, [*uppers, None], strict=True):
        rate = 1 / Decimal(2 * tier.max_leverage)
        # Within a tier maintenance is `rate * notional - deduction`.
        deduction = rate * tier.lower_bound_usd - maintenance_usd(asset, tier.lower_bound_usd)
        px = mark - side * (equity_usd - rate * size * mark + deduction) / size / (1 - rate * side)
        if px > 0 and tier.lower_bound_usd <= size * px and (upper is None or size * px < upper):
            return px
    return None
