"""Where prices come from: functions of market time, so that a run can be repeated and knows its own future."""

import math
import struct
from collections.abc import Sequence
from hashlib import blake2b
from statistics import NormalDist
from typing import Protocol

from allora_mqtt.simulator.universe import Asset, Universe

YEAR_S = 365 * 86_400.0
_LONGEST_PERIOD_S = 7 * 86_400.0
_OCTAVES = 18  # from 7 days down to about 4.6 s, each half of the one before
_CALIBRATION_LAG_S = 3_600.0
_KNOTS_PER_BLOCK = 8
_MAX_CACHED_BLOCKS = 2_048
_BLOCK_KEY = struct.Struct("<Bq")
_BLOCK_WORDS = struct.Struct("<8Q")
_LAPLACE_SCALE = math.sqrt(0.5)
_CELL_S = 2 * 3_600.0
_CELLS_PER_SPELL = 12  # a day
_LIVELINESS = 0.5
_LIVELY_BELOW_S = 86_400.0
_MAJORS = frozenset({"BTC", "ETH", "SOL", "BNB", "XRP", "DOGE", "ADA", "LINK", "AVAX", "LTC", "DOT", "BCH", "SUI"})
# The share of an asset's moves that the whole market makes; 0.775 squared is a correlation of 0.6.
_MARKET_LOADING_MAJOR = 0.775
_MARKET_LOADING_OTHER = 0.6
_YEARLY_VOLS = {"BTC": 0.5, "ETH": 0.65, "SOL": 0.75, "BNB": 0.55, "XRP": 0.75, "PAXG": 0.15}
_LARGE_DAY_VOLUME_USD = 10_000_000


class PriceSource(Protocol):
    """A price for every asset at every moment of market time, past and future."""

    @property
    def start_s(self) -> float:
        """The market time at which a fresh run begins."""

    def price(self, asset: Asset, time_s: float) -> float:
        """The price in USD at market time `time_s`."""

    def sigma(self, asset: Asset, horizon_s: float) -> float:
        """The standard deviation of the log price's move over `horizon_s` seconds of market time."""


def yearly_volatility(asset: Asset) -> float:
    """The yearly volatility an asset is given: 0.5 is 50 %."""
    if asset.name in _YEARLY_VOLS:
        return _YEARLY_VOLS[asset.name]
    return 0.85 if asset.day_volume_usd >= _LARGE_DAY_VOLUME_USD else 1.1


def _smooth(fraction: float) -> float:
    return fraction * fraction * (3.0 - 2.0 * fraction)


def _lag_covariance(lag: float, phases: int = 64) -> float:
    """Covariance of unit-variance smooth noise with itself `lag` periods later, averaged over the phase."""
    total = 0.0
    for step in range(phases):
        left = (step + 0.5) / phases
        cell = math.floor(left + lag)
        here = {0: 1.0 - _smooth(left), 1: _smooth(left)}
        there = _smooth(left + lag - cell)
        total += here.get(cell, 0.0) * (1.0 - there) + here.get(cell + 1, 0.0) * there
    return total / phases


def _move_variance(lag_s: float, periods_s: Sequence[float]) -> float:
    """Variance of the move over `lag_s` of octaves whose variances are their periods (a Brownian spectrum)."""
    still = _lag_covariance(0.0)
    return sum(2.0 * period * (still - _lag_covariance(lag_s / period)) for period in periods_s)


