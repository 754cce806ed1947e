"""The bot's own broker with users: as somebody has it who wants no other, and a screen in a browser."""

from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.client import Watcher
from tests.support.net import free_port, until
from tests.support.program import CHECKOUT, Bot

pytestmark = pytest.mark.e2e


def test_with_users_the_bot_the_command_line_and_browsers_log_in_and_nobody_else(tmp_path: Path) -> None:
    ws_port = free_port()
    bot = Bot(
        CHECKOUT,
        tmp_path / "bot",
        EMBEDDED_BROKER_USERS="alice:open sesame,screen:c",
        EMBEDDED_BROKER_WS_BIND=f"127.0.0.1:{ws_port}",
    )
    bot.start()
    try:
        until(lambda: bot.cli("ping").returncode == 0, "an answer to who has the settings", 60)
        with Watcher(bot.broker_port, login=("screen", "c")) as watcher:
            assert watcher.command("mode/set", "response/mode", {"value": "ACTIVE"})["status"] == "EXECUTED"
        for password, lets_in in (("open sesame", True), ("wrong", False)):
            answers: list[bool] = []
            browser = paho.Client(CallbackAPIVersion.VERSION2, transport="websockets")
            browser.on_connect = lambda *words, said=answers: said.append(not words[3].is_failure)
            browser.username_pw_set("alice", password)
            browser.connect("127.0.0.1", ws_port)
            browser.loop_start()
            until(lambda said=answers: said, "CONNACK")  # type: ignore[misc] # mypy cannot see it
            browser.loop_stop()
            assert answers[0] is lets_in
        del bot.environment["EMBEDDED_BROKER_USERS"], bot.environment["EMBEDDED_BROKER_WS_BIND"]
        refused = bot.cli("status")
        assert refused.returncode == 2
        assert "MQTT_USERNAME" in refused.stderr
    finally:
        bot.stop()
    log = bot.log.read_text()
    assert "-u alice -P …" in log
    assert "sesame" not in log
