import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from allora_mqtt.store.database import Database
from allora_mqtt.store.migrate import migrate
from tests.unit.trading.things import NOW


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of the present schema."""
    folder = tmp_path_factory.mktemp("template")
    migrate(f"sqlite:///{folder / 'bot.sqlite3'}", folder / "backups", NOW)
    return folder / "bot.sqlite3"


@pytest.fixture
async def database(template: Path, tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{shutil.copy(template, tmp_path / 'bot.sqlite3')}")
    yield database
    await database.close()
