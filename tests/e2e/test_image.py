"""The Dockerfiles, followed line by line in a small Debian, and what comes of them run as an engine would run it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from allora_mqtt import __version__
from tests.conftest import ROOT
from tests.e2e.conftest import CACHE, CANARY
from tests.support.client import Watcher
from tests.support.image import DOCKER_CAPABILITIES, Container, Image, Network, build
from tests.support.mosquitto import MOSQUITTO, Mosquitto
from tests.support.net import until

pytestmark = [pytest.mark.e2e, pytest.mark.real_peers, pytest.mark.timeout(600)]

PASSWORD = "made up for the broker"  # noqa: S105 - as it says
PROFILES = {
    "sim": {"bot-sim"},
    "paper": {"bot-paper"},
    "testnet": {"bot-testnet"},
    "postgres": {"postgres"},
    "ha": {"home-assistant"},
    "node-red": {"node-red"},
}
TOKEN = "made up by the Supervisor"  # noqa: S105 - as it says
SUPERVISOR = "127.0.0.97"
"""An address of this machine that nobody else listens on, with the port that the Supervisor has."""


COMPOSE = CACHE / "docker-compose" / "usr" / "libexec" / "docker" / "cli-plugins" / "docker-compose"
"""The real one, which reads and checks a file without an engine."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A mosquitto that wants a password."""
    assert MOSQUITTO is not None
    passwords = tmp_path / "passwords"
    subprocess.run(
        [Path(MOSQUITTO).parent.parent / "bin" / "mosquitto_passwd", "-b", "-c", passwords, "bot", PASSWORD], check=True
    )
    running = Mosquitto(tmp_path / "mosquitto", "allow_anonymous false", f"password_file {passwords}")
    running.start()
    yield running
    running.stop()


def volume(tmp_path: Path, user: int) -> Path:
    """A new volume: with the owner that /data has in the image."""
    folder = tmp_path / "data"
    folder.mkdir()
    os.chown(folder, user, user)
    return folder


def is_well(container: Container) -> bool:
    return container.run(*container.image.health).returncode == 0


def descendants(pid: int) -> list[int]:
    below = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [pid, *(each for child in below for each in descendants(child))]


