"""How rows are written: CSV, JSON Lines, Parquet. Money and sizes keep every digit; times are UTC."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Any, BinaryIO, Final, Protocol

from sqlalchemy import Column

from allora_mqtt.export.records import name_of
from allora_mqtt.store.schema import Moment, Money, NanoUsd

_FORMULA_BEGINS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
"""A spreadsheet takes a cell that begins so for a formula (or, the last one, hides it)."""
_PARQUET_DIGITS: Final = 38
_PARQUET_DECIMALS: Final = 18
_WIDE: Final = Context(prec=100)

Row = Mapping[str, Any]


class Writer(Protocol):
    """Takes parts of a table, and then ends."""

    def write(self, rows: Iterable[Row]) -> None:
        """Write some rows."""

    def close(self) -> None:
        """Write what belongs after the last row."""


class CsvWriter:
    """RFC 4180 with a heading, lines that end with a line feed alone, and empty cells for what is not there.

    Text (never a number or a time) that a spreadsheet would take for a formula has a `'` before it; so has text that
    begins with one, so that taking one away gives back what was there.
    """

    def __init__(self, stream: BinaryIO, columns: "list[Column[Any]]") -> None:
        self._stream = stream
        self._columns = columns
        self._send([[name_of(column) for column in columns]])

    def write(self, rows: Iterable[Row]) -> None:
        """Write some rows."""
        self._send([_csv_cell(row[column.name]) for column in self._columns] for row in rows)

    def close(self) -> None:
        """Nothing follows."""

    def _send(self, lines: Iterable[Iterable[object]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(lines)
        self._stream.write(text.getvalue().encode())


class JsonWriter:
    """JSON Lines: one object a line; amounts as strings, for a JSON number is a float to most who read it."""

    def __init__(self, stream: BinaryIO, columns: "list[Column[Any]]") -> None:
        self._stream = stream
        self._columns = columns

    def write(self, rows: Iterable[Row]) -> None:
        """Write some rows."""
        for row in rows:
            content = {name_of(column): _json_value(row[column.name]) for column in self._columns}
            self._stream.write(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Nothing follows."""


class ParquetWriter:
    """Amounts as decimal128(38, 18), times as microseconds in UTC, what is a list or an object as JSON text.

    Raises:
        ImportError: pyarrow is not installed.
    """

    def __init__(self, stream: BinaryIO, columns: "list[Column[Any]]") -> None:
        import pyarrow as pa  # noqa: PLC0415 - an optional extra
        from pyarrow import parquet  # noqa: PLC0415 - as above

        self._columns = columns
        self._arrow = pa
        money = pa.decimal128(_PARQUET_DIGITS, _PARQUET_DECIMALS)
        kinds = {Money: money, NanoUsd: money, Moment: pa.timestamp("us", tz="UTC")}
        plain = {int: pa.int64(), bool: pa.bool_()}
        self._schema = pa.schema(
            [
                (name_of(column), kinds.get(type(column.type)) or plain.get(_python_type(column), pa.string()))
                for column in columns
            ]
        )
        self._file = parquet.ParquetWriter(stream, self._schema, compression="zstd")

    def write(self, rows: Iterable[Row]) -> None:
        """Write some rows, as one row group."""
        content = [{name_of(column): _parquet_value(row[column.name]) for column in self._columns} for row in rows]
        self._file.write_table(self._arrow.Table.from_pylist(content, schema=self._schema))

    def close(self) -> None:
        """Write the footer."""
        self._file.close()


MakeWriter = Callable[[BinaryIO, "list[Column[Any]]"], Writer]
"""Begins a file of these columns."""

WRITERS: Final[Mapping[str, MakeWriter]] = {"csv": CsvWriter, "json": JsonWriter, "parquet": ParquetWriter}
"""The writer of each format."""


def _python_type(column: "Column[Any]") -> type:
    try:
        return column.type.python_type
    except NotImplementedError:
        return str


def _csv_cell(value: object) -> object:
    if isinstance(value, str | bytes | list | dict):
        text = _text(value)
        return f"'{text}" if text.startswith(_FORMULA_BEGINS) else text
    return _plain(value)


def _plain(value: object) -> object:
    match value:
        case datetime():
            return _time(value)
        case Decimal():
            return format(value, "f")
        case bool():
            return "true" if value else "false"
        case _:
            return value


def _json_value(value: object) -> object:
    match value:
        case datetime():
            return _time(value)
        case Decimal():
            return format(value, "f")
        case bytes():
            return _text(value)
        case _:
            return value


def _parquet_value(value: object) -> object:
    if isinstance(value, Decimal):
        # Amounts of the exchange have at most 9 decimals; a prediction may have more than Parquet can keep.
        return value.quantize(Decimal(1).scaleb(-_PARQUET_DECIMALS), context=_WIDE)
    return _text(value) if isinstance(value, bytes | list | dict) else value


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
