import logging
import os
import sqlite3
import stat
import subprocess
import uuid
from contextlib import closing
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import allora_mqtt.store.migrations
from allora_mqtt.database_url import in_schema
from allora_mqtt.store.database import open_engine
from allora_mqtt.store.migrate import migrate
from allora_mqtt.store.schema import metadata
from tests.support.postgres import Postgres
from tests.unit.store.conftest import NOW, Place, on_sqlite, rows, url_of

BACKUP = "bot-20261120T100000Z.sqlite3"

_CONFIG = Config()
_CONFIG.set_main_option("script_location", "allora_mqtt.store:migrations")
HEAD = ScriptDirectory.from_config(_CONFIG).get_current_head()

NEXT_REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{head}"
branch_labels = None
depends_on = None

def upgrade():
    op.create_table("later", sa.Column("id", sa.Integer(), primary_key=True))
    {more}
"""


@pytest.fixture
def url(postgres: Postgres) -> str:
    """The address of a schema of PostgreSQL that is not there yet."""
    return in_schema(postgres.url(), uuid.uuid4().hex)


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The migrations as a later version of the program has them, with one step more."""
    folder = tmp_path / "later"
    (present,) = allora_mqtt.store.migrations.__path__
    copytree(present, folder, ignore=ignore_patterns("__pycache__"))
    (folder / "versions" / "rev_next.py").write_text(NEXT_REVISION.format(head=HEAD, more=""))

    class LaterConfig(Config):
        def set_main_option(self, name: str, value: str) -> None:
            super().set_main_option(name, str(folder) if name == "script_location" else value)

    monkeypatch.setattr("allora_mqtt.store.migrate.Config", LaterConfig)
    return folder / "versions" / "rev_next.py"


