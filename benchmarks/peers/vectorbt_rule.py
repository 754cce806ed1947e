"""The rule as vectorbt asks for it: a compiled function that is called for each bar until it has no more orders."""

from typing import Any

from numba import njit
from vectorbt.portfolio import nb

FEE = 0.00045
UNIT = 1e-5
HORIZON_BARS = 8
SIDE, ENTERED, STOP, TARGET, STAGE = range(5)


@njit
def decide(
    c: Any,
    opens: Any,
    highs: Any,
    lows: Any,
    gaps: Any,
    held: Any,
    amount_usd: float,
    threshold: float,
    tp_ratio: float,
    sl_ratio: float,
    min_target: float,
    min_stop: float,
    buffer: float,
) -> Any:
    """Leave at the open, enter at the open, then hold stop and target against the bar, the worse one first."""
    i, gap, side = c.i, gaps[c.i], held[SIDE]
    if c.call_idx == 0:
        held[STAGE] = 0
    if held[STAGE] == 0:
        held[STAGE] = 1
        if side != 0 and (i - held[ENTERED] >= HORIZON_BARS or -side * gap > buffer):
            held[SIDE] = 0
            return c.from_col, nb.close_position_nb(opens[i], FEE)
    if held[STAGE] == 1:
        held[STAGE] = 2
        if side == 0 and abs(gap) >= threshold:
            side = 1.0 if gap > 0 else -1.0
            stop, target = max(abs(gap) * sl_ratio, min_stop) / 100, max(abs(gap) * tp_ratio, min_target) / 100
            held[SIDE], held[ENTERED] = side, i
            held[STOP], held[TARGET] = opens[i] * (1 - side * stop), opens[i] * (1 + side * target)
            size = int(amount_usd / opens[i] / UNIT) * UNIT
            return c.from_col, nb.order_nb(side * size, opens[i], fees=FEE)
    if held[STAGE] == 2:  # noqa: PLR2004 - the third stage
        held[STAGE] = 3
        if side > 0 and (lows[i] <= held[STOP] or highs[i] >= held[TARGET]):
            held[SIDE] = 0
            price = min(opens[i], held[STOP]) if lows[i] <= held[STOP] else max(opens[i], held[TARGET])
            return c.from_col, nb.close_position_nb(price, FEE)
        if side < 0 and (highs[i] >= held[STOP] or lows[i] <= held[TARGET]):
            held[SIDE] = 0
            price = max(opens[i], held[STOP]) if highs[i] >= held[STOP] else min(opens[i], held[TARGET])
            return c.from_col, nb.close_position_nb(price, FEE)
    return -1, nb.order_nothing_nb()
