"""Paper's exchange: the simulator at the prices of another, which plays the real one and fails as real ones do."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from eth_account import Account
from hyperliquid.utils.signing import sign_l1_action

from allora_mqtt.simulator.server import RunningSimulator, SimulatorOptions, serve

WALLET = Account.from_key("0x" + "51" * 32)
BTC = 0
_SOON_S = 60


@dataclass
class Pair:
    """A live exchange, and a paper one that follows it."""

    live: RunningSimulator
    paper: RunningSimulator
    session: aiohttp.ClientSession

    async def post(self, url: str, body: Any) -> tuple[int, Any]:
        async with self.session.post(url, json=body) as response:
            text = response.content_type != "application/json"
            return response.status, await (response.text() if text else response.json())

    async def info(self, kind: str, **fields: Any) -> tuple[int, Any]:
        """Ask paper; on a slow machine its prices may be old for a moment, and it says nothing then."""
        while True:
            status, answer = await self.post(f"{self.paper.url}/info", {"type": kind, **fields})
            if status != 503:
                return status, answer
            await asyncio.sleep(0.05)

    async def send(self, action: dict[str, Any]) -> Any:
        """Send an action as often as trading is halted."""
        while True:
            answer = await self.send_once(action)
            if "Trading is halted" not in str(answer):
                return answer
            await asyncio.sleep(0.05)

    async def send_once(self, action: dict[str, Any]) -> Any:
        nonce = int(time.time() * 1000)
        signature = sign_l1_action(WALLET, action, None, nonce, None, False)
        body = {"action": action, "nonce": nonce, "signature": signature, "vaultAddress": None, "expiresAfter": None}
        status, answer = await self.post(f"{self.paper.url}/exchange", body)
        assert status == 200, answer
        return answer

    async def shift(self, factor: float) -> None:
        """Let BTC's price jump at the live exchange, and wait until paper has seen it."""
        _, before = await self.info("allMids")
        status, _ = await self.post(f"{self.live.url}/sim/price", {"coin": "BTC", "factor": factor})
        assert status == 200
        await until(lambda: self.moved(Decimal(before["BTC"])), "the jump")

    async def moved(self, before: Decimal) -> bool:
        return abs(Decimal((await self.info("allMids"))[1]["BTC"]) / before - 1) > Decimal("0.05")

    async def faults(self, *rules: dict[str, Any]) -> None:
        async with self.session.put(f"{self.live.url}/sim/faults", json=list(rules)) as response:
            assert response.status == 200

    async def status(self) -> int:
        return (await self.post(f"{self.paper.url}/info", {"type": "metaAndAssetCtxs"}))[0]

    async def is_open(self) -> bool:
        return await self.status() == 200

    async def is_halted(self) -> bool:
        return await self.status() == 503


