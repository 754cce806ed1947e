"""One export, from the database to a file that is there whole or not at all."""

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal

from sqlalchemy.exc import SQLAlchemyError

from allora_mqtt.export import source
from allora_mqtt.export.records import RECORDS
from allora_mqtt.export.writers import WRITERS
from allora_mqtt.files import whole_file
from allora_mqtt.store.database import NoDriver


class CannotExport(Exception):  # noqa: N818 - it names what happened
    """Nothing was exported; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Export:
    """What is wanted.

    Attributes:
        record: a name in `RECORDS`.
        since: rows from this time on.
        until: rows before this time.
        out: the file; None for standard output.
        with_raw: also signed orders, and what commands carried.
    """

    record: str
    format: Literal["csv", "json", "parquet"]
    since: datetime | None
    until: datetime | None
    out: Path | None
    with_raw: bool


def export(database_url: str, wanted: Export, on_progress: Callable[[int, int], None]) -> int:
    """Write what is wanted and return how many rows that are.

    Args:
        database_url: the bot's database; it may be running.
        wanted: what, how and where to.
        on_progress: told how many rows of how many are written.

    Raises:
        CannotExport: there is no database, it is of another version, the file cannot be written, or pyarrow is
            missing.
    """
    record = RECORDS[wanted.record]
    done = 0
    try:
        engine = source.open_read_only(database_url)
    except FileNotFoundError as error:
        message = f"There is no {error.args[0]}: run the bot first, or set BOT_DATA_DIR to its data folder."
        raise CannotExport(message) from error
    except NoDriver as error:
        raise CannotExport(str(error)) from error
    try:
        total = source.count(engine, record, wanted.since, wanted.until)
        with _stream(wanted.out) as stream:
            writer = WRITERS[wanted.format](stream, record.columns(with_raw=wanted.with_raw))
            for rows in source.parts(engine, record, wanted.since, wanted.until, with_raw=wanted.with_raw):
                writer.write(rows)
                done += len(rows)
                on_progress(done, max(done, total))
            writer.close()
    except ImportError as error:
        raise CannotExport("Parquet needs pyarrow: install it with `pip install 'allora-mqtt[parquet]'`.") from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise CannotExport(
            f"The database cannot be read ({reason}). If it is of another version, start the bot once."
        ) from error
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise CannotExport(f"{error.filename or wanted.out or 'The output'}: {error.strerror}.") from error
    return done


@contextmanager
def _stream(out: Path | None) -> Iterator[BinaryIO]:
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with whole_file(out) as stream:
        yield stream
