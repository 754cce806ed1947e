"""What is exported is read back with the tools that people use, and is what the database holds."""

import csv
import io
import json
import shutil
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from allora_mqtt.export import RECORDS, CannotExport, Export, export
from allora_mqtt.store.database import Database
from allora_mqtt.store.ledger import Ledger
from allora_mqtt.store.migrate import migrate

START = datetime(2026, 11, 20, 10, 0, 0, 123456, UTC)
NASTY = ['=HYPERLINK("http://x")', "+1", "-1", "@x", "'quoted", "\tx", 'a "b", c\nd', "ü€", ""]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "bot.db"
    migrate(f"sqlite:///{path}", path.parent, START)
    return path


@pytest.fixture
async def database(template: Path, tmp_path: Path) -> AsyncIterator[Database]:
    path = Path(shutil.copy(template, tmp_path / "bot.db"))
    database = Database(f"sqlite:///{path}")
    ledger = Ledger(database)
    for number in range(25):
        await ledger.add_fills([_fill(number)])
        await ledger.add_equity(START + timedelta(minutes=number), Decimal(10_000) - number, Decimal("0.5"))
    await ledger.add_orders([_order(number, reason) for number, reason in enumerate(NASTY)])
    yield database
    await database.close()


def _fill(number: int) -> dict[str, Any]:
    return {
        "fill_id": f"{number:02}-1", "oid": number, "order_id": None, "symbol": "BTC",
        "side": "BUY" if number % 2 == 0 else "SELL", "direction": "", "size": Decimal("0.00010"),
        "price": Decimal("60000.5"), "fee_usd": Decimal("0.012345"),
        "closed_pnl_usd": Decimal(0) if number % 2 == 0 else Decimal("-0.3"),
        # Several in one millisecond.
        "at": START + timedelta(minutes=number // 4),
        "start_position": Decimal(0) if number % 2 == 0 else Decimal("0.00010"),
    }  # fmt: skip


def _order(number: int, reason: str) -> dict[str, Any]:
    return {
        "order_id": f"0x{number}", "parent_id": None, "signal_id": None, "symbol": "BTC", "side": "BUY",
        "purpose": "entry", "size": Decimal(1), "limit_price": Decimal("1E-18"), "trigger_price": None,
        "reduce_only": False, "status": "filled", "oid": None, "filled_size": Decimal(0), "average_price": None,
        "error": None, "reason": reason, "envelope": {"signature": "s3cret"}, "nonce": 77, "at": START,
        "updated_at": START,
    }  # fmt: skip


def _url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'bot.db'}"


def _wanted(record: str, form: Any, out: Path | None, **more: Any) -> Export:
    return Export(record, form, more.get("since"), more.get("until"), out, more.get("with_raw", False))


def _run(tmp_path: Path, record: str, form: str, **more: Any) -> bytes:
    out = tmp_path / f"{record}.{form}"
    export(_url(tmp_path), _wanted(record, form, out, **more), lambda _done, _total: None)
    return out.read_bytes()


