"""What an account can be on the exchange, asked for with the real SDK: agents, vaults, modes, limits."""

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.types import Cloid

from allora_mqtt.market.hyperliquid import Hyperliquid
from allora_mqtt.simulator.server import RunningSimulator, SimulatorOptions, serve
from allora_mqtt.simulator.universe import Universe

WALLET: LocalAccount = Account.from_key("0x" + "11" * 32)
OTHER: LocalAccount = Account.from_key("0x" + "22" * 32)
VAULT = "0x" + "ee" * 20
META = Universe.load().meta()
SPOT_META: dict[str, list[Any]] = {"universe": [], "tokens": []}
DEFAULT = {"status": "ok", "response": {"type": "default"}}


@dataclass
class Bench:
    simulator: RunningSimulator
    info: Info

    def exchange(self, wallet: LocalAccount = WALLET, **more: Any) -> Exchange:
        return Exchange(wallet, self.simulator.url, meta=META, spot_meta=SPOT_META, timeout=5, **more)

    async def sdk(self, call: Callable[..., Any], *args: object, **kwargs: object) -> Any:
        """The SDK blocks and the simulator serves in this loop."""
        return await asyncio.to_thread(call, *args, **kwargs)

    async def sim(self, method: str, path: str, body: object = None) -> Any:
        def ask() -> Any:
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(f"{self.simulator.url}{path}", data, method=method)  # noqa: S310 -- http
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 -- ours
                return json.load(answer)

        return await asyncio.to_thread(ask)

    async def state(self, address: str = WALLET.address) -> Any:
        return await self.sdk(self.info.user_state, address)

    def account(self, address: str = WALLET.address) -> Any:
        return self.simulator.world.exchange.state.accounts[address.lower()]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    simulator = await serve(SimulatorOptions(rate_limit=False))
    bench = Bench(simulator, Info(simulator.url, skip_ws=True, meta=META, spot_meta=SPOT_META, timeout=5))
    await bench.state()
    yield bench
    await simulator.close()


async def test_an_approved_agent_trades_for_its_master_until_it_is_replaced(bench: Bench) -> None:
    answer, key = await bench.sdk(bench.exchange().approve_agent)
    assert answer == DEFAULT
    agent: LocalAccount = Account.from_key(key)
    trader = bench.exchange(agent, account_address=WALLET.address)
    await bench.sdk(trader.market_open, "SOL", True, 1.0)
    assert (await bench.state())["assetPositions"][0]["position"]["szi"] == "1.0"
    role = await bench.sdk(bench.info.user_role, agent.address)
    assert role == {"role": "agent", "data": {"user": WALLET.address.lower()}}
    # Whoever asks for the agent's own address by mistake sees an empty account.
    assert (await bench.state(agent.address))["marginSummary"]["accountValue"] == "0.0"
    answer, _ = await bench.sdk(trader.approve_agent)
    assert answer["response"].startswith("Must deposit before performing actions.")
    await bench.sdk(bench.exchange().approve_agent)
    gone = await bench.sdk(trader.update_leverage, 5, "SOL")
    assert gone["response"] == f"User or API Wallet {agent.address.lower()} does not exist."


async def test_three_named_agents_and_no_more(bench: Bench) -> None:
    for name in ("one", "two", "three", "one"):
        assert (await bench.sdk(bench.exchange().approve_agent, name))[0] == DEFAULT
    refused, _ = await bench.sdk(bench.exchange().approve_agent, "four")
    assert refused == {"status": "err", "response": "Too many extra agents."}
    listed = await bench.sdk(bench.info.extra_agents, WALLET.address)
    assert sorted(line["name"] for line in listed) == ["one", "three", "two"]


async def test_a_vault_is_traded_for_by_its_leader_alone(bench: Bench) -> None:
    refused = await bench.sdk(bench.exchange(vault_address=VAULT).update_leverage, 5, "SOL")
    assert refused == {"status": "err", "response": f"Vault not registered: {VAULT}"}
    await bench.sim("POST", "/sim/vaults", {"vault": VAULT, "leader": WALLET.address})
    await bench.sdk(bench.exchange(vault_address=VAULT).market_open, "SOL", True, 1.0)
    assert (await bench.state(VAULT))["assetPositions"][0]["position"]["szi"] == "1.0"
    assert (await bench.state())["assetPositions"] == []
    assert await bench.sdk(bench.info.user_role, VAULT) == {"role": "vault"}
    await bench.state(OTHER.address)
    stranger = await bench.sdk(bench.exchange(OTHER, vault_address=VAULT).update_leverage, 5, "SOL")
    assert stranger["response"] == f"Vault not registered: {VAULT}"


async def test_money_goes_into_an_isolated_position(bench: Bench) -> None:
    exchange = bench.exchange()
    await bench.sdk(exchange.update_leverage, 10, "ETH", False)
    await bench.sdk(exchange.market_open, "ETH", True, 1.0)
    before = (await bench.state())["assetPositions"][0]["position"]
    assert await bench.sdk(exchange.update_isolated_margin, 100.0, "ETH") == DEFAULT
    after = (await bench.state())["assetPositions"][0]["position"]
    assert Decimal(after["liquidationPx"]) < Decimal(before["liquidationPx"]) - 90
    assert Decimal(after["marginUsed"]) > Decimal(before["marginUsed"]) + 90
    for usd, coin in ((1e6, "ETH"), (-190.0, "ETH"), (5.0, "BTC")):
        assert (await bench.sdk(exchange.update_isolated_margin, usd, coin))["status"] == "err"


