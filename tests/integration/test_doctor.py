"""What `doctor` says of the exchange, Allora and this machine, without any bot or broker."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from allora_mqtt.configuration import load
from allora_mqtt.protocol.topics import Topics
from allora_mqtt.store.migrate import known_revisions, migrate
from allora_mqtt.surroundings import only_bot_in
from allora_mqtt_cli import broker_checks
from allora_mqtt_cli.broker import Broker
from allora_mqtt_cli.client import Client
from allora_mqtt_cli.connection import Connection
from allora_mqtt_cli.main import main
from tests.support.client import Watcher
from tests.support.doctored import Doctored
from tests.support.exchange import Exchange
from tests.support.mosquitto import MOSQUITTO, Mosquitto
from tests.support.net import free_port

KEY = "0x" + "61" * 32
AGENT = Account.from_key(KEY).address
MASTER = "0x" + "a1" * 20
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    with Exchange(tmp_path_factory.mktemp("exchange")) as running:
        running._ask("/sim/agents", "POST", {"agent": AGENT, "master": MASTER})
        yield running


class Doctor:
    """Runs `doctor --json` with some settings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.set(
            BOT_NETWORK="testnet",
            HL_SECRET_KEY=KEY,
            HL_ACCOUNT_ADDRESS=MASTER,
            HL_BASE_URL=url,
            HL_TIMEOUT_S="2",
            ALLORA_API_KEY="an-api-key",
            ALLORA_TIMEOUT_S="2",
            DEFAULT_ACTIVE_CRYPTOS="BTC:14,ETH:13",
            EMBEDDED_BROKER_BIND=f"127.0.0.1:{free_port()}",
        )

    def set(self, **settings: str) -> None:
        for name, value in settings.items():
            self._monkeypatch.setenv(name, value)

    def __call__(self) -> dict[str, dict[str, Any]]:
        """Return the findings by name; of several with one name the worst."""
        worst = ["ok", "warning", "problem"]
        return {each["what"]: each for each in sorted(self.all(), key=lambda one: worst.index(one["verdict"]))}

    def all(self) -> list[dict[str, Any]]:
        code = main(["doctor", "--json", "--timeout", "0.5"])
        document = json.loads(self._capsys.readouterr().out)
        found: list[dict[str, Any]] = document["findings"]
        problems = [each for each in document["findings"] if each["verdict"] == "problem"]
        assert code == (4 if problems else 0)
        assert all(each["remedy"] for each in document["findings"] if each["verdict"] != "ok")
        assert KEY[2:] not in json.dumps(document)
        assert "an-api-key" not in json.dumps(document)
        return found


@pytest.fixture
def doctored(exchange: Exchange) -> Iterator[Doctored]:
    with Doctored(exchange.port) as server:
        yield server


@pytest.fixture
def doctor(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    doctored: Doctored,
    exchange: Exchange,
) -> Doctor:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MQTT_HOST", raising=False)
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ALLORA_BASE_URL", f"http://127.0.0.1:{exchange.port}/v2")
    return Doctor(monkeypatch, capsys, doctored.url)


