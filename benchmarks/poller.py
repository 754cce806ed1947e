"""The earlier design's way for a command: a row in an SQLite table that the bot looks at every 10 s.

Modelled from what is known of it: a table `bot_commands` with `status` PENDING and `executed_at`, a look every 10 s.
Its looks came only between trading cycles of 300 s and more; that is left out here, in its favour.
"""

import argparse
import sqlite3
import threading
import time
from pathlib import Path
from typing import Final

INTERVAL_S: Final = 10.0
_SCHEMA: Final = """
create table if not exists bot_commands (
    id integer primary key, command_type text, command_data text, status text, created_at real, executed_at real
)"""


def opened(path: Path) -> sqlite3.Connection:
    """Open the table, and make it where it is not there."""
    connection = sqlite3.connect(path, timeout=5, isolation_level=None)
    connection.execute("pragma journal_mode=wal")
    connection.execute(_SCHEMA)
    return connection


class Writer:
    """Puts a command into the table every now and then, as a person would, for as long as something else is measured.

    Args:
        path: of the database.
        pauses_s: between two commands, one after another, again and again.
    """

    def __init__(self, path: Path, pauses_s: tuple[float, ...]) -> None:
        self._path = path
        self._pauses_s = pauses_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        opened(path).close()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def waited_ms(self) -> list[float]:
        """End, wait for the last look, and return how long each command has waited."""
        self._end.set()
        self._thread.join(INTERVAL_S)
        time.sleep(INTERVAL_S * 1.1)
        connection = opened(self._path)
        rows = connection.execute("select executed_at - created_at from bot_commands where status = 'EXECUTED'")
        waited = [row[0] * 1000 for row in rows]
        connection.close()
        return waited

    def _write(self) -> None:
        connection, number = opened(self._path), 0
        while not self._end.wait(self._pauses_s[number % len(self._pauses_s)]):
            connection.execute(
                "insert into bot_commands (command_type, status, created_at) values ('PING', 'PENDING', ?)",
                (time.time(),),
            )
            number += 1
        connection.close()


def main() -> None:
    """Look until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", type=Path)
    connection = opened(parser.parse_args().database)
    while True:
        pending = connection.execute("select id from bot_commands where status = 'PENDING' order by id").fetchall()
        for (number,) in pending:
            connection.execute(
                "update bot_commands set status = 'EXECUTED', executed_at = ? where id = ?", (time.time(), number)
            )
        time.sleep(INTERVAL_S)


if __name__ == "__main__":
    main()
