"""Commands by the spool, with a stand-in for the bot that ends what it finds."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from allora_mqtt.protocol import spool
from allora_mqtt.protocol.messages import Status
from allora_mqtt.transport.spool import SpoolFolder
from allora_mqtt_cli.invocation import Invocation
from allora_mqtt_cli.main import main

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
NAME = "1795168800000-id-1.json"
Run = Callable[..., SimpleNamespace]


class StandIn:
    """Ends each file with a status, as the bot does."""

    def __init__(self, folder: Path) -> None:
        self.folder = SpoolFolder(folder)
        self.folder.make()
        self.status = Status.EXECUTED
        self.error: dict[str, str] | None = None
        self.found: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            for name in self.folder.names():
                self._end(name)

    def _end(self, name: str) -> None:
        file = self.folder.read(name)
        assert file is not None
        parsed = spool.read(file.content)
        assert parsed.error is None
        self.found.append(json.loads(file.content))
        times = {"received_at": NOW.isoformat(), "executed_at": NOW.isoformat(), "duration_ms": 3.1, "revision": 8}
        answer = {"id": parsed.envelope.id, "name": parsed.name, "status": self.status, "error": self.error, **times}
        answer["data"] = {"commands": []} if parsed.name == "history" else {"mode": "ACTIVE"}
        self.folder.end(len(self.found), name, file, spool.ended_in(self.status), json.dumps(answer).encode())


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOT_DATA_DIR", str(tmp_path / "data"))
    # Nobody listens there: whoever looks for the broker fails.
    monkeypatch.setenv("MQTT_HOST", "127.0.0.1")
    monkeypatch.setenv("MQTT_PORT", "1")
    return tmp_path / "data" / "spool"


@pytest.fixture
def bot(data: Path) -> Iterator[StandIn]:
    stand_in = StandIn(data)
    yield stand_in
    stand_in.stop()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_cli(*arguments: str) -> SimpleNamespace:
        code = main(arguments, Invocation(new_id=lambda: "id-1", now=lambda: NOW))
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run_cli


@pytest.mark.parametrize("words", [("--via", "spool", "mode", "active"), ("mode", "active", "--via", "spool")])
def test_a_command_is_sent_and_answered_without_a_broker(bot: StandIn, run: Run, words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.code, done.out, done.err) == (0, "Executed in 3.1 ms: mode ACTIVE.\n", "")
    [command] = bot.found
    assert (command["name"], command["value"], command["id"]) == ("mode", "ACTIVE", "id-1")
    assert command["issued_at"] == "2026-11-20T10:00:00.000Z"
    assert command["source"].startswith("cli:")


@pytest.mark.parametrize(
    ("status", "code"), [("EXECUTED", 0), ("REJECTED", 3), ("EXPIRED", 3), ("SUPERSEDED", 3), ("FAILED", 4)]
)
def test_the_exit_code_tells_how_it_ended(bot: StandIn, run: Run, status: str, code: int) -> None:
    bot.status = Status(status)
    bot.error = None if status == "EXECUTED" else {"code": "NOT_ALLOWED", "message": "Not now."}
    done = run("flatten", "--yes", "--via", "spool", "--json")
    assert done.code == code
    assert json.loads(done.out)["status"] == status


def test_questions_to_the_bot_go_this_way_too(bot: StandIn, run: Run) -> None:
    assert run("ping", "--via", "spool").out.startswith("Round trip ")
    assert run("history", "--via", "spool").out == "Nothing yet.\n"
    assert [command["name"] for command in bot.found] == ["ping", "history"]


@pytest.mark.parametrize("words", [("status",), ("mode",), ("positions",), ("cryptos",)])
def test_what_the_broker_keeps_is_not_in_the_spool(bot: StandIn, run: Run, words: tuple[str, ...]) -> None:
    done = run("--via", "spool", *words)
    assert done.code == 2
    assert "comes from the broker" in done.err
    assert bot.found == []


def test_no_wait_leaves_the_file_and_says_where(data: Path, run: Run) -> None:
    SpoolFolder(data).make()
    done = run("mode", "standby", "--via", "spool", "--no-wait", "--json")
    path = data / "pending" / NAME
    assert (done.code, json.loads(done.out)) == (0, {"id": "id-1", "file": str(path), "sent": True})
    assert spool.read(path.read_bytes()).error is None
    assert [found.name for found in path.parent.iterdir()] == [NAME]


def test_a_bot_that_is_not_there_is_said_and_the_command_waits(data: Path, run: Run) -> None:
    SpoolFolder(data).make()
    done = run("mode", "standby", "--via", "spool", "--timeout", "0.1", "--json")
    assert done.code == 5
    said = json.loads(done.out)
    assert said["error"]["code"] == "NO_ANSWER"
    assert Path(said["file"]).exists()


def test_no_spool_is_said_with_its_setting(data: Path, run: Run) -> None:
    done = run("mode", "standby", "--via", "spool")
    assert done.code == 2
    assert str(data) in done.err
    assert "BOT_DATA_DIR" in done.err


def test_a_spool_that_cannot_be_written_to_is_said(data: Path, run: Run) -> None:
    SpoolFolder(data).make()
    (data / "pending" / f".{NAME}.tmp").mkdir()
    done = run("mode", "standby", "--via", "spool")
    assert done.code == 4
    assert "could not be written" in done.err
    assert "(SPOOL_NOT_WRITABLE)" in done.err


def test_a_file_that_somebody_took_away_is_not_waited_for(
    data: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    SpoolFolder(data).make()
    monkeypatch.setattr("allora_mqtt.files.write_whole", lambda _path, _content: None)
    done = run("mode", "standby", "--via", "spool")
    assert done.code == 5
    assert "taken away" in done.err


def test_another_commands_response_is_not_taken_for_ours(bot: StandIn, data: Path, run: Run) -> None:
    (data / "processed" / f"7-x-{NAME}.response.json").write_text("{}")
    (data / "processed" / f"7-{NAME}").write_text("{}")
    assert run("mode", "active", "--via", "spool").code == 0
    assert len(bot.found) == 1


def test_a_broker_that_is_down_makes_the_spool_known(data: Path, run: Run) -> None:
    SpoolFolder(data).make()
    done = run("mode", "standby")
    assert done.code == 5
    assert "--via spool" in done.err
