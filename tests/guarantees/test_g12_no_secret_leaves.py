"""G12: no secret leaves. Canaries stand in for every secret, and are looked for in everything that was written."""

import base64
import binascii
import hashlib
import json
import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, get_args
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from eth_account import Account
from pydantic import BaseModel, SecretStr

from allora_mqtt import logs
from allora_mqtt.configuration import SettingsError, load
from allora_mqtt.dealing import build_hyperliquid
from allora_mqtt.protocol.signed import Keys
from allora_mqtt.settings import DatabaseUrl, Settings
from allora_mqtt.simulator_process import simulator_key
from allora_mqtt.surroundings import find_exchange
from tests.guarantees.record import record
from tests.guarantees.scale import IS_LONG, chance
from tests.guarantees.standing import LIVELY
from tests.support.client import Watcher, connected
from tests.support.doctored import Doctored
from tests.support.exchange import Exchange
from tests.support.mosquitto import MOSQUITTO, Mosquitto
from tests.support.net import free_port, until
from tests.support.program import CHECKOUT, Bot

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROOT = Path(__file__).parent.parent.parent
MASTER = "0x" + "b1" * 20
_SOON_S = 120


def secret_names() -> list[str]:
    """Return the name of every setting that is a secret, whatever is added to the settings one day."""
    found = []
    for group, outer in Settings.model_fields.items():
        assert isinstance(outer.annotation, type)
        assert issubclass(outer.annotation, BaseModel)
        for key, inner in outer.annotation.model_fields.items():
            if SecretStr in (inner.annotation, *get_args(inner.annotation)):
                found.append(f"{group}_{key}".upper())
    return found


def canaries(purpose: str) -> dict[str, str]:
    """Return a value for every secret that is found nowhere else; a private key where only that is taken."""
    rng = chance(f"g12 {purpose}")
    made = {
        name: f"0x{rng.randbytes(32).hex()}" if name == "HL_SECRET_KEY" else f"canary-{rng.randbytes(16).hex()}-Zz"
        for name in secret_names()
    }
    return made | {name: f"alice:{made[name]}" for name in ("EMBEDDED_BROKER_USERS", "MQTT_COMMAND_SECRET")}


def forms(secret: str) -> set[bytes]:
    """Return what a secret may look like in a file: as it is, in either case, and in the usual encodings."""
    bare = secret.removeprefix("0x")
    texts = {secret, bare, bare.lower(), bare.upper(), quote(secret, safe="")}
    raw = {text.encode() for text in texts}
    if secret.startswith("0x"):
        raw.add(binascii.unhexlify(bare))
    found = set(raw)
    for content in raw:
        found |= {
            binascii.hexlify(content),
            binascii.hexlify(content).upper(),
            content.decode("latin-1").encode("utf-16-le"),
        }
        for shift in range(3):
            # Inside a longer text, base64 begins at any of three places; what hangs on its neighbours is left out.
            encoded = base64.b64encode(b"\0" * shift + content)
            found.add(encoded[4 if shift else 0 : len(encoded) - 4])
            found.add(encoded[4 if shift else 0 : len(encoded) - 4].translate(bytes.maketrans(b"+/", b"-_")))
    return found


@dataclass
class Search:
    """Looks for secrets in whatever is put before it, and counts what it has seen."""

    secrets: Mapping[str, str]
    files: int = 0
    size: int = 0
    found: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Whose it is, which stands before the colon, is no secret.
        self._forms = {name: forms(secret.rpartition(":")[2]) for name, secret in self.secrets.items()}

    def look(self, where: str, content: bytes | str) -> None:
        data = content.encode(errors="surrogateescape") if isinstance(content, str) else content
        self.files += 1
        self.size += len(data)
        self.found += [f"{name} in {where}" for name, each in self._forms.items() if any(form in data for form in each)]

    def look_into(self, folder: Path) -> None:
        for path in sorted(folder.rglob("*")):
            self.look(str(path), str(path.name))
            if path.is_file():
                self.look(str(path), path.read_bytes())

    def prove(self, where: str) -> None:
        record("G12", where, secrets=len(self.secrets), files=self.files, mib=self.size // 2**20, found=len(self.found))
        assert self.found == []


class Echo:
    """A server that repeats everything it knows, secrets that it was sent among it, in every kind of answer."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        statuses = [200, 400, 401, 403, 404, 422, 429, 500, 503, 302]
        gossip = " ".join(secrets.values())

        class Handler(BaseHTTPRequestHandler):
            count = 0

            def do_GET(self) -> None:
                Handler.count += 1
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode(errors="replace")
                told = f"{gossip} {dict(self.headers)} {body}"
                kinds: list[Any] = [
                    {"status": "err", "response": told},
                    {"error": told, "apiResponseMessage": told},
                    told,
                    [told],
                ]
                answer = json.dumps(kinds[Handler.count % len(kinds)]).encode()
                self.send_response(statuses[Handler.count % len(statuses)], f"see {gossip}")
                self.send_header("Content-Type", "application/json")
                self.send_header("Location", f"http://127.0.0.1:9/?{quote(told[:500])}")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_POST = do_GET  # noqa: N815 - http.server's name

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def serving(self) -> Iterator[str]:
        thread = Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self.url
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join(10)


def password_line(username: str, password: str) -> str:
    """Return a line of mosquitto's password file."""
    salt = b"salt of 12 b"
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101, 64)
    return f"{username}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


