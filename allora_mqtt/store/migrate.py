"""Brings a database to the present schema, after a backup."""

import logging
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from allora_mqtt.database_url import is_postgresql
from allora_mqtt.store import postgres
from allora_mqtt.store.database import open_engine, sqlite_path

log = logging.getLogger(__name__)


class NewerSchema(Exception):  # noqa: N818 - it names what was found
    """The database was written by a newer version of the program; the message says what to do."""


def known_revisions() -> list[str]:
    """Return the schemas that this version knows, the present one first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "allora_mqtt.store:migrations")
    return config


def migrate(url: str, backup_dir: Path, now: datetime) -> Path | None:
    """Create or upgrade the schema.

    Args:
        url: the database.
        backup_dir: where a database that is about to be upgraded is copied first.
        now: the time in the backup's name.

    Returns:
        The backup, if one was made.

    Raises:
        NewerSchema: this version does not know the database's schema, and changes nothing.
    """
    path = sqlite_path(url)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = _config()
    engine = open_engine(url)
    if (schema := postgres.schema_of(url)) is not None:
        postgres.make_schema(engine, schema)
    backup = None
    with engine.connect() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
    known = known_revisions()
    if present == known[0]:
        return None
    if present is not None and present not in known:
        raise NewerSchema(
            f"The database has the schema {present}, which this version does not know: a newer one has written it. "
            "Install that again, or go back to a backup from before it (docs/operate.md)."
        )
    if present is not None:
        backup = _dump(url, backup_dir, now) if path is None else _backup(path, backup_dir, now)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()
    return backup


def _target(backup_dir: Path, now: datetime, suffix: str, stem: str = "bot") -> Path:
    backup_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return backup_dir / f"{stem}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}{suffix}"


def _dump(url: str, backup_dir: Path, now: datetime) -> Path | None:
    """Copy what is in PostgreSQL, if that can be done from here: an upgrade is one transaction there, copy or not."""
    if not is_postgresql(url):
        return None
    target = _target(backup_dir, now, ".dump")
    try:
        postgres.dump(url, target)
    except postgres.NoBackup as error:
        log.warning("The database is upgraded without a copy of it in %s: %s", backup_dir, error)
        return None
    return target


def _backup(path: Path, backup_dir: Path, now: datetime) -> Path:
    target = _target(backup_dir, now, path.suffix, path.stem)
    target.touch(0o600)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    return target
