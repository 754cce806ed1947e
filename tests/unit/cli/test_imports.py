"""Starting the command line stays quick: nothing of the bot is imported, and little at all for help."""

import subprocess
import sys

import pytest

PROBE = """
import sys
from allora_mqtt_cli.main import main
{run}
print(" ".join(sorted(sys.modules)), file=sys.stderr)
"""
BOT = {"watchfiles", "hyperliquid", "eth_account", "sqlalchemy", "amqtt", "aiohttp", "alembic", "structlog"}
SLOW = {"paho", "pydantic_settings", "allora_mqtt.protocol.messages", "allora_mqtt.configuration"}


def modules_after(run: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", PROBE.format(run=run)], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "run",
    [
        "main(['--help'])",
        "main(['cryptos', '--help'])",
        "main(['version'])",
        "main(['config', 'show', '--local'])",
        "import allora_mqtt_cli.reading, allora_mqtt_cli.watching, allora_mqtt_cli.doctor, allora_mqtt_cli.health",
    ],
)
def test_nothing_of_the_bot_is_imported(run: str) -> None:
    assert not modules_after(run) & BOT


@pytest.mark.parametrize("command", ["record", "backtest", "sweep", "report"])
def test_help_of_research_imports_nothing_of_it(command: str) -> None:
    modules = modules_after(f"main(['{command}', '--help'])")
    assert not modules & (BOT | SLOW | {"plotly", "allora_mqtt.research", "rich.progress"})


def test_a_backtest_imports_neither_the_exchange_nor_a_database() -> None:
    assert not modules_after("import allora_mqtt_cli.research, allora_mqtt_cli.recording") & (BOT | {"plotly"})


def test_help_imports_neither_mqtt_nor_models() -> None:
    assert not modules_after("main(['--help'])") & (BOT | SLOW)


def test_help_of_the_panel_imports_nothing_of_it() -> None:
    assert not modules_after("main(['panel', '--help'])") & (BOT | SLOW | {"textual", "textual_serve"})
