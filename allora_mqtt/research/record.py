"""A recording: what a bot publishes about prices and predictions, appended to CSV files, one a day.

A line is whole or it is the torn last one of a crash, which readers leave out and the next recording cuts off.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ValidationError

from allora_mqtt.files import sync_folder
from allora_mqtt.protocol.messages import CatalogView, CryptoState, SignalView
from allora_mqtt.protocol.model import rfc3339
from allora_mqtt.protocol.topics import SYMBOL_PATTERN, Event, Topics
from allora_mqtt.research.predictions import COLUMNS, read_predictions
from allora_mqtt.research.prices import TICK_COLUMNS, read_ticks
from allora_mqtt.research.problems import Problem, ResearchError
from allora_mqtt.research.rows import utc

_M = TypeVar("_M", bound=BaseModel)
Kind = Literal["prices", "predictions"]

_HEADERS: Final[dict[Kind, tuple[str, ...]]] = {
    "prices": TICK_COLUMNS,
    "predictions": (*COLUMNS, "known_at"),
}
_SYNC_S: Final = 5.0
"""What a power cut may take away: the lines of this long. A crash of the program alone takes none."""


@dataclass(slots=True)
class Counts:
    """What a recording has written, and how many messages it could not use."""

    prices: int = 0
    predictions: int = 0
    left_out: int = 0


class _DayFile:
    """The file of one kind that is being written."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        self._folder = folder
        self._kind: Kind = kind
        self._day = ""
        self._file: BinaryIO | None = None

    def append(self, at: datetime, fields: tuple[str, ...]) -> None:
        """Write a line into the file of its day, and hand it to the system."""
        day = f"{at:%Y-%m-%d}"
        if self._file is None or day != self._day:
            self.close()
            self._file = _opened(self._folder / f"{self._kind}-{day}.csv", _HEADERS[self._kind])
            self._day = day
        self._file.write((",".join(fields) + "\n").encode())
        self._file.flush()

    def sync(self) -> None:
        """Put what was written on disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Put what was written on disk, and close the file."""
        if self._file is not None:
            self.sync()
            self._file.close()
            self._file = None


class Recorder:
    """Writes prices and predictions down, as a context manager.

    Args:
        folder: where the files go; a recording that is there already is continued.
        topics: the bot's topics.
        clock: monotonic seconds.

    Raises:
        ResearchError: `NOT_WRITABLE`, here or later.
    """

    def __init__(self, folder: Path, topics: Topics, clock: Callable[[], float]) -> None:
        self.counts = Counts()
        self._topics = topics
        self._clock = clock
        self._synced_at = clock()
        self._horizons: dict[int, str] = {}
        self._waiting: list[SignalView] = []
        """Signals whose topic is not in the catalog yet."""
        self._newest: dict[str, datetime] = {}
        """When the newest price of each coin was written: retained ones come again at every connect."""
        self._seen: set[tuple[int, float]] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_writable(folder, error) from error
        self._files = {kind: _DayFile(folder, kind) for kind in _HEADERS}
        self._folder = folder
        self._go_on(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in self._files.values():
            self._written(file.close)

    def take(self, topic: str, payload: bytes) -> None:
        """Write down what a message says, if it says anything new."""
        symbol = self._topics.crypto_shown_on(topic)
        if topic == self._topics.catalog:
            catalog = self._understood(CatalogView, payload)
            if catalog is not None:
                self._learn(catalog)
        elif topic == self._topics.event(Event.SIGNAL):
            signal = self._understood(SignalView, payload)
            if signal is not None:
                self._predicted(signal)
        elif symbol is not None and SYMBOL_PATTERN.fullmatch(symbol) and payload:
            state = self._understood(CryptoState, payload)
            if state is not None and state.price is not None:
                self._priced(symbol, state.price, state.updated_at)

    def sync_when_due(self) -> None:
        """Put what was written on disk every few seconds."""
        if self._clock() - self._synced_at >= _SYNC_S:
            for file in self._files.values():
                self._written(file.sync)
            self._synced_at = self._clock()

    def _priced(self, symbol: str, price: Decimal, at: datetime) -> None:
        newest = self._newest.get(symbol)
        if newest is not None and at <= newest:
            return
        self._newest[symbol] = at
        self._append("prices", at, (rfc3339(at), symbol, f"{price:f}"))
        self.counts.prices += 1

    def _learn(self, catalog: CatalogView) -> None:
        self._horizons = {topic.id: topic.horizon for entry in catalog.root.values() for topic in entry.topics}
        waiting, self._waiting = self._waiting, []
        for signal in waiting:
            self._predicted(signal)

    def _predicted(self, signal: SignalView) -> None:
        if signal.prediction is None or signal.prediction_at is None or not SYMBOL_PATTERN.fullmatch(signal.symbol):
            return
        horizon = self._horizons.get(signal.topic_id)
        if horizon is None:
            if not self._horizons:
                self._waiting.append(signal)
            else:
                self.counts.left_out += 1
            return
        key = signal.topic_id, signal.prediction_at.timestamp()
        if key in self._seen:
            return
        self._seen.add(key)
        at = rfc3339(signal.prediction_at)
        fields = (at, str(signal.topic_id), signal.symbol, horizon, f"{signal.prediction:f}", rfc3339(signal.at))
        self._append("predictions", signal.at, fields)
        self.counts.predictions += 1

    def _append(self, kind: Kind, at: datetime, fields: tuple[str, ...]) -> None:
        self._written(lambda: self._files[kind].append(at, fields))

    def _written(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            raise _not_writable(self._folder, error) from error

    def _understood(self, model: type[_M], payload: bytes) -> _M | None:
        try:
            return model.model_validate_json(payload)
        except ValidationError:
            self.counts.left_out += 1
            return None

    def _go_on(self, folder: Path) -> None:
        """Learn what an earlier recording in this folder has already."""
        for series in read_ticks(sorted(folder.glob("prices-*.csv"))[-1:]):
            self._newest[series.symbol] = utc(series.end)
        for known in read_predictions(sorted(folder.glob("predictions-*.csv"))[-2:], 0):
            self._seen.add((known.prediction.topic_id, known.prediction.at))


def _opened(path: Path, header: tuple[str, ...]) -> BinaryIO:
    """Open a file to append to: with its header, and without the torn end of an earlier crash."""
    is_new = not path.exists()
    file = path.open("x+b" if is_new else "r+b")
    content = file.read()
    whole = content.rfind(b"\n") + 1
    file.seek(whole)
    file.truncate()
    if whole == 0:
        file.write((",".join(header) + "\n").encode())
        file.flush()
    if is_new:
        sync_folder(path.parent)
    return file


def _not_writable(folder: Path, error: OSError) -> ResearchError:
    message = f"{folder} cannot be written to: {error.strerror}. What was kept so far is there; choose another --out."
    return ResearchError(Problem.NOT_WRITABLE, message)
