"""What PostgreSQL needs and SQLite does not: lines that are given up, text it refuses, commits without an answer."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Column, Connection, Engine, String, Text, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.compiler import compiles

_LINE: Final[Mapping[str, int]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""libpq's own settings, so that a line on which nothing arrives any more is given up after some ten seconds."""
_IDLE_IN_TRANSACTION_MS: Final = 5_000
"""The bot never waits within a transaction: one that is idle for so long is of a process that is frozen or gone."""
_BACKUP_TIMEOUT_S: Final = 600.0
_SEARCH_PATH: Final = re.compile(r'-csearch_path="([^"]+)"')
_INSTEAD_OF_NUL: Final = "\N{SYMBOL FOR NULL}"


class NoBackup(Exception):  # noqa: N818 - it names what happened
    """The database could not be copied; the message says why."""


def line_settings(url: URL) -> dict[str, int]:
    """Return libpq's settings for a connection; what the URL says itself is not among them."""
    return {name: value for name, value in _LINE.items() if name not in url.query}


def prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - psycopg's connection, which may not be installed
    """Make a new connection safe: a commit is on the server's disk when it returns, whatever is usual there."""
    from psycopg.types.string import StrDumper  # noqa: PLC0415 - an optional dependency

    class WithoutNul(StrDumper):
        """Text as PostgreSQL can hold it, which is text without U+0000."""

        def dump(self, obj: str) -> bytes | bytearray | memoryview | None:
            return super().dump(obj.replace("\0", _INSTEAD_OF_NUL))

    connection.adapters.register_dumper(str, WithoutNul)
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.execute(f"SET idle_in_transaction_session_timeout = {_IDLE_IN_TRANSACTION_MS}")
    connection.commit()


@compiles(String, "postgresql")
@compiles(Text, "postgresql")
def _as_text(_type: String, _compiler: object, **where: Any) -> str:  # noqa: ANN401 - SQLAlchemy's signature
    """Name the type of all text: as long as it likes, as on SQLite, and in the order of its bytes.

    A system's own collation may change with an upgrade of its C library, and breaks every index on text then.
    """
    return 'TEXT COLLATE "C"' if isinstance(where.get("type_expression"), Column) else "TEXT"


def schema_of(url: str) -> str | None:
    """Return the schema that a URL leads to, if it names one."""
    options = make_url(url).query.get("options", "")
    found = _SEARCH_PATH.search(options if isinstance(options, str) else " ".join(options))
    return None if found is None else found.group(1)


def make_schema(engine: Engine, name: str) -> None:
    """Make a schema, unless it is there: who made it for us need not let us make others."""
    is_there = text("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = :name")
    with engine.begin() as connection:
        if connection.execute(is_there, {"name": name}).scalar() is None:
            connection.exec_driver_sql(f'CREATE SCHEMA "{name}"')


def transaction_id(connection: Connection) -> str:
    """Return what this transaction is called, so that one whose end was not told can be asked after."""
    return str(connection.exec_driver_sql("SELECT pg_current_xact_id()::text").scalar_one())


def has_committed(engine: Engine, transaction: str) -> bool | None:
    """Return how a transaction ended; None when that cannot be known yet."""
    try:
        with engine.connect() as connection:
            status = connection.execute(text("SELECT pg_xact_status(CAST(:id AS xid8))"), {"id": transaction}).scalar()
    except DBAPIError as error:
        # Whoever is asked and does not know the transaction has been put in the place of a server that did.
        return None if is_gone(error) else False
    return None if status == "in progress" else status == "committed"


def is_gone(error: DBAPIError) -> bool:
    """Tell whether the server went away, or was not to be reached, rather than refusing what was asked of it."""
    if not type(error.orig).__module__.startswith("psycopg"):
        return False
    # What the server says has a code; 08 and 57P are its going away. The line's own errors have none.
    code = getattr(error.orig, "sqlstate", None)
    if code is None:
        return isinstance(error, (OperationalError, InterfaceError))
    return error.connection_invalidated or code.startswith(("08", "57P"))


def dump(url: str, target: Path) -> None:
    """Copy the bot's schema into a file, for `pg_restore`.

    Raises:
        NoBackup: pg_dump is not there, or could not do it.
    """
    program = shutil.which("pg_dump")
    if program is None:
        raise NoBackup("pg_dump is not installed")
    parsed = make_url(url)
    environment = {**os.environ, "PGCONNECT_TIMEOUT": "10"}
    if parsed.password is not None:
        # The list of processes is for all to read, the environment is not.
        environment["PGPASSWORD"] = str(parsed.password)
    plain = parsed.set(drivername="postgresql", password=None).difference_update_query(["options"])
    schema = schema_of(url)
    words = [program, "--format=custom", f"--file={target}", f"--dbname={plain.render_as_string(hide_password=False)}"]
    words += [] if schema is None else [f'--schema="{schema}"']
    try:
        done = subprocess.run(  # noqa: S603 - the program that was found, and nothing from outside
            words, env=environment, capture_output=True, text=True, timeout=_BACKUP_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoBackup("pg_dump took too long") from None
    if done.returncode != 0:
        target.unlink(missing_ok=True)
        raise NoBackup(f"pg_dump said: {' '.join(done.stderr.split())[:300]}")
