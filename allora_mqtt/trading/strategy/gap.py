"""AlloraMind's rule: trade when the prediction lies far enough from the price."""

from allora_mqtt.trading.strategy.situation import Situation, Verdict, direction_of


def allora_gap(situation: Situation) -> Verdict:
    """Buy when the network expects a price at least `price_gap_pct` above the mark, sell when as far below."""
    gap, threshold = situation.gap_pct, situation.settings.price_gap_pct
    reason = f"gap {gap:+.3f} % against a threshold of {threshold} %"
    return Verdict(direction_of(gap, threshold), (reason,))
