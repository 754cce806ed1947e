"""The PostgreSQL that the bot keeps its books in, where it does: reachable, safe, and the bot's own schema in it."""

import shutil
from collections.abc import Iterator

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from allora_mqtt.checkup.findings import Finding, Verdict
from allora_mqtt.database_url import is_postgresql, schema_name
from allora_mqtt.settings import Settings
from allora_mqtt.store.database import NoDriver, open_engine

_WHAT = "database"
_OLDEST_VERSION = 140_000
"""The first with `idle_session_timeout`, which the lease needs."""


def examine_postgresql(settings: Settings) -> list[Finding]:
    """Judge the server and the schema; nothing of a bot on SQLite."""
    url = settings.database_url
    if not is_postgresql(url):
        return []
    try:
        engine = open_engine(url, read_only=True)
        with engine.connect() as connection:
            return [*_server(connection), *_schema(connection, schema_name(settings.mqtt.base_topic))]
    except NoDriver as error:
        return [Finding(_WHAT, Verdict.BAD, "PostgreSQL's driver is not installed", str(error))]
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        remedy = "Check BOT_DATABASE_URL, and that the server runs and lets this machine in (pg_hba.conf)."
        return [Finding(_WHAT, Verdict.BAD, reason, remedy)]


def _server(connection: Connection) -> Iterator[Finding]:
    number = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
    version = connection.exec_driver_sql("SHOW server_version").scalar_one()
    said = f"PostgreSQL {version}"
    if number < _OLDEST_VERSION:
        yield Finding(_WHAT, Verdict.BAD, said, "The bot needs PostgreSQL 14 or newer.")
    elif connection.exec_driver_sql("SHOW fsync").scalar_one() != "on":
        remedy = "Set fsync=on: without it a power cut loses commands that were acknowledged."
        yield Finding(_WHAT, Verdict.BAD, f"{said}, fsync is off", remedy)
    else:
        yield Finding(_WHAT, Verdict.GOOD, said)
    if shutil.which("pg_dump") is None:
        remedy = "Install PostgreSQL's client programs here, or make copies another way: docs/postgresql.md."
        yield Finding(f"{_WHAT} copies", Verdict.ODD, "pg_dump is not here: an upgrade makes no copy first", remedy)


def _schema(connection: Connection, name: str) -> Iterator[Finding]:
    what = "database schema"
    if connection.exec_driver_sql("SELECT current_schema()").scalar() is None:
        if connection.exec_driver_sql("SELECT has_database_privilege(current_database(), 'CREATE')").scalar_one():
            yield Finding(what, Verdict.GOOD, f'"{name}" is not there yet; the first start makes it')
        else:
            remedy = f'Make it: CREATE SCHEMA "{name}" AUTHORIZATION …'
            yield Finding(what, Verdict.BAD, f'"{name}" is not there, and this role may not make it', remedy)
        return
    if connection.exec_driver_sql("SELECT to_regclass('lease')").scalar() is None:
        yield Finding(what, Verdict.GOOD, f'"{name}", empty')
        return
    held = connection.execute(text("SELECT number, is_free FROM lease")).one()
    state = "nobody has the lease" if held.is_free else f"holder {held.number} has the lease"
    yield Finding(what, Verdict.GOOD, f'"{name}", {state}')
