import hashlib
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tenacity.wait import wait_none

from allora_mqtt.database_url import in_schema
from allora_mqtt.store.migrate import migrate
from tests.integration.trading.bench import Bench, serve_bench
from tests.support.postgres import Postgres


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables: made once, copied for each test."""
    path = tmp_path_factory.mktemp("store") / "bot.db"
    migrate(f"sqlite:///{path}", path.parent, datetime.now(UTC))
    return path


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for between two looks changes nothing but the time that tests take."""
    monkeypatch.setattr("allora_mqtt.market.answers._BACKOFF", wait_none())
    monkeypatch.setattr("allora_mqtt.market.allora._BACKOFF", wait_none())
    monkeypatch.setattr("allora_mqtt.trading.feed._MIN_POLL_S", 0.1)
    monkeypatch.setattr("allora_mqtt.trading.feed._MAX_POLL_S", 0.1)
    monkeypatch.setattr("allora_mqtt.trading.feed._CATALOG_RETRY_S", 0.2)
    monkeypatch.setattr("allora_mqtt.trading.reconciler._BUSY_INTERVAL_S", 0.05)
    monkeypatch.setattr("allora_mqtt.trading.reconciler._ACCOUNT_INTERVAL_S", 0.1)
    monkeypatch.setattr("allora_mqtt.trading.reconciler._HOLDING_INTERVAL_S", 0.1)
    monkeypatch.setattr("allora_mqtt.trading.recovery._EXIT_PAUSE_S", 0.1)
    monkeypatch.setattr("allora_mqtt.trading.cash._PATIENCE", timedelta(seconds=0.3))


@pytest.fixture
def engine() -> str:
    """Where the books are; parametrized with `ON_BOTH` in the files whose tests are about the books."""
    return "SQLite"


@pytest.fixture
async def bench(
    tmp_path: Path, empty_database: Path, engine: str, request: pytest.FixtureRequest
) -> AsyncIterator[Bench]:
    url = f"sqlite:///{tmp_path / 'bot.db'}"
    if engine == "PostgreSQL":
        server: Postgres = request.getfixturevalue("postgres")
        url = in_schema(server.url(), hashlib.sha256(str(tmp_path).encode()).hexdigest())
        migrate(url, tmp_path, datetime.now(UTC))
    else:
        shutil.copy(empty_database, tmp_path / "bot.db")
    bench = await serve_bench(url)
    yield bench
    bench.faults()
    for bot in bench.bots:
        await bot.stop()
    await bench.simulator.close()
