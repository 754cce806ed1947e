"""Mainnet has two locks, and there is no way around them: what would be signed for it is asked for by two settings."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hyperliquid.utils.constants import MAINNET_API_URL, TESTNET_API_URL
from hyperliquid.utils.signing import recover_agent_or_user_from_l1_action
from pydantic import ValidationError

from allora_mqtt.configuration import Loaded, SettingsError, load
from allora_mqtt.dealing import build_hyperliquid
from allora_mqtt.market.catalog import Asset
from allora_mqtt.settings import MAINNET_URL, TESTNET_URL, Network, Settings
from allora_mqtt.store.database import Database
from allora_mqtt.surroundings import CannotStart, find_exchange, keep_books_apart, upstream_url

KEY = "0x" + "31" * 32
OWN = Account.from_key(KEY).address
ACCOUNT = "0x" + "aB" * 20
VAULT = "0x" + "Cd" * 20
MAINNET = {"BOT_NETWORK": "mainnet", "HL_SECRET_KEY": KEY, "ALLORA_API_KEY": "key-of-allora"}


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is configured but what a test says."""
    monkeypatch.chdir(tmp_path)
    for name in ("BOT_NETWORK", "HL_SECRET_KEY", "ALLORA_API_KEY", "HL_BASE_URL", "HL_MAINNET_CONFIRM", "MAINNET"):
        monkeypatch.delenv(name, raising=False)


def configured(tmp_path: Path, **settings: Any) -> Loaded:
    return load({"BOT_DATA_DIR": str(tmp_path), **settings})


async def signs_for_mainnet(settings: Settings) -> bool:
    """Put the bot's door to the exchange together, have it sign an order, and say for which network that counts."""
    exchange = await find_exchange(settings, None)
    door = build_hyperliquid(settings, exchange)
    door._assets = {"BTC": Asset("BTC", 0, 5, 40, is_delisted=False, only_isolated=False)}
    try:
        envelope = door.sign_cancels([("BTC", 1)], nonce=1_800_000_000_000)
    finally:
        await door.close()
    counts_for = {
        is_mainnet: str(
            recover_agent_or_user_from_l1_action(
                envelope.action, envelope.signature, envelope.vault_address, envelope.nonce, None, is_mainnet
            )
        )
        for is_mainnet in (True, False)
    }
    assert sorted(signer == exchange.wallet.address for signer in counts_for.values()) == [False, True]
    return counts_for[True] == str(exchange.wallet.address)


def test_the_addresses_are_those_of_the_sdk() -> None:
    assert (MAINNET_URL, TESTNET_URL) == (MAINNET_API_URL, TESTNET_API_URL)


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"HL_ACCOUNT_ADDRESS": ACCOUNT}, ACCOUNT),
        ({"HL_ACCOUNT_ADDRESS": ACCOUNT, "HL_VAULT": VAULT}, VAULT),
        ({"HL_ACCOUNT_ADDRESS": ACCOUNT, "HL_MAINNET_CONFIRM": VAULT}, ACCOUNT),
        ({"HL_ACCOUNT_ADDRESS": ACCOUNT, "HL_VAULT": VAULT, "HL_MAINNET_CONFIRM": ACCOUNT}, VAULT),
        ({}, "0x…"),
    ],
)
def test_mainnet_alone_is_refused_with_what_to_do(tmp_path: Path, settings: dict[str, str], address: str) -> None:
    with pytest.raises(SettingsError) as refused:
        configured(tmp_path, **MAINNET, **settings)
    (problem,) = refused.value.problems
    assert "trades with real money and is locked" in problem
    assert f"set HL_MAINNET_CONFIRM={address}" in problem


async def test_a_key_of_another_account_than_the_confirmed_one_is_refused(tmp_path: Path) -> None:
    loaded = configured(tmp_path, **MAINNET, HL_MAINNET_CONFIRM=ACCOUNT)
    with pytest.raises(CannotStart, match=f"set HL_MAINNET_CONFIRM={OWN}"):
        await find_exchange(loaded.settings, None)


