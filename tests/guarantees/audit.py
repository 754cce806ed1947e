"""Effects counted in the bot's database by the database itself: triggers of the tests' own, which no code of the bot's
knows of, note every change in the transaction that makes it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.types.string import TextLoader

from allora_mqtt.database_url import schema_name

ENDS = {"EXECUTED", "REJECTED", "FAILED", "EXPIRED", "SUPERSEDED", "DUPLICATE"}

_TRIGGERS = """
create table if not exists test_effects (number integer primary key autoincrement, kind text, thing text, value text);
create trigger if not exists test_setting_new after insert on settings
  begin insert into test_effects (kind, thing, value) values ('setting', new.key, new.value); end;
create trigger if not exists test_setting_changed after update on settings when new.value is not old.value
  begin insert into test_effects (kind, thing, value) values ('setting', new.key, new.value); end;
create trigger if not exists test_mode_new after insert on state when new.key = 'mode'
  begin insert into test_effects (kind, thing, value) values ('mode', 'mode', new.value); end;
create trigger if not exists test_mode_changed after update on state when new.key = 'mode'
  begin insert into test_effects (kind, thing, value) values ('mode', 'mode', new.value); end;
create trigger if not exists test_ended after update of status on bot_commands
  when new.status not in ('PENDING', 'RUNNING')
  begin insert into test_effects (kind, thing, value) values ('end', new.seq, new.status); end;
"""

_TRIGGERS_OF_POSTGRESQL: Final = """
create table if not exists test_effects (number bigserial primary key, kind text, thing text, value text);
create or replace function test_note() returns trigger language plpgsql as $$ begin
  insert into test_effects (kind, thing, value) values (tg_argv[0], new.key, new.value); return new; end $$;
create or replace function test_note_end() returns trigger language plpgsql as $$ begin
  insert into test_effects (kind, thing, value) values ('end', new.seq, new.status); return new; end $$;
create trigger test_setting_new after insert on settings for each row execute function test_note('setting');
create trigger test_setting_changed after update on settings for each row
  when (new.value is distinct from old.value) execute function test_note('setting');
create trigger test_mode_new after insert on state for each row
  when (new.key = 'mode') execute function test_note('mode');
create trigger test_mode_changed after update on state for each row
  when (new.key = 'mode') execute function test_note('mode');
create trigger test_ended after update of status on bot_commands for each row
  when (new.status not in ('PENDING', 'RUNNING')) execute function test_note_end();
"""


@dataclass(frozen=True, slots=True)
class Command:
    """A command as the journal knows it."""

    seq: int
    id: str | None
    duplicate_of: int | None
    name: str
    status: str
    error_code: str | None
    answered: int


class Audit:
    """A look into the bot's database from outside.

    Args:
        database: the file, or the address of PostgreSQL's; the bot, whose base topic is `bot`, must have made it.
    """

    def __init__(self, database: Path | str) -> None:
        self._database = database
        with self._open() as connection:
            if isinstance(connection, sqlite3.Connection):
                connection.executescript(_TRIGGERS)
            else:
                connection.execute(_TRIGGERS_OF_POSTGRESQL)

    def commands(self) -> list[Command]:
        """Return the journal, oldest first."""
        columns = "seq, command_id, duplicate_of, name, status, error_code, answered"
        with self._open() as connection:
            rows = connection.execute(f"select {columns} from bot_commands order by seq").fetchall()  # noqa: S608 - constants
        return [Command(*row) for row in rows]

    def settings(self, key: str) -> list[str]:
        """Return every value that a setting has been given, in order."""
        return self._effects("setting", key)

    def mode_seqs(self) -> list[int]:
        """Return the journal entries of the commands that set the mode, in the order in which they did."""
        return [int(json.loads(value)["seq"]) for value in self._effects("mode", "mode")]

    def ends(self) -> dict[int, list[str]]:
        """Return by journal entry every end that the command has had."""
        with self._open() as connection:
            rows = connection.execute("select thing, value from test_effects where kind = 'end' order by number")
            found: dict[int, list[str]] = {}
            for seq, status in rows:
                found.setdefault(int(seq), []).append(status)
        return found

    def ask(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        with self._open() as connection:
            if not isinstance(connection, sqlite3.Connection):
                query = query.replace("?", "%s")
            found: list[tuple[object, ...]] = connection.execute(query, values).fetchall()
        return found

    def _effects(self, kind: str, thing: str) -> list[str]:
        query = "select value from test_effects where kind = ? and thing = ? order by number"
        return [str(row[0]) for row in self.ask(query, kind, thing)]

    @contextmanager
    def _open(self) -> Iterator[Any]:
        if isinstance(self._database, Path):
            with closing(sqlite3.connect(self._database, timeout=30)) as connection, connection:
                yield connection
            return
        address = self._database.replace("+psycopg", "")
        with psycopg.connect(address, options=f'-csearch_path="{schema_name("bot")}"') as server:
            # As SQLite has it, the text.
            server.adapters.register_loader("json", TextLoader)
            yield server
