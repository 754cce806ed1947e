"""Makes an older database ready to go on from: it forgets no command that the replaced one knew.

A command with an id runs once, for ever, and so the journal is never set back where the replaced one can be read. What
neither knows (commands between the backup and a lost disk) cannot be told from new ones: the marks that are left here
have the bot start in STANDBY, and refuse what waits and would raise risk.
"""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from allora_mqtt.store.journal import HEARD, PENDING, RESTORED, RESTORED_UNREAD, RUNNING, UNREAD_SINCE

_OF_THE_BROKER: Final = (UNREAD_SINCE, HEARD, "instances")
"""Keys in `state` that say how far the broker was read, and by whom."""


def prepare(staged: Path, replaced: Path | None, made_at: datetime, now: datetime) -> int | None:
    """Bring what must not be forgotten into a restored database, and mark it as restored.

    Args:
        staged: the restored database, of the present schema; changed in one transaction.
        replaced: the database that it takes the place of, at rest.
        made_at: when the backup was made.
        now: the time.

    Returns:
        How many commands were taken over; None where the replaced database cannot be read.

    Raises:
        sqlite3.Error: the restored database cannot be used.
    """
    with closing(
        sqlite3.connect(f"{staged.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
    ) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        is_attached = replaced is not None and _attach(connection, replaced)
        connection.execute("BEGIN IMMEDIATE")
        taken_over = _take_over(connection) if is_attached else None
        if not is_attached:
            _forget_broker(connection)
        _mark(connection, made_at, now)
        connection.execute("COMMIT")
    return taken_over


def _attach(connection: sqlite3.Connection, replaced: Path) -> bool:
    try:
        connection.execute("ATTACH DATABASE ? AS replaced", (f"{replaced.absolute().as_uri()}?mode=ro&immutable=1",))
        # All of it is read once, so that no fault comes up in the middle.
        problem = str(connection.execute("PRAGMA replaced.quick_check(1)").fetchone()[0])
        connection.execute("SELECT count(*), max(seq) FROM replaced.bot_commands").fetchone()
        connection.execute("SELECT count(*) FROM replaced.mailbox").fetchone()
    except sqlite3.Error:
        return False
    return problem == "ok"


def _take_over(connection: sqlite3.Connection) -> int:
    mine, theirs = (
        connection.execute(f"SELECT coalesce(max(seq), 0) FROM {name}.bot_commands").fetchone()[0]  # noqa: S608 - both names are ours
        for name in ("main", "replaced")
    )
    is_same_journal = not connection.execute(
        "SELECT count(*) FROM main.bot_commands m JOIN replaced.bot_commands r USING (seq) "
        "WHERE m.received_at <> r.received_at OR m.payload_hash <> r.payload_hash"
    ).fetchone()[0]
    columns = _common_columns(connection, without=() if is_same_journal else ("seq", "duplicate_of"))
    if not is_same_journal:
        _forget_broker(connection)
        # Journals that went different ways: an id that either knows is known.
        return _insert(connection, columns, "duplicate_of IS NULL AND command_id IS NOT NULL")
    taken_over = _end_what_has_ended(connection, columns)
    taken_over += _insert(connection, columns, "seq NOT IN (SELECT seq FROM main.bot_commands)")
    if theirs >= mine:
        connection.execute(
            "UPDATE main.bot_commands SET packet_id = NULL WHERE seq NOT IN (SELECT seq FROM replaced.bot_commands)"
        )
        connection.execute("DELETE FROM main.mailbox")
        connection.execute(
            "INSERT INTO main.mailbox (topic, payload_hash) SELECT topic, payload_hash FROM replaced.mailbox"
        )
        state = _state(connection, "replaced")
        for key in _OF_THE_BROKER:
            connection.execute("DELETE FROM main.state WHERE key = ?", (key,))
            if key in state:
                _put(connection, key, state[key])
    return taken_over


def _insert(connection: sqlite3.Connection, columns: str, which: str) -> int:
    return connection.execute(
        f"INSERT INTO main.bot_commands ({columns}) SELECT {columns} FROM replaced.bot_commands WHERE {which} "  # noqa: S608 - names of our own columns
        "AND (command_id IS NULL OR duplicate_of IS NOT NULL OR command_id NOT IN "
        "(SELECT command_id FROM main.bot_commands WHERE command_id IS NOT NULL AND duplicate_of IS NULL)) ORDER BY seq"
    ).rowcount


def _end_what_has_ended(connection: sqlite3.Connection, columns: str) -> int:
    """Take over the ends of commands that were under way when the backup was made."""
    return connection.execute(
        f"INSERT OR REPLACE INTO main.bot_commands ({columns}) SELECT {columns} FROM replaced.bot_commands "  # noqa: S608 - as above
        f"WHERE status NOT IN ('{PENDING}', '{RUNNING}') AND seq IN "
        f"(SELECT seq FROM main.bot_commands WHERE status IN ('{PENDING}', '{RUNNING}') OR NOT answered)"
    ).rowcount


def _common_columns(connection: sqlite3.Connection, without: tuple[str, ...]) -> str:
    mine, theirs = (
        [row[1] for row in connection.execute(f"PRAGMA {name}.table_info(bot_commands)")]
        for name in ("main", "replaced")
    )
    return ", ".join(name for name in mine if name in theirs and name not in without)


def _forget_broker(connection: sqlite3.Connection) -> None:
    """What the broker may hold now is not what it held when the backup was made."""
    connection.execute("UPDATE main.bot_commands SET packet_id = NULL WHERE NOT answered")
    connection.execute("DELETE FROM main.mailbox")
    connection.execute("DELETE FROM main.state WHERE key = ?", (UNREAD_SINCE,))


def _mark(connection: sqlite3.Connection, made_at: datetime, now: datetime) -> None:
    state = _state(connection, "main")
    try:
        replaced = _state(connection, "replaced")
    except sqlite3.Error:
        replaced = {}
    newest = connection.execute("SELECT coalesce(max(seq), 0) FROM main.bot_commands").fetchone()[0]
    issued = {**replaced.get("issued", {}), **state.get("issued", {})}
    for thing, when in replaced.get("issued", {}).items():
        issued[thing] = max(when, issued[thing], key=datetime.fromisoformat)
    mode_seq = max(int((each.get("mode") or {}).get("seq", 0)) for each in (state, replaced))
    mode = {
        "mode": "STANDBY",
        "since": now.isoformat(),
        "reason": f"a backup of {made_at:%Y-%m-%d %H:%M} UTC was restored",
        "seq": min(mode_seq, newest),
    }
    revision = max(int(each.get("revision", 0)) for each in (state, replaced)) + 1
    marks = {RESTORED: f"{made_at:%Y-%m-%d %H:%M} UTC", RESTORED_UNREAD: now.isoformat()}
    for key, value in {"issued": issued, "mode": mode, "revision": revision, **marks}.items():
        _put(connection, key, value)


def _state(connection: sqlite3.Connection, name: str) -> Mapping[str, Any]:
    rows = connection.execute(f"SELECT key, value FROM {name}.state")  # noqa: S608 - both names are ours
    # SQLite keeps what looks like a number as one, in a column that it knows no type of.
    return {key: json.loads(value) if isinstance(value, str) else value for key, value in rows}


def _put(connection: sqlite3.Connection, key: str, value: object) -> None:
    connection.execute("INSERT OR REPLACE INTO main.state (key, value) VALUES (?, ?)", (key, json.dumps(value)))
