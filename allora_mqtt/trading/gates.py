"""What may keep an entry out although the strategy wants it: each off by default. Values in, values out.

A gate that lacks its data refuses, and says so: who switches it on wants it to hold.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from allora_mqtt.protocol.messages import Direction
from allora_mqtt.trading.skill import Skill
from allora_mqtt.trading.strategy import Situation, volatility_pct

_INNER_BAND_PCT: Final = 68
_OFF_PCT: Final = 100
_FUNDING_HOURS: Final = 8
"""Funding is quoted per 8 h everywhere and paid hourly on HyperLiquid."""


def gate_refusal(situation: Situation, direction: Direction, skill: Skill) -> str | None:
    """Return why a gate keeps an entry out, or None when none does.

    Args:
        situation: what the strategy saw.
        direction: BUY or SELL, as the strategy wants it.
        skill: of the prediction's topic, over the newest `skill_window` resolved predictions.
    """
    gates: tuple[Callable[[], str | None], ...] = (
        lambda: _confidence(situation),
        lambda: _volatility(situation),
        lambda: _skill(situation, skill),
        lambda: _funding(situation, direction),
    )
    return next((why for gate in gates if (why := gate()) is not None), None)


def _confidence(situation: Situation) -> str | None:
    """Trade only when the mark lies outside what the network itself holds for likely."""
    least = situation.settings.min_confidence_band_pct
    if least == 0:
        return None
    is_inner, prediction, mark = least <= _INNER_BAND_PCT, situation.prediction, situation.quote.mark
    name, interval = ("68 %", prediction.interval_68) if is_inner else ("95 %", prediction.interval_95)
    if interval is None:
        return f"gate min_confidence_band_pct: the network gave no {name} interval"
    low, high = interval
    if low <= mark <= high:
        return f"gate min_confidence_band_pct: the mark {mark:f} lies inside the network's {name} interval"
    return None


def _volatility(situation: Situation) -> str | None:
    least, most = situation.settings.min_volatility_pct, situation.settings.max_volatility_pct
    if least == 0 and most == _OFF_PCT:
        return None
    name = "min_volatility_pct" if least > 0 else "max_volatility_pct"
    found = volatility_pct(situation.history)
    if found is None:
        return f"gate {name}: there are too few samples of the price to know the volatility yet"
    if found < least:
        return f"gate min_volatility_pct: the volatility is {found:.3f} %, and {least} % is wanted"
    if found > most:
        return f"gate max_volatility_pct: the volatility is {found:.3f} %, and {most} % is the limit"
    return None


def _skill(situation: Situation, skill: Skill) -> str | None:
    least, wanted = situation.settings.min_skill_pct, situation.settings.skill_window
    if least == 0:
        return None
    if skill.accuracy_pct is None or skill.samples < wanted:
        return (
            f"gate min_skill_pct: {skill.samples} predictions of topic {situation.prediction.topic_id} "
            f"are resolved, and {wanted} are wanted"
        )
    if skill.accuracy_pct < least:
        return (
            f"gate min_skill_pct: topic {situation.prediction.topic_id} foresaw the direction of {skill.accuracy_pct} "
            f"% of its last {skill.samples} predictions, and {least} % are wanted"
        )
    return None


def _funding(situation: Situation, direction: Direction) -> str | None:
    """A positive rate is paid by those who are long to those who are short."""
    most = situation.settings.max_funding_pct
    if most == _OFF_PCT:
        return None
    rate = situation.quote.funding_rate
    if rate is None:
        return "gate max_funding_pct: the funding rate is not known"
    sign = 1 if direction is Direction.BUY else -1
    paid_pct: Decimal = sign * rate * _FUNDING_HOURS * 100
    if paid_pct > most:
        return f"gate max_funding_pct: the position would pay {paid_pct:.4f} % per 8 h, and {most} % is the limit"
    return None