class _Activity:
    """How lively the market is: a factor on the moves of all assets, of mean square 1, that differs from hour to hour.

    Calm and wild hours are what makes the tails of hourly moves fat: their kurtosis is about 5, where a normal
    distribution's is 3; and wild hours come in groups. Over a day it evens out.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cells: dict[int, float] = {}

    def at(self, time_s: float) -> float:
        """The factor at `time_s`."""
        cell = math.floor(time_s / _CELL_S)
        factor = self._cells.get(cell)
        if factor is None:
            if len(self._cells) >= _MAX_CACHED_BLOCKS:
                self._cells.clear()
            mood = self._normal(0, cell // _CELLS_PER_SPELL) + self._normal(1, cell)
            factor = self._cells[cell] = math.exp(_LIVELINESS * mood / math.sqrt(2.0) - _LIVELINESS**2)
        return factor

    def _normal(self, kind: int, number: int) -> float:
        digest = blake2b(_BLOCK_KEY.pack(kind, number), key=self._key, digest_size=8).digest()
        return NormalDist().inv_cdf((_uniform(int.from_bytes(digest, "little")) + 1.0) / 2.0)


class _Factor:
    """One random walk: the sum of smooth noises, each octave half as long and 1/sqrt(2) as high as the last."""

    def __init__(self, key: bytes, periods_s: Sequence[float], scale: float, activity: _Activity) -> None:
        self._key = key
        self._activity = activity
        self._periods_s = periods_s
        self._blocks: dict[tuple[int, int], tuple[int, ...]] = {}
        phases = [_uniform(word) for word in self._words(len(periods_s), 0)]
        self._octaves = tuple(
            (1.0 / period, (phases[k % _KNOTS_PER_BLOCK] + 1.0) * 0.5 + k / 7.0) for k, period in enumerate(periods_s)
        )
        self._amplitudes = tuple(scale * math.sqrt(period) for period in periods_s)
        # Neighbouring samples mostly fall between the same two knots, so the last pair of each octave is kept.
        self._segments: list[tuple[int, float, float]] = [self._segment(k, 0) for k in range(len(periods_s))]
        self._origin = self._sum(0.0)

    def value(self, time_s: float) -> float:
        """The walk at `time_s`, in units of a year's standard deviation; 0 at time 0."""
        return self._sum(time_s) - self._origin

    def _sum(self, time_s: float) -> float:
        total = 0.0
        segments = self._segments
        for k, (frequency, phase) in enumerate(self._octaves):
            position = time_s * frequency + phase
            index = math.floor(position)
            segment = segments[k]
            if segment[0] != index:
                segment = segments[k] = self._segment(k, index)
            fraction = position - index
            total += segment[1] + segment[2] * fraction * fraction * (3.0 - 2.0 * fraction)
        return total

    def _segment(self, octave: int, index: int) -> tuple[int, float, float]:
        left, right = self._height(octave, index), self._height(octave, index + 1)
        return index, left, right - left

    def _height(self, octave: int, index: int) -> float:
        height = self._amplitudes[octave] * self._knot(octave, index)
        period_s = self._periods_s[octave]
        # The slow octaves stay as they are: they keep the price in its range.
        if period_s > _LIVELY_BELOW_S:
            return height
        return height * self._activity.at((index - self._octaves[octave][1]) * period_s)

    def _knot(self, octave: int, index: int) -> float:
        number, offset = divmod(index, _KNOTS_PER_BLOCK)
        block = self._blocks.get((octave, number))
        if block is None:
            if len(self._blocks) >= _MAX_CACHED_BLOCKS:
                self._blocks.clear()
            block = self._blocks[octave, number] = self._words(octave, number)
        uniform = _uniform(block[offset])
        # Laplace-distributed with variance 1: fatter tails than a normal, in closed form.
        return math.copysign(math.log1p(-abs(uniform)) * _LAPLACE_SCALE, uniform)

    def _words(self, octave: int, number: int) -> tuple[int, ...]:
        digest = blake2b(_BLOCK_KEY.pack(octave, number), key=self._key, digest_size=64).digest()
        return _BLOCK_WORDS.unpack(digest)


def _uniform(word: int) -> float:
    """A number between -1 and 1 from 64 random bits."""
    return ((word >> 11) + 0.5) / 2**52 - 1.0


class RandomPrices:
    """Correlated, fat-tailed random walks around the universe's start prices.

    Each asset moves with a common market factor and a factor of its own, and all are lively or calm together. The
    spectrum is that of Brownian motion for lags up to about a week; beyond that the walk comes back, so prices stay in
    a plausible range for ever.

    Args:
        seed: Same seed, same prices.
        universe: The assets.
    """

    def __init__(self, seed: int, universe: Universe) -> None:
        self._periods_s = tuple(_LONGEST_PERIOD_S / 2**k for k in range(_OCTAVES))
        variance = _move_variance(_CALIBRATION_LAG_S, self._periods_s)
        self._scale = math.sqrt(_CALIBRATION_LAG_S / YEAR_S / variance)
        self._seed = seed
        self._activity = _Activity(self._key_of("the activity"))
        self._market = self._factor("the market")
        self._own: dict[int, _Factor] = {}
        self._weights = [_weights(asset) for asset in universe.assets]
        self._starts = [float(asset.start_px) for asset in universe.assets]
        self._market_now = (0.0, 0.0)

    @property
    def start_s(self) -> float:
        """A fresh run begins at market time 0, at the universe's start prices."""
        return 0.0

    def price(self, asset: Asset, time_s: float) -> float:
        """See `PriceSource`."""
        if self._market_now[0] != time_s:
            self._market_now = (time_s, self._market.value(time_s))
        market_weight, own_weight = self._weights[asset.index]
        own = self._own.get(asset.index)
        if own is None:
            own = self._own[asset.index] = self._factor(asset.name)
        move = market_weight * self._market_now[1] + own_weight * own.value(time_s)
        return self._starts[asset.index] * math.exp(move)

    def sigma(self, asset: Asset, horizon_s: float) -> float:
        """See `PriceSource`."""
        return yearly_volatility(asset) * self._scale * math.sqrt(_move_variance(horizon_s, self._periods_s))

    def _factor(self, name: str) -> _Factor:
        return _Factor(self._key_of(name), self._periods_s, self._scale, self._activity)

    def _key_of(self, name: str) -> bytes:
        return blake2b(f"{self._seed}/{name}".encode(), digest_size=32).digest()


def _weights(asset: Asset) -> tuple[float, float]:
    volatility = yearly_volatility(asset)
    loading = _MARKET_LOADING_MAJOR if asset.name in _MAJORS else _MARKET_LOADING_OTHER
    return volatility * loading, volatility * math.sqrt(1.0 - loading * loading)
