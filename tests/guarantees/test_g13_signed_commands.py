"""G13, signed commands: on a broker where everybody may read and write, only who has a secret can command the bot."""

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from allora_mqtt.protocol.model import rfc3339
from allora_mqtt.protocol.signed import Keys
from tests.guarantees.record import record
from tests.guarantees.scale import IS_LONG, chance
from tests.guarantees.standing import Standing, standing
from tests.support.client import Watcher
from tests.support.exchange import entries
from tests.support.mosquitto import MOSQUITTO, Mosquitto
from tests.support.net import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ALICE, BOB, STRANGER = "a1" * 20, "b2" * 20, "c3" * 20
SETTING = f"alice:{ALICE},bob:{BOB}"
WHERE = pytest.mark.parametrize("where", ["mosquitto, MQTT 5", "mosquitto, MQTT 3.1.1", "own broker, MQTT 3.1.1"])
FORGERIES, FLOOD = (400, 20_000) if IS_LONG else (60, 2_000)
_COINS = "BTC:14,ETH:13"
_SOON_S = 60
_COMMANDS = ("mode/set", "cryptos/set", "config/set", "request/flatten")


@dataclass
class Scene:
    """A bot that takes signed commands, and somebody who reads and writes everything on its broker.

    Attributes:
        thief: has heard every message.
        taken: the signed payloads that came by, with their topics.
    """

    here: Standing
    thief: Watcher
    rng: random.Random
    taken: list[tuple[str, bytes]] = field(default_factory=list)

    def cli(self, *words: str) -> None:
        done = self.here.bot.cli(*words)
        assert done.returncode == 0, done.stdout + done.stderr

    def answer_to(self, command_id: str, name: str) -> dict[str, Any]:
        def answer() -> dict[str, Any] | None:
            found = [json.loads(each) for each in self.thief.all(f"response/{name}")]
            return next((each for each in found if each["id"] == command_id), None)

        return until(answer, f"an answer to {command_id}", _SOON_S)

    def send(self, topic: str, keys: Keys, command_id: str, *, age: timedelta = timedelta(0), **fields: Any) -> None:
        issued_at = rfc3339(datetime.now(UTC) - age)
        command = json.dumps({**fields, "id": command_id, "issued_at": issued_at}).encode()
        self.thief.publish(topic, keys.sign(f"bot/{topic}", command))

    def steal(self) -> None:
        with self.thief._lock:
            seen = [(topic.removeprefix("bot/"), payload) for topic, payload, _ in self.thief.seen]
        self.taken = [(topic, payload) for topic, payload in dict.fromkeys(seen) if b'"signed"' in payload[:20]]

    def mode(self) -> str:
        return (self.thief.last("mode") or b"").decode()

    def entries(self) -> int:
        return len(entries(self.here.exchange.arrivals()))

    def counts(self) -> dict[str, int]:
        status = self.thief.json("status")
        found: dict[str, int] = status["signed_commands"]
        return found

    def refused(self) -> int:
        return sum(count for name, count in self.counts().items() if name != "dropped")

    def forgery(self) -> tuple[str, bytes]:
        """Return something that the thief makes of what was stolen."""
        topic, payload = self.rng.choice(self.taken)
        outer = json.loads(payload)
        match self.rng.randrange(6):
            case 0:
                outer["signed"] = outer["signed"].replace("STANDBY", "ACTIVE").replace('"id":"', '"id":"new-')
            case 1:
                outer["signed"] = outer["signed"].replace('"id":"', '"id":"new-')
            case 2:
                outer["key"] = self.rng.choice(["bob", "", "root", "alice "])
            case 3:
                at = self.rng.randrange(64)
                digit = self.rng.choice([each for each in "0123456789abcdef" if each != outer["signature"][at]])
                outer["signature"] = outer["signature"][:at] + digit + outer["signature"][at + 1 :]
            case 4:
                topic = self.rng.choice([each for each in _COMMANDS if each != topic])
            case _:
                inner = {"topic": f"bot/{topic}", "value": "ACTIVE", "id": self.rng.randbytes(8).hex()}
                inner["issued_at"] = rfc3339(datetime.now(UTC))
                return topic, Keys({"alice": STRANGER}).sign(f"bot/{topic}", json.dumps(inner).encode())
        return topic, json.dumps(outer).encode()