@pytest.mark.parametrize(
    ("settings", "confirm"),
    [
        ({"HL_ACCOUNT_ADDRESS": ACCOUNT}, ACCOUNT),
        ({"HL_ACCOUNT_ADDRESS": ACCOUNT}, ACCOUNT.lower()),
        ({"HL_ACCOUNT_ADDRESS": ACCOUNT, "HL_BASE_URL": MAINNET_URL}, ACCOUNT),
        ({"HL_ACCOUNT_ADDRESS": ACCOUNT, "HL_VAULT": VAULT}, VAULT.lower()),
        ({}, OWN),
    ],
)
async def test_both_locks_open_it(tmp_path: Path, settings: dict[str, str], confirm: str) -> None:
    loaded = configured(tmp_path, **MAINNET, HL_MAINNET_CONFIRM=confirm, **settings)
    assert await signs_for_mainnet(loaded.settings)


def test_mainnet_does_not_start_trading_by_itself(tmp_path: Path) -> None:
    unlocked = {**MAINNET, "HL_ACCOUNT_ADDRESS": ACCOUNT, "HL_MAINNET_CONFIRM": ACCOUNT}
    with pytest.raises(SettingsError, match="BOT_DEFAULT_MODE=ACTIVE is not possible on mainnet"):
        configured(tmp_path, **unlocked, BOT_DEFAULT_MODE="ACTIVE")
    for mode in ("STANDBY", "LAST"):
        assert configured(tmp_path, **unlocked, BOT_DEFAULT_MODE=mode).settings.bot.network is Network.MAINNET


URLS = [
    None,
    MAINNET_URL,
    f"{MAINNET_URL}/",
    f"{MAINNET_URL}//",
    f"{MAINNET_URL}/info",
    f"{MAINNET_URL}:443",
    f"{MAINNET_URL}.",
    f"{MAINNET_URL}?",
    f"{MAINNET_URL}#",
    f" {MAINNET_URL}",
    f"{MAINNET_URL} ",
    "https://API.HYPERLIQUID.XYZ",
    "HTTPS://api.hyperliquid.xyz",
    "http://api.hyperliquid.xyz",
    "http://127.0.0.1@api.hyperliquid.xyz",
    "https://eu.api.hyperliquid.xyz",
    TESTNET_URL,
    "http://127.0.0.1:9",
]
CONFIRMS = [None, ACCOUNT, VAULT, OWN]


def combinations() -> Iterator[dict[str, dict[str, Any]]]:
    accounts: list[dict[str, str]] = [{}, {"account_address": ACCOUNT}, {"account_address": ACCOUNT, "vault": VAULT}]
    for network, url, confirm, account in itertools.product(Network, URLS, CONFIRMS, accounts):
        hl = {"secret_key": KEY, "base_url": url, "mainnet_confirm": confirm, **account}
        yield {"bot": {"network": network.value}, "hl": hl, "allora": {"api_key": "key-of-allora"}}


@pytest.mark.parametrize("url", [url for url in URLS if url not in {None, MAINNET_URL}])
def test_mainnet_takes_no_other_address(tmp_path: Path, url: str) -> None:
    unlocked = {**MAINNET, "HL_ACCOUNT_ADDRESS": ACCOUNT, "HL_MAINNET_CONFIRM": ACCOUNT}
    with pytest.raises(SettingsError, match=r"remove HL_BASE_URL|without a final slash|password in an address"):
        configured(tmp_path, **unlocked, HL_BASE_URL=url)


async def test_there_is_no_other_way_in(tmp_path: Path) -> None:
    opened = 0
    for chosen in combinations():
        chosen["bot"]["data_dir"] = tmp_path
        try:
            settings = Settings.model_validate(chosen)
            # Paper's own process has an address of its own; without it there is nothing to sign for.
            if settings.bot.network is Network.PAPER:
                continue
            exchange = await find_exchange(settings, None)
        except (ValidationError, CannotStart):
            continue
        if exchange.hyperliquid_url.rstrip("/") != MAINNET_URL:
            continue
        assert await signs_for_mainnet(settings)
        opened += 1
        hl = chosen["hl"]
        traded = hl.get("vault") or hl.get("account_address") or OWN
        assert settings.bot.network is Network.MAINNET, chosen
        assert hl["mainnet_confirm"].lower() == traded.lower(), chosen
        assert hl["base_url"] in {None, MAINNET_URL}, chosen
    assert opened == 3 * 2, "each account, with the address and without"