def _csv(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allora_mqtt.export.source._PART", 3)


@pytest.mark.usefixtures("database", "small_parts")
def test_csv_and_json_say_the_same_and_every_digit_of_it(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in _run(tmp_path, "fills", "json").splitlines()]
    rows = _csv(_run(tmp_path, "fills", "csv"))
    assert [row["fill_id"] for row in rows] == [f"{number:02}-1" for number in range(25)]
    assert [{key: "" if value is None else str(value) for key, value in line.items()} for line in lines] == rows
    assert (rows[1]["size"], rows[1]["closed_pnl_usd"], rows[1]["fee_usd"]) == ("0.00010", "-0.3", "0.012345")
    assert rows[0]["at"] == "2026-11-20T10:00:00.123456Z"


@pytest.mark.usefixtures("database", "small_parts")
def test_parquet_has_decimals_and_times_in_utc(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa  # noqa: PLC0415 - an optional extra

    _run(tmp_path, "trades", "parquet")
    table = parquet.read_table(tmp_path / "trades.parquet")
    assert table.schema.field("pnl_usd").type == pa.decimal128(38, 18)
    assert table.schema.field("opened_at").type == pa.timestamp("us", tz="UTC")
    read = table.to_pylist()
    assert len(read) == 13
    assert read[0]["pnl_usd"] == Decimal("-0.3") - 2 * Decimal("0.012345")
    assert read[0]["opened_at"] == START
    assert read[-1]["closed_at"] is None
    _run(tmp_path, "orders", "parquet")
    orders = parquet.read_table(tmp_path / "orders.parquet").to_pylist()
    assert [row["reason"] for row in orders] == NASTY
    assert {row["limit_price"] for row in orders} == {Decimal("1E-18")}
    assert {row["reduce_only"] for row in orders} == {False}


@pytest.mark.usefixtures("database")
def test_no_cell_of_a_csv_is_a_formula_and_what_was_there_comes_back(tmp_path: Path) -> None:
    rows = _csv(_run(tmp_path, "orders", "csv"))
    written = [row["reason"] for row in rows]
    assert not [text for text in written if text.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert [text.removeprefix("'") for text in written] == NASTY


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("form", ["csv", "json"])
def test_what_is_signed_leaves_only_when_asked_for(tmp_path: Path, form: str) -> None:
    assert b"s3cret" not in _run(tmp_path, "orders", form)
    assert b"nonce" not in _run(tmp_path, "orders", form)
    assert b"s3cret" in _run(tmp_path, "orders", form, with_raw=True)


def test_payloads_of_commands_are_left_out() -> None:
    names = {column.name for column in RECORDS["commands"].columns(with_raw=False)}
    assert not {"payload", "payload_hash", "response"} & names
    assert {"seq", "name", "status", "source", "error_code"} <= names


@pytest.mark.usefixtures("database", "small_parts")
@pytest.mark.parametrize("record", RECORDS)
def test_every_record_is_exported_even_when_there_is_none(tmp_path: Path, record: str) -> None:
    rows = _csv(_run(tmp_path, record, "csv"))
    with closing(sqlite3.connect(tmp_path / "bot.db")) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {RECORDS[record].table.name}").fetchone()  # noqa: S608 - a name of ours
    assert len(rows) == count


@pytest.mark.usefixtures("database", "small_parts")
def test_a_window_begins_with_since_and_ends_before_until(tmp_path: Path) -> None:
    window = {"since": START + timedelta(minutes=1), "until": START + timedelta(minutes=3)}
    rows = _csv(_run(tmp_path, "fills", "csv", **window))
    assert [row["fill_id"] for row in rows] == [f"{number:02}-1" for number in range(4, 12)]


@pytest.mark.usefixtures("database")
def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path, small_parts: None) -> None:
    del small_parts
    out = tmp_path / "fills.csv"
    out.write_text("what was there before")

    def fail(done: int, _total: int) -> None:
        if done > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(_url(tmp_path), _wanted("fills", "csv", out), fail)
    assert out.read_text() == "what was there before"
    assert not list(tmp_path.glob(".fills*"))
    assert export(_url(tmp_path), _wanted("fills", "csv", out), lambda _done, _total: None) == 25
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


async def test_a_bot_that_runs_goes_on_writing_and_one_that_has_stopped_is_read_too(
    database: Database, tmp_path: Path, small_parts: None
) -> None:
    del small_parts
    ledger, done = Ledger(database), []

    def write_between(count: int, _total: int) -> None:
        # Nothing is locked between two parts: what the bot writes is committed at once.
        done.append(count)
        statement, row = "INSERT INTO state VALUES (:key, :value)", {"key": str(count), "value": count}
        database.submit(lambda connection: connection.exec_driver_sql(statement, row)).result(10)

    assert export(_url(tmp_path), _wanted("fills", "csv", tmp_path / "a"), write_between) == 25
    assert len(done) == 9
    await ledger.add_fills([_fill(25)])
    await database.close()
    assert export(_url(tmp_path), _wanted("fills", "csv", tmp_path / "b"), lambda _done, _total: None) == 26


@pytest.mark.usefixtures("database")
def test_what_is_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = f"sqlite:///{tmp_path / 'none.db'}"
    with pytest.raises(CannotExport, match=r"none\.db.*BOT_DATA_DIR"):
        export(nowhere, _wanted("fills", "csv", None), lambda _done, _total: None)
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "old.db").touch()
    with pytest.raises(CannotExport, match="another version"):
        export(f"sqlite:///{tmp_path / 'old.db'}", _wanted("fills", "csv", None), lambda _done, _total: None)
    with pytest.raises(CannotExport, match="No such file"):
        export(_url(tmp_path), _wanted("fills", "csv", tmp_path / "no" / "folder"), lambda _done, _total: None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    out = tmp_path / "fills.parquet"
    with pytest.raises(CannotExport, match="pip install"):
        export(_url(tmp_path), _wanted("fills", "parquet", out), lambda _done, _total: None)
    assert not out.exists()
