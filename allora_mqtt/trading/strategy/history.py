"""The marks of the last hours, one every five minutes, and how much they move. Values in, values out."""

import math
import statistics
from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Final

from allora_mqtt.market.quotes import Quote
from allora_mqtt.trading.strategy.situation import Sample

SAMPLE_S: Final = 300.0
"""Between two samples: the cycle of the earlier bot, which took one a cycle."""
SAMPLES: Final = 24
"""Log returns in the volatility's window: two hours."""
_KEPT: Final = 288
"""Samples that are kept: a day."""
_FRESH_S: Final = 60.0
"""A price that nobody has confirmed for longer than this is no sample: it would look like a calm market."""
_TOLERANCE: Final = 1.5
"""A pause of more than this many samples breaks the row: returns over unequal times say nothing together."""


class PriceHistory:
    """Takes a sample of every mark price when one is due; a row that was interrupted begins anew."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[Sample]] = {}
        self._at: float | None = None

    def take(self, quotes: Mapping[str, Quote], now: float) -> None:
        """Take a sample of these quotes if the newest one is `SAMPLE_S` old.

        Args:
            quotes: by symbol.
            now: unix seconds.
        """
        if self._at is not None and 0 <= now - self._at < SAMPLE_S:
            return
        fresh = {symbol: quote for symbol, quote in quotes.items() if abs(now - quote.at) <= _FRESH_S}
        if not fresh:
            return
        self._at = now
        for symbol, quote in fresh.items():
            row = self._samples.setdefault(symbol, deque(maxlen=_KEPT))
            if row and not 0 < now - row[-1].at <= SAMPLE_S * _TOLERANCE:
                row.clear()
            row.append(Sample(now, quote.mark))

    def of(self, symbol: str) -> tuple[Sample, ...]:
        """Return the samples of a symbol, oldest first."""
        return tuple(self._samples.get(symbol, ()))


def volatility_pct(history: tuple[Sample, ...]) -> Decimal | None:
    """Return how much a coin moves in 24 samples: `std(log returns) * sqrt(24)`, percent; None with too few samples.

    The earlier bot's measure. The standard deviation is that of a sample (n - 1) over the newest 24 log returns, which
    need 25 prices; times the root of 24 it is the volatility over the window they span, two hours.
    """
    newest = history[-SAMPLES - 1 :]
    if len(newest) <= SAMPLES:
        return None
    logs = [math.log(sample.mark) for sample in newest]
    returns = [after - before for before, after in pairwise(logs)]
    return Decimal(repr(statistics.stdev(returns) * math.sqrt(SAMPLES) * 100))


def volatility_over_pct(history: tuple[Sample, ...], horizon_s: float) -> Decimal | None:
    """Return the volatility of `volatility_pct` scaled to a horizon by the root of time, percent.

    Args:
        history: oldest first.
        horizon_s: seconds.
    """
    window = volatility_pct(history)
    return None if window is None else window * Decimal(repr(math.sqrt(horizon_s / (SAMPLE_S * SAMPLES))))
