from collections.abc import AsyncIterator

import aiohttp
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from tenacity.wait import wait_none

from allora_mqtt.market.hyperliquid import Hyperliquid
from tests.unit.market.exchange import FakeExchange

ADDRESS = "0x" + "ab" * 20


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once; that they follow is what the tests look at."""
    monkeypatch.setattr("allora_mqtt.market.answers._BACKOFF", wait_none())
    monkeypatch.setattr("allora_mqtt.market.allora._BACKOFF", wait_none())


@pytest.fixture
def wallet() -> LocalAccount:
    account: LocalAccount = Account.from_key("0x" + "17" * 32)
    return account


@pytest.fixture
async def exchange() -> AsyncIterator[FakeExchange]:
    async with FakeExchange().served() as fake:
        yield fake


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def gateway(exchange: FakeExchange, wallet: LocalAccount) -> AsyncIterator[Hyperliquid]:
    gateway = Hyperliquid(
        base_url=exchange.url + "/",
        timeout_s=2,
        account_address=ADDRESS,
        wallet=wallet,
        vault_address=None,
        clock=lambda: 1000.0,
    )
    await gateway.connect()
    yield gateway
    await gateway.close()