async def test_the_other_networks_sign_for_no_mainnet(tmp_path: Path) -> None:
    for network in ("testnet", "sim"):
        settings = configured(
            tmp_path, **{**MAINNET, "BOT_NETWORK": network}, HL_BASE_URL="http://127.0.0.1:9"
        ).settings
        assert not await signs_for_mainnet(settings)
    testnet = configured(tmp_path, **{**MAINNET, "BOT_NETWORK": "testnet"}).settings
    assert (await find_exchange(testnet, None)).hyperliquid_url == TESTNET_URL


@pytest.mark.parametrize("network", ["sim", "testnet"])
@pytest.mark.parametrize("url", [MAINNET_URL, "https://API.hyperliquid.xyz", "http://api.hyperliquid.xyz.:80"])
def test_mainnet_s_address_under_another_name_is_refused(tmp_path: Path, network: str, url: str) -> None:
    with pytest.raises(SettingsError, match="set BOT_NETWORK=mainnet for that"):
        configured(tmp_path, **{**MAINNET, "BOT_NETWORK": network}, HL_BASE_URL=url)


@pytest.mark.parametrize("value", ["true", "1", "mainnet", "True"])
def test_the_earlier_bot_s_setting_chooses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MAINNET", value)
    loaded = configured(tmp_path, HL_SECRET_KEY=KEY, ALLORA_API_KEY="key-of-allora", HL_MAINNET_CONFIRM=OWN)
    assert loaded.settings.bot.network is Network.SIM
    assert any("MAINNET" in warning and "BOT_NETWORK" in warning for warning in loaded.warnings)


async def test_paper_uses_neither_the_key_nor_the_account_of_mainnet(tmp_path: Path) -> None:
    real = {**MAINNET, "BOT_NETWORK": "paper", "HL_ACCOUNT_ADDRESS": ACCOUNT, "HL_VAULT": VAULT}
    settings = configured(tmp_path, **real).settings
    assert upstream_url(settings) == MAINNET_URL

    class Process:
        async def url(self) -> str:
            return "http://127.0.0.1:9"

    exchange = await find_exchange(settings, Process())  # type: ignore[arg-type] # stands for the process
    assert exchange.wallet.address not in {OWN, ACCOUNT}
    assert (exchange.account_address, exchange.vault_address) == (exchange.wallet.address, None)
    assert exchange.allora_url == "https://api.allora.network/v2"
    assert KEY[2:] not in repr(exchange)
    assert "key-of-allora" not in repr(exchange)


async def test_a_number_that_is_no_key_is_refused_without_being_shown(tmp_path: Path) -> None:
    settings = configured(tmp_path, **{**MAINNET, "BOT_NETWORK": "testnet", "HL_SECRET_KEY": "ff" * 32}).settings
    with pytest.raises(CannotStart) as refused:
        await find_exchange(settings, None)
    assert "ff" * 32 not in str(refused.value)


async def test_one_folder_keeps_the_books_of_one_account(tmp_path: Path) -> None:
    sim = configured(tmp_path).settings
    database = Database(sim.database_url)
    await keep_books_apart(sim, OWN, database)
    await keep_books_apart(sim, OWN.lower(), database)
    with pytest.raises(CannotStart, match="set BOT_DATA_DIR to another folder"):
        await keep_books_apart(sim, ACCOUNT, database)
    testnet = configured(tmp_path, **{**MAINNET, "BOT_NETWORK": "testnet"}).settings
    with pytest.raises(CannotStart, match=f"books of sim account {OWN.lower()}"):
        await keep_books_apart(testnet, OWN, database)
    (tmp_path / "books.json").write_text("[]")
    with pytest.raises(CannotStart, match=r"books\.json"):
        await keep_books_apart(sim, OWN, database)
    await database.close()