async def until(look: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + _SOON_S
    while not await look():
        assert time.monotonic() < deadline, f"not seen: {what}"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def followed(state: Path | None = None, live_options: SimulatorOptions | None = None) -> AsyncIterator[Pair]:
    live = await serve(live_options or SimulatorOptions(rate_limit=False))
    options = SimulatorOptions(follow=live.url, follow_interval_s=0.2, rate_limit=False, state_path=state)
    paper = await serve(options)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        pair = Pair(live, paper, session)
        try:
            await until(pair.is_open, "prices")
            yield pair
        finally:
            await paper.close()
            await live.close()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with followed() as both:
        yield both


def order(price: Decimal, *, is_buy: bool = True, size: str = "0.01", stop: Decimal | None = None) -> dict[str, Any]:
    kind: dict[str, Any] = {"limit": {"tif": "Ioc"}}
    if stop is not None:
        kind = {"trigger": {"isMarket": True, "triggerPx": f"{stop:.0f}", "tpsl": "sl"}}
    leg = {"a": BTC, "b": is_buy, "p": f"{price:.0f}", "s": size, "r": stop is not None, "t": kind}
    return {"type": "order", "orders": [leg], "grouping": "na"}


async def test_orders_fill_at_the_other_s_prices_and_a_stop_at_its_shock(pair: Pair) -> None:
    await pair.info("clearinghouseState", user=WALLET.address)
    await pair.shift(1.5)
    _, (_, contexts) = await pair.info("metaAndAssetCtxs")
    ask = Decimal(contexts[BTC]["impactPxs"][1])
    filled = await pair.send(order(ask * Decimal("1.01")))
    paid = Decimal(filled["response"]["data"]["statuses"][0]["filled"]["avgPx"])
    assert abs(paid / ask - 1) < Decimal("0.01")
    placed = await pair.send(order(ask * Decimal("0.85"), is_buy=False, stop=ask * Decimal("0.95")))
    assert "resting" in placed["response"]["data"]["statuses"][0], placed
    await pair.shift(0.9)

    async def is_flat() -> bool:
        return not (await pair.info("clearinghouseState", user=WALLET.address))[1]["assetPositions"]

    await until(is_flat, "the stop")
    _, fills = await pair.info("userFills", user=WALLET.address)
    assert abs(Decimal(fills[0]["px"]) / (ask * Decimal("0.9")) - 1) < Decimal("0.01")
    assert list(pair.live.world.arrivals) == [], "nothing is ever sent to the live exchange"


async def test_the_past_and_predictions_are_not_made_up(pair: Pair) -> None:
    span = {"coin": "BTC", "interval": "1h", "startTime": 0, "endTime": 1}
    assert (await pair.info("candleSnapshot", req=span))[0] == 422
    assert (await pair.info("fundingHistory", coin="BTC", startTime=0))[0] == 422
    async with pair.session.get(f"{pair.paper.url}/v2/allora/allora-mainnet-1/topics") as response:
        assert response.status == 404
    status, _ = await pair.post(f"{pair.paper.url}/sim/price", {"coin": "BTC", "factor": 2})
    assert status == 422


@pytest.mark.parametrize(
    "fault",
    [{"kind": "http_429"}, {"kind": "hang"}, {"kind": "malformed"}],
    ids=lambda fault: fault["kind"],
)
async def test_while_the_other_fails_nothing_is_said_or_traded(pair: Pair, fault: dict[str, str]) -> None:
    await pair.info("clearinghouseState", user=WALLET.address)
    await pair.faults({"path": "/info", **fault})
    await until(pair.is_halted, "the halt")
    refused = await pair.send_once(order(Decimal(100_000)))
    assert refused["status"] == "err"
    assert "Trading is halted" in refused["response"]
    await pair.faults()
    await until(pair.is_open, "prices again")
    assert (await pair.send(order(Decimal(100_000))))["status"] == "ok"


async def test_without_mids_there_is_no_book(pair: Pair) -> None:
    await pair.info("clearinghouseState", user=WALLET.address)
    await pair.faults({"path": "/info", "kind": "null_mids"})

    async def has_no_mid() -> bool:
        return "BTC" not in (await pair.info("allMids"))[1]

    await until(has_no_mid, "null mids")
    _, (_, contexts) = await pair.info("metaAndAssetCtxs")
    assert contexts[BTC]["midPx"] is None
    assert contexts[BTC]["impactPxs"] is None
    answer = await pair.send(order(Decimal(contexts[BTC]["markPx"]) * Decimal("1.05")))
    assert "could not immediately match" in answer["response"]["data"]["statuses"][0]["error"]


async def test_an_exchange_that_is_away_at_the_start_is_waited_for(tmp_path: Path) -> None:
    async with followed(tmp_path / "state.json") as both:
        await both.info("clearinghouseState", user=WALLET.address)
        assert (await both.send(order(Decimal(100_000))))["status"] == "ok"
        port = int(both.live.url.rpartition(":")[2])
    options = SimulatorOptions(
        follow=f"http://127.0.0.1:{port}", follow_interval_s=0.2, state_path=tmp_path / "state.json"
    )
    paper = await serve(options)
    async with aiohttp.ClientSession() as session:
        both = Pair(paper, paper, session)
        try:
            assert await both.is_halted()
            both.live = await serve(SimulatorOptions(port=port, rate_limit=False))
            await until(both.is_open, "prices")
            _, state = await both.info("clearinghouseState", user=WALLET.address)
            assert [held["position"]["coin"] for held in state["assetPositions"]] == ["BTC"], "the account is kept"
        finally:
            await both.live.close()
            await paper.close()
