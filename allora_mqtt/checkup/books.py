"""The data folder's content: the database, its backups, the spool, and what cut-off work has left."""

import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from allora_mqtt.checkup.findings import Finding, Verdict
from allora_mqtt.protocol import spool
from allora_mqtt.settings import Network, Settings
from allora_mqtt.store.database import sqlite_path
from allora_mqtt.store.migrate import known_revisions

_MIB: Final = 1024 * 1024
_QUICKLY_READ_MIB: Final = 200
_LARGE_LOG_MIB: Final = 64
_DAY_S: Final = 86_400
_OLD_DAYS: Final = 7
_WAITS_LONG_S: Final = 60
_SHOWN: Final = 3
_PRIVATE: Final = ("bot.sqlite3", "bot.sqlite3-wal", "simulator.key", "backups/*.tar.gz", "backups/*.sqlite3")


def look_into(settings: Settings) -> Iterator[Finding]:
    """Judge what is in the data folder."""
    folder = settings.bot.data_dir
    path = sqlite_path(settings.bot.effective_database_url)
    if path is not None and path.is_file():
        yield _database(path)
        yield from _log(path)
        yield _backups(settings, folder)
    yield from _open_files(folder)
    yield from _spool(folder, is_used=is_used(folder))
    yield from _leftovers(folder, path)


def is_used(folder: Path) -> bool:
    """Tell whether a bot runs on a data folder."""
    try:
        handle = os.open(folder / "bot.lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _database(path: Path) -> Finding:
    size_mib = path.stat().st_size / _MIB
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            commands = connection.execute("SELECT count(*) FROM bot_commands").fetchone()[0]
            problem = "ok"
            if size_mib < _QUICKLY_READ_MIB:
                problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except (sqlite3.Error, TypeError) as error:
        remedy = "Stop the bot and restore a backup: `allora-mqtt restore FILE` (docs/operate.md)."
        return Finding("database", Verdict.BAD, f"{path} cannot be read: {error}", remedy)
    said = f"{size_mib:,.1f} MiB, schema {revision}, {commands:,} commands"
    if problem != "ok":
        remedy = "Stop the bot and restore a backup: `allora-mqtt restore FILE` (docs/operate.md)."
        return Finding("database", Verdict.BAD, f"{path} is damaged: {problem}", remedy)
    known = known_revisions()
    if revision not in known:
        remedy = "Install the newer version again, or restore a backup from before it (docs/operate.md)."
        return Finding("database", Verdict.BAD, f"{said}, written by a newer version than this one", remedy)
    if revision != known[0]:
        said += f"; the next start brings it to {known[0]}, after a copy into backups/"
    return Finding("database", Verdict.GOOD, said)


def _log(path: Path) -> Iterator[Finding]:
    log = path.with_name(f"{path.name}-wal")
    size_mib = log.stat().st_size / _MIB if log.exists() else 0
    if size_mib > _LARGE_LOG_MIB:
        said = f"{log} has {size_mib:,.0f} MiB: something reads the database and does not end"
        yield Finding("write-ahead log", Verdict.ODD, said, f"End it: `fuser {path}` tells which process that is.")


def _backups(settings: Settings, folder: Path) -> Finding:
    found = sorted((folder / "backups").glob("*.tar.gz"), key=lambda each: each.stat().st_mtime)
    age_days = (time.time() - found[-1].stat().st_mtime) / _DAY_S if found else None
    said = "none in backups/" if age_days is None else f"the newest in backups/ is {age_days:.1f} days old"
    is_real = settings.bot.network in {Network.TESTNET, Network.MAINNET}
    if is_real and (age_days is None or age_days > _OLD_DAYS):
        remedy = "`allora-mqtt backup`, best by cron (docs/operate.md); kept elsewhere they are not seen from here."
        return Finding("backups", Verdict.ODD, said, remedy)
    return Finding("backups", Verdict.GOOD, said)


def _open_files(folder: Path) -> Iterator[Finding]:
    """Tell of what others can read or write, where they get into the folder at all."""
    try:
        is_closed = not stat.S_IMODE(folder.stat().st_mode) & (stat.S_IXGRP | stat.S_IXOTH)
    except OSError:
        return
    if is_closed:
        return
    private = [path for pattern in _PRIVATE for path in sorted(folder.glob(pattern))]
    obeyed = sorted((folder / spool.FOLDER).glob("*"))
    if writable := [path for path in (*private, *obeyed) if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)]:
        said = (
            f"others can write {_named(writable, folder)}: who writes there commands the bot, or changes what it knows"
        )
        yield Finding("permissions", Verdict.BAD, said, f"chmod 700 {folder}")
    if readable := [path for path in private if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)]:
        yield Finding("permissions", Verdict.ODD, f"others can read {_named(readable, folder)}", f"chmod 700 {folder}")


def _named(paths: list[Path], folder: Path) -> str:
    names = [str(path.relative_to(folder)) for path in paths]
    return f"{', '.join(names[:_SHOWN])}{' and more' if len(names) > _SHOWN else ''} in {folder}"


def _spool(folder: Path, *, is_used: bool) -> Iterator[Finding]:
    pending, failed = folder / spool.FOLDER / spool.PENDING, folder / spool.FOLDER / spool.FAILED
    waiting = [path for path in pending.glob("*.json") if time.time() - path.stat().st_mtime > _WAITS_LONG_S]
    if waiting:
        said = f"{len(waiting)} commands wait as files in {pending}"
        remedy = (
            "The bot runs and does not take them: look at its log."
            if is_used
            else "They run when the bot starts; remove those that are not wanted any more."
        )
        yield Finding("spool", Verdict.ODD, said, remedy)
    ended = sum(1 for path in failed.glob("*") if not path.name.endswith(".response.json")) if failed.is_dir() else 0
    if ended:
        said = f"{ended} commands that came as files were not executed"
        yield Finding(
            "spool", Verdict.ODD, said, f"The responses in {failed} say why; empty it when you have seen them."
        )


def _leftovers(folder: Path, database: Path | None) -> Iterator[Finding]:
    places = {folder, folder / "backups", *(() if database is None else (database.parent,))}
    patterns = (".backup-*", ".restore-*", ".*.tar.gz.tmp")
    found = sorted({path for place in places for pattern in patterns for path in place.glob(pattern)})
    if found:
        said = f"a backup or restore was cut off: {', '.join(map(str, found[:3]))}"
        yield Finding("leftovers", Verdict.ODD, said, "Remove that unless one is under way right now.")