def tables(place: Place) -> set[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    if not isinstance(place, Path):
        query = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    return {name for (name,) in rows(place, query)}


def revision(path: Place) -> str:
    ((found,),) = rows(path, "SELECT version_num FROM alembic_version")
    return str(found)


def test_a_new_database_gets_exactly_the_tables_of_the_program(tmp_path: Path) -> None:
    path = tmp_path / "data" / "deep" / "bot.sqlite3"
    assert migrate(url_of(path), tmp_path / "backups", NOW) is None
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not (tmp_path / "backups").exists()
    engine = open_engine(url_of(path))
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    assert tables(path) - {"sqlite_sequence", "alembic_version"} == set(metadata.tables)


@pytest.mark.parametrize("name", ["crypto_configs", "bot_commands", "signals", "orders", "fills", "positions", "equity",
                                  "events", "settings", "state", "predictions"])  # fmt: skip
def test_every_record_that_is_promised_has_its_table(name: str) -> None:
    assert name in metadata.tables


@on_sqlite
def test_migrating_again_changes_nothing(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO state VALUES ('a', '1')")
        connection.commit()
    before = rows(path, "SELECT sql FROM sqlite_master ORDER BY name")
    for _ in range(2):
        assert migrate(url_of(path), tmp_path / "backups", NOW) is None
    assert rows(path, "SELECT sql FROM sqlite_master ORDER BY name") == before
    assert rows(path, "SELECT key FROM state") == [("a",)]
    assert not (tmp_path / "backups").exists()


@on_sqlite
@pytest.mark.usefixtures("later")
def test_an_older_database_is_copied_before_it_is_upgraded(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        # Left in the write-ahead log, as by a process that was killed.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO state VALUES ('a', '1')")
        connection.commit()
        backup = migrate(url_of(path), tmp_path / "backups", NOW)
    assert backup == tmp_path / "backups" / BACKUP
    assert stat.S_IMODE(backup.parent.stat().st_mode) == 0o700
    assert (revision(backup), "later" in tables(backup)) == (HEAD, False)
    assert (revision(path), "later" in tables(path)) == ("next", True)
    assert rows(backup, "SELECT key FROM state") == rows(path, "SELECT key FROM state") == [("a",)]
    assert migrate(url_of(path), tmp_path / "backups", NOW) is None


@on_sqlite
def test_an_upgrade_that_fails_leaves_the_database_as_it_was(path: Path, tmp_path: Path, later: Path) -> None:
    later.write_text(NEXT_REVISION.format(head=HEAD, more="raise RuntimeError('half way')"))
    with pytest.raises(RuntimeError, match="half way"):
        migrate(url_of(path), tmp_path / "backups", NOW)
    assert (revision(path), "later" in tables(path)) == (HEAD, False)
    assert (tmp_path / "backups" / BACKUP).exists()


def test_a_new_schema_of_postgresql_gets_exactly_the_tables_of_the_program(url: str, tmp_path: Path) -> None:
    for _ in range(2):
        assert migrate(url, tmp_path / "backups", NOW) is None
    engine = open_engine(url)
    with engine.connect() as connection:
        # All text has one type there, whatever the model calls it.
        options = {"compare_type": False, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    assert tables(url) - {"alembic_version"} == set(metadata.tables)
    collations = "SELECT DISTINCT data_type, collation_name FROM information_schema.columns WHERE table_schema = "
    found = set(rows(url, f"{collations} current_schema() AND data_type ~ 'char|text'"))
    assert found == {("text", "C")}


@pytest.mark.usefixtures("later")
def test_an_older_schema_is_dumped_before_it_is_upgraded(url: str, tmp_path: Path, postgres: Postgres) -> None:
    at_first(url, tmp_path)
    backup = migrate(url, tmp_path / "backups", NOW)
    assert backup == tmp_path / "backups" / "bot-20261120T100000Z.dump"
    assert (revision(url), "later" in tables(url)) == ("next", True)
    # What was copied is put back in the place of what has been made of it.
    with open_engine(url).begin() as connection:
        schema = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
        connection.exec_driver_sql(f'DROP SCHEMA "{schema}" CASCADE')
    where = ["-h", "127.0.0.1", "-p", str(postgres.port), "-U", "bot", "-d", "postgres"]
    environment = {**os.environ, "PGPASSWORD": postgres.PASSWORD}
    subprocess.run(["pg_restore", *where, backup], check=True, env=environment, timeout=60)
    assert (revision(url), "later" in tables(url)) == (HEAD, False)
    assert rows(url, "SELECT key FROM state") == [("a",)]


@pytest.mark.usefixtures("later")
def test_without_pg_dump_a_schema_is_upgraded_and_that_is_said(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, postgres: Postgres
) -> None:
    at_first(url, tmp_path)
    monkeypatch.setenv("PATH", "")
    with caplog.at_level(logging.WARNING):
        assert migrate(url, tmp_path / "backups", NOW) is None
    assert revision(url) == "next"
    assert "without a copy" in caplog.text
    assert "pg_dump is not installed" in caplog.text
    assert postgres.PASSWORD not in caplog.text


def test_an_upgrade_that_fails_leaves_postgresql_as_it_was(url: str, tmp_path: Path, later: Path) -> None:
    at_first(url, tmp_path)
    later.write_text(NEXT_REVISION.format(head=HEAD, more="raise RuntimeError('half way')"))
    with pytest.raises(RuntimeError, match="half way"):
        migrate(url, tmp_path / "backups", NOW)
    assert (revision(url), "later" in tables(url)) == (HEAD, False)


def at_first(url: str, folder: Path) -> None:
    """Bring a schema to the version of today, before that of the fixture `later`, and put something in."""
    with pytest.MonkeyPatch.context() as without_later:
        without_later.setattr("allora_mqtt.store.migrate.Config", Config)
        migrate(url, folder / "backups", NOW)
    with open_engine(url).begin() as connection:
        connection.exec_driver_sql("INSERT INTO state (key, value) VALUES ('a', '1')")
