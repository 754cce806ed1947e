"""The command line and brokers that are old, mute, gone, or choosy about whom they let in."""

import json
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from allora_mqtt.configuration import load
from allora_mqtt_cli.broker import Broker
from allora_mqtt_cli.connection import Connection
from allora_mqtt_cli.main import main
from tests.integration.test_cli_commands import RETAINED, SERVICE, STATUS, StandIn, executed, mosquitto
from tests.support import net
from tests.support.mosquitto import MOSQUITTO

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
]


class Shell:
    """Runs commands against one broker."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.chdir(folder)
        monkeypatch.delenv("MQTT_HOST", raising=False)
        monkeypatch.setenv("BOT_DATA_DIR", str(folder / "data"))

    def use(self, port: int) -> None:
        self.monkeypatch.setenv("MQTT_HOST", "127.0.0.1")
        self.monkeypatch.setenv("MQTT_PORT", str(port))

    def __call__(self, *arguments: str) -> SimpleNamespace:
        code = main(arguments)
        captured = self._capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


@pytest.fixture
def free_port() -> int:
    return net.free_port()


@pytest.fixture
def mute_port() -> Iterator[int]:
    """Accept connections and say nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def publish_state(port: int, **changes: object) -> StandIn:
    bot = StandIn(port, executed)
    for topic, content in (RETAINED | changes).items():
        bot.publish(topic, content)
    return bot


def beat(bot: StandIn, stop: threading.Event) -> None:
    message = {"uptime_s": 1, "mode": "STANDBY", "revision": 7, "instance_id": "a", "loop_lag_ms": 1.5}
    seq = 0
    while not stop.wait(0.1):
        seq += 1
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        bot.publish("heartbeat", {**message, "seq": seq, "at": at}, retain=False)


@contextmanager
def old_broker(port: int, manner: str) -> Iterator[int]:
    """Stand before a broker as one that knows only MQTT 3.1.1 and meets version 5 in some manner."""

    class Door(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            first = self.request.recv(4096)
            if first[first.index(b"MQTT") + 4] == 5:
                if manner == "refuses":
                    self.request.sendall(b"\x20\x02\x00\x01")
                if manner == "is mute":
                    self.request.recv(1)
                return
            with socket.create_connection(("127.0.0.1", port)) as inside:
                inside.sendall(first)
                back = threading.Thread(target=_copy, args=(inside, self.request))
                back.start()
                _copy(self.request, inside)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Door) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_address[1]
        server.shutdown()


def _copy(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(4096):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("manner", ["refuses", "is mute", "hangs up"])
def test_a_broker_that_knows_only_3_1_1_is_found_out(shell: Shell, manner: str) -> None:
    with mosquitto(shell.folder) as port, old_broker(port, manner) as old_port:
        shell.use(old_port)
        bot = publish_state(port)
        found_out = shell("mode", "active")
        shell.monkeypatch.setenv("MQTT_PROTOCOL", "5")
        insisted = shell("mode", "--timeout", "1")
        bot.stop()
    assert (found_out.code, found_out.err) == (0, "")
    assert insisted.code == 5
    assert f"127.0.0.1:{old_port}" in insisted.err


def test_a_broker_that_is_not_there_is_named_with_its_setting(shell: Shell, free_port: int) -> None:
    shell.use(free_port)
    done = shell("status", "--json")
    assert done.code == 5
    error = json.loads(done.out)["error"]
    assert error["code"] == "BROKER_UNREACHABLE"
    assert f"127.0.0.1:{free_port}" in error["message"]
    assert "MQTT_HOST" in error["message"]


def test_the_embedded_broker_is_named_by_its_own_setting(shell: Shell, free_port: int) -> None:
    shell.monkeypatch.setenv("EMBEDDED_BROKER_BIND", f"127.0.0.1:{free_port}")
    done = shell("mode", "standby")
    assert done.code == 5
    assert "EMBEDDED_BROKER_BIND" in done.err
    assert "allora-mqtt run" in done.err


def test_a_broker_that_says_nothing_does_not_hold_us_up(shell: Shell, mute_port: int) -> None:
    shell.use(mute_port)
    started = time.monotonic()
    done = shell("status", "--timeout", "0.5")
    assert done.code == 5
    assert "did not answer within 0.5 s" in done.err
    assert time.monotonic() - started < 3


def test_a_login_is_refused_and_accepted(shell: Shell) -> None:
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto_passwd is not installed")
    passwords = shell.folder / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(passwords), "alice", "secret"], check=True)
    passwords.chmod(0o644)
    with mosquitto(shell.folder, "allow_anonymous false", f"password_file {passwords}") as port:
        shell.use(port)
        refused = shell("status", "--username", "alice")
        shell.monkeypatch.setenv("MQTT_PASSWORD", "secret")
        accepted = shell("mode", "standby", "--username", "alice", "--no-wait")
    assert refused.code == 2
    assert "refused the login of 'alice'" in refused.err
    assert "MQTT_PASSWORD" in refused.err
    assert accepted.code == 0


