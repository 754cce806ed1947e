"""`allora-mqtt export` as a person runs it: a process of its own, a file or a pipe."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert

from allora_mqtt.store.migrate import migrate
from allora_mqtt.store.schema import equity

START = datetime(2026, 11, 20, tzinfo=UTC)
COUNT = 12_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    url = f"sqlite:///{folder / 'bot.sqlite3'}"
    migrate(url, folder, START)
    engine = create_engine(url)
    points = [
        {"at": START + timedelta(seconds=n), "equity_usd": Decimal(n), "exposure_usd": Decimal(0)} for n in range(COUNT)
    ]
    with engine.begin() as connection:
        connection.execute(insert(equity), points)
    engine.dispose()
    return folder


def run(data: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "allora_mqtt_cli", "export", *arguments]
    environment = {**os.environ, "BOT_DATA_DIR": str(data), "BOT_DATABASE_URL": f"sqlite:///{data / 'bot.sqlite3'}"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=data)


def test_a_table_goes_to_standard_output_and_nothing_else_does(data: Path) -> None:
    done = run(data, "equity")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert (lines[0], lines[1]) == ("at,equity_usd,exposure_usd,steady_usd", "2026-11-20T00:00:00.000000Z,0,0,")
    assert len(lines) == COUNT + 1


def test_a_file_and_what_was_written_to_it(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "equity.jsonl"
    done = run(data, "equity", "--format", "json", "--since", "2026-11-20T00:00:05", "--out", str(out), "--json")
    assert json.loads(done.stdout) == {"record": "equity", "rows": COUNT - 5, "file": str(out)}
    assert json.loads(out.read_text().splitlines()[0])["equity_usd"] == "5"


def test_a_reader_that_has_seen_enough_ends_it_quietly(data: Path) -> None:
    script = f"{sys.executable} -m allora_mqtt_cli export equity | head -n 2"
    environment = {**os.environ, "BOT_DATA_DIR": str(data), "BOT_DATABASE_URL": f"sqlite:///{data / 'bot.sqlite3'}"}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, check=False, env=environment, cwd=data
    )
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 2)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nonsense",), 2, "there are: trades, fills"),
        (("equity", "--since", "yesterday"), 2, "is no time"),
        (("equity", "--out", "/no/such/folder/x.csv"), 4, "No such file"),
    ],
)
def test_what_is_wrong_is_said(data: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = run(data, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