def facts(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_nothing_gets_into_the_image_that_is_not_part_of_the_program(image: Image) -> None:
    assert image.labels["org.opencontainers.image.version"] == __version__
    assert image.volumes == ["/data"]
    owner = (image.root / "data").stat()
    assert (owner.st_uid, owner.st_mode & 0o777) == (10001, 0o700)
    found = subprocess.run(["grep", "-rlF", CANARY, image.root], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (1, "")
    assert not (image.root / "src").exists()


def test_the_image_runs_the_bot_without_rights_and_with_nothing_to_write_to_but_its_volume(
    image: Image, broker: Mosquitto, tmp_path: Path
) -> None:
    password = tmp_path / "mqtt_password"
    password.write_text(f"{PASSWORD}\n")
    os.chown(password, 10001, 10001)
    password.chmod(0o400)
    settings = {
        "MQTT_HOST": "127.0.0.1",
        "MQTT_PORT": str(broker.port),
        "MQTT_USERNAME": "bot",
        "MQTT_PASSWORD_FILE": "/run/secrets/mqtt_password",
        "BOT_HEARTBEAT_INTERVAL_S": "0.5",
    }
    files = {"/run/secrets/mqtt_password": password}
    container = Container(image, volume(tmp_path, 10001), settings, files)
    log = tmp_path / "log"
    for life in (1, 2):
        process = container.start(log)
        try:
            until(lambda: is_well(container), f"health 0; it said: {log.read_text()}", 120)
            with Watcher(broker.port, login=("bot", PASSWORD)) as watcher:
                watcher.wait("mode", "STANDBY")
                done = container.run("allora-mqtt", "mode", "active")
                assert done.returncode == 0, done.stderr
                watcher.wait("mode", "ACTIVE")
                family = descendants(process.pid)
                assert len(family) >= 3, "tini, the bot and its simulator"
                for pid in family:
                    said = facts(pid)
                    assert said["Uid"].split() == said["Gid"].split() == ["10001"] * 4
                    assert {int(said[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
                    assert (said["NoNewPrivs"], said["Groups"]) == ("1", "")
                for place in ("/opt/x", "/x", "/etc/x"):
                    assert "Read-only file system" in container.run("touch", place).stderr
                assert container.run("touch", "/data/x").returncode == 0
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0
                watcher.wait("availability", "offline")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(10)
        ended = container.run(*image.health)
        assert (ended.returncode, life) == (1, life)
        assert "is offline" in ended.stderr
    assert (container.data / "bot.sqlite3").stat().st_uid == 10001
    assert PASSWORD not in log.read_text()
    assert all(json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))


def test_the_image_can_keep_its_books_in_postgresql(image: Image, tmp_path: Path) -> None:
    done = Container(image, volume(tmp_path, 10001)).run("python", "-c", "import psycopg; print(psycopg.pq.__impl__)")
    assert (done.returncode, done.stdout) == (0, "binary\n"), done.stderr


class Supervisor(BaseHTTPRequestHandler):
    """As much of the Supervisor's API as the add-on asks for."""

    service: dict[str, Any]

    def do_GET(self) -> None:
        is_known = self.path == "/services/mqtt" and self.headers["Authorization"] == f"Bearer {TOKEN}"
        body = json.dumps({"result": "ok", "data": self.service} if is_known else {"result": "error"}).encode()
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def supervisor(broker: Mosquitto) -> Iterator[str]:
    """Serves at port 80 of an address of this machine, and gives that address."""
    service = {"host": "127.0.0.1", "port": broker.port, "ssl": False, "username": "bot", "password": PASSWORD}
    handler = type("Serving", (Supervisor,), {"service": service})
    server = ThreadingHTTPServer((SUPERVISOR, 80), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SUPERVISOR
    server.shutdown()
    server.server_close()


def test_the_add_on_asks_the_supervisor_leaves_root_behind_and_runs(
    supervisor: str, debian: Path, broker: Mosquitto, tmp_path: Path
) -> None:
    subprocess.run(
        ["make", "addon", f"PYTHON={sys.executable}"], cwd=ROOT, check=True, capture_output=True, timeout=300
    )
    context = ROOT / "dist" / "home-assistant" / "allora-mqtt"
    image = build(context, debian, tmp_path / "image", {"BUILD_VERSION": __version__, "BUILD_ARCH": "amd64"})
    assert image.labels == {"io.hass.version": __version__, "io.hass.type": "app", "io.hass.arch": "amd64"}

    data = volume(tmp_path, 0)
    options = data / "options.json"
    options.write_text(json.dumps({"bot_network": "sim", "bot_default_mode": "STANDBY"}))
    options.chmod(0o600)
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{supervisor} supervisor\n")
    container = Container(image, data, {"SUPERVISOR_TOKEN": TOKEN}, {"/etc/hosts": hosts}, DOCKER_CAPABILITIES)
    log = tmp_path / "log"
    for _ in range(2):
        process = container.start(log)
        try:
            until(lambda: is_well(container), f"health 0; it said: {log.read_text()}", 120)
            assert facts(process.pid)["Uid"].split() == ["10001"] * 4
            assert TOKEN not in Path(f"/proc/{process.pid}/environ").read_text()
            with Watcher(broker.port, login=("bot", PASSWORD)) as watcher:
                assert watcher.ask("ping")["status"] == "EXECUTED"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    assert container.run(*image.health).returncode == 1
    assert (options.stat().st_uid, options.stat().st_mode & 0o777) == (0, 0o600)
    assert (data / "bot.sqlite3").stat().st_uid == 10001
    assert PASSWORD not in log.read_text() + options.read_text()
    shutil.rmtree(image.root)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder of docker-compose.yml, prepared."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("docker-compose.yml", "mosquitto", "examples/docker"):
        source = ROOT / name
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
    for _ in range(2):  # the second time nothing changes
        subprocess.run(["examples/docker/prepare"], cwd=folder, check=True, capture_output=True, timeout=60)
    return folder


def compose(project: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [COMPOSE, *words],
        cwd=project,
        env={"PATH": os.environ["PATH"], "HOME": str(project), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_compose_takes_the_file_and_every_file_it_names_is_there_for_whom_it_is_meant(project: Path) -> None:
    done = compose(project, "--profile", "*", "config", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    whole = json.loads(done.stdout)
    for source in (whole["secrets"] | whole["configs"]).values():
        assert Path(source["file"]).is_file(), source
    for name, service in whole["services"].items():
        owner = {"bot": 10001, "postgres": 0}.get(name.split("-")[0])
        for secret in service.get("secrets", []):
            found = Path(whole["secrets"][secret["source"]]["file"]).stat()
            assert (found.st_uid, found.st_mode & 0o077) == (owner, 0), (name, secret)
        for mount in service.get("volumes", []):
            assert mount["type"] == "volume" or Path(mount["source"]).exists(), (name, mount)
    services = {name: compose(project, "--profile", name, "config", "--services").stdout.split() for name in PROFILES}
    assert {name: set(found) - {"mosquitto"} for name, found in services.items()} == PROFILES
    (project / "docker-compose.yml").write_text(
        (project / "docker-compose.yml").read_text().replace("cap_drop", "cap_drops")
    )
    assert "cap_drops" in compose(project, "config", "-q").stderr


def test_the_example_for_mainnet_is_what_it_says(project: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.+?)```", (ROOT / "docs" / "deployment.md").read_text(), re.DOTALL)
    (project / "docker-compose.override.yml").write_text(example)
    done = compose(project, "--profile", "mainnet", "config", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    services = json.loads(done.stdout)["services"]
    assert services.keys() == {"bot-mainnet", "mosquitto"}
    assert services["bot-mainnet"]["environment"]["BOT_NETWORK"] == "mainnet"
    assert services["bot-mainnet"]["cap_drop"] == ["ALL"]
    assert [volume["source"] for volume in services["bot-mainnet"]["volumes"]] == ["mainnet"]


def test_the_services_of_the_compose_file_find_each_other(image: Image, project: Path, tmp_path: Path) -> None:
    """mosquitto and the bot with users, files and settings as the compose file gives them, by name and over TLS."""
    whole = json.loads(compose(project, "--profile", "sim", "config", "--format", "json").stdout)
    bot, mosquitto = whole["services"]["bot-sim"], whole["services"]["mosquitto"]
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost mosquitto\n")
    mounts = {each["target"]: each["source"] for each in mosquitto["volumes"]}
    files = {each["target"]: Path(whole["secrets"][each["source"]]["file"]) for each in bot["secrets"]}
    files |= {each["target"]: Path(whole["configs"][each["source"]]["file"]) for each in bot["configs"]}
    settings = bot["environment"] | {"BOT_HEARTBEAT_INTERVAL_S": "0.5"}
    assert PASSWORD not in str(settings)
    log = tmp_path / "log"
    with Network() as network, (tmp_path / "mosquitto.log").open("wb") as said:
        container = Container(image, volume(tmp_path, 10001), settings, files | {"/etc/hosts": hosts}, network=network)
        place = mounts.pop("/mosquitto/config/mosquitto.conf")
        cage = " && ".join(f"mount --bind {source} {target}" for target, source in mounts.items())
        user, group = mosquitto["user"].split(":")
        become = f"exec setpriv --reuid={user} --regid={group} --clear-groups --no-new-privs --bounding-set=-all"
        words = (
            f"mount -t tmpfs tmpfs /mnt && cp {place} /mnt && {cage} && {become} {MOSQUITTO} -c /mnt/{Path(place).name}"
        )
        broker = subprocess.Popen([*network.words, "unshare", "--mount", "sh", "-ec", words], stdout=said, stderr=said)
        process = container.start(log)
        try:
            until(lambda: is_well(container), f"health 0; it said: {log.read_text()}", 120)
            assert container.run("allora-mqtt", "mode", "active").returncode == 0
            assert container.run("allora-mqtt", "status", "--json").stdout.count('"mode": "ACTIVE"') == 1
            refused = container.run("env", "MQTT_PASSWORD_FILE=/dev/null", "allora-mqtt", "mode", "standby")
            assert "refused the login of 'bot'" in refused.stderr
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            broker.terminate()
            broker.wait(10)
    assert (project / "broker/data/mosquitto.db").stat().st_uid == int(user)
