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
from allora_mqtt.checkup.books import is_used, look_into
from allora_mqtt.checkup.findings import Finding, Verdict
from allora_mqtt.protocol.messages import PROTOCOL_VERSION
from allora_mqtt.settings import Settings

_MIB: Final = 1024 * 1024
_LITTLE_MIB: Final = 500
_TOO_LITTLE_MIB: Final = 50
_SDK: Final = "hyperliquid-python-sdk"


def look_around(settings: Settings) -> list[Finding]:
    """Judge this machine."""
    return [_versions(), *_data_folder(settings.bot.data_dir), *look_into(settings)]


def _versions() -> Finding:
    try:
        sdk = version(_SDK)
    except PackageNotFoundError:
        return Finding("versions", Verdict.BAD, f"{_SDK} is not installed", "Install allora-mqtt again: `make run`.")
    said = f"allora-mqtt {__version__}, protocol {PROTOCOL_VERSION}, Python {platform.python_version()}, {_SDK} {sdk}"
    return Finding("versions", Verdict.GOOD, said)


def _data_folder(folder: Path) -> Iterator[Finding]:
    try:
        mode = stat.S_IMODE(folder.stat().st_mode)
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
    use = "a bot runs on it" if is_used(folder) else "no bot runs on it"
    said = f"{folder}, {free_mib:,} MiB free, {use}"
    if free_mib < _TOO_LITTLE_MIB:
        remedy = "Make room: a bot that cannot write runs no commands."
        yield Finding("data folder", Verdict.BAD, said, remedy)
    elif free_mib < _LITTLE_MIB:
        yield Finding("data folder", Verdict.ODD, said, "Make room before the disk is full.")
    else:
        yield Finding("data folder", Verdict.GOOD, said)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        said = f"others can write into {folder} (mode {mode:o}): who writes there commands the bot"
        yield Finding("permissions", Verdict.BAD, said, f"chmod 700 {folder}")
