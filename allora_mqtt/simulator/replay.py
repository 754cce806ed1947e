"""Prices from a CSV for one asset; every other asset moves at random."""

import csv
import math
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path

from allora_mqtt.simulator.prices import PriceSource
from allora_mqtt.simulator.universe import Asset

_MIN_ROWS = 3
_WARM_UP_S = 86_400.0  # so that a day of history lies before the start


class ReplayError(Exception):
    """The CSV cannot be replayed; the message says why."""


class ReplayPrices:
    """BTC as recorded, interpolated between the rows; other assets from another source.

    Args:
        path: CSV with a header and the columns time (unix seconds), open, high, low, close, volume_usd.
        others: The source for every other asset.

    Raises:
        ReplayError: The file cannot be read, lacks a column or has too few or unordered rows.
    """

    def __init__(self, path: Path, others: PriceSource, coin: str = "BTC") -> None:
        self._coin = coin
        self._others = others
        self._times_s, self._logs = _read(path)
        self._sigma_1s = _sigma_per_root_second(self._times_s, self._logs)

    @property
    def start_s(self) -> float:
        """A day after the first row, or the first row of a short file."""
        begin, end = self._times_s[0], self._times_s[-1]
        return begin + _WARM_UP_S if end - begin > 2 * _WARM_UP_S else begin

    def price(self, asset: Asset, time_s: float) -> float:
        """See `PriceSource`; before the first and after the last row the price stands still."""
        if asset.name != self._coin:
            return self._others.price(asset, time_s - self.start_s)
        right = bisect_right(self._times_s, time_s)
        if right == 0:
            return math.exp(self._logs[0])
        if right == len(self._times_s):
            return math.exp(self._logs[-1])
        begin, end = self._times_s[right - 1], self._times_s[right]
        fraction = (time_s - begin) / (end - begin)
        return math.exp(self._logs[right - 1] * (1.0 - fraction) + self._logs[right] * fraction)

    def sigma(self, asset: Asset, horizon_s: float) -> float:
        """See `PriceSource`; for the replayed asset estimated from the whole file."""
        if asset.name != self._coin:
            return self._others.sigma(asset, horizon_s)
        return self._sigma_1s * math.sqrt(horizon_s)


def _read(path: Path) -> tuple[list[float], list[float]]:
    times_s: list[float] = []
    logs: list[float] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                times_s.append(float(row["time"]))
                logs.append(math.log(float(row["open"])))
    except OSError as error:
        raise ReplayError(f"cannot read the price file {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ReplayError(f"row {len(logs) + 1} of {path} has no usable time and open: {error}") from error
    if len(logs) < _MIN_ROWS or any(b <= a for a, b in pairwise(times_s)):
        raise ReplayError(f"{path} needs at least {_MIN_ROWS} rows in ascending order of time")
    return times_s, logs


def _sigma_per_root_second(times_s: list[float], logs: list[float]) -> float:
    squares = sum((b - a) ** 2 for a, b in pairwise(logs))
    return math.sqrt(squares / (times_s[-1] - times_s[0]))