def test_a_topic_the_broker_forbids_is_named(shell: Shell) -> None:
    rules = shell.folder / "acl"
    rules.write_text("topic read #\n")
    rules.chmod(0o644)
    with mosquitto(shell.folder, f"acl_file {rules}") as port:
        shell.use(port)
        done = shell("mode", "active", "--no-wait")
    assert done.code == 3
    assert "bot/mode/set" in done.err


def test_a_connection_that_breaks_while_waiting(shell: Shell) -> None:
    with mosquitto(shell.folder) as port:
        shell.use(port)
        bot = publish_state(port)
        bot.answer = lambda *_: None
        process = subprocess.Popen(
            [sys.executable, "-m", "allora_mqtt_cli", "mode", "active", "--timeout", "20"],
            stderr=subprocess.PIPE,
            text=True,
        )
        while not bot.received:
            time.sleep(0.05)
        bot.stop()
    _, err = process.communicate(timeout=10)
    assert process.returncode == 5
    assert "closed the connection" in err


def test_small_packets_leave_at_once(shell: Shell) -> None:
    with mosquitto(shell.folder) as port:
        shell.use(port)
        with Connection(Broker.of(load().settings), 5) as connection:
            tcp_socket = connection._paho.socket()
            assert isinstance(tcp_socket, socket.socket)
            assert tcp_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_doctor_finds_nothing_wrong(shell: Shell) -> None:
    shell.monkeypatch.setenv("MQTT_DISCOVERY", "false")
    with mosquitto(shell.folder) as port:
        shell.use(port)
        bot, stop = publish_state(port), threading.Event()
        heart = threading.Thread(target=beat, args=(bot, stop))
        heart.start()
        done = shell("doctor", "--json")
        text = shell("doctor")
        stop.set()
        heart.join()
        bot.stop()
    assert done.code == 0
    found = {finding["what"]: finding["verdict"] for finding in json.loads(done.out)["findings"]}
    assert set(found.values()) == {"ok"}
    assert set(found) >= {"configuration", "broker", "bot", "ping", "heartbeat", "mqtt", "hyperliquid", "store"}
    assert "MQTT 5" in text.out
    assert text.out.endswith("Nothing is wrong.\n")


def test_doctor_names_each_problem_with_its_remedy(shell: Shell) -> None:
    shell.monkeypatch.setenv("BOT_HEARTBEAT_INTERVAL_S", "0.2")
    shell.monkeypatch.setenv("MQTT_DISCOVERY", "false")
    breaker = {"name": "allora", "reason": "5 failures", "since": STATUS["since"]}
    sick = {**SERVICE, "state": "tripped", "breaker": "open", "last_error": "503"}
    with mosquitto(shell.folder) as port:
        shell.use(port)
        bot = publish_state(
            port, status={**STATUS, "breakers": [breaker]}, health={**RETAINED["health"], "allora": sick}
        )
        bot.answer = lambda *_: None
        done = shell("doctor", "--json", "--timeout", "0.5")
        bot.stop()
    assert done.code == 4
    document = json.loads(done.out)
    assert document["error"]["code"] == "PROBLEMS_FOUND"
    problems = {finding["what"]: finding["remedy"] for finding in document["findings"] if finding["verdict"] != "ok"}
    assert problems.keys() == {"ping", "heartbeat", "allora", "breaker"}
    assert "reset-breaker allora" in problems["allora"]
    assert "503" in problems["allora"]


def test_doctor_without_broker(shell: Shell, free_port: int) -> None:
    shell.use(free_port)
    done = shell("doctor")
    assert done.code == 4
    assert f"127.0.0.1:{free_port}" in done.out
    assert "MQTT_HOST" in done.out


def test_watch_as_json_and_a_reader_that_goes_away(shell: Shell) -> None:
    with mosquitto(shell.folder) as port:
        shell.use(port)
        bot, stop = publish_state(port), threading.Event()
        heart = threading.Thread(target=beat, args=(bot, stop))
        heart.start()
        process = subprocess.Popen(
            [sys.executable, "-m", "allora_mqtt_cli", "watch", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(8)]
        process.stdout.close()
        process.wait(10)
        err = process.stderr.read()
        process.stderr.close()
        stop.set()
        heart.join()
        bot.stop()
    assert {"bot/status", "bot/availability", "bot/cryptos/BTC"} <= {line["topic"] for line in lines}
    assert err == ""


def test_ctrl_c_ends_quietly_with_130(shell: Shell) -> None:
    with mosquitto(shell.folder) as port:
        shell.use(port)
        process = subprocess.Popen(
            [sys.executable, "-m", "allora_mqtt_cli", "watch", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A test run in the background of a shell hands on that SIGINT is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - nothing else runs in it
        )
        bot = publish_state(port)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        bot.stop()
    assert (process.returncode, err) == (130, "")