@dataclass
class Run:
    """A bot with canaries for secrets, and everything around it that writes."""

    folder: Path
    secrets: Mapping[str, str]
    exchange: Exchange
    doctored: Doctored
    bot: Bot
    search: Search
    broker_port: int

    def watch(self) -> Watcher:
        watcher = until(lambda: connected(self.broker_port), "the broker", _SOON_S)
        watcher.wait("availability", "online", _SOON_S)
        watcher.keys = Keys.parse(self.secrets["MQTT_COMMAND_SECRET"])
        return watcher

    def cli(self, *words: str) -> None:
        done = self.bot.cli(*words, timeout_s=90)
        self.search.look(f"allora-mqtt {' '.join(words)}", done.stdout + done.stderr)
        assert "Traceback" not in done.stderr, done.stderr

    def seen(self, watcher: Watcher) -> None:
        assert watcher.seen
        for topic, payload, _ in watcher.seen:
            self.search.look(topic, topic.encode() + payload)


@contextmanager
def running(folder: Path, log_format: str) -> Iterator[Run]:
    secrets = canaries(log_format)
    agent = Account.from_key(secrets["HL_SECRET_KEY"]).address
    with ExitStack() as stack:
        passwords = folder / "given" / "passwords"
        passwords.parent.mkdir(parents=True)
        passwords.write_text(password_line("bot", secrets["MQTT_PASSWORD"]))
        passwords.chmod(0o644)
        mosquitto = Mosquitto(folder / "run" / "mosquitto", f"password_file {passwords}", "log_type all")
        mosquitto.start()
        stack.callback(mosquitto.stop)
        exchange = stack.enter_context(Exchange(folder / "run" / "exchange", epoch_s=1))
        exchange._ask("/sim/agents", "POST", {"agent": agent, "master": MASTER})
        doctored = stack.enter_context(Doctored(exchange.port))
        settings = {
            **LIVELY,
            "BOT_NETWORK": "testnet",
            "BOT_LOG_LEVEL": "debug",
            "BOT_LOG_FORMAT": log_format,
            "BOT_LOG_MQTT": "debug",
            "BOT_METRICS_BIND": str(free_port()),
            "HL_ACCOUNT_ADDRESS": MASTER,
            "HL_BASE_URL": doctored.url,
            "HL_TIMEOUT_S": "1",
            "ALLORA_BASE_URL": f"http://127.0.0.1:{exchange.port}/v2",
            "ALLORA_TIMEOUT_S": "1",
            "MQTT_USERNAME": "bot",
            **secrets,
        }
        where = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
        bot = Bot(CHECKOUT, folder / "run" / "bot", where, **settings)
        stack.callback(bot.stop)
        yield Run(folder / "run", secrets, exchange, doctored, bot, Search(secrets), mosquitto.port)


def works(run: Run) -> None:
    """Trade, be asked everything, and have orders refused by an exchange that repeats the key."""
    run.bot.start()
    with run.watch() as watcher:
        watcher.command("cryptos/set", "response/cryptos", {"value": {"BTC": 14, "ETH": 13}})
        watcher.command("mode/set", "response/mode", {"value": "ACTIVE"})
        until(lambda: watcher.json("positions"), "a position", _SOON_S)
        own = watcher.keys
        watcher.keys = Keys({"alice": "not-" * 10})
        assert watcher.ask("ping")["error"]["code"] == "BAD_SIGNATURE"
        watcher.keys = own
        run.cli("mode", "active")
        for words in (
            ["doctor"],
            ["config", "show", "--local", "--json"],
            ["config", "check"],
            ["status", "--json"],
            ["history", "--json"],
            ["events", "--json"],
        ):
            run.cli(*words)
        assert watcher.all("log/info"), "the log is on MQTT too"
        told = f"the key {run.secrets['HL_SECRET_KEY']} or {run.secrets['HL_SECRET_KEY'][2:].upper()} is wrong"
        refusals = [json.dumps({"status": "err", "response": told}).encode(), json.dumps(told).encode(), told.encode()]
        run.doctored.refusals = [(status, body) for status in (200, 422, 400, 500) for body in refusals]
        for coin in ("BTC", "ETH"):
            answer = watcher.ask("close", _SOON_S, symbol=coin)
            assert answer["status"] in {"FAILED", "REJECTED"}
        run.doctored.refusals = []
        (run.bot.folder / "data" / "spool" / "pending" / "ping.json").write_text('{"name":"ping","id":"by-file"}')
        until(lambda: list((run.bot.folder / "data" / "spool").glob("processed/*")), "the file's end", _SOON_S)
        for path in ("/metrics", "/healthz", "/readyz"):
            with urlopen(f"http://127.0.0.1:{run.bot.environment['BOT_METRICS_BIND']}{path}", timeout=10) as answer:
                run.search.look(path, answer.read())
        watcher.command("mode/set", "response/mode", {"value": "STANDBY"})
        run.seen(watcher)
    assert run.bot.stop() == 0


