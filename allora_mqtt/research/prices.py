"""Past prices: bars from a CSV file, single prices from a recording."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Final

from allora_mqtt.protocol.errors import excerpt
from allora_mqtt.protocol.topics import SYMBOL_PATTERN
from allora_mqtt.research.problems import Problem, ResearchError
from allora_mqtt.research.rows import digest, read_rows, to_moment, to_number, to_price, utc

BAR_COLUMNS: Final = ("time", "open", "high", "low", "close")
TICK_COLUMNS: Final = ("at", "symbol", "price")
_MAX_TICK_PAUSE_S: Final = 300
"""A recording that is silent for longer has a gap: the bot publishes a price at least this often."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What a price did in a span of time; a single price is a bar without one.

    Attributes:
        at: its start, unix seconds.
        span_s: how long it lasts, 0 for a single price.
        funding_rate: the hourly rate in force in it, where the data says so (0.0001 is 0.01 %).
    """

    at: float
    span_s: float
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    funding_rate: Decimal | None = None

    @property
    def end(self) -> float:
        """When its close holds, unix seconds."""
        return self.at + self.span_s


@dataclass(frozen=True, slots=True)
class Gap:
    """A span of time without prices, in unix seconds."""

    after: float
    until: float


@dataclass(frozen=True, slots=True)
class Series:
    """The prices of one coin, in order of time.

    Attributes:
        files: where they come from.
        sha256: of those files.
        gaps: the spans without prices.
    """

    symbol: str
    bars: tuple[Bar, ...]
    files: tuple[Path, ...]
    sha256: str
    gaps: tuple[Gap, ...]

    @property
    def start(self) -> float:
        """When its first price holds."""
        return self.bars[0].at

    @property
    def end(self) -> float:
        """When its last price holds."""
        return self.bars[-1].end

    def between(self, start: float | None, end: float | None) -> "Series":
        """Return the bars that begin at `start` or later and end at `end` or sooner.

        Raises:
            ResearchError: `EMPTY_RANGE`, when fewer than two are left.
        """
        bars = tuple(bar for bar in self.bars if (start is None or bar.at >= start) and (end is None or bar.end <= end))
        if len(bars) < 2:  # noqa: PLR2004 - one price has no future
            raise ResearchError(
                Problem.EMPTY_RANGE,
                f"Between --from and --to there are {len(bars)} prices of {self.symbol}; the data goes from "
                f"{utc(self.start):%Y-%m-%d %H:%M} to {utc(self.end):%Y-%m-%d %H:%M} UTC.",
            )
        gaps = tuple(gap for gap in self.gaps if gap.after >= bars[0].at and gap.until <= bars[-1].end)
        return replace(self, bars=bars, gaps=gaps)

    def price_at(self, at: float) -> Decimal:
        """Return the price at a time, on the straight line between the known ones; the nearest outside the data."""
        index = bisect_right(self.bars, at, key=lambda bar: bar.at) - 1
        if index < 0:
            return self.bars[0].open
        bar = self.bars[index]
        if at >= bar.end:
            return bar.close
        share = Decimal(at - bar.at) / Decimal(bar.span_s)
        return bar.open + (bar.close - bar.open) * share

    def first_price_from(self, at: float) -> Decimal | None:
        """Return the first price that holds at a time or later, None after the end."""
        index = bisect_left(self.bars, at, key=lambda bar: bar.at)
        if index < len(self.bars):
            return self.bars[index].open
        return self.bars[-1].close if at <= self.end else None


def read_bars(path: Path, symbol: str, *, allow_gaps: bool = False) -> Series:
    """Read a CSV file of bars: `time,open,high,low,close` and perhaps `funding_rate`; other columns are left alone.

    The span of a bar is the smallest distance between two rows.

    Args:
        path: the file; times are unix seconds or RFC 3339 with a zone, and ascend.
        symbol: the coin, in the exchange's spelling.
        allow_gaps: take the file although rows are missing in it.

    Raises:
        ResearchError: what is wrong, and in which line.
    """
    _check_symbol(symbol, f"{path}")
    rows: list[Bar] = []
    for where, row in read_rows(path, BAR_COLUMNS):
        bar = _bar(where, row)
        if rows and bar.at <= rows[-1].at:
            raise _unordered(where)
        rows.append(bar)
    if len(rows) < 2:  # noqa: PLR2004 - a span needs two
        raise ResearchError(Problem.EMPTY_RANGE, f"{path} has {len(rows)} rows; at least two are needed.")
    span_s = min(later.at - earlier.at for earlier, later in pairwise(rows))
    bars = tuple(replace(bar, span_s=span_s) for bar in rows)
    gaps = tuple(Gap(a.end, b.at) for a, b in pairwise(bars) if b.at > a.end)
    if gaps and not allow_gaps:
        raise ResearchError(
            Problem.DATA_GAP,
            f"{path} lacks rows: {len(gaps)} times there is more than {span_s:.0f} s between two, first from "
            f"{utc(gaps[0].after):%Y-%m-%d %H:%M} to {utc(gaps[0].until):%Y-%m-%d %H:%M} UTC. "
            "Mend the file, or take it as it is with --allow-gaps.",
        )
    return Series(symbol, bars, (path,), digest([path]), gaps)


def read_ticks(paths: Sequence[Path]) -> list[Series]:
    """Read recorded prices: `at,symbol,price`, in files that follow one another; one series for each coin.

    Raises:
        ResearchError: what is wrong, and in which line.
    """
    by_symbol: dict[str, list[Bar]] = {}
    for path in paths:
        for where, row in read_rows(path, TICK_COLUMNS, torn_end=True):
            _check_symbol(row["symbol"], where)
            at, price = to_moment(row["at"], where), to_price(row["price"], where)
            bars = by_symbol.setdefault(row["symbol"], [])
            if bars and at < bars[-1].at:
                raise _unordered(where)
            if bars and at == bars[-1].at:
                if price != bars[-1].open:
                    message = f"{where}: {row['symbol']} has another price at the same time one line before."
                    raise ResearchError(Problem.CONTRADICTION, message)
                continue
            bars.append(Bar(at, 0, price, price, price, price))
    checksum = digest(paths)
    return [
        Series(symbol, tuple(bars), tuple(paths), checksum, _pauses(bars)) for symbol, bars in sorted(by_symbol.items())
    ]


def _pauses(bars: Iterable[Bar]) -> tuple[Gap, ...]:
    return tuple(Gap(a.end, b.at) for a, b in pairwise(bars) if b.at - a.end > _MAX_TICK_PAUSE_S)


def _bar(where: str, row: dict[str, str]) -> Bar:
    prices = {name: to_price(row[name], f"{where}, {name}") for name in BAR_COLUMNS[1:]}
    rate = row.get("funding_rate", "").strip()
    bar = Bar(
        at=to_moment(row["time"], where),
        span_s=0,
        **prices,
        funding_rate=to_number(rate, f"{where}, funding_rate") if rate else None,
    )
    if not bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high:
        raise ResearchError(
            Problem.BAD_BAR,
            f"{where}: open {bar.open} and close {bar.close} do not lie between low {bar.low} and high {bar.high}.",
        )
    return bar


def _unordered(where: str) -> ResearchError:
    return ResearchError(
        Problem.UNORDERED, f"{where}: the time is not after that of the line before. Sort the file and remove doubles."
    )


def _check_symbol(symbol: str, where: str) -> None:
    if not SYMBOL_PATTERN.fullmatch(symbol):
        raise ResearchError(Problem.UNKNOWN_SYMBOL, f"{where}: {excerpt(symbol)} is no symbol such as BTC.")
