"""G2, None runs twice: the same command by file and by message at once, and the bot killed right after a file came."""

import json
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Watcher
from tests.support.mosquitto import Mosquitto
from tests.support.net import free_port, until
from tests.support.program import Bot
from tests.support.spool import SpoolView

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

COMMANDS = 40
KILLS = 20


@pytest.fixture
def online_bot(mosquitto: Mosquitto, tmp_path: Path, program: Path) -> Iterator[Bot]:
    bot = Bot(program, tmp_path / "bot", {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)})
    bot.start()
    yield bot
    bot.stop()


@pytest.fixture
def lonely_bot(tmp_path: Path, program: Path) -> Iterator[Bot]:
    bot = Bot(program, tmp_path / "bot", {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(free_port())})
    bot.start()
    yield bot
    bot.stop()


def test_commands_sent_both_ways_at_once_run_once_each(online_bot: Bot) -> None:
    spool = SpoolView(online_bot.folder / "data")
    with Watcher(online_bot.broker_port) as watcher:
        watcher.wait("availability", "online")
        before = until(lambda: watcher.json("status"), "the status")["revision"]
        # Each one changes the settings, so that each execution raises the revision by one.
        commands = [{"value": {"cooldown_s": 1000 + n}, "id": f"both-{n}"} for n in range(COMMANDS)]
        start = threading.Barrier(2)

        def by_files() -> None:
            start.wait()
            for command in commands:
                spool.drop(f"{command['id']}.json", {"name": "config", **command})
                time.sleep(0.01)

        files = threading.Thread(target=by_files)
        files.start()
        start.wait()
        # From the last to the first: each way is ahead for half of them, and in the middle they meet.
        for command in reversed(commands):
            watcher.publish("config/set", command)
            time.sleep(0.01)
        files.join()
        until(lambda: len(watcher.all("response/config")) == 2 * COMMANDS, "an answer to each way of each command")
        spool.wait_until_empty()

        ends: dict[str, Counter[str]] = {}
        for answer in map(json.loads, watcher.all("response/config")):
            ends.setdefault(answer["id"], Counter())[answer["status"]] += 1
        assert ends == {command["id"]: {"EXECUTED": 1, "DUPLICATE": 1} for command in commands}
        channels = journal(
            online_bot, "SELECT channel, count(*) FROM bot_commands WHERE status = 'EXECUTED' GROUP BY 1"
        )
        # Neither way was the first with all of them, or this would have tried less than it says.
        assert {channel for channel, _ in channels} == {"mqtt", "spool"}
        until(lambda: watcher.json("status")["revision"] >= before + COMMANDS, "the revision after the last command")
        assert watcher.json("status")["revision"] == before + COMMANDS
        for command in commands:
            assert [ended.split("/")[0] for ended in spool.ended(f"{command['id']}.json")] == ["processed"]


def test_a_bot_that_is_killed_right_after_files_came_ends_each_of_them_once(lonely_bot: Bot) -> None:
    seed = random.randrange(10**6)  # noqa: S311 - printed, so that a failure can be repeated
    print(f"seed {seed}")  # noqa: T201 - repeats the run
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    spool = SpoolView(lonely_bot.folder / "data")
    until(spool.pending.is_dir, "the spool")
    dropped: list[str] = []
    for number in range(KILLS):
        # An empty folder proves that the bot is up and looks.
        spool.wait_until_empty(60)
        for command in round_of_commands(number):
            name = f"{number:02}-{len(dropped):03}.json"
            dropped.append(name)
            spool.drop(name, command)
        time.sleep(chance.uniform(0, 0.12))
        lonely_bot.kill()
        lonely_bot.start()
    # One without an id, dropped again with the same name and the same bytes: a new command each time.
    again = dropped[0]
    for count in (2, 3):
        spool.wait_until_empty(60)
        spool.drop(again, round_of_commands(0)[0])
        until(lambda: len(spool.ended(again)) == count, "the same file's next end")  # noqa: B023 - called before the next turn
    spool.wait_until_empty(60)
    until(
        lambda: journal(lonely_bot, "SELECT count(*) FROM bot_commands WHERE NOT answered") == [(0,)], "a quiet journal"
    )

    rows = Counter(topic for (topic,) in journal(lonely_bot, "SELECT topic FROM bot_commands"))
    assert rows == {f"spool/{name}": 3 if name == again else 1 for name in dropped}
    assert journal(lonely_bot, "SELECT DISTINCT status FROM bot_commands") == [("EXECUTED",)]
    for name in set(dropped) - {again}:
        assert [ended.split("/")[0] for ended in spool.ended(name)] == ["processed"]
        assert [answer["status"] for answer in spool.responses(name)] == ["EXECUTED"]
    # Nothing is left over: a file and its response for each entry of the journal.
    assert len(spool.names("processed")) == 2 * rows.total()


def round_of_commands(number: int) -> list[dict[str, Any]]:
    return [
        {"name": "ping"},
        {"name": "config", "value": {"cooldown_s": 1000 + number}, "id": f"config-{number}"},
        {"name": "mode", "value": "STANDBY"},
    ]


def journal(bot: Bot, query: str) -> list[tuple[Any, ...]]:
    """Read the bot's journal beside the bot."""
    database = sqlite3.connect(f"file:{bot.folder / 'data' / 'bot.sqlite3'}?mode=ro", uri=True)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()
