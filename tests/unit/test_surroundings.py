import time
from pathlib import Path

import pytest

from allora_mqtt.store.database import Database
from allora_mqtt.store.migrate import migrate
from allora_mqtt.surroundings import outlast_another_key
from tests.unit.store.conftest import NOW


async def test_orders_of_another_key_are_outlasted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allora_mqtt.surroundings.LIFETIME_MS", 300)
    monkeypatch.setattr("allora_mqtt.surroundings._OTHER_CLOCK_S", 0.2)
    url = f"sqlite:///{tmp_path / 'bot.sqlite3'}"
    migrate(url, tmp_path, NOW)
    database = Database(url)
    waited = []
    for key in ("0xfirst", "0xfirst", "0xother", "0xother"):
        began = time.monotonic()
        await outlast_another_key(key, database)
        waited.append(time.monotonic() - began >= 0.5)
    assert waited == [False, False, True, False]
    await database.close()
