"""The scripts kit in `examples/scripts/`: each script and each line of its README, beside a real bot and mosquitto."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from allora_mqtt.protocol.model import rfc3339
from tests.conftest import ROOT
from tests.support.client import Watcher
from tests.support.mosquitto import MOSQUITTO_PUB, Mosquitto
from tests.support.net import free_port, until
from tests.support.program import Bot

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(MOSQUITTO_PUB is None, reason="mosquitto-clients are not installed"),
]

SCRIPTS = ROOT / "examples" / "scripts"
ONE_LINERS: list[str] = re.findall(r"^\$ (mosquitto_.+)$", (SCRIPTS / "README.md").read_text(), re.MULTILINE)


@pytest.fixture
def bot(mosquitto: Mosquitto, tmp_path: Path, program: Path) -> Iterator[Bot]:
    where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
    running = Bot(program, tmp_path / "bot", where)
    running.start()
    with Watcher(running.broker_port) as watcher:
        watcher.wait("availability", "online")
    yield running
    running.stop()


def environment(port: int, tmp_path: Path) -> dict[str, str]:
    """An environment with the clients' configuration files that the README speaks of."""
    folder = tmp_path / "config"
    folder.mkdir(exist_ok=True)
    for client in ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr"):
        (folder / client).write_text(f"-h 127.0.0.1\n-p {port}\n")
    return {"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(folder), "MQTT_PORT": str(port)}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no POSIX shell")
def test_the_shell_scripts_are_clean() -> None:
    words: list[str | Path] = [Path(sys.executable).parent / "shellcheck", "-s", "sh", *SCRIPTS.glob("*.sh")]
    subprocess.run(words, check=True, timeout=60)


def test_every_line_of_the_readme_works(bot: Bot, tmp_path: Path) -> None:
    assert len(ONE_LINERS) > 10
    where = environment(bot.broker_port, tmp_path)
    lines = [shlex.split(line, comments=True) for line in ONE_LINERS]
    followers = [words for words in lines if words[0] == "mosquitto_sub" and "-C" not in words]
    following = [subprocess.Popen(words, env=where, stdout=subprocess.PIPE, text=True) for words in followers]
    time.sleep(1)
    with Watcher(bot.broker_port) as watcher:
        for words in lines:
            if words in followers:
                continue
            watcher.forget()
            done = subprocess.run(words, env=where, capture_output=True, text=True, timeout=30, check=False)
            assert done.returncode == 0, f"{words}: {done.stderr}"
            if words[0] == "mosquitto_sub":
                assert done.stdout.strip(), words
            else:
                name = words[words.index("-t") + 1].removeprefix("bot/request/").removeprefix("bot/").split("/")[0]
                answer = until(lambda: watcher.json(f"response/{name}"), f"an answer to {words}")  # noqa: B023 - called before the next turn
                assert answer["status"] == "EXECUTED", (words, answer)
            if words[0] == "mosquitto_rr":
                assert json.loads(done.stdout)["status"] == "EXECUTED"
    for words, process in zip(followers, following, strict=True):
        process.terminate()
        assert process.communicate(timeout=10)[0].startswith(words[-1].removesuffix("#")), words


