"""What docs/quickstart.md tells a newcomer to type works, and answers what the page shows."""

import re
import shlex
from pathlib import Path

import pytest

from allora_mqtt import __version__
from tests.conftest import ROOT
from tests.support.net import until
from tests.support.program import Bot

pytestmark = pytest.mark.e2e

PAGE = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
CONSOLES: list[str] = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PROGRAM = ".venv/bin/allora-mqtt"
UNTIL_CTRL_C = {"panel", "events", "run"}


def typed() -> list[tuple[list[str], list[str]]]:
    """Return the page's commands for the running bot, in order, each with the lines that it is shown to answer."""
    found: list[tuple[list[str], list[str]]] = []
    for console in CONSOLES:
        for line in console.splitlines():
            if line.startswith("$ "):
                words = shlex.split(line.removeprefix("$ "), comments=True)
                found.append((words, []))
            else:
                found[-1][1].append(line)
    return [
        (words[1:], shown) for words, shown in found if words[0] == PROGRAM and not UNTIL_CTRL_C.intersection(words[1:])
    ]


def without_times(text: str) -> str:
    return re.sub(r"[0-9.]+ ms", "… ms", text)


def test_every_line_works_and_answers_as_shown(program: Path, tmp_path: Path) -> None:
    bot = Bot(program, tmp_path)
    bot.start()
    try:
        until(lambda: bot.cli("status").returncode == 0, "the bot")
        [shown_first] = re.findall(r"^```\n(AlloraMind .*?)^```", PAGE, re.MULTILINE | re.DOTALL)
        greeting = bot.log.read_text().replace(str(bot.broker_port), "1883")
        assert shown_first.replace("0.1.0", __version__) in greeting
        lines = typed()
        assert [words[0] for words, _ in lines] == ["cryptos", "mode", "positions", "trades", "mode", "flatten"]
        for words, shown in lines:
            done = bot.cli(*words)
            assert done.returncode == 0, (words, done.stderr)
            if shown:
                assert without_times(done.stdout).split() == without_times("\n".join(shown)).split()
    finally:
        assert bot.stop() == 0


def test_the_settings_it_shows_are_settings(program: Path, tmp_path: Path) -> None:
    [shown] = re.findall(r"^```ini\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    bot = Bot(program, tmp_path)
    (bot.folder / ".env").write_text(shown)
    done = bot.cli("config", "check")
    assert done.returncode == 0, done.stderr
    rows = bot.cli_json("config", "show", "--local")
    assert rows["TRADE_AMOUNT_USD"] == {"value": "25", "origin": ".env"}
