"""What reads a bot's books beside it finds in PostgreSQL what it finds in SQLite."""

import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from allora_mqtt.checkup.findings import Verdict
from allora_mqtt.checkup.postgresql import examine_postgresql
from allora_mqtt.database_url import in_schema
from allora_mqtt.export import RECORDS, CannotExport, Export, export
from allora_mqtt.export.source import open_read_only
from allora_mqtt.research.desk import read_books
from allora_mqtt.research.problems import ResearchError
from allora_mqtt.settings import BotSettings, MqttSettings, Settings
from allora_mqtt.store.database import Database
from allora_mqtt.store.lease import Lease
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.store.migrate import migrate
from tests.support.postgres import Postgres, running_postgres
from tests.support.program import CHECKOUT

START = datetime(2026, 11, 20, 10, 0, 0, 123456, UTC)


@pytest.fixture
async def both(postgres: Postgres, tmp_path: Path) -> tuple[str, str]:
    """The same books twice."""
    urls = f"sqlite:///{tmp_path / 'bot.sqlite3'}", in_schema(postgres.url(), f"books/{uuid.uuid4().hex}")
    for url in urls:
        migrate(url, tmp_path, START)
        database = Database(url)
        await _filled(Ledger(database))
        await database.close()
    return urls


async def _filled(ledger: Ledger) -> None:
    for number in range(25):
        at = START + timedelta(minutes=number)
        buys = number % 2 == 0
        await ledger.add_equity(at, Decimal(10_000) - number, Decimal("0.5"))
        # Ids in which capitals, digits and signs are in another order than in a dictionary.
        fill = {
            "fill_id": f"{'aB-_z'[number % 5]}{number}", "oid": number, "order_id": f"0x{number}" if buys else None,
            "symbol": "BTC", "side": "BUY" if buys else "SELL", "direction": "Open Long" if buys else "Close Long",
            "size": Decimal("0.1"), "price": Decimal(60_000 + number), "fee_usd": Decimal("0.1"),
            "closed_pnl_usd": Decimal(0) if buys else Decimal("0.1"), "at": START + timedelta(minutes=number // 4),
            "start_position": Decimal(0) if buys else Decimal("0.1"),
        }  # fmt: skip
        await ledger.add_fills([fill])
    await ledger.put_state({"revision": 3})


def _bytes(url: str, record: str, folder: Path) -> bytes:
    out = folder / f"{record}-{uuid.uuid4().hex}.csv"
    export(url, Export(record, "csv", None, None, out, with_raw=True), lambda _done, _total: None)
    return out.read_bytes()


@pytest.mark.parametrize("record", RECORDS)
async def test_an_export_is_the_same_to_the_byte(
    both: tuple[str, str], record: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allora_mqtt.export.source._PART", 3)
    of_sqlite, of_postgresql = (_bytes(url, record, tmp_path) for url in both)
    assert of_postgresql == of_sqlite


async def test_a_report_is_the_same(both: tuple[str, str]) -> None:
    of_sqlite, of_postgresql = (read_books(url, None, None) for url in both)
    assert of_postgresql.model_dump() == of_sqlite.model_dump()


async def test_who_reads_cannot_write(both: tuple[str, str]) -> None:
    with open_read_only(both[1]).connect() as connection, pytest.raises(DBAPIError, match="read-only"):
        connection.exec_driver_sql("DELETE FROM fills")


async def test_what_is_wrong_is_said_without_the_password(postgres: Postgres, tmp_path: Path) -> None:
    empty = in_schema(postgres.url(), "nobody")
    strange = empty.replace(postgres.PASSWORD, f"not-{postgres.PASSWORD}")
    away = empty.replace(str(postgres.port), "1")
    for url, why in ((empty, "another version"), (strange, "authentication failed"), (away, "refused")):
        with pytest.raises(CannotExport, match=why) as cannot:
            _bytes(url, "fills", tmp_path)
        assert postgres.PASSWORD not in str(cannot.value)
        with pytest.raises(ResearchError) as unreadable:
            read_books(url, None, None)
        assert postgres.PASSWORD not in str(unreadable.value)


_WITHOUT = "import sys; sys.modules['psycopg'] = None; from allora_mqtt_cli.main import main; sys.exit(main({words}))"


@pytest.mark.parametrize("words", [["run"], ["export", "fills", "--out", "-"], ["report", "--out", "x.html"]])
def test_without_its_driver_it_is_said_what_to_install(words: list[str], tmp_path: Path) -> None:
    environment: dict[str, Any] = {
        **os.environ,
        "BOT_DATA_DIR": str(tmp_path),
        "BOT_DATABASE_URL": "postgresql+psycopg://bot:s3cret-7d1f@127.0.0.1/bot",
        "EMBEDDED_BROKER_BIND": "127.0.0.1:0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [CHECKOUT.parent / "python", "-c", _WITHOUT.format(words=words)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "pip install 'allora-mqtt[postgres]'" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cret-7d1f" not in done.stdout + done.stderr


async def test_the_doctor_looks_at_the_server_and_the_schema(postgres: Postgres, tmp_path: Path) -> None:
    base_topic = uuid.uuid4().hex

    def found(url: str) -> dict[str, tuple[Verdict, str]]:
        bot = BotSettings(data_dir=tmp_path, database_url=url)
        findings = examine_postgresql(Settings(bot=bot, mqtt=MqttSettings(base_topic=base_topic)))
        assert postgres.PASSWORD not in str(findings)
        return {each.what: (each.verdict, each.said) for each in findings}

    assert examine_postgresql(Settings(bot=BotSettings(data_dir=tmp_path))) == []
    first = found(postgres.url())
    assert first["database"][0] is Verdict.GOOD
    assert "is not there yet" in first["database schema"][1]
    lease = Lease(in_schema(postgres.url(), base_topic), "me", 5)
    assert await lease.take(0)
    assert "holder 1 has the lease" in found(postgres.url())["database schema"][1]
    await lease.close()
    assert "nobody has the lease" in found(postgres.url())["database schema"][1]
    away = found(postgres.url().replace(str(postgres.port), "1"))
    assert away["database"][0] is Verdict.BAD
    assert "refused" in away["database"][1]


def test_the_doctor_minds_a_server_that_forgets(tmp_path: Path) -> None:
    with running_postgres("fsync=off") as server:
        bot = BotSettings(data_dir=tmp_path, database_url=server.url())
        (finding,) = [each for each in examine_postgresql(Settings(bot=bot)) if each.what == "database"]
    assert finding.verdict is Verdict.BAD
    assert "fsync" in finding.remedy
