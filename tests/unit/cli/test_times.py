from datetime import UTC, datetime, timedelta

import pytest

from allora_mqtt_cli.errors import CliError
from allora_mqtt_cli.times import moment

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T12:30", datetime(2026, 11, 1, 12, 30, tzinfo=UTC)),
        ("2026-11-01T12:30:00+01:00", datetime(2026, 11, 1, 11, 30, tzinfo=UTC)),
        ("2026-11-01T12:30Z", datetime(2026, 11, 1, 12, 30, tzinfo=UTC)),
        ("90m", NOW - timedelta(minutes=90)),
        ("12h", NOW - timedelta(hours=12)),
        (" 7d ", NOW - timedelta(days=7)),
        ("4w", NOW - timedelta(weeks=4)),
    ],
)
def test_a_time_is_a_date_or_how_long_ago(text: str, meant: datetime) -> None:
    assert moment(text, NOW) == meant
    assert moment(None, NOW) is None


@pytest.mark.parametrize("text", ["", "yesterday", "7", "7y", "-7d", "2026-13-01", "999999w", "0001-01-01T00:00+01:00"])
def test_what_is_no_time_is_said_to_be_none(text: str) -> None:
    with pytest.raises(CliError, match="is no time"):
        moment(text, NOW)
