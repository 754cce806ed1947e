"""Which strategies there are, built in and installed, and how the chosen one is asked."""

import asyncio
import re
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint
from types import MappingProxyType
from typing import Final

from allora_mqtt.market.wire import quoted
from allora_mqtt.protocol.messages import Direction
from allora_mqtt.trading.strategy.gap import allora_gap
from allora_mqtt.trading.strategy.situation import Opinion, Situation, Strategy, Verdict
from allora_mqtt.trading.strategy.volatility import volatility

GROUP: Final = "allora_mqtt.strategies"
"""The entry point group in which other packages offer strategies."""

Strategies = Mapping[str, Strategy]
"""Strategies by the name that the setting `strategy` takes."""

BUILT_IN: Final[Strategies] = MappingProxyType({"allora_gap": allora_gap, "volatility": volatility})

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MAX_REASONS: Final = 10
_FAULTS: Final = (Exception, SystemExit, asyncio.CancelledError)
"""What somebody else's code may raise and must not end a task of the bot with."""


def installed(entry_points: Iterable[EntryPoint]) -> tuple[Strategies, tuple[str, ...]]:
    """Load the strategies that other packages offer, beside the built-in ones.

    Args:
        entry_points: those of the group `GROUP`.

    Returns:
        Every strategy that can be used, and one sentence for each that cannot.
    """
    offers = list(entry_points)
    offered = Counter(offer.name for offer in offers)
    found, problems = dict(BUILT_IN), []
    for offer in offers:
        origin = f"strategy {quoted(offer.name)!r} of {quoted(offer.value)}"
        if offer.name in BUILT_IN:
            problems.append(f"The {origin} has the name of a built-in one and is not used; rename it.")
        elif not _NAME.fullmatch(offer.name):
            problems.append(f"The {origin} has a name that no setting can take and is not used; use a-z, 0-9 and _.")
        elif offered[offer.name] > 1:
            problems.append(f"The {origin} is offered more than once and not used; remove one of the packages.")
        else:
            try:
                strategy = offer.load()
            except _FAULTS as error:
                problems.append(f"The {origin} cannot be loaded and is not used ({_words(error)}); mend its package.")
                continue
            if callable(strategy):
                found[offer.name] = strategy
            else:
                problems.append(f"The {origin} is not a function and is not used; mend its package.")
    return MappingProxyType(found), tuple(problems)


def judge(situation: Situation, strategies: Strategies = BUILT_IN) -> Opinion:
    """Ask the strategy that the settings name.

    Args:
        situation: what it sees.
        strategies: those there are.

    Returns:
        Its opinion with the gap; HOLD with a reason when there is no strategy of that name, and when it failed or
        answered with something else than a `Verdict`: then `fault` says with what.
    """
    name = situation.settings.strategy
    strategy = strategies.get(name)
    if strategy is None:
        return Opinion(Direction.HOLD, situation.gap_pct, (f"there is no strategy {name!r}",))
    try:
        verdict = _checked(strategy(situation))
    except _FAULTS as error:
        return Opinion(Direction.HOLD, situation.gap_pct, (f"the strategy {name} failed: {_words(error)}",), error)
    return Opinion(verdict.direction, situation.gap_pct, verdict.reasons)


def _checked(answer: object) -> Verdict:
    """Return a strategy's answer with its words made fit for a record.

    Raises:
        TypeError: it is no verdict.
    """
    if not isinstance(answer, Verdict):
        raise TypeError(f"it answered with {type(answer).__name__} and not with a Verdict")
    # Nothing has checked what somebody else's code put in.
    direction: object = answer.direction
    reasons: object = answer.reasons
    if not isinstance(direction, Direction):
        raise TypeError(f"its direction is {quoted(direction)} and not a Direction")
    if not isinstance(reasons, tuple) or not all(isinstance(reason, str) for reason in reasons):
        raise TypeError("its reasons are not a tuple of texts")
    return Verdict(direction, tuple(quoted(reason) for reason in reasons[:_MAX_REASONS]))


def _words(error: BaseException) -> str:
    # Unlike str() this survives an exception that cannot say what it is.
    return quoted(traceback.format_exception_only(error)[-1])
