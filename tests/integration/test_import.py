"""`allora-mqtt import`, with a database, a folder and an `.env` as the earlier bot left them."""

import csv
import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from allora_mqtt.configuration import load
from allora_mqtt_cli.main import main
from tests.support.client import Watcher
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.program import CHECKOUT, Bot

KEY = "0x" + "5e" * 32
SCHEMA = """
CREATE TABLE crypto_configs (id INTEGER PRIMARY KEY, symbol TEXT UNIQUE, topic_id INTEGER, is_active BOOLEAN,
    availability TEXT, hyperliquid_available BOOLEAN, allora_available BOOLEAN, added_at TEXT, updated_at TEXT,
    last_price REAL, volume_24h REAL);
CREATE TABLE bot_commands (id INTEGER PRIMARY KEY, command_type TEXT, command_data TEXT, status TEXT, created_at TEXT,
    executed_at TEXT, error_message TEXT);
CREATE TABLE trade_logs (id INTEGER PRIMARY KEY, timestamp TEXT, token TEXT, current_price REAL, allora_prediction REAL,
    prediction_difference_percent REAL, volatility_24h REAL, trade_direction TEXT, entry_price REAL,
    market_condition TEXT, reason TEXT);
"""
ENV = f"""
HL_SECRET_KEY={KEY}
HL_MASTER_ADDRESS=0x{"ab" * 20}
ALLORA_UPSHOT_KEY=up-123
MAINNET=True
PRICE_GAP=0.4   # percent
ALLOWED_AMOUNT_PER_TRADE=75
MAX_LEVERAGE=3
CHECK_FOR_TRADES=300
VOLATILITY_THRESHOLD=0.02
DB_PATH=alloramind.db
BTC_TOPIC_ID=14
BOT_DEFAULT_MODE=ACTIVE
DEFAULT_ACTIVE_CRYPTOS=BTC:1,ETH:2
CONFIDENCE_THRESHOLD=70
OPENROUTER_API_KEY=sk-canary
HL_VAULT=
"""


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    folder = tmp_path / "alloramind"
    (folder / "tmp/commands/pending").mkdir(parents=True)
    with closing(sqlite3.connect(folder / "alloramind.db")) as connection, connection:
        connection.executescript(SCHEMA)
        coins = [("BTC", 14, 1), ("ETH", 2, 1), ("SOL", 3, 0), ("NOSUCH", 99, 1), ("../x", 1, 1)]
        connection.executemany("INSERT INTO crypto_configs (symbol, topic_id, is_active) VALUES (?, ?, ?)", coins)
        commands = [
            ("SET_MODE_ACTIVE", "{}", "PENDING"),
            ("ACTIVATE_CRYPTO", '{"symbol":"DOT","topic_id":14}', "PENDING"),
            ("SET_MODE_STANDBY", "{}", "EXECUTED"),
            ("UPDATE_CRYPTO_CONFIG", "{}", "FAILED"),
        ]
        connection.executemany(
            "INSERT INTO bot_commands (command_type, command_data, status) VALUES (?, ?, ?)", commands
        )
        logs = [
            ("2025-07-01T10:00:00", "BTC", 100822.0, "BUY", "=cmd()"),
            ("2025-07-02T10:00:00", "ETH", 2227.5, "", "x"),
        ]
        connection.executemany(
            "INSERT INTO trade_logs (timestamp, token, current_price, trade_direction, reason) VALUES (?, ?, ?, ?, ?)",
            logs,
        )
    waiting = {"type": "SET_MODE", "data": "ACTIVE"}
    (folder / "tmp/commands/pending/0001.json").write_text(json.dumps(waiting))
    (folder / ".env").write_text(ENV)
    (folder / ".env").chmod(0o600)
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MQTT_HOST", raising=False)
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path / "data"))

    def command(*words: str) -> SimpleNamespace:
        code = main(["import", *words])
        said = capsys.readouterr()
        return SimpleNamespace(code=code, out=said.out, err=said.err)

    return command


