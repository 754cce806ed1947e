"""CSV files, row by row, and the times and numbers in them."""

import csv
import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from pathlib import Path
from typing import Final

from allora_mqtt.protocol.errors import excerpt
from allora_mqtt.research.problems import Problem, ResearchError

_MAX_UNIX_S: Final = 1e11
"""The year 5138; a larger number is unix milliseconds or finer."""
_MAX_DIGITS: Final = 40
_HORIZON: Final = re.compile(r"(\d{1,9})\s*([smhd]?)")
_UNIT_S: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}

Row = tuple[str, dict[str, str]]
"""Where a row is (`prices.csv, line 7`), and its fields by column."""


def read_rows(path: Path, columns: Sequence[str], *, torn_end: bool = False) -> Iterator[Row]:
    """Yield the rows of a CSV file with a header.

    Args:
        path: the file.
        columns: those that must be there; others may be.
        torn_end: leave out a last line that a crash has cut off, which is one without a line end.

    Raises:
        ResearchError: `NO_FILE`, or `MISSING_COLUMN`.
    """
    text = read_text(path)
    if torn_end and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(text.splitlines(keepends=True))
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing and not (torn_end and not text):
        found = ", ".join(reader.fieldnames or ()) or "nothing"
        raise ResearchError(
            Problem.MISSING_COLUMN,
            f"{path} has no column {' and none '.join(missing)}; its first line has to name {', '.join(columns)} "
            f"(it names {excerpt(found)}).",
        )
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if None in row or any(row[column] is None for column in columns):
            raise ResearchError(
                Problem.MISSING_COLUMN,
                f"{where}: the row has not as many fields as the first line names; mend or remove it.",
            )
        yield where, {key: value or "" for key, value in row.items()}


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        ResearchError: `NO_FILE`, when it cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ResearchError(Problem.NO_FILE, f"{path} cannot be read: {error.strerror}. Check the name.") from error
    except UnicodeDecodeError as error:
        raise ResearchError(Problem.NO_FILE, f"{path} is no text in UTF-8 (byte {error.start}).") from error


def digest(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of files, one after the other: which data a result rests on."""
    total = sha256()
    for path in paths:
        total.update(path.read_bytes())
    return total.hexdigest()


def to_moment(text: str, where: str) -> float:
    """Read a time as unix seconds: a number of them, or RFC 3339 with a zone.

    Raises:
        ResearchError: `BAD_TIME`, or `NO_TIME_ZONE`.
    """
    text = text.strip()
    try:
        seconds = float(text)
    except ValueError:
        return _from_iso(text, where)
    if not math.isfinite(seconds) or seconds < 0:
        raise ResearchError(Problem.BAD_TIME, f"{where}: {excerpt(text)} is no time.")
    if seconds >= _MAX_UNIX_S:
        raise ResearchError(
            Problem.BAD_TIME,
            f"{where}: {excerpt(text)} lies beyond the year 5000; times are unix seconds, "
            "and this looks like milliseconds or finer. Divide them.",
        )
    return seconds


def _from_iso(text: str, where: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ResearchError(
            Problem.BAD_TIME,
            f"{where}: {excerpt(text)} is no time; write unix seconds or 2026-11-20T10:00:00Z.",
        ) from error
    if moment.tzinfo is None:
        raise ResearchError(
            Problem.NO_TIME_ZONE,
            f"{where}: {excerpt(text)} does not say in which time zone; write it in UTC with a Z at its end, "
            "or as unix seconds.",
        )
    return moment.timestamp()


def to_day(text: str, option: str) -> float:
    """Read the value of an option like `--from`: a day (which begins at 00:00 UTC) or a time.

    Raises:
        ResearchError: `BAD_TIME`, or `NO_TIME_ZONE`.
    """
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text.strip()):
        text = f"{text.strip()}T00:00:00Z"
    return to_moment(text, option)


def to_price(text: str, where: str) -> Decimal:
    """Read a price in USD.

    Raises:
        ResearchError: `BAD_NUMBER`, when it is not a finite number above zero.
    """
    value = to_number(text, where)
    if value <= 0:
        raise ResearchError(Problem.BAD_NUMBER, f"{where}: the price {excerpt(text)} is not above zero.")
    return value


def to_number(text: str, where: str) -> Decimal:
    """Read a finite number.

    Raises:
        ResearchError: `BAD_NUMBER`.
    """
    try:
        value = Decimal(text.strip())
    except InvalidOperation as error:
        raise ResearchError(Problem.BAD_NUMBER, f"{where}: {excerpt(text)} is no number.") from error
    if not value.is_finite() or len(value.as_tuple().digits) > _MAX_DIGITS or abs(value.adjusted()) > _MAX_DIGITS:
        raise ResearchError(
            Problem.BAD_NUMBER, f"{where}: {excerpt(text)} cannot be used; every price must be known and finite."
        )
    return value


def to_span_s(text: str, where: str) -> int:
    """Read a span of time: `8h`, `20m`, `1d`, `300s`, or a bare number of seconds.

    Raises:
        ResearchError: `BAD_NUMBER`.
    """
    found = _HORIZON.fullmatch(text.strip())
    seconds = int(found[1]) * _UNIT_S[found[2]] if found else 0
    if seconds == 0:
        raise ResearchError(Problem.BAD_NUMBER, f"{where}: {excerpt(text)} is no span of time such as 8h, 20m or 300.")
    return seconds


def utc(at: float) -> datetime:
    """Return unix seconds as a time in UTC."""
    return datetime.fromtimestamp(at, UTC)
