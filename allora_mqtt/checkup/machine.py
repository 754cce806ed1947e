"""What can be seen on this machine alone: versions and the data folder."""

import os
import platform
import shutil
import stat
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from allora_mqtt import __version__
from allora_mqtt.checkup.findings import Finding, Verdict
from allora_mqtt.protocol import spool
from allora_mqtt.protocol.messages import PROTOCOL_VERSION
from allora_mqtt.settings import Settings

_MIB: Final = 1024 * 1024
_LITTLE_MIB: Final = 500
_TOO_LITTLE_MIB: Final = 50
_SDK: Final = "hyperliquid-python-sdk"


def look_around(settings: Settings) -> list[Finding]:
    """Judge this machine."""
    return [_versions(), *_data_folder(settings.bot.data_dir), *_permissions(settings)]


def _versions() -> Finding:
    try:
        sdk = version(_SDK)
    except PackageNotFoundError:
        return Finding("versions", Verdict.BAD, f"{_SDK} is not installed", "Install allora-mqtt again: `make run`.")
    said = f"allora-mqtt {__version__}, protocol {PROTOCOL_VERSION}, Python {platform.python_version()}, {_SDK} {sdk}"
    return Finding("versions", Verdict.GOOD, said)


def _data_folder(folder: Path) -> Iterator[Finding]:
    try:
        folder.stat()
    except FileNotFoundError:
        yield Finding("data folder", Verdict.GOOD, f"{folder} is not there yet; the first start makes it")
        return
    except OSError as error:
        yield Finding("data folder", Verdict.BAD, f"{folder}: {error.strerror}", "Check BOT_DATA_DIR and its owner.")
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        remedy = "Run this as the bot's user, or give the folder to that user, or set BOT_DATA_DIR."
        yield Finding("data folder", Verdict.BAD, f"{folder} cannot be written by this user", remedy)
        return
    free_mib = shutil.disk_usage(folder).free // _MIB
    kept = _backups(folder)
    said = f"{folder}, {free_mib:,} MiB free, {kept}"
    if free_mib < _TOO_LITTLE_MIB:
        remedy = "Make room: a bot that cannot write runs no commands."
        yield Finding("data folder", Verdict.BAD, said, remedy)
    elif free_mib < _LITTLE_MIB:
        yield Finding("data folder", Verdict.ODD, said, "Make room before the disk is full.")
    else:
        yield Finding("data folder", Verdict.GOOD, said)


def _permissions(settings: Settings) -> Iterator[Finding]:
    """Judge who else on this machine can read the books, or write what the bot obeys."""
    folder = settings.bot.data_dir
    if not os.access(folder, os.R_OK | os.X_OK):
        # That it is not there, or not for us, is told of above.
        return
    kept = [folder, *(folder / spool.FOLDER).glob("*"), *folder.glob("*.sqlite3*"), *(folder / "backups").glob("*")]
    named = settings.bot.effective_database_url.removeprefix("sqlite:///")
    elsewhere = Path(named) if settings.bot.database_url is not None and "://" not in named else None
    open_paths = {path: path.stat().st_mode for path in kept if path.exists() and _is_reached(folder)}
    if elsewhere is not None and elsewhere.exists():
        open_paths[elsewhere] = elsewhere.stat().st_mode
    for path, mode in open_paths.items():
        shown = f"(mode {stat.S_IMODE(mode):o})"
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            said = f"others can write {path} {shown}: who writes there commands the bot, or changes what it knows"
            yield Finding("permissions", Verdict.BAD, said, f"chmod go-rwx {path}")
        elif mode & (stat.S_IRGRP | stat.S_IROTH):
            said = f"others can read {path} {shown}: commands, positions and money are in there"
            yield Finding("permissions", Verdict.ODD, said, f"chmod go-rwx {path}")


def _is_reached(folder: Path) -> bool:
    """Whether others get into a folder; what is inside one that is closed to them needs no look."""
    return bool(folder.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def _backups(folder: Path) -> str:
    found = sorted(each.name for each in (folder / "backups").glob("*"))
    return f"newest backup of {len(found)}: {found[-1]}" if found else "no backups (the first is made by an update)"
