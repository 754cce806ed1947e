"""What to do about a coin. A strategy is a pure function of one frozen `Situation`; `judge` asks the chosen one."""

from allora_mqtt.trading.strategy.choice import BUILT_IN, GROUP, Strategies, installed, judge
from allora_mqtt.trading.strategy.history import PriceHistory, volatility_pct
from allora_mqtt.trading.strategy.situation import Opinion, Sample, Situation, Strategy, Verdict, gap_pct, round_gap

__all__ = [
    "BUILT_IN",
    "GROUP",
    "Opinion",
    "PriceHistory",
    "Sample",
    "Situation",
    "Strategies",
    "Strategy",
    "Verdict",
    "gap_pct",
    "installed",
    "judge",
    "round_gap",
    "volatility_pct",
]
