"""Backups of real databases: what is refused, what is kept, and which commands stay known."""

import hashlib
import io
import json
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from allora_mqtt.backup import CannotBackUp, CannotRestore, restore, take
from allora_mqtt.settings import Settings
from allora_mqtt.store.migrate import migrate
from allora_mqtt.surroundings import only_bot_in

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
ACCOUNT = "0x" + "ab" * 20
OTHER = "0x" + "cd" * 20


def settings(folder: Path, **bot: object) -> Settings:
    return Settings.model_validate({"bot": {"data_dir": folder, "network": "sim", **bot}})


def books(folder: Path, account: str = ACCOUNT) -> Settings:
    """Make a data folder as a bot leaves it."""
    folder.mkdir(mode=0o700)
    migrate(f"sqlite:///{folder / 'bot.sqlite3'}", folder / "backups", NOW)
    (folder / "books.json").write_text(json.dumps({"network": "sim", "account": account}))
    (folder / "simulator.key").write_text("0x" + "1" * 64)
    (folder / "simulator.json").write_text("{}")
    return settings(folder)


def journal(folder: Path, seq: int, identifier: str | None, status: str = "EXECUTED", **columns: object) -> None:
    row: dict[str, object] = {
        "seq": seq, "command_id": identifier, "name": "mode", "topic": "bot/mode/set", "payload": b"ACTIVE",
        "payload_hash": f"hash-{identifier}", "channel": "mqtt", "retained": False, "status": status, "answered": True,
        "received_at": (NOW + timedelta(seconds=seq)).isoformat(timespec="microseconds"), **columns,
    }  # fmt: skip
    with closing(sqlite3.connect(folder / "bot.sqlite3")) as connection, connection:
        marks = ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO bot_commands ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))  # noqa: S608 - our own names


def ask(folder: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "bot.sqlite3")) as connection:
        return connection.execute(query).fetchall()


def test_all_of_the_books_come_back_and_only_their_owner_can_read_them(tmp_path: Path) -> None:
    here = tmp_path / "data"
    mine = books(here)
    journal(here, 1, "one")
    (here / "spool/pending").mkdir(parents=True)
    (here / "spool/pending/standby.json").write_text('{"name":"mode","value":"STANDBY"}')
    (here / "spool/pending/.half.json").write_text("{")
    taken = take(mine, None, NOW)
    assert (taken.path.parent, taken.path.stat().st_mode & 0o777) == (here / "backups", 0o600)
    assert taken.bytes == taken.path.stat().st_size
    assert set(taken.manifest.files) == {
        "bot.sqlite3", "books.json", "simulator.json", "simulator.key", "spool/pending/standby.json"
    }  # fmt: skip
    assert [each.name for each in (here / "backups").iterdir()] == [taken.path.name]

    there = tmp_path / "elsewhere"
    done = restore(settings(there), taken.path, NOW)
    assert (done.kept, done.taken_over, done.waiting) == (None, None, 1)
    assert ask(there, "SELECT seq, command_id FROM bot_commands") == [(1, "one")]
    assert {path.name for path in there.iterdir()} == {
        "bot.lock", "bot.sqlite3", "books.json", "simulator.json", "simulator.key", "spool"
    }  # fmt: skip
    assert (there / "bot.sqlite3").stat().st_mode & 0o777 == 0o600
    assert (there / "simulator.key").read_text() == "0x" + "1" * 64


@pytest.mark.parametrize("is_running", [False, True])
def test_what_is_in_the_way_is_said_and_nothing_is_changed(tmp_path: Path, *, is_running: bool) -> None:
    here, there = tmp_path / "data", tmp_path / "other"
    archive = take(books(here), tmp_path / "a.tar.gz", NOW).path
    other = books(there, ACCOUNT if is_running else OTHER)
    before = (there / "bot.sqlite3").read_bytes()
    if is_running:
        with only_bot_in(there), pytest.raises(CannotRestore, match="Another bot uses"):
            restore(other, archive, NOW)
    else:
        with pytest.raises(CannotRestore, match="those of another one"):
            restore(other, archive, NOW)
    assert (there / "bot.sqlite3").read_bytes() == before
    assert not (there / "backups").exists()


