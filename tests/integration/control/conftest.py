import hashlib
from pathlib import Path

import pytest

from allora_mqtt.database_url import in_schema
from tests.integration.control import bench
from tests.integration.control.bench import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the journal of each folder on each engine."""
    if request.param == "SQLite":
        return
    server = request.getfixturevalue("postgres")

    def in_postgresql(folder: Path) -> str:
        return in_schema(server.url(), hashlib.sha256(str(folder).encode()).hexdigest())

    monkeypatch.setattr(bench, "database_url", in_postgresql)