def send(port: int, *words: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, SCRIPTS / "send.py", "--port", str(port), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("version", [[], ["--mqtt5"]])
def test_the_client_in_python_shows_the_answer_to_its_own_command(bot: Bot, version: list[str]) -> None:
    with Watcher(bot.broker_port) as watcher:
        done = send(bot.broker_port, *version, "mode/set", "ACTIVE")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["data"]["mode"] == "ACTIVE"
        watcher.wait("mode", "ACTIVE")
        assert json.loads(send(bot.broker_port, *version, "cryptos/set", '["BTC"]').stdout)["status"] == "EXECUTED"
        watcher.wait("cryptos", '{"BTC":14}')
        assert send(bot.broker_port, *version, "cryptos/set", '{"ETH":9}').returncode == 0
        assert send(bot.broker_port, *version, "config/set", '{"price_gap_pct":0.4}').returncode == 0
        assert send(bot.broker_port, *version, "request/ping").returncode == 0
        refused = send(bot.broker_port, *version, "request/close", '{"symbol":"NOSUCH"}')
        assert (refused.returncode, json.loads(refused.stdout)["error"]["code"]) == (1, "UNKNOWN_SYMBOL")


def test_the_client_in_python_does_not_wait_for_ever(mosquitto: Mosquitto) -> None:
    done = send(mosquitto.port, "--timeout", "0.5", "request/ping")
    assert (done.returncode, done.stdout) == (5, "")
    assert "No answer within 0.5 s" in done.stderr


def test_the_client_in_python_works_with_the_broker_inside_the_bot(tmp_path: Path, program: Path) -> None:
    embedded = Bot(program, tmp_path / "bot")
    embedded.start()
    try:
        until(lambda: check(embedded.broker_port, tmp_path)[0] == 0, "a heartbeat")
        assert send(embedded.broker_port, "request/ping").returncode == 0
    finally:
        embedded.stop()


def check(port: int, tmp_path: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [SCRIPTS / "check-alive.sh", *words],
        env=environment(port, tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert len(done.stdout.splitlines()) == 1, (done.stdout, done.stderr)
    return done.returncode, done.stdout.strip()


def test_a_bot_that_lives_and_one_that_does_not(bot: Bot, tmp_path: Path) -> None:
    code, said = check(bot.broker_port, tmp_path)
    assert code == 0
    assert re.fullmatch(r"ALLORA-MQTT OK - STANDBY, heartbeat \d s old, up [\d.]+ s \| age=\ds;12;30", said)
    bot.kill()
    assert check(bot.broker_port, tmp_path, "-c", "2") == (2, "ALLORA-MQTT CRITICAL - the bot is offline")


@pytest.mark.parametrize(("age_s", "code", "word"), [(0, 0, "OK"), (20, 1, "WARNING"), (3600, 2, "CRITICAL")])
def test_the_age_of_the_heartbeat_counts(
    mosquitto: Mosquitto, tmp_path: Path, age_s: int, code: int, word: str
) -> None:
    # Retained, which the bot's are not, so that it is there when the script looks; and as old as is wanted.
    beat = {"seq": 1, "at": rfc3339(datetime.now(UTC) - timedelta(seconds=age_s)), "uptime_s": 1, "mode": "ACTIVE"}
    with Watcher(mosquitto.port) as watcher:
        watcher.publish("heartbeat", json.dumps(beat, separators=(",", ":")), retain=True)
    ended, said = check(mosquitto.port, tmp_path)
    assert (ended, said.split()[1]) == (code, word)
    shown_s = int(re.findall(r"age=(\d+)s", said)[0])
    assert age_s <= shown_s <= age_s + 10


def test_what_else_monitoring_wants_to_know(mosquitto: Mosquitto, tmp_path: Path) -> None:
    nobody = check(mosquitto.port, tmp_path, "-b", "nobody", "-c", "1")
    assert nobody == (2, "ALLORA-MQTT CRITICAL - no heartbeat on nobody/heartbeat for 1 s")
    code, said = check(free_port(), tmp_path)
    assert code == 2
    assert "CRITICAL - the broker at 127.0.0.1" in said
    assert check(mosquitto.port, tmp_path, "-z")[0] == 3
    assert check(mosquitto.port, tmp_path, "-w", "soon")[0] == 3
    with Watcher(mosquitto.port) as watcher:
        watcher.publish("heartbeat", "nonsense", retain=True)
    assert check(mosquitto.port, tmp_path)[0] == 3


def test_both_clients_sign_where_there_is_a_secret(mosquitto: Mosquitto, tmp_path: Path, program: Path) -> None:
    alice, where = f"alice:{'a1' * 20}", {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
    running = Bot(program, tmp_path / "bot", {**where, "MQTT_COMMAND_SECRET": alice})
    running.start()
    (tmp_path / "secret").write_text(alice)
    signs = {"PATH": os.environ["PATH"], **where, "MQTT_COMMAND_SECRET_FILE": str(tmp_path / "secret")}
    try:
        with Watcher(mosquitto.port) as watcher:
            watcher.wait("availability", "online")
            for topic, fields, mode in (("mode/set", '"value":"ACTIVE"', "ACTIVE"), ("request/flatten", "", "STANDBY")):
                subprocess.run([SCRIPTS / "signed.sh", topic, fields], env=signs, check=True, timeout=30)
                watcher.wait("mode", mode)
            assert {each["signed_by"] for each in map(json.loads, watcher.all("response/mode"))} == {"alice"}
        for version in ([], ["--mqtt5"]):
            words: list[str | Path] = [sys.executable, SCRIPTS / "send.py", *version, "mode/set", "ACTIVE"]
            for secret, code in ((alice, 0), (alice[:-1], 1)):
                done = subprocess.run(
                    words, env={**where, "MQTT_COMMAND_SECRET": secret}, capture_output=True, timeout=30, check=False
                )
                assert (done.returncode, done.stderr) == (code, b"")
    finally:
        running.stop()