def hears_gossip(run: Run) -> None:
    """Have all that is asked answered by somebody who repeats every secret."""
    with Echo(run.secrets).serving() as url:
        before = dict(run.bot.environment)
        run.bot.environment |= {"HL_BASE_URL": url, "ALLORA_BASE_URL": f"{url}/v2"}
        run.bot.start()
        with run.watch() as watcher:
            until(lambda: (watcher.json("status") or {}).get("health") not in {None, "ok"}, "trouble", _SOON_S)
            watcher.ask("refresh_catalog", _SOON_S)
            watcher.ask("close", _SOON_S, symbol="BTC")
            run.cli("doctor", "--json")
            run.seen(watcher)
        assert run.bot.stop() == 0
        run.bot.environment = before


def is_told_nonsense(run: Run) -> None:
    """Fail to start: with secrets of a wrong form, with a wrong password, and with books that were spoilt."""
    good = dict(run.bot.environment)
    for wrong in (
        {"HL_SECRET_KEY": run.secrets["HL_SECRET_KEY"] + "0"},
        {"HL_SECRET_KEY": "", "HL_SECRET_KEY_FILE": run.secrets["HL_SECRET_KEY"]},
        {"BOT_NETWORK": "mainnet", "HL_BASE_URL": ""},
        {"ALLORA_API_KEY": run.secrets["ALLORA_API_KEY"] + "\N{EURO SIGN}"},
        {"MQTT_COMMAND_SECRET": run.secrets["MQTT_COMMAND_SECRET"] + " 0"},
        {"MQTT_COMMAND_SECRET": "", "MQTT_COMMAND_SECRET_FILE": run.secrets["MQTT_COMMAND_SECRET"]},
        {"BOT_DATABASE_URL": f"mysql://bot:{run.secrets['MQTT_PASSWORD']}@127.0.0.1/bot"},
    ):
        run.bot.environment = good | wrong
        run.cli("run")
    run.bot.environment = good | {"MQTT_PASSWORD": run.secrets["MQTT_PASSWORD"] + "-wrong"}
    run.bot.start()
    until(lambda: "not authorized" in run.bot.log.read_text().lower(), "a refused login", _SOON_S)
    run.bot.stop()
    run.bot.environment = good


def crashes(run: Run) -> None:
    """Die with a traceback of what holds the secrets, because the books are spoilt."""
    database = run.bot.folder / "data" / "bot.sqlite3"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("""insert or replace into state (key, value) values ('results', '"spoilt"')""")
    run.bot.start()
    assert run.bot.wait(_SOON_S) != 0
    assert "Traceback" in run.bot.log.read_text()


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt-get install mosquitto)")
@pytest.mark.parametrize("log_format", ["console", "json"] if IS_LONG else ["console"])
def test_no_secret_is_in_anything_that_a_run_wrote(tmp_path: Path, log_format: str) -> None:
    with running(tmp_path, log_format) as run:
        works(run)
        hears_gossip(run)
        is_told_nonsense(run)
        crashes(run)
    run.search.look_into(run.folder)
    assert (run.bot.folder / "data" / "bot.sqlite3").stat().st_size > 0
    run.search.prove(f"run, log as {log_format}")


@pytest.mark.usefixtures("log_of_its_own")
@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_traceback_shows_no_values(capsys: pytest.CaptureFixture[str], log_format: Any) -> None:
    secrets = canaries("traceback")
    logs.configure(log_format, "debug")

    def fails(key: str) -> None:
        headers = {"x-api-key": key}
        raise RuntimeError(f"{len(headers)} headers")

    try:
        fails(next(iter(secrets.values())))
    except RuntimeError:
        logging.getLogger("allora_mqtt.x").exception("A task failed")
    search = Search(secrets)
    written = capsys.readouterr().err
    assert "RuntimeError" in written
    search.look("the log", written)
    search.prove(f"traceback, log as {log_format}")