async def test_the_dead_man_s_switch_is_for_large_accounts_and_cancels_everything(bench: Bench) -> None:
    exchange = bench.exchange()
    soon_ms = int(time.time() * 1000) + 600_000
    refused = await bench.sdk(exchange.schedule_cancel, soon_ms)
    assert refused["response"].startswith("Cannot set scheduled cancel time until enough volume traded.")
    bench.account().volume_usd = Decimal(1_000_000)
    early = await bench.sdk(exchange.schedule_cancel, int(time.time() * 1000) - 1_000)
    assert early["status"] == "err"
    cloid = Cloid.from_int(3)
    await bench.sdk(exchange.order, "BTC", True, 0.001, 50_000, {"limit": {"tif": "Gtc"}}, cloid=cloid)
    assert await bench.sdk(exchange.schedule_cancel, soon_ms) == DEFAULT
    bench.simulator.world.exchange.tick(soon_ms / 1000 + 1)
    found = await bench.sdk(bench.info.query_order_by_cloid, WALLET.address, cloid)
    assert found["order"]["status"] == "scheduledCancel"


async def test_orders_are_cancelled_and_replaced_by_cloid(bench: Bench) -> None:
    exchange = bench.exchange()
    first, second = Cloid.from_int(1), Cloid.from_int(2)
    await bench.sdk(exchange.order, "BTC", True, 0.001, 50_000, {"limit": {"tif": "Gtc"}}, cloid=first)
    limit = {"limit": {"tif": "Gtc"}}
    answer = await bench.sdk(exchange.modify_order, first, "BTC", True, 0.002, 51_000, limit, cloid=second)
    assert answer["response"]["data"]["statuses"][0]["resting"]["cloid"] == second.to_raw()
    (order,) = await bench.sdk(bench.info.open_orders, WALLET.address)
    assert (order["limitPx"], order["origSz"]) == ("51000.0", "0.002")
    answer = await bench.sdk(exchange.cancel_by_cloid, "BTC", second)
    assert answer["response"]["data"]["statuses"] == ["success"]
    assert await bench.sdk(bench.info.open_orders, WALLET.address) == []


async def test_the_bot_finds_the_money_of_a_unified_account(bench: Bench) -> None:
    await bench.sim("POST", "/sim/accounts", {"address": WALLET.address, "usd": 750, "mode": "unifiedAccount"})
    await bench.sdk(bench.exchange().market_open, "SOL", True, 1.0)
    gateway = Hyperliquid(
        base_url=bench.simulator.url,
        timeout_s=5,
        account_address=WALLET.address,
        wallet=WALLET,
        vault_address=None,
        clock=time.time,
    )
    try:
        state = await gateway.user_state()
    finally:
        await gateway.close()
    assert Decimal(748) < state.equity_usd < Decimal(750)
    assert Decimal(700) < state.withdrawable_usd < state.equity_usd


async def test_many_fills_come_in_pages_and_the_bot_reads_them_all(bench: Bench) -> None:
    line = {
        "coin": "ETH", "px": "2000.0", "sz": "1.0", "side": "B", "startPosition": "0.0", "dir": "Open Long",
        "closedPnl": "0.0", "hash": f"0x{'0' * 64}", "oid": 1, "crossed": True, "fee": "0.9", "feeToken": "USDC",
    }  # fmt: skip
    bench.account().fills.extend({**line, "time": 1_000 + number, "tid": number} for number in range(4_500))
    page = await bench.sdk(bench.info.user_fills_by_time, WALLET.address, 0)
    assert (len(page), page[0]["tid"], page[-1]["tid"]) == (2_000, 0, 1_999)
    newest = await bench.sdk(bench.info.user_fills, WALLET.address)
    assert (len(newest), newest[0]["tid"]) == (2_000, 4_499)
    gateway = Hyperliquid(
        base_url=bench.simulator.url,
        timeout_s=20,
        account_address=WALLET.address,
        wallet=None,
        vault_address=None,
        clock=time.time,
    )
    try:
        fills = await gateway.fills(0)
    finally:
        await gateway.close()
    assert [fill.tid for fill in fills] == list(range(4_500))


async def test_the_hundred_highest_nonces_of_each_signer_are_kept(bench: Bench) -> None:
    exchange = bench.exchange()
    await bench.sdk(exchange.update_leverage, 5, "SOL")
    used = bench.simulator.world.exchange.state.nonces[WALLET.address.lower()]
    now_ms = int(time.time() * 1000)
    used[:] = range(now_ms - 100, now_ms)
    await bench.sdk(bench.exchange().noop, now_ms - 50_000)
    assert used[0] == now_ms - 100
    refused = await bench.sdk(bench.exchange().noop, now_ms - 101)
    assert "Invalid nonce" in refused["response"]
    assert await bench.sdk(bench.exchange().noop, now_ms + 1) == DEFAULT
    assert (len(used), used[0], used[-1]) == (100, now_ms - 99, now_ms + 1)


async def test_a_fault_of_one_coin_leaves_the_others_alone(bench: Bench) -> None:
    await bench.sim("PUT", "/sim/faults", [{"path": "/exchange", "kind": "partial_fill", "coin": "SOL", "share": 0}])
    rules = await bench.sim("POST", "/sim/faults", [{"path": "/info", "kind": "null_mids", "coin": "BTC"}])
    assert [rule["kind"] for rule in rules] == ["partial_fill", "null_mids"]
    mids = await bench.sdk(bench.info.all_mids)
    assert [coin for coin, mid in mids.items() if mid is None] == ["BTC"]
    exchange = bench.exchange()
    sol = await bench.sdk(exchange.order, "SOL", True, 1.0, 200, {"limit": {"tif": "Ioc"}})
    assert "could not immediately match" in sol["response"]["data"]["statuses"][0]["error"]
    eth = await bench.sdk(exchange.market_open, "ETH", True, 0.1)
    assert eth["response"]["data"]["statuses"][0]["filled"]["totalSz"] == "0.1"
