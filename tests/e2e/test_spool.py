"""The bot steered by files while its broker is dead."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import Watcher
from tests.support.mosquitto import Mosquitto
from tests.support.net import free_port, until
from tests.support.program import Bot
from tests.support.spool import SpoolView

pytestmark = pytest.mark.e2e

EPOCH_S = 2
LIVELY = {"SIM_EPOCH_S": str(EPOCH_S), "TRADE_PRICE_GAP_PCT": "0.01", "DEFAULT_ACTIVE_CRYPTOS": "BTC:14,ETH:9"}


@pytest.fixture
def trading_bot(mosquitto: Mosquitto, tmp_path: Path, program: Path) -> Iterator[Bot]:
    bot = Bot(program, tmp_path / "bot", {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}, **LIVELY)
    bot.start()
    yield bot
    bot.stop()


@pytest.fixture
def lonely_bot(tmp_path: Path, program: Path) -> Iterator[Bot]:
    """A bot whose broker has never been there."""
    bot = Bot(program, tmp_path / "bot", {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(free_port())})
    yield bot
    bot.stop()


@pytest.mark.timeout(240)
def test_the_broker_is_killed_and_the_bot_is_told_to_stop_trading(trading_bot: Bot, mosquitto: Mosquitto) -> None:
    bot = trading_bot
    with Watcher(mosquitto.port) as watcher:
        watcher.wait("availability", "online")
        watcher.publish("mode/set", "ACTIVE")
        until(bot.entries, "an entry", 30)
        mosquitto.stop(signal.SIGKILL)
        refused = bot.cli("mode", "standby")
        assert (refused.returncode, "--via spool" in refused.stderr) == (5, True)

        assert bot.cli_json("--via", "spool", "mode", "standby")["data"] == {"mode": "STANDBY"}
        flat = bot.cli_json("--via", "spool", "flatten", "--yes")
        assert flat["status"] == "EXECUTED"
        before = len(bot.entries())
        time.sleep(3 * EPOCH_S)
        assert len(bot.entries()) == before

        # The proof that it would have traded: told to by the same way, it does.
        assert bot.cli_json("--via", "spool", "mode", "active")["data"] == {"mode": "ACTIVE"}
        until(lambda: len(bot.entries()) > before, "a new entry", 30)
        assert bot.cli_json("--via", "spool", "mode", "standby")["data"] == {"mode": "STANDBY"}

        mosquitto.start()
        watcher.forget()
        watcher.wait("availability", "online", 60)
        watcher.wait("mode", "STANDBY")
        until(lambda: watcher.json("last_command"), "the last command")
        assert watcher.json("last_command")["name"] == "mode"
        ways = [(row["name"], row["channel"]) for row in watcher.ask("history")["data"]["commands"]][::-1]
        assert ways[:5] == [
            ("mode", "mqtt"),
            ("mode", "spool"),
            ("flatten", "spool"),
            ("mode", "spool"),
            ("mode", "spool"),
        ]


def test_without_a_broker_from_the_start_everything_works_by_files(lonely_bot: Bot) -> None:
    bot, spool = lonely_bot, SpoolView(lonely_bot.folder / "data")
    unknown = bot.cli("--via", "spool", "mode", "standby")
    assert (unknown.returncode, "BOT_DATA_DIR" in unknown.stderr) == (2, True)
    bot.start()
    until(spool.pending.is_dir, "the spool")
    assert bot.cli_json("--via", "spool", "cryptos", "set", "BTC", "ETH:9")["data"] == {"active": {"BTC": 14, "ETH": 9}}
    assert bot.cli_json("--via", "spool", "mode", "active")["data"] == {"mode": "ACTIVE"}
    assert bot.cli("config", "set", "max_leverage=1000", "--via", "spool").returncode == 3
    assert bot.cli("--via", "spool", "ping").returncode == 0
    assert [row["name"] for row in bot.cli_json("--via", "spool", "history")["data"]["commands"]][:2] == [
        "ping",
        "config",
    ]
    # The answer to a goodbye is written before the bot is gone.
    assert bot.cli_json("--via", "spool", "shutdown")["status"] == "EXECUTED"
    assert bot.wait(20) == 0


def test_rubbish_in_the_spool_harms_nothing(lonely_bot: Bot) -> None:
    bot, spool = lonely_bot, SpoolView(lonely_bot.folder / "data")
    bot.start()
    until(spool.pending.is_dir, "the spool")
    os.mkfifo(spool.pending / "1-pipe.json")
    (spool.pending / "2-link.json").symlink_to("/dev/zero")
    (spool.pending / "3-folder.json" / "inside").mkdir(parents=True)
    with (spool.pending / ".4").open("wb") as huge:
        huge.truncate(10**11)
    (spool.pending / ".4").rename(spool.pending / "4-huge.json")
    spool.drop("5-empty.json", b"")
    spool.drop("6-binary.json", bytes(range(256)) * 8)
    spool.drop("7-deep.json", b"[" * 60_000)
    spool.drop("8-good.json", {"name": "ping"})
    (spool.pending / "9-half.json.tmp").write_text("{")
    until(lambda: spool.names("pending") == ["9-half.json.tmp"], "everything else ended")
    codes = {}
    for name in ("1-pipe", "2-link", "3-folder", "4-huge", "5-empty", "6-binary", "7-deep"):
        [ended], [answer] = spool.ended(f"{name}.json"), spool.responses(f"{name}.json")
        assert ended.startswith("failed/")
        codes[name] = answer["error"]["code"]
    assert codes == {
        "1-pipe": "BAD_VALUE",
        "2-link": "BAD_VALUE",
        "3-folder": "BAD_VALUE",
        "4-huge": "TOO_LARGE",
        "5-empty": "BAD_JSON",
        "6-binary": "BAD_JSON",
        "7-deep": "BAD_JSON",
    }
    assert [answer["status"] for answer in spool.responses("8-good.json")] == ["EXECUTED"]
    assert bot.cli("--via", "spool", "ping").returncode == 0
    assert "Traceback" not in bot.log.read_text()
