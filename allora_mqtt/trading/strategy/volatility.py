"""The earlier bot's second idea: how large a gap must be depends on how much the coin moves anyway."""

from allora_mqtt.protocol.messages import Direction
from allora_mqtt.trading.strategy.history import SAMPLES, volatility_over_pct
from allora_mqtt.trading.strategy.situation import Situation, Verdict, direction_of


def volatility(situation: Situation) -> Verdict:
    """Trade when the gap is large beside what the coin moves anyway until the prediction is due.

    The volatility is `std(log returns) * sqrt(24)` over 24 samples, one every five minutes, scaled by the root of time
    from those two hours to the prediction's horizon. The gap must reach `volatility_ratio` times that, and
    `price_gap_pct` as well: a smaller one is what chance brings every day. The earlier bot had two fixed numbers for
    the same thought (a volatility above 2 % and a gap of 3 %), which meant nothing for a calm coin or a short horizon.
    Without enough samples, as in the first two hours after a start, it holds.
    """
    gap, settings = situation.gap_pct, situation.settings
    expected = volatility_over_pct(situation.history, situation.prediction.horizon_s)
    if expected is None:
        have = max(0, len(situation.history) - 1)
        return Verdict(Direction.HOLD, (f"the volatility needs {SAMPLES} samples and there are {have}",))
    threshold = max(settings.price_gap_pct, settings.volatility_ratio * expected)
    reason = (
        f"gap {gap:+.3f} % against {threshold:.3f} %: {settings.volatility_ratio} times the volatility of "
        f"{expected:.3f} % over the horizon, at least {settings.price_gap_pct} %"
    )
    return Verdict(direction_of(gap, threshold), (reason,))
