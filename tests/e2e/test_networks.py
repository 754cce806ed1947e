"""The bot as a process on testnet and mainnet: what it says of its key, and that mainnet stays locked."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account import Account

from tests.support.client import connected
from tests.support.doctored import Doctored
from tests.support.exchange import Exchange
from tests.support.net import until
from tests.support.program import Bot

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

KEY = "0x" + "71" * 32
AGENT = Account.from_key(KEY).address
MASTER = "0x" + "a7" * 20
_SOON_S = 120


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    with Exchange(tmp_path / "exchange") as running:
        running._ask("/sim/agents", "POST", {"agent": AGENT, "master": MASTER})
        yield running


@pytest.fixture
def doctored(exchange: Exchange) -> Iterator[Doctored]:
    with Doctored(exchange.port) as server:
        yield server


@pytest.fixture
def bot(tmp_path: Path, program: Path, exchange: Exchange, doctored: Doctored) -> Iterator[Bot]:
    settings = {
        "BOT_NETWORK": "testnet",
        "HL_SECRET_KEY": KEY,
        "HL_ACCOUNT_ADDRESS": MASTER,
        "HL_BASE_URL": doctored.url,
        "ALLORA_API_KEY": "an-api-key",
        "ALLORA_BASE_URL": f"http://127.0.0.1:{exchange.port}/v2",
    }
    bot = Bot(program, tmp_path / "bot", None, **settings)
    yield bot
    bot.stop()


def test_what_is_odd_about_the_key_is_in_status_and_the_account_s_mode_in_info(bot: Bot, doctored: Doctored) -> None:
    soon_ms = int((time.time() + 5.5 * 86_400) * 1000)
    usdc = {"coin": "USDC", "token": 0, "total": "512.25", "hold": "12.25", "entryNtl": "0.0"}
    doctored.answers |= {
        "extraAgents": [{"name": "bot", "address": AGENT.lower(), "validUntil": soon_ms}],
        "userAbstraction": "unifiedAccount",
        "spotClearinghouseState": {"balances": [usdc]},
    }
    bot.start()
    with until(lambda: connected(bot.broker_port), "the broker", _SOON_S) as watcher:
        watcher.wait("availability", "online", _SOON_S)
        until(lambda: (watcher.json("info") or {}).get("account_mode") == "unifiedAccount", "the mode", _SOON_S)
        until(lambda: (watcher.json("status") or {}).get("warnings"), "a warning", _SOON_S)
        (warning,) = watcher.json("status")["warnings"]
        assert warning["code"] == "KEY_EXPIRES"
        assert "for 5 more days" in warning["message"]
        until(lambda: (watcher.json("account") or {}).get("equity_usd") == 512.25, "the equity", _SOON_S)
        assert watcher.json("info")["account_address"] == MASTER
    assert bot.stop() == 0


def test_mainnet_is_locked_and_says_how_it_is_unlocked(bot: Bot) -> None:
    bot.environment |= {"BOT_NETWORK": "mainnet", "HL_BASE_URL": ""}
    refused = bot.cli("run", timeout_s=120)
    assert refused.returncode == 2
    assert f"set HL_MAINNET_CONFIRM={MASTER}" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr


def test_the_books_of_another_network_are_left_alone(bot: Bot) -> None:
    bot.start()
    with until(lambda: connected(bot.broker_port), "the broker", _SOON_S) as watcher:
        watcher.wait("availability", "online", _SOON_S)
    assert bot.stop() == 0
    bot.environment |= {"BOT_NETWORK": "sim", "HL_BASE_URL": ""}
    refused = bot.cli("run", timeout_s=120)
    assert refused.returncode == 2
    assert "set BOT_DATA_DIR to another folder" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr


def test_the_simulator_starts_alone(bot: Bot) -> None:
    found = bot.cli("sim", "--bind", "127.0.0.1:0", "--prices", "replay:/nowhere.csv", timeout_s=120)
    assert "cannot read the price file /nowhere.csv" in found.stderr, "its options are understood"
