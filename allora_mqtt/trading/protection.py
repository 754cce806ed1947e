"""Whether each position of ours has a stop on the exchange for the whole of it."""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from allora_mqtt.protocol.errors import BotError
from allora_mqtt.trading.portfolio import Holding, Portfolio

log = logging.getLogger(__name__)

_STOPLESS_S: Final = 1.0
"""A stop must have been missing for this long, in two looks, before one is placed: it may just not be shown yet."""


class Protection:
    """Finds positions without a stop, or with one for a part of them only.

    Args:
        portfolio: positions, and the orders that rest, as last seen.
        clock: the time, with its zone.
    """

    def __init__(self, portfolio: Portfolio, clock: Callable[[], datetime]) -> None:
        self._portfolio = portfolio
        self._clock = clock
        self._missing_since: dict[str, datetime] = {}

    @property
    def is_missing(self) -> bool:
        """Whether a stop was missing at the last look."""
        return bool(self._missing_since)

    async def look(self, protect: Callable[[Holding], Awaitable[None]]) -> None:
        """Have those positions protected whose stop is missing, not just not shown yet.

        Args:
            protect: called with a position that has no stop for the whole of it.
        """
        now = self._clock()
        held = dict(self._portfolio.holdings)
        self._missing_since = {symbol: since for symbol, since in self._missing_since.items() if symbol in held}
        for symbol, holding in held.items():
            if not holding.seen or self._portfolio.is_protected(holding):
                self._missing_since.pop(symbol, None)
                continue
            since = self._missing_since.setdefault(symbol, now)
            if 0 <= (now - since).total_seconds() < _STOPLESS_S:
                continue
            log.warning("The position in %s has no stop on the exchange, or none for the whole of it", symbol)
            try:
                await protect(holding)
                del self._missing_since[symbol]
            except BotError as error:
                log.warning("The position in %s could not be protected: %s", symbol, error.message)
