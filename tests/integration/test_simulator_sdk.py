"""The real SDK against the served simulator over HTTP."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import aiohttp
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.types import Cloid

from allora_mqtt.simulator.server import RunningSimulator, SimulatorOptions, serve
from allora_mqtt.simulator.universe import Universe

P = ParamSpec("P")
R = TypeVar("R")
Answer = dict[str, Any]

META = Universe.load().meta()
SPOT_META: dict[str, list[Any]] = {"universe": [], "tokens": []}
WALLET = Account.from_key("0x" + "11" * 32)
STRANGER = Account.from_key("0x" + "22" * 32)


@dataclass
class Bench:
    simulator: RunningSimulator
    info: Any
    exchange: Any

    @property
    def url(self) -> str:
        return self.simulator.url

    async def sdk(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(call, *args, **kwargs)

    async def state(self) -> Answer:
        answer: Answer = await self.sdk(self.info.user_state, WALLET.address)
        return answer

    def keep_envelopes(self) -> list[Answer]:
        """Every envelope that is sent from now on."""
        envelopes: list[Answer] = []
        send = self.exchange.post

        def keep_and_send(path: str, body: Answer) -> Answer:
            envelopes.append(body)
            answer: Answer = send(path, body)
            return answer

        self.exchange.post = keep_and_send
        return envelopes

    async def post(self, path: str, body: dict[str, Any]) -> None:
        async with aiohttp.ClientSession() as session, session.post(f"{self.url}{path}", json=body) as response:
            assert response.status == 200, await response.text()

    async def faults(self, *rules: dict[str, Any]) -> None:
        async with aiohttp.ClientSession() as session, session.put(f"{self.url}/sim/faults", json=rules) as response:
            assert response.status == 200, await response.text()

    async def log(self) -> list[Answer]:
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/sim/log") as response:
            entries: list[Answer] = await response.json()
            return entries


def exchange_for(url: str, wallet: LocalAccount = WALLET, account_address: str | None = None) -> Exchange:
    return Exchange(wallet, url, meta=META, spot_meta=SPOT_META, timeout=5, account_address=account_address)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    simulator = await serve(SimulatorOptions(state_path=tmp_path / "state.json"))
    info = Info(simulator.url, skip_ws=True, meta=META, spot_meta=SPOT_META, timeout=5)
    bench = Bench(simulator, info, exchange_for(simulator.url))
    await bench.state()
    yield bench
    await simulator.close()


async def entry_with_exits(bench: Bench, size: float = 0.1) -> Answer:
    mid = float((await bench.sdk(bench.info.all_mids))["ETH"])
    trigger: dict[str, Any] = {"isMarket": True}
    orders = [
        order(is_buy=True, sz=size, limit_px=round(mid * 1.05), order_type={"limit": {"tif": "Ioc"}}),
        order(
            is_buy=False,
            sz=size,
            limit_px=round(mid * 1.03),
            order_type={"trigger": {**trigger, "triggerPx": round(mid * 1.03), "tpsl": "tp"}},
            reduce_only=True,
        ),
        order(
            is_buy=False,
            sz=size,
            limit_px=round(mid * 0.98),
            order_type={"trigger": {**trigger, "triggerPx": round(mid * 0.98), "tpsl": "sl"}},
            reduce_only=True,
        ),
    ]
    answer: Answer = await bench.sdk(bench.exchange.bulk_orders, orders, grouping="normalTpsl")
    return answer


def order(**fields: object) -> dict[str, Any]:
    return {"coin": "ETH", "reduce_only": False, **fields}


async def test_an_entry_with_exits_becomes_a_position_with_two_resting_triggers(bench: Bench) -> None:
    answer = await entry_with_exits(bench)
    statuses = answer["response"]["data"]["statuses"]
    assert statuses[0]["filled"]["totalSz"] == "0.1"
    assert statuses[1:] == ["waitingForTrigger", "waitingForTrigger"]
    position = (await bench.state())["assetPositions"][0]["position"]
    assert (position["coin"], position["szi"]) == ("ETH", "0.1")
    assert await bench.sdk(bench.info.open_orders, WALLET.address) == []
    exits = await bench.sdk(bench.info.frontend_open_orders, WALLET.address)
    assert [(one["orderType"], one["isTrigger"], one["sz"]) for one in exits] == [
        ("Take Profit Market", True, "0.1"),
        ("Stop Market", True, "0.1"),
    ]
    fills = await bench.sdk(bench.info.user_fills, WALLET.address)
    assert [(one["dir"], one["sz"], one["crossed"]) for one in fills] == [("Open Long", "0.1", True)]


async def test_a_fallen_price_fires_the_stop_and_cancels_the_take_profit(bench: Bench) -> None:
    await entry_with_exits(bench)
    await bench.post("/sim/price", {"coin": "ETH", "factor": 0.95})
    assert (await bench.state())["assetPositions"] == []
    fills = await bench.sdk(bench.info.user_fills, WALLET.address)
    assert fills[0]["dir"] == "Close Long"
    assert float(fills[0]["closedPnl"]) < 0
    history = await bench.sdk(bench.info.historical_orders, WALLET.address)
    assert {one["order"]["orderType"]: one["status"] for one in history} == {
        "Limit": "filled",
        "Stop Market": "filled",
        "Take Profit Market": "siblingFilledCanceled",
    }


async def test_a_resting_order_is_seen_and_cancelled(bench: Bench) -> None:
    cloid = Cloid.from_int(7)
    answer = await bench.sdk(bench.exchange.order, "BTC", True, 0.001, 50_000, {"limit": {"tif": "Gtc"}}, cloid=cloid)
    oid = answer["response"]["data"]["statuses"][0]["resting"]["oid"]
    found = await bench.sdk(bench.info.query_order_by_cloid, WALLET.address, cloid)
    assert (found["order"]["order"]["oid"], found["order"]["status"]) == (oid, "open")
    cancelled = await bench.sdk(bench.exchange.cancel, "BTC", oid)
    assert cancelled["response"]["data"]["statuses"] == ["success"]
    again = await bench.sdk(bench.exchange.cancel, "BTC", oid)
    assert again["response"]["data"]["statuses"] == [
        {"error": "Order was never placed, already canceled, or filled. asset=0"}
    ]


async def test_the_leverage_that_is_set_shows_in_the_position(bench: Bench) -> None:
    assert await bench.sdk(bench.exchange.update_leverage, 3, "ETH") == {
        "status": "ok",
        "response": {"type": "default"},
    }
    await entry_with_exits(bench)
    assert (await bench.state())["assetPositions"][0]["position"]["leverage"] == {"type": "cross", "value": 3}
    too_high = await bench.sdk(bench.exchange.update_leverage, 26, "ETH")
    assert too_high["status"] == "err"


async def test_the_same_envelope_again_is_a_duplicate_nonce_and_fills_once(bench: Bench) -> None:
    envelopes = bench.keep_envelopes()
    await entry_with_exits(bench)
    again = await bench.sdk(bench.exchange.post, "/exchange", envelopes[0])
    assert again == {"status": "err", "response": f"Invalid nonce: duplicate nonce {envelopes[0]['nonce']}"}
    assert len(await bench.sdk(bench.info.user_fills, WALLET.address)) == 1
    tampered = {**envelopes[0], "nonce": envelopes[0]["nonce"] + 1}
    answer = await bench.sdk(bench.exchange.post, "/exchange", tampered)
    assert answer["response"].startswith("User or API Wallet 0x")
    assert answer["response"].endswith(" does not exist.")


async def test_an_unknown_signer_does_not_exist_until_it_is_an_agent(bench: Bench) -> None:
    exchange = exchange_for(bench.url, STRANGER, account_address=WALLET.address)
    answer = await bench.sdk(exchange.update_leverage, 5, "BTC")
    assert answer == {
        "status": "err",
        "response": f"User or API Wallet {STRANGER.address.lower()} does not exist.",
    }
    await bench.post("/sim/agents", {"agent": STRANGER.address, "master": WALLET.address})
    assert (await bench.sdk(exchange.update_leverage, 5, "BTC"))["status"] == "ok"
    assert (await bench.log())[-1]["signer"] == STRANGER.address.lower()


async def test_an_expired_envelope_is_refused(bench: Bench) -> None:
    bench.exchange.set_expires_after(int(time.time() * 1000) - 1_000)
    answer = await bench.sdk(bench.exchange.update_leverage, 5, "BTC")
    assert answer == {"status": "err", "response": "Action already expired"}
    bench.exchange.set_expires_after(int(time.time() * 1000) + 60_000)
    assert (await bench.sdk(bench.exchange.update_leverage, 5, "BTC"))["status"] == "ok"


async def test_a_lost_answer_leaves_an_executed_action(bench: Bench) -> None:
    await bench.faults({"path": "/exchange", "kind": "answer_lost", "count": 1})
    with pytest.raises(Exception, match="Connection"):
        await entry_with_exits(bench)
    assert (await bench.state())["assetPositions"][0]["position"]["szi"] == "0.1"


async def test_a_partial_fill_leaves_the_position_without_exits(bench: Bench) -> None:
    await bench.faults({"path": "/exchange", "type": "order", "kind": "partial_fill"})
    answer = await entry_with_exits(bench)
    assert answer["response"]["data"]["statuses"][0]["filled"]["totalSz"] == "0.05"
    exits = await bench.sdk(bench.info.frontend_open_orders, WALLET.address)
    assert answer["response"]["data"]["statuses"][1:] == ["waitingForFill", "waitingForFill"]
    assert exits == []


async def test_positions_and_nonces_survive_a_restart(bench: Bench, tmp_path: Path) -> None:
    envelopes = bench.keep_envelopes()
    await entry_with_exits(bench)
    before = await bench.state()
    # A second process reads what the first has written, as after a SIGKILL.
    reborn = await serve(SimulatorOptions(state_path=tmp_path / "state.json"))
    try:
        info = Info(reborn.url, skip_ws=True, meta=META, spot_meta=SPOT_META, timeout=5)
        after = await bench.sdk(info.user_state, WALLET.address)
        assert after["assetPositions"][0]["position"]["szi"] == before["assetPositions"][0]["position"]["szi"]
        again = await bench.sdk(exchange_for(reborn.url).post, "/exchange", envelopes[0])
        assert "duplicate nonce" in again["response"]
    finally:
        await reborn.close()


async def test_market_open_and_close_leave_the_account_flat(bench: Bench) -> None:
    await bench.sdk(bench.exchange.market_open, "SOL", False, 2.0)
    assert (await bench.state())["assetPositions"][0]["position"]["szi"] == "-2.0"
    answer = await bench.sdk(bench.exchange.market_close, "SOL")
    assert answer["response"]["data"]["statuses"][0]["filled"]["totalSz"] == "2.0"
    assert (await bench.state())["assetPositions"] == []


async def start_process(state: Path) -> tuple[asyncio.subprocess.Process, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "allora_mqtt.simulator", "--state", str(state), "--stop-with-stdin"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    return process, json.loads(line)["url"]


async def test_a_killed_process_forgets_nothing_it_has_answered_and_an_orphan_ends(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    process, url = await start_process(state)
    info = Info(url, skip_ws=True, meta=META, spot_meta=SPOT_META, timeout=5)
    await asyncio.to_thread(info.user_state, WALLET.address)
    await asyncio.to_thread(exchange_for(url).market_open, "BTC", True, 0.01)
    process.kill()
    await process.wait()
    process, url = await start_process(state)
    info = Info(url, skip_ws=True, meta=META, spot_meta=SPOT_META, timeout=5)
    after = await asyncio.to_thread(info.user_state, WALLET.address)
    assert after["assetPositions"][0]["position"]["szi"] == "0.01"
    assert process.stdin is not None
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 5) == 0


async def test_a_process_whose_parent_is_gone_before_it_is_up_ends_without_a_word() -> None:
    reader, writer = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "allora_mqtt.simulator", "--stop-with-stdin"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=writer,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writer)
    os.close(reader)
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, b"Error" in said) == (0, False)


async def test_fills_and_state_may_be_seen_late(bench: Bench) -> None:
    await bench.faults(
        {"path": "/info", "kind": "late_fills", "seconds": 60},
        {"path": "/info", "kind": "lagging_state", "seconds": 60},
    )
    cloid = Cloid.from_int(9)
    await bench.sdk(bench.exchange.market_open, "SOL", True, 1.0, cloid=cloid)
    assert await bench.sdk(bench.info.user_fills, WALLET.address) == []
    assert (await bench.state())["assetPositions"] == []
    assert await bench.sdk(bench.info.query_order_by_cloid, WALLET.address, cloid) == {"status": "unknownOid"}
    await bench.faults()
    assert len(await bench.sdk(bench.info.user_fills, WALLET.address)) == 1
    assert len((await bench.state())["assetPositions"]) == 1
    found = await bench.sdk(bench.info.query_order_by_cloid, WALLET.address, cloid)
    assert found["order"]["status"] == "filled"