def verdicts(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {what: finding["verdict"] for what, finding in found.items() if finding["verdict"] != "ok"}


def test_without_bot_and_broker_everything_else_is_looked_at(doctor: Doctor) -> None:
    found = doctor()
    assert verdicts(found) == {"broker": "problem"}
    assert found.keys() >= {
        "configuration", "versions", "data folder", "network", "exchange", "exchange clock", "key", "account",
        "request budget", "allora",
    }  # fmt: skip
    assert f"agent {AGENT} of {MASTER}" in found["key"]["said"]
    assert "disabled: 10000.00 USD" in found["account"]["said"]
    assert "of 10,000 actions used" in found["request budget"]["said"]


@pytest.mark.parametrize(
    ("answers", "what", "verdict", "said"),
    [
        ({"extraAgents": [-1]}, "key", "problem", "expired on"),
        ({"extraAgents": [2]}, "key", "problem", "for 1 more days"),
        ({"extraAgents": [10]}, "key", "warning", "for 9 more days"),
        ({"userRole": {"role": "missing"}}, "key", "problem", "does not know the key"),
        ({"exchangeStatus": 60}, "exchange clock", "problem", "s behind the exchange"),
        ({"exchangeStatus": -60}, "exchange clock", "problem", "s ahead of the exchange"),
        ({"userRateLimit": 10_000}, "request budget", "problem", "10,000 of 10,000"),
        ({"userRateLimit": 9_500}, "request budget", "warning", "9,500 of 10,000"),
        ({"userAbstraction": "superAccount"}, "account", "problem", "the account's mode"),
        ({"clearinghouseState": {}}, "account", "problem", "the account cannot be read"),
    ],
)
def test_each_fault_is_named_with_its_remedy(
    doctor: Doctor, doctored: Doctored, answers: dict[str, Any], what: str, verdict: str, said: str
) -> None:
    ((kind, value),) = answers.items()
    now_ms = int(time.time() * 1000)
    match kind, value:
        case "extraAgents", [days]:
            value = [{"name": "bot", "address": AGENT, "validUntil": now_ms + days * DAY_MS}]
        case "exchangeStatus", int(seconds):
            value = {"time": now_ms + seconds * 1000, "specialStatuses": None}
        case "userRateLimit", int(used):
            value = {"cumVlm": "0.0", "nRequestsUsed": used, "nRequestsCap": 10_000, "nRequestsSurplus": 0}
    doctored.answers[kind] = value
    found = doctor()
    assert verdicts(found) == {what: verdict, "broker": "problem"}
    assert said in found[what]["said"]


def test_a_unified_account_is_read_from_its_spot_state(doctor: Doctor, doctored: Doctored) -> None:
    usdc = {"coin": "USDC", "token": 0, "total": "512.25", "hold": "12.25", "entryNtl": "0.0"}
    doctored.answers |= {"userAbstraction": "unifiedAccount", "spotClearinghouseState": {"balances": [usdc]}}
    assert "unifiedAccount: 512.25 USD, 500.00 free" in doctor()["account"]["said"]


def test_an_agent_of_somebody_else_and_an_account_without_money(doctor: Doctor, exchange: Exchange) -> None:
    empty = "0x" + "e0" * 20
    exchange._ask("/sim/accounts", "POST", {"address": empty, "usd": "0"})
    doctor.set(HL_ACCOUNT_ADDRESS=empty)
    found = doctor()
    assert verdicts(found) == {"key": "problem", "account": "problem", "broker": "problem"}
    assert f"an agent of {MASTER} and not of {empty}" in found["key"]["said"]
    assert "Deposit USDC" in found["account"]["remedy"]


def test_a_master_key_is_a_warning(doctor: Doctor) -> None:
    master = "0x" + "62" * 32
    doctor.set(HL_SECRET_KEY=master, HL_ACCOUNT_ADDRESS=Account.from_key(master).address)
    found = doctor()
    assert verdicts(found) == {"key": "warning", "broker": "problem"}
    assert "withdraw" in found["key"]["said"]


@pytest.mark.parametrize(
    ("active", "said"),
    [
        ("BTC:999", "no topic 999"),
        ("BTC:13", "not about BTC"),
        ("ETH:21", "no price that can be traded on"),
        ("BTC:20", "no price that can be traded on"),
    ],
)
def test_topics_that_cannot_be_traded_on_are_named(doctor: Doctor, active: str, said: str) -> None:
    doctor.set(DEFAULT_ACTIVE_CRYPTOS=active)
    found = doctor()
    assert verdicts(found) == {"topics": "problem", "broker": "problem"}
    assert said in found["topics"]["said"]


def test_services_that_are_away_hide_nothing(doctor: Doctor) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    doctor.set(HL_BASE_URL=away, ALLORA_BASE_URL=f"{away}/v2")
    found = doctor()
    assert verdicts(found) == dict.fromkeys(
        ["exchange", "key", "account", "request budget", "allora", "broker"], "problem"
    )
    assert found["data folder"]["verdict"] == "ok"


def test_paper_is_looked_at_where_its_prices_come_from(doctor: Doctor) -> None:
    doctor.set(BOT_NETWORK="paper")
    found = doctor()
    assert verdicts(found) == {"broker": "problem"}
    assert "which is only read" in found["network"]["said"]
    assert "key" not in found


def test_a_locked_mainnet_and_a_confirmation_of_another_key(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HL_BASE_URL")
    doctor.set(BOT_NETWORK="mainnet")
    assert f"set HL_MAINNET_CONFIRM={MASTER}" in doctor()["configuration"]["said"]
    monkeypatch.delenv("HL_ACCOUNT_ADDRESS")
    doctor.set(HL_MAINNET_CONFIRM=MASTER)
    assert f"set HL_MAINNET_CONFIRM={AGENT}" in doctor()["network"]["said"]


def test_a_data_folder_that_others_can_write_to_or_nobody(doctor: Doctor, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o777)
    assert verdicts(doctor()) == {"permissions": "problem", "broker": "problem"}
    data.rmdir()
    data.write_text("a file")
    assert "data folder" in verdicts(doctor())


def test_a_spool_that_others_can_write_to(doctor: Doctor, tmp_path: Path) -> None:
    pending = tmp_path / "data" / "spool" / "pending"
    pending.mkdir(parents=True)
    pending.chmod(0o770)
    (tmp_path / "data").chmod(0o700)
    assert "permissions" not in doctor(), "nobody gets in"
    (tmp_path / "data").chmod(0o711)
    found = doctor()["permissions"]
    assert (found["verdict"], "others can write spool/pending" in found["said"]) == ("problem", True)
    pending.chmod(0o700)
    assert "permissions" not in doctor()


def test_what_is_in_the_data_folder(doctor: Doctor, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    now = datetime.now(UTC)
    migrate(f"sqlite:///{data / 'bot.sqlite3'}", data / "backups", now)
    assert verdicts(doctor()) == {"backups": "warning", "broker": "problem"}
    (data / "backups").mkdir(exist_ok=True)
    archive = data / "backups" / "of-today.tar.gz"
    archive.touch()
    found = doctor()
    assert verdicts(found) == {"broker": "problem"}
    assert "no bot runs on it" in found["data folder"]["said"]
    assert f"schema {known_revisions()[0]}" in found["database"]["said"]
    with only_bot_in(data):
        assert "a bot runs on it" in doctor()["data folder"]["said"]

    long_ago = time.time() - 8 * 86_400
    os.utime(archive, (long_ago, long_ago))
    pending, failed = data / "spool" / "pending", data / "spool" / "failed"
    for folder, name in ((pending, "a.json"), (failed, "7-b.json"), (data / ".restore-x", "half")):
        folder.mkdir(parents=True)
        (folder / name).touch()
        os.utime(folder / name, (long_ago, long_ago))
    found = doctor()
    assert verdicts(found) == dict.fromkeys(["backups", "spool", "leftovers"], "warning") | {"broker": "problem"}
    assert "8.0 days old" in found["backups"]["said"]

    data.chmod(0o755)
    assert "can read bot.sqlite3" in doctor()["permissions"]["said"]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "written by a newer version"),
        ("DROP TABLE bot_commands", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_database_that_cannot_be_used(doctor: Doctor, tmp_path: Path, harm: str | None, said: str) -> None:
    path = tmp_path / "data" / "bot.sqlite3"
    path.parent.mkdir(mode=0o700)
    if harm is None:
        path.write_bytes(b"nothing of a database" * 1000)
    else:
        migrate(f"sqlite:///{path}", tmp_path, datetime.now(UTC))
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(harm)
    found = doctor()
    assert found["database"]["verdict"] == "problem"
    assert said in found["database"]["said"]
    assert "allora-mqtt restore" in found["database"]["remedy"] or "newer version again" in found["database"]["remedy"]


def test_commands_that_lie_in_the_mailbox_and_a_bot_that_nobody_shows(doctor: Doctor, mosquitto: Mosquitto) -> None:
    doctor.set(MQTT_HOST="127.0.0.1", MQTT_PORT=str(mosquitto.port), BOT_HEARTBEAT_INTERVAL_S="0.2")
    with Watcher(mosquitto.port) as watcher:
        watcher.publish("cryptos/BTC/set", "ON", retain=True)
        found = doctor()
        assert verdicts(found) == {"bot": "problem", "mailbox": "warning"}
        assert "waits there for the bot" in found["mailbox"]["said"]
        assert "mosquitto_pub -r -n -t bot/cryptos/BTC/set" in found["mailbox"]["remedy"]
        # A bot that is there and does not answer: the command is one that nobody takes away.
        watcher.publish("availability", "online", retain=True)
        found = doctor()
        assert verdicts(found).keys() == {"ping", "heartbeat", "mailbox", "home assistant"}
        assert "clear" in found["mailbox"]["remedy"]


def test_a_broker_that_takes_anybody_and_less_than_is_needed(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    # What is no loopback address for the doctor, and leads here all the same.
    monkeypatch.setattr("allora_mqtt_cli.broker_checks._LOOPBACK", set())
    broker = Mosquitto(tmp_path / "small", "retain_available false", "max_packet_size 20000")
    broker.start()
    secret = tmp_path / "password"
    secret.write_text("p")
    secret.chmod(0o600)
    try:
        doctor.set(
            MQTT_HOST="127.0.0.1", MQTT_PORT=str(broker.port), MQTT_USERNAME="bot", MQTT_PASSWORD_FILE=str(secret)
        )
        said = " ".join(f"{each['what']}: {each['said']}." for each in doctor.all())
    finally:
        broker.stop()
    assert "broker: it has no retained messages" in said
    assert "broker: it takes no packets above 20,000 bytes" in said
    assert "broker: passwords and commands travel in the clear" in said
    assert "login: 127.0.0.1" in said


def test_a_broker_that_holds_packets_back_is_noticed(doctor: Doctor, mosquitto: Mosquitto) -> None:
    settings = load({"MQTT_HOST": "127.0.0.1", "MQTT_PORT": mosquitto.port}).settings
    del doctor
    with Connection(Broker.of(settings), 2) as connection:
        client = Client(connection, Topics(), None)
        (found,) = broker_checks.swiftness(client, 42)
        assert broker_checks.swiftness(client, 2) == []
    assert "set_tcp_nodelay true" in found.remedy


def test_the_table_for_people(doctor: Doctor, capsys: pytest.CaptureFixture[str]) -> None:
    del doctor
    assert main(["doctor", "--timeout", "0.5"]) == 4
    said = capsys.readouterr()
    assert "request budget" in said.out
    assert "1 problem found" in said.err
