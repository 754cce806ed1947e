"""A backup of a bot that runs, its end by SIGKILL, a lost disk, and the way back: as an operator would do it."""

import json
import shutil
import sqlite3
import tarfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Watcher
from tests.support.exchange import Exchange
from tests.support.mosquitto import Mosquitto
from tests.support.net import until
from tests.support.program import CHECKOUT, Bot

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


CANARY = "a-secret-that-nobody-shall-find"


@pytest.fixture
def bot(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[Bot]:
    broker = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
    secrets = {"ALLORA_API_KEY": f"{CANARY}-1", "MQTT_PASSWORD": f"{CANARY}-2"}
    one = Bot(CHECKOUT, tmp_path / "bot", broker, BOT_DEFAULT_MODE="ACTIVE", **secrets)
    yield one
    one.stop()


def data(bot: Bot) -> Path:
    return Path(bot.environment["BOT_DATA_DIR"])


def start(bot: Bot, watcher: Watcher) -> None:
    watcher.forget()
    bot.start()
    until(lambda: any(not retained for topic, _, retained in watcher.seen if topic == "bot/heartbeat"), "the bot", 40)
    watcher.wait("availability", "online")


def send(watcher: Watcher, topic: str, value: str, identifier: str) -> str:
    """Send a command with an id and return how it ended."""
    watcher.forget()
    watcher.publish(topic, {"value": value, "id": identifier})
    return answer_to(watcher, identifier)[0]


def answer_to(watcher: Watcher, identifier: str | None) -> tuple[str, str | None]:
    def look() -> tuple[str, str | None] | None:
        for topic, payload, _ in list(watcher.seen):
            if topic.startswith("bot/response/"):
                response = json.loads(payload)
                if response["id"] == identifier:
                    return response["status"], (response["error"] or {}).get("code")
        return None

    return until(look, f"an answer to {identifier}")


def back_up(bot: Bot, *words: str) -> Path:
    return Path(bot.cli_json("backup", *words)["file"])


def test_the_way_back_after_a_lost_disk(bot: Bot, mosquitto: Mosquitto) -> None:
    with Watcher(mosquitto.port) as watcher:
        start(bot, watcher)
        assert send(watcher, "cryptos/BTC/set", "ON", "before-1") == "EXECUTED"
        assert send(watcher, "config/price_gap_pct/set", "0.4", "before-2") == "EXECUTED"
        archive = back_up(bot, str(data(bot).parent))
        assert archive.stat().st_mode & 0o777 == 0o600
        with tarfile.open(archive) as tar:
            for entry in tar:
                member = tar.extractfile(entry)
                assert member is not None
                assert CANARY.encode() not in member.read(), entry.name
        account = json.loads((data(bot) / "books.json").read_text())["account"]
        assert send(watcher, "cryptos/ETH/set", "ON", "after-1") == "EXECUTED"

        bot.kill()
        # Of these nobody can know any more whether they ran before the disk was lost.
        watcher.publish("mode/set", "ACTIVE", retain=True)
        watcher.publish("cryptos/SOL/set", {"value": "ON", "id": "waiting-risk"})
        watcher.publish("cryptos/BTC/set", {"value": "OFF", "id": "waiting-less"})
        watcher.publish("request/shutdown", {"id": "waiting-shutdown"})
        shutil.rmtree(data(bot))

        restored = bot.cli_json("restore", str(archive))
        assert restored["commands_taken_over"] is None
        start(bot, watcher)
        watcher.wait("mode", "STANDBY")
        assert "backup" in until(lambda: watcher.json("status"), "status")["reason"]
        assert answer_to(watcher, None) == ("REJECTED", "STALE_ACTIVATION")
        assert answer_to(watcher, "waiting-risk") == ("REJECTED", "STALE_ACTIVATION")
        assert answer_to(watcher, "waiting-less") == ("EXECUTED", None)
        assert answer_to(watcher, "waiting-shutdown") == ("REJECTED", "STALE_ACTIVATION")
        watcher.wait("cryptos", "{}")
        assert watcher.json("config")["price_gap_pct"]["value"] == 0.4
        assert watcher.json("info")["account_address"].lower() == account
        assert send(watcher, "cryptos/BTC/set", "ON", "before-1") == "DUPLICATE"

        # All that waited is taken: what is sent from now on is judged as ever, also what waits while the bot is away.
        bot.kill()
        watcher.publish("cryptos/SOL/set", {"value": "ON", "id": "waiting-later"})
        start(bot, watcher)
        assert answer_to(watcher, "waiting-later") == ("EXECUTED", None)
        watcher.wait("mode", "STANDBY")
        assert send(watcher, "mode/set", "ACTIVE", "go-on") == "EXECUTED"
        bot.kill()
        start(bot, watcher)
        watcher.wait("mode", "ACTIVE")


def test_what_ran_since_the_backup_stays_known(bot: Bot, mosquitto: Mosquitto) -> None:
    with Watcher(mosquitto.port) as watcher:
        start(bot, watcher)
        assert send(watcher, "cryptos/BTC/set", "ON", "before") == "EXECUTED"
        archive = back_up(bot)
        assert send(watcher, "cryptos/BTC/set", "OFF", "after-1") == "EXECUTED"
        assert send(watcher, "cryptos/SOL/set", "ON", "after-2") == "EXECUTED"
        refused = bot.cli("restore", str(archive), "--yes")
        assert refused.returncode == 4
        assert "Another bot uses" in refused.stderr
        bot.kill()

        restored = bot.cli_json("restore", str(archive))
        assert restored["commands_taken_over"] >= 2
        kept = Path(restored["kept"])
        assert {each.name for each in kept.iterdir()} >= {"bot.sqlite3", "books.json", "simulator.json"}
        start(bot, watcher)
        watcher.wait("cryptos", '{"BTC":14}')
        watcher.wait("mode", "STANDBY")
        for identifier in ("before", "after-1", "after-2"):
            assert send(watcher, "cryptos/AVAX/set", "ON", identifier) == "DUPLICATE"


def test_a_backup_under_load_is_one_moment(bot: Bot, mosquitto: Mosquitto) -> None:
    with Watcher(mosquitto.port) as watcher:
        start(bot, watcher)
        stop = threading.Event()

        def load() -> None:
            number = 0
            while not stop.is_set():
                batch = [{"value": 1 + n % 50 / 10, "id": f"load-{number + n}"} for n in range(50)]
                watcher.publish_all("config/tp_ratio/set", batch)
                number += len(batch)

        sending = threading.Thread(target=load)
        sending.start()
        archives = [back_up(bot, str(data(bot).parent / f"{n}.tar.gz")) for n in range(3)]
        stop.set()
        sending.join()
        bot.kill()
        for archive in archives:
            with tarfile.open(archive) as tar:
                assert tar.getnames()[0] == "manifest.json"
            shutil.rmtree(data(bot))
            restored = bot.cli_json("restore", str(archive))
            assert restored["kept"] is None
        start(bot, watcher)
        assert send(watcher, "cryptos/BTC/set", "ON", "after") == "EXECUTED"


def test_a_position_that_the_backup_knows_nothing_of_keeps_its_stop_and_is_left_alone(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    broker = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
    with Exchange(tmp_path / "exchange") as exchange, Watcher(mosquitto.port) as watcher:
        lively = {"TRADE_PRICE_GAP_PCT": "0.01", "BOT_RECONCILE_INTERVAL_S": "1", "BOT_STANDBY_EXITS": "hold"}
        bot = Bot(CHECKOUT, tmp_path / "bot", broker, **exchange.settings, **lively)
        try:
            start(bot, watcher)
            archive = back_up(bot, str(tmp_path))
            assert send(watcher, "cryptos/BTC/set", "ON", "on") == "EXECUTED"
            assert send(watcher, "mode/set", "ACTIVE", "go") == "EXECUTED"
            until(lambda: [each for each in watcher.json("positions") or [] if each["stop_price"]], "a position", 60)
            bot.kill()
            shutil.rmtree(data(bot))
            bot.cli_json("restore", str(archive))
            start(bot, watcher)

            def foreign() -> list[dict[str, Any]]:
                return [each for each in watcher.json("positions") or [] if not each["ours"]]

            (left,) = until(foreign, "a position of somebody else")
            assert (left["symbol"], left["stop_price"] is None) == ("BTC", False)
            codes = until(lambda: [each["code"] for each in watcher.json("status")["warnings"]], "a warning")
            assert "FOREIGN_POSITION" in codes
            watcher.wait("mode", "STANDBY")
        finally:
            bot.stop()


def test_a_database_of_a_newer_version_is_not_touched(bot: Bot, mosquitto: Mosquitto) -> None:
    with Watcher(mosquitto.port) as watcher:
        start(bot, watcher)
        assert send(watcher, "cryptos/BTC/set", "ON", "before") == "EXECUTED"
        archive = back_up(bot, str(data(bot).parent))
        assert send(watcher, "cryptos/BTC/set", "OFF", "on-the-newer-version") == "EXECUTED"
        bot.stop()
        with closing(sqlite3.connect(data(bot) / "bot.sqlite3")) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
            connection.execute("ALTER TABLE bot_commands ADD COLUMN of_the_future TEXT DEFAULT 'x'")
        bot.start()
        assert bot.wait(30) == 2
        assert "the schema 9999, which this version does not know" in bot.log.read_text()
        # The way back: the backup of before, and what ran since then stays known.
        bot.cli_json("restore", str(archive))
        start(bot, watcher)
        watcher.wait("cryptos", '{"BTC":14}')
        assert send(watcher, "cryptos/SOL/set", "ON", "on-the-newer-version") == "DUPLICATE"
