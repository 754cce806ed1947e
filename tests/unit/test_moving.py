"""docs/moving.md: every variable of the earlier bot is in it, and every command line that it names exists."""

import re
import shlex

import pytest
from typer.main import get_command

from allora_mqtt.configuration import EARLIER, is_setting
from allora_mqtt_cli.main import app
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "moving.md").read_text()
LINES = sorted(set(re.findall(r"`allora-mqtt ([^`]+)`", TEXT)))
EVERY_ENDPOINT = [
    "available", "active", "status", "compatibility", "search", "popular", "health", "activate", "deactivate",
    "activate-popular", "clear-all", "batch-update", "logs", "system", "mode-status", "start", "stop",
    "restart", "start-monitoring", "set-standby", "update-crypto-config", "initialize-standby", "history",
    "recent", "positions", "trade/{id}", "statistics", "summary", "trading-summary", "performance", "daily-pnl",
    "coin-performance", "dashboard-metrics",
]  # fmt: skip


@pytest.mark.parametrize("name", sorted(EARLIER))
def test_every_variable_is_explained(name: str) -> None:
    (row,) = [line for line in TEXT.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]]
    moved = EARLIER[name].to
    assert moved is None or (f"`{moved}`" in row and is_setting(moved))


@pytest.mark.parametrize("endpoint", EVERY_ENDPOINT)
def test_every_endpoint_has_its_place(endpoint: str) -> None:
    rows = [line.split("|")[1] for line in TEXT.splitlines() if "/api/" in line]
    assert any(re.search(rf"(?<![\w-]){re.escape(endpoint)}(?![\w-])", row) for row in rows)


@pytest.mark.parametrize("line", LINES)
def test_every_command_line_is_one(line: str) -> None:
    words = [word for word in shlex.split(line) if word != "~/alloramind"]
    command = get_command(app)
    while hasattr(command, "commands") and words:
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= known