def test_books_of_another_network_or_of_the_settings_account_are_refused(tmp_path: Path) -> None:
    archive = take(books(tmp_path / "data"), tmp_path / "a.tar.gz", NOW).path
    paper = Settings.model_validate(
        {"bot": {"data_dir": tmp_path / "new", "network": "paper"}, "allora": {"api_key": "k"}}
    )
    with pytest.raises(CannotRestore, match="BOT_NETWORK is paper"):
        restore(paper, archive, NOW)
    test = tmp_path / "testnet"
    books(test)
    (test / "books.json").write_text(json.dumps({"network": "testnet", "account": ACCOUNT}))
    hl = {"secret_key": "0x" + "1" * 64, "account_address": OTHER}
    real = {"bot": {"data_dir": test, "network": "testnet"}, "hl": hl, "allora": {"api_key": "k"}}
    archive = take(Settings.model_validate(real), tmp_path / "t.tar.gz", NOW).path
    with pytest.raises(CannotRestore, match=f"settings name {OTHER}"):
        restore(Settings.model_validate(real), archive, NOW)


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _spoilt(content: bytes) -> bytes:
    """The same archive, with one byte of the database turned."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as source,
        tarfile.open(fileobj=out, mode="w:gz") as target,
    ):
        for entry in source:
            member = source.extractfile(entry)
            assert member is not None
            data = bytearray(member.read())
            if entry.name == "bot.sqlite3":
                data[5000] ^= 1
            target.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def _escaping(content: bytes) -> bytes:
    """An archive that would write somewhere else."""
    evil = b"x"
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as source:
        member = source.extractfile("manifest.json")
        assert member is not None
        manifest = json.load(member)
    manifest["files"]["../evil.json"] = {"bytes": 1, "sha256": hashlib.sha256(evil).hexdigest()}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as target:
        for name, data in (("manifest.json", json.dumps(manifest).encode()), ("../evil.json", evil)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            target.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_cut, "cannot be read"),
        (_spoilt, "bot.sqlite3 is not what was backed up"),
        (_escaping, "other files than a backup has"),
        (lambda _: b"no archive", "cannot be read"),
    ],
)
def test_a_damaged_archive_restores_nothing(tmp_path: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    here = tmp_path / "data"
    mine = books(here)
    archive = take(mine, tmp_path / "a.tar.gz", NOW).path
    archive.write_bytes(damage(archive.read_bytes()))
    before = sorted((path, path.read_bytes()) for path in here.rglob("*") if path.is_file())
    with pytest.raises(CannotRestore, match=said):
        restore(mine, archive, NOW)
    after = sorted((path, path.read_bytes()) for path in here.rglob("*") if path.is_file())
    assert [each for each in after if each[0].name != "bot.lock"] == before
    assert not (tmp_path / "evil.json").exists()


def test_a_backup_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    here = tmp_path / "data"
    mine = books(here)
    with closing(sqlite3.connect(here / "bot.sqlite3")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    archive = take(mine, tmp_path / "a.tar.gz", NOW).path
    with pytest.raises(CannotRestore, match="the schema 9999, which this version does not know"):
        restore(settings(tmp_path / "new"), archive, NOW)


def test_the_replaced_journal_is_not_forgotten(tmp_path: Path) -> None:
    here = tmp_path / "data"
    mine = books(here)
    journal(here, 1, "ended")
    journal(here, 2, "under-way", "PENDING", answered=False, packet_id=7)
    archive = take(mine, None, NOW).path
    with closing(sqlite3.connect(here / "bot.sqlite3")) as connection, connection:
        connection.execute("UPDATE bot_commands SET status = 'EXECUTED', answered = 1, packet_id = NULL WHERE seq = 2")
        connection.execute("INSERT INTO mailbox VALUES ('bot/mode/set', 'newest')")
        connection.execute("INSERT INTO state VALUES ('revision', '41')")
        issued = {"mode": (NOW + timedelta(hours=1)).isoformat()}
        connection.execute("INSERT INTO state VALUES ('issued', ?)", (json.dumps(issued),))
    journal(here, 3, "since")
    journal(here, 4, None, answered=False, packet_id=9)
    done = restore(mine, archive, NOW)
    assert done.taken_over == 3
    assert done.kept is not None
    assert (done.kept / "bot.sqlite3").is_file()
    found = ask(here, "SELECT seq, command_id, status, packet_id FROM bot_commands ORDER BY seq")
    assert found == [
        (1, "ended", "EXECUTED", None),
        (2, "under-way", "EXECUTED", None),
        (3, "since", "EXECUTED", None),
        (4, None, "EXECUTED", 9),
    ]
    assert ask(here, "SELECT * FROM mailbox") == [("bot/mode/set", "newest")]
    state = dict(ask(here, "SELECT key, value FROM state"))
    assert state["revision"] == 42
    assert json.loads(str(state["issued"])) == issued
    assert json.loads(str(state["mode"]))["mode"] == "STANDBY"


def test_without_the_replaced_journal_nothing_is_taken_for_known(tmp_path: Path) -> None:
    here = tmp_path / "data"
    mine = books(here)
    journal(here, 1, "under-way", "PENDING", answered=False, packet_id=7)
    with closing(sqlite3.connect(here / "bot.sqlite3")) as connection, connection:
        connection.execute("INSERT INTO mailbox VALUES ('bot/mode/set', 'of then')")
    archive = take(mine, tmp_path / "a.tar.gz", NOW).path
    (here / "bot.sqlite3").write_bytes(b"no database at all, but long enough to look at" * 100)
    (here / "bot.sqlite3-wal").write_bytes(b"what the damaged one left")
    done = restore(mine, archive, NOW)
    assert done.taken_over is None
    # The broker may use the packet identifier, and the same bytes, for something new by now.
    assert ask(here, "SELECT status, packet_id FROM bot_commands") == [("PENDING", None)]
    assert ask(here, "SELECT * FROM mailbox") == []
    assert done.kept is not None
    assert {path.name for path in done.kept.iterdir()} >= {"bot.sqlite3", "bot.sqlite3-wal"}
    assert not (here / "bot.sqlite3-wal").exists()


def test_journals_that_went_different_ways_know_the_ids_of_both(tmp_path: Path) -> None:
    here = tmp_path / "data"
    mine = books(here)
    journal(here, 1, "of-the-backup")
    archive = take(mine, tmp_path / "a.tar.gz", NOW).path
    with closing(sqlite3.connect(here / "bot.sqlite3")) as connection, connection:
        connection.execute("DELETE FROM bot_commands")
    journal(here, 1, "of-the-other")
    journal(here, 2, None)
    assert restore(mine, archive, NOW).taken_over == 1
    assert ask(here, "SELECT seq, command_id FROM bot_commands ORDER BY seq") == [
        (1, "of-the-backup"),
        (2, "of-the-other"),
    ]


def test_without_books_there_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(CannotBackUp, match="run the bot first"):
        take(settings(tmp_path / "nothing"), None, NOW)
    mine = books(tmp_path / "data")
    with pytest.raises(CannotBackUp, match="No such file or directory"):
        take(mine, tmp_path / "no" / "folder" / "a.tar.gz", NOW)
