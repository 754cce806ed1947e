"""Points in time as a person writes them on a command line."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from allora_mqtt_cli.errors import CliError, ExitCode

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str | None, now: datetime) -> datetime | None:
    """Read a time.

    Args:
        text: a date (`2026-11-01`), a date and time, or how long ago (`90m`, `12h`, `7d`, `4w`); UTC where it names no
            zone.
        now: the present time.

    Raises:
        CliError: it is none of these.
    """
    if text is None:
        return None
    try:
        ago = re.fullmatch(r"(\d{1,6})([mhdw])", text.strip())
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        read = datetime.fromisoformat(text.strip())
        return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        message = f"{text!r} is no time: write 2026-11-01, 2026-11-01T12:00Z, or how long ago as 12h or 7d."
        raise CliError(ExitCode.USAGE, "USAGE", message) from error
