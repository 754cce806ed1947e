"""What happens is kept over MQTT alone, and tried again from the files."""

import csv
import json
import os
import shlex
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.support.client import Watcher, connected
from tests.support.net import until
from tests.support.program import CHECKOUT, Bot

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def bot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bot]:
    """A bot that trades at sixty times the speed of the market, with a new prediction every second."""
    lively = {"SIM_EPOCH_S": "1", "SIM_SPEED": "60", "TRADE_PRICE_GAP_PCT": "0.01", "TRADE_COOLDOWN_S": "0"}
    running = Bot(CHECKOUT, tmp_path_factory.mktemp("re corded#1"), None, BOT_DEFAULT_MODE="LAST", **lively)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def watcher(bot: Bot) -> Iterator[Watcher]:
    with until(lambda: connected(bot.broker_port), "the broker", 120) as watching:
        watching.wait("availability", "online", 120)
        watching.publish("cryptos/set", "BTC,ETH", retain=True)
        watching.wait("cryptos", '{"BTC":14,"ETH":9}', 60)
        watching.publish("mode/set", "ACTIVE", retain=True)
        watching.wait("mode", "ACTIVE", 60)
        yield watching


class Recording:
    """`allora-mqtt record` beside a bot."""

    def __init__(self, bot: Bot, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [bot.program, "record", "--out", folder, "--json"],
            cwd=bot.folder,
            env=bot.environment,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=_hear_ctrl_c,  # noqa: PLW1509 - nothing but a signal is set
        )

    def rows(self, kind: str) -> list[dict[str, str]]:
        """Return the lines that are whole."""
        found = []
        for path in sorted(self.folder.glob(f"{kind}-*.csv")):
            text = path.read_text()
            found += list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
        return found

    def has(self, prices: int, predictions: int) -> bool:
        assert self.process.poll() is None, "the recording has ended"
        kept, predicted = self.rows("prices"), self.rows("predictions")
        is_enough = len(kept) >= prices and len(predicted) >= predictions
        return is_enough and {row["symbol"] for row in kept} == {row["symbol"] for row in predicted} == {"BTC", "ETH"}

    def stop(self, number: int) -> dict[str, Any]:
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        summary: dict[str, Any] = json.loads(said)
        return summary


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("watcher")
def test_what_is_recorded_can_be_tried_again(bot: Bot, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    recording = Recording(bot, folder)
    until(lambda: recording.has(10, 6), "prices and predictions in the files", 120)
    # The broker is inside the bot; the recording waits for both to come back.
    bot.stop()
    before = len(recording.rows("predictions"))
    bot.start()
    until(lambda: recording.has(10, before + 2), "predictions after the broker was away", 180)
    summary = recording.stop(signal.SIGINT)
    assert summary["prices"] == len(recording.rows("prices"))
    assert summary["predictions"] == len(recording.rows("predictions"))
    assert summary["left_out"] == 0

    # A crash in the middle of a line; the next recording goes on behind it and repeats nothing.
    with max(folder.glob("prices-*.csv")).open("a") as file:
        file.write("2026-11-20T10:0")
    again = Recording(bot, folder)
    until(lambda: again.has(summary["prices"] + 4, summary["predictions"] + 2), "more of both", 120)
    again.process.kill()
    again.process.wait(10)
    assert again.process.stdout is not None
    again.process.stdout.close()
    prices, predictions = again.rows("prices"), again.rows("predictions")
    assert len({(row["at"], row["symbol"]) for row in prices}) == len(prices)
    assert len({(row["at"], row["topic"]) for row in predictions}) == len(predictions)
    assert {row["symbol"] for row in prices} == {"BTC", "ETH"}
    assert {(row["topic"], row["symbol"], row["horizon"]) for row in predictions} == {
        ("14", "BTC", "8h"),
        ("9", "ETH", "8h"),
    }

    # They are those that the bot itself has in its books; the last before its end it may have told and not stored.
    newest = predictions[summary["predictions"] :]
    kept = {(row["topic"], datetime.fromisoformat(row["at"])) for row in newest}
    until(lambda: kept <= _signals(bot), "all of them in the books", 60)

    tried = bot.cli_json("backtest", "--data", str(folder), "--delay-s", "0", "--out", str(tmp_path / "out"))
    assert tried["figures"]["trades"] >= 1
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["predictions"]["kind"] == "recorded"
    # What became known after the last price steers nothing. All times are written alike, so text can be compared.
    last = max(row["at"] for row in prices)
    assert result["predictions"]["count"] == sum(row["known_at"] <= last for row in predictions)
    assert set(result["price_bars"]) == {"BTC", "ETH"}
    assert result["settings"]["price_gap_pct"] == 0.01
    assert b"plotly" in (tmp_path / "out" / "report.html").read_bytes()


@pytest.mark.timeout(600)
def test_the_bots_own_books_as_a_report(bot: Bot, watcher: Watcher, tmp_path: Path) -> None:
    until(lambda: watcher.all("event/position_closed"), "a closed position", 120)
    until(lambda: _booked(bot), "equity and a closed position in the books", 120)
    page = tmp_path / "own.html"
    written = bot.cli_json("report", "--out", str(page))
    assert written["file"] == str(page)
    text = page.read_text()
    assert "Trades of the bot" in text
    assert "PRICES_OF_SIGNALS" in text
    assert "Trades on BTC" in text
    missing = bot.cli("report", "--database", f"sqlite:///{tmp_path}/none.sqlite3", "--out", str(tmp_path / "x.html"))
    assert (missing.returncode, "NO_FILE" in missing.stderr) == (2, True)


def _signals(bot: Bot) -> set[tuple[str, datetime]]:
    with sqlite3.connect(bot.folder / "data" / "bot.sqlite3") as books:
        rows = books.execute("SELECT topic_id, prediction_at FROM signals").fetchall()
    return {(str(topic), datetime.fromisoformat(at)) for topic, at in rows}


def _booked(bot: Bot) -> bool:
    with sqlite3.connect(bot.folder / "data" / "bot.sqlite3") as books:
        closed = books.execute("SELECT count(*) FROM positions WHERE closed_at IS NOT NULL AND size != '0'").fetchone()
        return bool(closed[0] and books.execute("SELECT count(*) FROM equity").fetchone()[0])


@pytest.mark.timeout(600)
def test_the_example_runs_as_its_readme_says(tmp_path: Path) -> None:
    readme = (ROOT / "examples" / "backtest" / "README.md").read_text()
    commands = [line.removeprefix("$ ") for line in readme.splitlines() if line.startswith("$ ")]
    assert [command.split()[1] for command in commands] == ["backtest", "sweep", "report"]
    environment = {"PATH": f"{CHECKOUT.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for command in commands:
        done = subprocess.run(
            shlex.split(command), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    assert (tmp_path / "result" / "result.json").is_file()
    assert (tmp_path / "result" / "report.html").is_file()
    assert (tmp_path / "sweep" / "report.html").is_file()
    assert (tmp_path / "again.html").is_file()


def test_ctrl_c_ends_a_sweep_and_its_workers(tmp_path: Path) -> None:
    prices = ROOT / "examples" / "backtest" / "btc_2021-09.csv"
    many = ",".join(f"{number / 10}" for number in range(1, 40))  # minutes of work
    case = [f"--prices=BTC={prices}", "--skill=0.2", f"--gap={many}", "--tp=1,2,3", "--sl=1"]
    words = [str(CHECKOUT), "sweep", *case]
    sweep = subprocess.Popen(
        words,
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        stderr=subprocess.DEVNULL,
        preexec_fn=_hear_ctrl_c,  # noqa: PLW1509 - nothing but a signal is set
    )
    # multiprocessing starts one process more than there are workers, which looks after what they share.
    workers = until(lambda: found if len(found := _children(sweep.pid)) > 1 else None, "workers", 120)
    sweep.send_signal(signal.SIGINT)
    assert sweep.wait(60) != 0
    until(lambda: not any(Path(f"/proc/{worker}/cmdline").is_file() for worker in workers), "the workers' ends", 60)


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _hear_ctrl_c() -> None:
    """Undo what a shell does to the programs it starts in the background: they would not hear SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
