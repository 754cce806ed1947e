"""Takes a backup, whether the bot runs or not."""

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from allora_mqtt import __version__
from allora_mqtt.backup.archive import BOOKS, DATABASE, NAMES, PENDING, Manifest, measure, pack
from allora_mqtt.settings import Settings
from allora_mqtt.store.database import sqlite_path

_SMALL_FILES: Final = ("books.json", "simulator.key", "simulator.json", "paper-*.json", f"{PENDING}/*.json")
_SUFFIX: Final = ".tar.gz"


class CannotBackUp(Exception):  # noqa: N818 - it names what happened
    """No backup was made; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A backup that was made."""

    path: Path
    bytes: int
    manifest: Manifest


def default_name(network: str, now: datetime) -> str:
    """Return a name that sorts by time."""
    return f"allora-mqtt-{network}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}{_SUFFIX}"


def take(settings: Settings, out: Path | None, now: datetime) -> Taken:
    """Write everything that the bot would miss into one file that only its owner can read.

    The database is copied by SQLite's own backup in one step, as it is between two commits. What else there is comes
    after it: an exchange that is a moment ahead of the books is what a bot finds at every start.

    Args:
        settings: say where the books are.
        out: the file or the folder; `backups/` in the data folder without.
        now: the time of the backup.

    Raises:
        CannotBackUp: there are no books, or the disk is full, for example.
    """
    data_dir = settings.bot.data_dir
    database = _database(settings)
    books = _books(data_dir)
    name = default_name(books["network"], now)
    target = data_dir / "backups" / name if out is None else out / name if out.is_dir() else out
    try:
        if out is None:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with TemporaryDirectory(prefix=".backup-", dir=target.absolute().parent) as scratch:
            copies = Path(scratch)
            revision = _copy_database(database, copies / DATABASE)
            _copy_small_files(data_dir, copies)
            found = sorted(path for path in copies.rglob("*") if path.is_file())
            sources = {str(path.relative_to(copies)): path for path in found}
            manifest = Manifest(
                made_at=now,
                version=__version__,
                schema_revision=revision,
                network=books["network"],
                account=books["account"],
                base_topic=settings.mqtt.base_topic,
                files={name: measure(path) for name, path in sources.items()},
            )
            pack(target, manifest, sources)
    except OSError as error:
        raise CannotBackUp(f"{error.filename or target}: {error.strerror}. No backup was made.") from error
    return Taken(target, target.stat().st_size, manifest)


def _database(settings: Settings) -> Path:
    path = sqlite_path(settings.bot.effective_database_url)
    if path is None:
        raise CannotBackUp("The books are in PostgreSQL: back them up with pg_dump, as docs/operate.md says.")
    if not path.is_file():
        raise CannotBackUp(f"There is no {path}: run the bot first, or set BOT_DATA_DIR to its data folder.")
    return path


def _books(data_dir: Path) -> dict[str, str]:
    try:
        content = json.loads((data_dir / BOOKS).read_text(encoding="utf-8"))
        return {"network": str(content["network"]), "account": str(content["account"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise CannotBackUp(f"{data_dir / BOOKS} does not say whose books these are; start the bot once.") from None


def _copy_database(source: Path, copy: Path) -> str:
    """Copy a database that may be in use, and return the revision of its schema."""
    copy.touch(0o600)
    try:
        uri = f"{source.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as live, closing(sqlite3.connect(copy)) as held:
            live.backup(held)
            held.execute("PRAGMA journal_mode = DELETE")
            problem = held.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise CannotBackUp(f"{source} is damaged ({problem}): restore an earlier backup.")
            return str(held.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    except sqlite3.Error as error:
        raise CannotBackUp(f"{source} cannot be copied: {error}. No backup was made.") from error


def _copy_small_files(data_dir: Path, copies: Path) -> None:
    for path in (path for pattern in _SMALL_FILES for path in sorted(data_dir.glob(pattern))):
        name = path.relative_to(data_dir)
        if not NAMES.fullmatch(name.as_posix()):
            # A command that is being written under a hidden name.
            continue
        copy = copies / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            # A command that was a file has ended meanwhile.
            continue
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
