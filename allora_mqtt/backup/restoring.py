"""Puts a backup in the place of the books, where no bot runs on them."""

import json
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from allora_mqtt.backup.archive import BOOKS, DATABASE, PENDING, ArchiveUnusable, Manifest, read_manifest, unpack
from allora_mqtt.backup.merging import prepare
from allora_mqtt.files import sync_folder
from allora_mqtt.settings import Network, Settings
from allora_mqtt.store.database import sqlite_path
from allora_mqtt.store.migrate import NewerSchema, migrate
from allora_mqtt.surroundings import CannotStart, only_bot_in

_SIDE_FILES: Final = ("-wal", "-shm", "-journal")


class CannotRestore(Exception):  # noqa: N818 - it names what happened
    """Nothing was restored, and what was there is as it was; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that was restored.

    Attributes:
        manifest: what the backup says of itself.
        kept: the folder with what it has replaced; None where nothing was there.
        taken_over: how many commands the replaced journal knew and the backup did not; None where there was none that
            could be read.
        waiting: how many commands lie in the spool.
    """

    manifest: Manifest
    kept: Path | None
    taken_over: int | None
    waiting: int


def restore(settings: Settings, archive: Path, now: datetime) -> Restored:
    """Put a backup in the place of the books.

    All is unpacked, checked and brought to the present schema beside the books first. Each file then takes its place
    in one step, the database last: however this ends, there is a whole database.

    Args:
        settings: say where the books are, and for which network and account.
        archive: the backup.
        now: the time.

    Raises:
        CannotRestore: a bot runs, the backup is damaged, or of other books, or of a newer version.
    """
    data_dir = settings.bot.data_dir
    database = sqlite_path(settings.bot.effective_database_url)
    if database is None:
        raise CannotRestore("The books are in PostgreSQL: restore them with pg_restore, as docs/operate.md says.")
    try:
        manifest = read_manifest(archive)
        with only_bot_in(data_dir), TemporaryDirectory(prefix=".restore-", dir=data_dir) as scratch:
            _check_whose(settings, manifest)
            folder = Path(scratch)
            unpack(archive, manifest, folder)
            staged = folder / DATABASE
            _bring_up_to_date(staged, manifest, folder, now)
            kept = _keep(data_dir, database, now)
            taken_over = prepare(staged, _at_rest(database), manifest.made_at, now)
            waiting = _put_in_place(folder, data_dir, database)
    except CannotStart as error:
        raise CannotRestore(f"A backup is restored where no bot runs. {error}") from error
    except ArchiveUnusable as error:
        raise CannotRestore(str(error)) from error
    except sqlite3.Error as error:
        raise CannotRestore(f"The database in {archive} cannot be used: {error}.") from error
    except OSError as error:
        raise CannotRestore(f"{error.filename or data_dir}: {error.strerror}.") from error
    return Restored(manifest, kept, taken_over, waiting)


def _check_whose(settings: Settings, manifest: Manifest) -> None:
    network, account = settings.bot.network, manifest.account
    backed_up = f"the books of {manifest.network} account {account}"
    if manifest.network != network:
        raise CannotRestore(f"The backup holds {backed_up}, and BOT_NETWORK is {network}.")
    marker = settings.bot.data_dir / BOOKS
    try:
        present = json.loads(marker.read_text(encoding="utf-8"))
    except FileNotFoundError:
        present = None
    except (OSError, ValueError):
        raise CannotRestore(f"{marker} cannot be read; look whose books these are, and move it away.") from None
    if present is not None and present != {"network": manifest.network, "account": account}:
        raise CannotRestore(
            f"The backup holds {backed_up}, and {settings.bot.data_dir} those of another one: set BOT_DATA_DIR to "
            "another folder."
        )
    traded = settings.hl.traded_account
    if network in {Network.TESTNET, Network.MAINNET} and traded is not None and traded.lower() != account:
        raise CannotRestore(f"The backup holds {backed_up}, and the settings name {traded}.")


def _bring_up_to_date(staged: Path, manifest: Manifest, folder: Path, now: datetime) -> None:
    with closing(sqlite3.connect(staged)) as connection:
        problem = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if problem != "ok":
        raise CannotRestore(f"The database in the backup is damaged: {problem}. Restore another backup.")
    try:
        migrate(f"sqlite:///{staged}", folder / "before", now)
    except NewerSchema as error:
        raise CannotRestore(f"The backup was made by version {manifest.version}. {error}") from error


def _keep(data_dir: Path, database: Path, now: datetime) -> Path | None:
    """Copy what will be replaced, as it lies there, and return the folder; None where nothing is there."""
    files = [
        path
        for name in ("books.json", "simulator.key", "simulator.json", "paper-*.json")
        for path in data_dir.glob(name)
    ]
    parts = [database.with_name(database.name + suffix) for suffix in ("", *_SIDE_FILES)]
    parts = [path for path in parts if path.is_file()]
    if not files and not parts:
        return None
    kept = data_dir / "backups" / f"replaced-{now.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}"
    kept.mkdir(parents=True, mode=0o700)
    for path in files:
        shutil.copy2(path, kept)
    for path in parts:
        shutil.copy2(path, kept / path.name.replace(database.name, DATABASE, 1))
    sync_folder(kept)
    return kept


def _at_rest(database: Path) -> Path | None:
    """Bring what a killed bot has left beside its database into it; None where there is none."""
    if not database.is_file():
        return None
    # What is damaged is not mended here; a copy of it is kept.
    with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database


def _put_in_place(folder: Path, data_dir: Path, database: Path) -> int:
    pending = data_dir / PENDING
    for path in sorted((folder / PENDING).glob("*.json")):
        pending.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (pending / path.name).exists():
            path.replace(pending / path.name)
    for path in sorted(folder.glob("*.json")) + sorted(folder.glob("*.key")):
        path.replace(data_dir / path.name)
    sync_folder(data_dir)
    for suffix in _SIDE_FILES:
        # Left by a database that is damaged; beside another one they would be taken for parts of that.
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    staged = folder / DATABASE
    with staged.open("rb") as file:
        os.fsync(file.fileno())
    if database.parent.stat().st_dev == staged.stat().st_dev:
        staged.replace(database)
    else:
        beside = database.with_name(f".{database.name}.tmp")
        shutil.copy2(staged, beside)
        beside.replace(database)
    sync_folder(database.parent)
    return sum(1 for _ in pending.glob("*.json"))