def files_in(folder: Path) -> list[tuple[Path, bytes]]:
    return sorted((path, path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def test_all_is_shown_and_nothing_is_written_or_run_in_a_dry_run(run: Any, earlier: Path, tmp_path: Path) -> None:
    before = files_in(earlier)
    done = run(str(earlier), "--dry-run")
    assert done.code == 0
    for text in (
        "BTC (it had 14), ETH (it had 2), NOSUCH (it had 99)",
        "allora-mqtt cryptos set BTC ETH NOSUCH",
        "1 EXECUTED, 1 FAILED, 2 PENDING",
        "Never executed, and not executed here either (3)",
        "SET_MODE_ACTIVE",
        '{"symbol":"DOT","topic_id":14}',
        "0001.json",
        "TRADE_PRICE_GAP_PCT=0.4",
        "HL_SECRET_KEY=*****",
    ):
        assert text in done.out, text
    assert "'../x' was active and is no symbol" in done.err
    assert KEY not in done.out + done.err
    assert "up-123" not in done.out + done.err
    assert files_in(earlier) == before
    assert not (tmp_path / "data").exists()


def test_the_trade_log_and_the_new_env_are_written_for_their_owner_only(
    run: Any, earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(str(earlier), "--json")
    assert done.code == 0
    document = json.loads(done.out)
    imported = tmp_path / "data" / "imported"
    assert document["files"] == [str(imported / "trade_logs.csv"), str(imported / "env")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in imported.iterdir()} == {0o600}
    with (imported / "trade_logs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["token"], row["current_price"], row["reason"]) for row in rows] == [
        ("BTC", "100822.0", "'=cmd()"),
        ("ETH", "2227.5", "x"),
    ]
    monkeypatch.delenv("BOT_DATA_DIR")
    loaded = load(env_file=imported / "env")
    settings = loaded.settings
    assert loaded.warnings == ()
    assert settings.bot.network == "sim"
    assert settings.bot.default_mode == "STANDBY"
    assert settings.default.active_cryptos == {}
    assert settings.hl.secret_key is not None
    assert settings.hl.secret_key.get_secret_value() == KEY
    assert settings.hl.account_address == "0x" + "ab" * 20
    assert settings.allora.api_key is not None
    assert float(settings.trade.price_gap_pct) == 0.4
    assert (int(settings.trade.amount_usd), settings.trade.max_leverage) == (75, 3)
    text = (imported / "env").read_text()
    for comment in (
        "# MAINNET: it traded on mainnet.",
        "# BTC_TOPIC_ID: no longer needed: topics come from the network's own list",
        (
            "# DEFAULT_ACTIVE_CRYPTOS: its topic numbers were invented; activate the coins by name instead: "
            "`allora-mqtt cryptos set BTC ETH`"
        ),
        "# BOT_DEFAULT_MODE: it was ACTIVE",
        "# OPENROUTER_API_KEY: this bot has no such setting",
    ):
        assert comment in text, comment
    assert "sk-canary" not in text


@pytest.mark.parametrize("what", ["alloramind.db", ".env"])
def test_a_part_of_it_alone(run: Any, earlier: Path, what: str) -> None:
    done = run(str(earlier / what), "--dry-run", "--json")
    document = json.loads(done.out)
    assert (bool(document["coins"]), bool(document["env"])) == (what != ".env", what == ".env")


def test_what_is_nothing_of_it_is_said(run: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE something (id INTEGER)")
    (tmp_path / "text.db").write_text("no database")
    (tmp_path / "empty").mkdir()
    for path, said in (
        (other, "none of the tables"),
        (tmp_path / "text.db", "cannot be read"),
        (tmp_path / "empty", "no database of the earlier bot"),
        (tmp_path / "gone", "There is no"),
    ):
        done = run(str(path))
        assert (done.code, said in done.err) == (2, True), done.err


@pytest.mark.mosquitto
def test_coins_are_switched_on_by_name_and_one_that_cannot_be_keeps_none_off(
    run: Any, earlier: Path, mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MQTT_HOST", "127.0.0.1")
    monkeypatch.setenv("MQTT_PORT", str(mosquitto.port))
    bot = Bot(CHECKOUT, tmp_path / "bot", {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)})
    bot.start()
    try:
        with Watcher(mosquitto.port) as watcher:
            until(lambda: watcher.last("availability") == b"online", "the bot", 40)
            done = run(str(earlier), "--activate", "--timeout", "20")
            assert done.code == 3
            assert "Not switched on: NOSUCH" in done.err
            # The topics are those that the bot's catalog has for them, not those that were written down.
            watcher.wait("cryptos", '{"BTC":14,"ETH":9}')
            assert watcher.last("mode") == b"STANDBY"
    finally:
        bot.stop()
