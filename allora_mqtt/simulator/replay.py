"""Prices from a CSV for one coin or several; every other asset moves at random."""

import csv
import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from allora_mqtt.simulator.prices import PriceSource
from allora_mqtt.simulator.universe import Asset

_DEFAULT_COIN = "BTC"
_MIN_ROWS = 3
_WARM_UP_S = 86_400.0  # so that a day of history lies before the start


class ReplayError(Exception):
    """The CSV cannot be replayed; the message says why."""


@dataclass
class _Track:
    """One coin's recording: times in unix seconds, and the logarithms of its prices."""

    times_s: list[float] = field(default_factory=list)
    logs: list[float] = field(default_factory=list)

    def price(self, time_s: float) -> float:
        """The price between the rows; before the first and after the last it stands still."""
        right = bisect_right(self.times_s, time_s)
        if right == 0:
            return math.exp(self.logs[0])
        if right == len(self.times_s):
            return math.exp(self.logs[-1])
        begin, end = self.times_s[right - 1], self.times_s[right]
        fraction = (time_s - begin) / (end - begin)
        return math.exp(self.logs[right - 1] * (1.0 - fraction) + self.logs[right] * fraction)

    def sigma_1s(self) -> float:
        """The standard deviation of its moves per root of a second, estimated from the whole recording."""
        squares = sum((b - a) ** 2 for a, b in pairwise(self.logs))
        return math.sqrt(squares / (self.times_s[-1] - self.times_s[0]))


class ReplayPrices:
    """Coins as recorded, interpolated between the rows; other assets from another source.

    Args:
        path: CSV with a header and at least the columns time (unix seconds) and open (USD). With a column coin it holds
            several coins, each in ascending order of time; without one it is about BTC.
        others: The source for every other asset.

    Raises:
        ReplayError: The file cannot be read, lacks a column or has too few or unordered rows of a coin.
    """

    def __init__(self, path: Path, others: PriceSource) -> None:
        self._others = others
        self._tracks = _read(path)
        self._sigmas_1s = {coin: track.sigma_1s() for coin, track in self._tracks.items()}

    @property
    def coins(self) -> frozenset[str]:
        """The coins that are replayed."""
        return frozenset(self._tracks)

    @property
    def start_s(self) -> float:
        """When all coins are on record: a day after that, or at once when the recording is short."""
        begin = max(track.times_s[0] for track in self._tracks.values())
        end = min(track.times_s[-1] for track in self._tracks.values())
        return begin + _WARM_UP_S if end - begin > 2 * _WARM_UP_S else begin

    def price(self, asset: Asset, time_s: float) -> float:
        """See `PriceSource`; before the first and after the last row the price stands still."""
        track = self._tracks.get(asset.name)
        return self._others.price(asset, time_s - self.start_s) if track is None else track.price(time_s)

    def sigma(self, asset: Asset, horizon_s: float) -> float:
        """See `PriceSource`; for a replayed asset estimated from the whole file."""
        sigma_1s = self._sigmas_1s.get(asset.name)
        return self._others.sigma(asset, horizon_s) if sigma_1s is None else sigma_1s * math.sqrt(horizon_s)


def _read(path: Path) -> Mapping[str, _Track]:
    tracks: dict[str, _Track] = {}
    count = 0
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                track = tracks.setdefault(row.get("coin", _DEFAULT_COIN), _Track())
                track.times_s.append(float(row["time"]))
                track.logs.append(math.log(float(row["open"])))
                count += 1
    except OSError as error:
        raise ReplayError(f"cannot read the price file {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ReplayError(f"row {count + 1} of {path} has no usable time and open: {error}") from error
    for coin, track in (tracks or {_DEFAULT_COIN: _Track()}).items():
        if len(track.logs) < _MIN_ROWS or any(b <= a for a, b in pairwise(track.times_s)):
            raise ReplayError(f"{path} needs at least {_MIN_ROWS} rows of {coin} in ascending order of time")
    return tracks