@contextmanager
def scene(where: str, folder: Path, default_mode: str = "STANDBY") -> Iterator[Scene]:
    with ExitStack() as stack:
        mosquitto = None
        if where.startswith("mosquitto"):
            if MOSQUITTO is None:
                pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
            mosquitto = Mosquitto(folder / "mosquitto")
            mosquitto.start()
            stack.callback(mosquitto.stop)
        version = where.rpartition(" ")[2]
        here = stack.enter_context(
            standing(
                folder,
                mosquitto,
                version,
                DEFAULT_ACTIVE_CRYPTOS=_COINS,
                MQTT_COMMAND_SECRET=SETTING,
                BOT_DEFAULT_MODE=default_mode,
            )
        )
        yield Scene(here, stack.enter_context(here.watcher()), chance(f"G13 {where}"))


@WHERE
def test_only_who_has_a_secret_commands(where: str, tmp_path: Path) -> None:
    with scene(where, tmp_path) as here:
        thief = here.thief
        # The owner trades, and stops.
        here.cli("mode", "active")
        until(lambda: here.entries() > 0, "an entry", _SOON_S)
        here.cli("mode", "standby")
        thief.wait("mode", "STANDBY")
        here.steal()
        assert [topic for topic, _ in here.taken] == ["mode/set", "mode/set"]
        assert {json.loads(each)["signed_by"] for each in thief.all("response/mode")} == {"alice"}
        before, entries_before = here.refused(), here.entries()

        # What was signed is sent again: as it was, retained, and to a bot that has just been killed.
        for topic, payload in here.taken:
            thief.publish(topic, payload)
            thief.publish(topic, payload, retain=True)
        here.here.bot.kill()
        for topic, payload in here.taken:
            thief.publish(topic, payload)
        here.here.bot.start()
        thief.wait("availability", "online", _SOON_S)
        replays = until(lambda: here.counts()["replayed"], "replays that are noticed", _SOON_S)

        # What was not signed, or by others, or for something else, or long ago.
        sent = 0
        for _ in range(FORGERIES):
            topic, payload = here.forgery()
            thief.publish(topic, payload, retain=topic.endswith("/set") and here.rng.random() < 0.2)
            sent += 1
        for topic, payload in (("mode/set", b"ACTIVE"), ("request/flatten", b"PRESS"), ("cryptos/set", b"DOGE")):
            thief.publish(topic, payload)
        stale = Keys({"bob": BOB})
        here.send("mode/set", stale, "stale", age=timedelta(days=8), value="ACTIVE")
        here.send("mode/set", stale, "ahead", age=-timedelta(hours=2), value="ACTIVE")
        until(lambda: here.refused() >= replays + sent + 5, "all of it refused", _SOON_S)
        counts = here.counts()

        # In the end nothing has happened, and the other sender is heard.
        assert here.mode() == "STANDBY"
        assert here.entries() == entries_before
        assert thief.last("cryptos") == b'{"BTC":14,"ETH":13}'
        here.send("mode/set", Keys({"bob": BOB}), "by-bob", value="STOPPED")
        answer = here.answer_to("by-bob", "mode")
        assert (answer["status"], answer["signed_by"]) == ("EXECUTED", "bob")
        answers = [json.loads(each) for each in thief.all("response/mode")]
        executed = {each["id"] for each in answers if each["status"] == "EXECUTED"}
        record("G13", f"signed, {where}", commands=3, executed=len(executed), **counts)
        assert len(executed) == 3
        assert before == 0


