"""A strategy of one's own: the gap rule, but only once the price has begun to move towards the prediction."""

from itertools import pairwise

from allora_mqtt.protocol.messages import Direction
from allora_mqtt.trading.strategy import Situation, Verdict

SAMPLES = 4
"""Marks that are looked at: a quarter of an hour, one every five minutes."""


def momentum_gap(situation: Situation) -> Verdict:
    """Trade a gap of `price_gap_pct` when each of the last marks was nearer to the prediction than the one before."""
    gap, threshold = situation.gap_pct, situation.settings.price_gap_pct
    if abs(gap) < threshold:
        return Verdict(Direction.HOLD, (f"gap {gap:+.3f} % is below {threshold} %",))
    marks = [sample.mark for sample in situation.history[-SAMPLES:]]
    if len(marks) < SAMPLES:
        return Verdict(Direction.HOLD, (f"{SAMPLES} samples of the price are needed, and there are {len(marks)}",))
    steps = list(pairwise(marks))
    rises, falls = all(after > before for before, after in steps), all(after < before for before, after in steps)
    if gap > 0 and rises:
        return Verdict(Direction.BUY, (f"gap {gap:+.3f} %, and the price rises",))
    if gap < 0 and falls:
        return Verdict(Direction.SELL, (f"gap {gap:+.3f} %, and the price falls",))
    return Verdict(Direction.HOLD, (f"gap {gap:+.3f} %, and the price does not move that way yet",))