async def test_no_object_shows_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    secrets = canaries("objects")
    search = Search(secrets)
    loaded = load(
        {**secrets, "BOT_NETWORK": "testnet", "BOT_DATA_DIR": str(tmp_path), "HL_BASE_URL": "http://127.0.0.1:9"}
    )
    exchange = await find_exchange(loaded.settings, None)
    door = build_hyperliquid(loaded.settings, exchange)
    shown: list[object] = [
        loaded,
        loaded.settings,
        list(loaded.rows()),
        exchange,
        door,
        vars(door),
        door._signer,
        exchange.wallet,
        loaded.settings.mqtt.command_keys,
    ]
    for query in ("", f"?password={secrets['MQTT_PASSWORD']}"):
        address = DatabaseUrl(f"postgresql+psycopg://bot:{secrets['MQTT_PASSWORD']}@db/bot{query}")
        bot = loaded.settings.bot.model_copy(update={"database_url": address})
        shown += [address, bot, bot.model_dump(), bot.model_dump_json(), [*bot]]
    for _, group in loaded.settings:
        shown += [group, group.model_dump(), group.model_dump(mode="json"), group.model_dump_json()]
    shown += [loaded.settings.model_dump(mode="json"), loaded.settings.model_dump_json()]
    for value in shown:
        search.look(type(value).__name__, f"{value!r} {value}")
    await door.close()
    for name, secret in secrets.items():
        for wrong in (f"{secret}\x00", [secret], {"key": secret}, secret + "é"):
            try:
                load({**secrets, "BOT_NETWORK": "mainnet", name: wrong})
            except SettingsError as error:
                search.look(f"{name} in an error", "".join(traceback.format_exception(error)) + repr(error))
    search.prove("objects and exceptions")


def test_the_simulator_s_own_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        key = simulator_key(tmp_path / "simulator.key")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "simulator.key").stat().st_mode) == 0o600
    assert simulator_key(tmp_path / "simulator.key") == key


def test_packages_hold_no_secret_of_who_builds_them(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is not a git checkout")
    checkout = tmp_path / "checkout"
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, checkout / name)
    secrets = canaries("packages")
    environment = "".join(f"{name}={value}\n" for name, value in secrets.items())
    for name in (".env", "cli/.env", "allora_mqtt/.env", "tests/.env", "allora-mqtt.toml"):
        (checkout / name).write_text(environment)
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=checkout, env=os.environ | secrets, check=True, capture_output=True, timeout=120)
    search = Search(secrets)
    (wheel,), (sdist,) = tmp_path.glob("dist/*.whl"), tmp_path.glob("dist/*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            search.look(f"wheel {name}", archive.read(name))
    with tarfile.open(sdist) as archive_of_sources:
        for member in archive_of_sources.getmembers():
            content = archive_of_sources.extractfile(member) if member.isfile() else None
            search.look(f"sdist {member.name}", member.name if content is None else content.read())
    # What an image is built from lies in these folders too, and is taken from them by this list.
    assert {"**/.env", "**/allora-mqtt.toml"} <= set((ROOT / ".dockerignore").read_text().split())
    search.prove("wheel and sdist")


def test_the_search_finds_what_it_looks_for() -> None:
    secrets = canaries("search")
    key = secrets["HL_SECRET_KEY"]
    hidden: list[Callable[[bytes], bytes]] = [
        bytes,
        lambda raw: raw[2:].upper(),
        lambda raw: base64.b64encode(b"ab" + raw + b"xyz"),
        lambda raw: base64.urlsafe_b64encode(b"a" + binascii.unhexlify(raw[2:]) + b"z"),
        binascii.hexlify,
        lambda raw: raw.decode().encode("utf-16-le"),
        lambda raw: json.dumps({"key": raw.decode()}).encode(),
    ]
    for hide in hidden:
        search = Search(secrets)
        search.look("here", b"before " + hide(key.encode()) + b" after")
        assert search.found == ["HL_SECRET_KEY in here"], hide(key.encode())
    clean = Search(secrets)
    clean.look("here", Account.from_key(key).address)
    assert clean.found == []
    assert set(secrets) >= {
        "HL_SECRET_KEY", "ALLORA_API_KEY", "MQTT_PASSWORD", "MQTT_COMMAND_SECRET", "REVIEWER_API_KEYS"
    }  # fmt: skip