@WHERE
def test_a_refusal_says_what_to_do_and_is_in_the_history(where: str, tmp_path: Path) -> None:
    with scene(where, tmp_path) as here:
        thief = here.thief
        answer = thief.command("mode/set", "response/mode", {"value": "ACTIVE"})
        assert (answer["status"], answer["error"]["code"]) == ("REJECTED", "NOT_SIGNED")
        assert "MQTT_UNSIGNED_COMMANDS=reduce_risk" in answer["error"]["message"]
        here.send("mode/set", Keys({"carol": STRANGER}), "carol", value="ACTIVE")
        assert here.answer_to("carol", "mode")["error"]["code"] == "BAD_SIGNATURE"
        here.send("mode/set", Keys({"alice": ALICE}), "old", age=timedelta(days=8), value="ACTIVE")
        assert here.answer_to("old", "mode")["error"]["code"] == "STALE_SIGNATURE"
        history = here.here.bot.cli_json("history")["data"]["commands"]
        codes = [each["error"]["code"] for each in history if each["error"]]
        assert codes == ["STALE_SIGNATURE", "BAD_SIGNATURE", "NOT_SIGNED"]
        assert here.here.bot.cli("mode", "active").returncode == 0
        here.here.bot.environment["MQTT_COMMAND_SECRET"] = STRANGER
        wrong = here.here.bot.cli("mode", "standby")
        assert wrong.returncode != 0
        assert "No sender 'default' is known here" in wrong.stderr
        assert here.mode() == "ACTIVE"
        found = json.loads(here.here.bot.cli("doctor", "--json").stdout)["findings"]
        (ping,) = (each for each in found if each["what"] == "ping")
        assert (ping["verdict"], "MQTT_COMMAND_SECRET" in ping["said"] + ping["remedy"]) == ("problem", True)


@WHERE
def test_a_standby_that_was_signed_while_the_bot_was_away_runs(where: str, tmp_path: Path) -> None:
    with scene(where, tmp_path, "LAST") as here:
        here.cli("mode", "active")
        here.here.bot.kill()
        here.send("mode/set", Keys({"bob": BOB}), "away", value="STANDBY")
        here.here.bot.start()
        assert here.answer_to("away", "mode")["status"] == "EXECUTED"
        here.thief.wait("mode", "STANDBY")


@pytest.mark.parametrize("where", ["mosquitto, MQTT 5", "own broker, MQTT 3.1.1"])
def test_a_flood_of_forgeries_keeps_nobody_out_and_fills_no_disk(where: str, tmp_path: Path) -> None:
    with scene(where, tmp_path) as here:
        here.cli("mode", "active")
        here.steal()
        data = here.here.bot.folder / "data"
        size = _size_of(data)
        pad = "x" * 20_000
        for start in range(0, FLOOD, 500):
            flood = [{"signed": f"{start + n}{pad}", "key": "alice", "signature": "0" * 64} for n in range(500)]
            here.thief.publish_all("mode/set", flood)
        here.cli("mode", "standby", "--timeout", "30")
        until(lambda: here.counts()["forged"] >= FLOOD, "all of it refused", _SOON_S)
        counts = here.counts()
        assert here.mode() == "STANDBY"
        grown_kib = (_size_of(data) - size) // 1024
        rows, longest = _refused_in(data / "bot.sqlite3")
        record("G13", f"flood, {where}", **counts, rows=rows, grown_kib=grown_kib)
        assert counts["dropped"] >= FLOOD * 0.9
        assert rows == FLOOD - counts["dropped"]
        assert longest <= 512
        assert grown_kib < FLOOD * 20 // 4, "20 KB times many are not written down"


def test_the_stop_works_unsigned_where_that_is_wanted_and_nothing_else_does(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    with (
        standing(tmp_path, mosquitto, "5", MQTT_COMMAND_SECRET=SETTING, MQTT_UNSIGNED_COMMANDS="reduce_risk") as here,
        here.watcher() as watcher,
    ):
        assert here.bot.cli("mode", "active").returncode == 0
        watcher.wait("mode", "ACTIVE")
        watcher.publish("mode/set", "STANDBY", retain=True)
        watcher.wait("mode", "STANDBY")
        assert watcher.command("request/flatten", "response/flatten", {}, 30)["status"] == "EXECUTED"
        assert watcher.command("mode/set", "response/mode", {"value": "ACTIVE"})["error"]["code"] == "NOT_SIGNED"
        assert watcher.last("mode") == b"STANDBY"


def test_files_need_no_signature(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with standing(tmp_path, mosquitto, "5", MQTT_COMMAND_SECRET=SETTING) as here:
        assert here.bot.cli("mode", "active", "--via", "spool").returncode == 0


def _size_of(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def _refused_in(database: Path) -> tuple[int, int]:
    """Return how many refused commands the journal holds, and the bytes of the longest."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        query = "select count(*), max(length(payload)) from bot_commands where error_code = 'BAD_SIGNATURE'"
        rows, longest = connection.execute(query).fetchone()
    return rows, longest
