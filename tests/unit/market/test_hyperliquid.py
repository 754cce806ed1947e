import asyncio
import json
import threading
from decimal import Decimal
from typing import Any

import pytest
import requests
from eth_account.signers.local import LocalAccount
from hyperliquid.utils.signing import recover_agent_or_user_from_l1_action

from allora_mqtt.market.answers import RateLimited, Throttled
from allora_mqtt.market.gate import GateClosed, SendGate
from allora_mqtt.market.hyperliquid import DuplicateNonce, Envelope, Hyperliquid, OrderSpec, OutcomeUnknown
from allora_mqtt.market.line import for_exit
from allora_mqtt.market.orders import ActionsExhausted, OrderResult
from allora_mqtt.protocol.errors import BotError, ErrorCode
from tests.unit.market.conftest import ADDRESS
from tests.unit.market.exchange import META, FakeExchange, Raw
from tests.unit.market.test_account import FILL, ORDER, STATE

ORDER_SPEC = OrderSpec(
    symbol="ETH",
    is_buy=True,
    size=Decimal("0.02"),
    limit_price=Decimal("2900.5"),
    tif="Ioc",
    trigger=None,
    reduce_only=False,
    cloid="0x" + "0a" * 16,
)
FILLED = {
    "status": "ok",
    "response": {
        "type": "order",
        "data": {"statuses": [{"filled": {"totalSz": "0.02", "avgPx": "2900.5", "oid": 2}}]},
    },
}


def door(url: str, wallet: LocalAccount | None = None, timeout_s: float = 2, vault: str | None = None) -> Hyperliquid:
    return Hyperliquid(
        base_url=url,
        timeout_s=timeout_s,
        account_address=ADDRESS,
        wallet=wallet,
        vault_address=vault,
        clock=lambda: 1000.0,
    )


def order(gateway: Hyperliquid, nonce: int = 1_700_000_000_000) -> Envelope:
    return gateway.sign_orders([ORDER_SPEC], "na", nonce, nonce + 5000)


async def test_an_exchange_that_was_asked_too_often_is_left_alone_except_for_exits(
    gateway: Hyperliquid, exchange: FakeExchange
) -> None:
    exchange.answers["clearinghouseState"] = [Raw(429, b"null"), Raw(body=json.dumps(STATE).encode())]
    with pytest.raises(RateLimited):
        await gateway.user_state()
    for _ in range(3):
        with pytest.raises(Throttled, match="try again in 10 s"):
            await gateway.user_state()
    assert exchange.asked("clearinghouseState") == 1
    assert not gateway.info_health.is_open
    with for_exit():
        assert (await gateway.user_state()).equity_usd == Decimal("1000.5")
    assert exchange.asked("clearinghouseState") == 2


async def test_what_it_asks_and_sends_is_counted(gateway: Hyperliquid, exchange: FakeExchange) -> None:
    exchange.answers |= {
        "clearinghouseState": STATE,
        "order": FILLED,
        "userRateLimit": {"cumVlm": "1.0", "nRequestsUsed": 100, "nRequestsCap": 10_001, "nRequestsSurplus": 0},
        "userFillsByTime": [{**FILL, "tid": number} for number in range(45)],
    }
    before = gateway.figures().weight_used
    await gateway.user_state()
    await gateway.learn_limits()
    await gateway.fills(0)
    await gateway.send(order(gateway))
    # The account's mode, the account, the limits, the fills with a surcharge for 40 of them, and an action.
    assert gateway.figures().weight_used - before == 20 + 2 + 20 + (20 + 2) + 1
    assert (gateway.figures().actions_used, gateway.figures().actions_limit) == (101, 10_001)


async def test_reads_and_writes_have_breakers_of_their_own(gateway: Hyperliquid, exchange: FakeExchange) -> None:
    exchange.answers |= {"clearinghouseState": Raw(503), "order": Raw(drop=True)}
    for _ in range(5):
        with pytest.raises(BotError):
            await gateway.user_state()
    assert (gateway.info_health.is_open, gateway.exchange_health.is_open) == (True, False)
    asked = exchange.asked("clearinghouseState")
    assert asked == 15, "each was tried three times"
    with pytest.raises(BotError):
        await gateway.user_state()
    assert exchange.asked("clearinghouseState") == asked + 1, "a probe is tried once"
    for number in range(5):
        with pytest.raises(OutcomeUnknown):
            await gateway.send(order(gateway, 1_700_000_000_000 + number))
    assert gateway.exchange_health.is_open
    assert len(exchange.bodies) == 5, "what may have run is never sent again"


@pytest.mark.parametrize("answer", [Raw(429, b"null"), {"status": "err", "response": "Invalid TP/SL price."}])
async def test_an_exchange_that_refuses_is_there(gateway: Hyperliquid, exchange: FakeExchange, answer: object) -> None:
    exchange.answers["order"] = answer
    for number in range(6):
        with pytest.raises(BotError):
            await gateway.send(order(gateway, 1_700_000_000_000 + number))
    assert not gateway.exchange_health.is_open


async def test_too_many_actions_are_understood_as_that(gateway: Hyperliquid, exchange: FakeExchange) -> None:
    gateway.budget.learn(100, 10_000, 0)
    text = "Too many cumulative requests sent (10001 > 10000) for cumulative volume traded $0.05."
    exchange.answers["order"] = {"status": "err", "response": text}
    with pytest.raises(ActionsExhausted, match="no entries are made until"):
        await gateway.send(order(gateway))
    assert gateway.budget.obstacle() is not None


async def test_connecting_is_one_request(gateway: Hyperliquid, exchange: FakeExchange) -> None:
    assert gateway.sign_cancels([("ETH", 1)], 5).action["cancels"] == [{"a": 2, "o": 1}]
    assert [kind for kind, _ in exchange.requests] == ["meta"]


@pytest.mark.parametrize(("exchange_ms", "expected"), [(990_000, 990.0), (1_010_000, 1010.0), (999_000, 1000.0)])
async def test_it_counts_as_the_exchange_does_when_its_own_clock_is_wrong(
    gateway: Hyperliquid, exchange: FakeExchange, exchange_ms: int, expected: float
) -> None:
    exchange.answers["clearinghouseState"] = {**STATE, "time": exchange_ms}
    await gateway.user_state()
    assert gateway.clock_ahead_s == 1000 - exchange_ms / 1000
    assert gateway.now_s() == expected


async def test_reads_ask_for_the_account(gateway: Hyperliquid, exchange: FakeExchange) -> None:
    exchange.answers |= {
        "clearinghouseState": STATE,
        "frontendOpenOrders": [ORDER],
        "orderStatus": {"status": "unknownOid"},
        "metaAndAssetCtxs": [META, [{}, {}, {}]],
    }
    assert (await gateway.user_state()).equity_usd == Decimal("1000.5")
    assert (await gateway.user_state()).at == 1000.0
    assert exchange.asked("userAbstraction") == 1
    assert [found.oid for found in await gateway.open_orders()] == [5]
    assert await gateway.order_status("0x" + "0A" * 16) is None
    assert exchange.requests[-1][1] == {"type": "orderStatus", "user": ADDRESS, "oid": "0x" + "0a" * 16}
    meta, contexts = await gateway.meta_and_contexts()
    assert (meta, len(contexts)) == (META, 3)
    assert {body["user"] for kind, body in exchange.requests if "meta" not in kind} == {ADDRESS}


async def test_a_vaults_account_is_the_vaults(exchange: FakeExchange, wallet: LocalAccount) -> None:
    vault = "0x" + "cd" * 20
    gateway = door(exchange.url, wallet, vault=vault)
    await gateway.connect()
    exchange.answers["frontendOpenOrders"] = []
    await gateway.open_orders()
    assert exchange.requests[-1][1]["user"] == vault
    assert order(gateway).vault_address == vault
    await gateway.close()


async def test_a_unified_account_is_read_from_its_spot_state(gateway: Hyperliquid, exchange: FakeExchange) -> None:
    exchange.answers |= {
        "userAbstraction": "unifiedAccount",
        "clearinghouseState": STATE,
        "spotClearinghouseState": {"balances": [{"coin": "USDC", "total": "50", "hold": "1"}]},
    }
    assert (await gateway.user_state()).withdrawable_usd == 49


async def test_an_account_of_an_unknown_mode_is_not_read(gateway: Hyperliquid, exchange: FakeExchange) -> None:
    exchange.answers |= {"userAbstraction": "superAccount", "clearinghouseState": STATE}
    with pytest.raises(BotError, match="the account's mode"):
        await gateway.user_state()


async def test_a_change_of_the_accounts_mode_is_noticed(exchange: FakeExchange, wallet: LocalAccount) -> None:
    now = [1000.0]
    gateway = Hyperliquid(
        base_url=exchange.url, timeout_s=2, account_address=ADDRESS, wallet=wallet, vault_address=None,
        clock=lambda: now[0],
    )  # fmt: skip
    exchange.answers |= {
        "clearinghouseState": STATE,
        "spotClearinghouseState": {"balances": [{"coin": "USDC", "total": "50", "hold": "1"}]},
    }
    assert (await gateway.user_state()).equity_usd == Decimal("1000.5")
    exchange.answers["userAbstraction"] = "unifiedAccount"
    assert (await gateway.user_state()).equity_usd == Decimal("1000.5"), "it is not asked with every look"
    now[0] += 3600
    assert (await gateway.user_state()).equity_usd == 50
    exchange.answers["userAbstraction"] = Raw(503)
    now[0] += 3600
    assert (await gateway.user_state()).equity_usd == 50, "what was known holds on"
    await gateway.close()


async def test_a_server_without_account_modes(gateway: Hyperliquid, exchange: FakeExchange) -> None:
    exchange.answers |= {"userAbstraction": Raw(422, b"Failed to deserialize"), "clearinghouseState": STATE}
    assert (await gateway.user_state()).equity_usd == Decimal("1000.5")


async def test_long_histories_of_fills_are_read_in_pages(gateway: Hyperliquid, exchange: FakeExchange) -> None:
    first = [FILL | {"tid": tid, "time": 1000 + tid} for tid in range(2000)]
    second = [FILL | {"tid": 1999, "time": 2999}, FILL | {"tid": 2000, "time": 3000}]
    exchange.answers["userFillsByTime"] = [Raw(body=json.dumps(rows).encode()) for rows in (first, second)]
    fills = await gateway.fills(1000)
    assert [fill.tid for fill in fills] == list(range(2001))
    assert [body["startTime"] for kind, body in exchange.requests if kind == "userFillsByTime"] == [1000, 2999]


async def test_a_long_history_of_fills_that_comes_newest_first_is_read_whole_and_put_in_order(
    gateway: Hyperliquid, exchange: FakeExchange
) -> None:
    rows = [FILL | {"tid": tid, "time": 1000 + tid} for tid in range(2001)]
    pages = [rows[:0:-1], rows[1::-1], rows[-1:]]
    exchange.answers["userFillsByTime"] = [Raw(body=json.dumps(page).encode()) for page in pages]
    fills = await gateway.fills(1000)
    assert [fill.tid for fill in fills] == list(range(2001))
    asked = [(body["startTime"], body["endTime"]) for kind, body in exchange.requests if kind == "userFillsByTime"]
    assert asked == [(1000, None), (1000, 1001), (3000, None)]


async def test_long_histories_of_funding_are_read_in_pages_and_each_payment_once(
    gateway: Hyperliquid, exchange: FakeExchange
) -> None:
    def paid(hour: int, coin: str) -> dict[str, Any]:
        delta = {"type": "funding", "coin": coin, "usdc": "-0.5", "szi": "2", "fundingRate": "0.0000125"}
        return {"time": 3_600_000 * hour, "hash": "0x0", "delta": delta}

    first = [paid(hour, coin) for hour in range(1, 251) for coin in ("ETH", "BTC")]
    second = [paid(250, "BTC"), paid(251, "BTC")]
    exchange.answers["userFunding"] = [Raw(body=json.dumps(rows).encode()) for rows in (first, second)]
    payments = await gateway.fundings(1000)
    assert len(payments) == 501
    assert [(one.time_ms, one.symbol) for one in payments[:2]] == [(3_600_000, "BTC"), (3_600_000, "ETH")]
    assert (payments[-1].time_ms, payments[-1].amount_usd) == (3_600_000 * 251, Decimal("-0.5"))
    asked = [body["startTime"] for kind, body in exchange.requests if kind == "userFunding"]
    assert asked == [1000, 3_600_000 * 250]


@pytest.mark.parametrize(
    "fault",
    [
        Raw(503, b"<html>"),
        Raw(200, b"<html>"),
        Raw(200, b"null"),
        Raw(200, b"[]"),
        Raw(200, b'{"assetPositions":[]}'),
        Raw(drop=True),
    ],
)
async def test_a_passing_fault_of_a_read_is_tried_again(
    gateway: Hyperliquid, exchange: FakeExchange, fault: Raw
) -> None:
    exchange.answers["clearinghouseState"] = [fault, Raw(body=json.dumps(STATE).encode())]
    assert (await gateway.user_state()).equity_usd == Decimal("1000.5")
    assert exchange.asked("clearinghouseState") == 2


@pytest.mark.parametrize("body", [b"null", b"[]", b"{}", b'"x"', b"<html>", b'{"code":1}', b"\xff\xfe"])
async def test_a_refused_read_is_a_boterror_whatever_its_body(
    gateway: Hyperliquid, exchange: FakeExchange, body: bytes
) -> None:
    exchange.answers["frontendOpenOrders"] = Raw(422, body)
    with pytest.raises(BotError, match=r"EXCHANGE_UNREACHABLE.*HTTP 422"):
        await gateway.open_orders()
    assert exchange.asked("frontendOpenOrders") == 1


async def test_a_read_that_keeps_failing_is_given_up(gateway: Hyperliquid, exchange: FakeExchange) -> None:
    exchange.answers["frontendOpenOrders"] = Raw(200, b"[1]")
    with pytest.raises(BotError) as caught:
        await gateway.open_orders()
    assert caught.value.code == ErrorCode.EXCHANGE_UNREACHABLE
    assert exchange.asked("frontendOpenOrders") == 3


async def test_a_read_that_hangs_is_given_up(exchange: FakeExchange) -> None:
    exchange.answers["meta"] = Raw(delay_s=1)
    gateway = door(exchange.url, timeout_s=0.1)
    with pytest.raises(BotError, match="EXCHANGE_UNREACHABLE"):
        await gateway.connect()
    await gateway.close()


async def test_nobody_listening(wallet: LocalAccount, gateway: Hyperliquid, unused_tcp_port: int) -> None:
    nowhere = door(f"http://127.0.0.1:{unused_tcp_port}", wallet)
    with pytest.raises(BotError, match="EXCHANGE_UNREACHABLE"):
        await nowhere.connect()
    with pytest.raises(BotError, match="was not sent") as caught:
        await nowhere.send(order(gateway))
    assert not isinstance(caught.value, OutcomeUnknown)
    await nowhere.close()


async def test_an_order_leaves_as_it_was_stored(
    gateway: Hyperliquid, exchange: FakeExchange, wallet: LocalAccount
) -> None:
    exchange.answers["order"] = FILLED
    envelope = order(gateway)
    stored = envelope.to_json()
    gate = SendGate()
    gate.open()
    assert await gateway.send(Envelope.from_json(stored), gate) == [
        OrderResult("filled", 2, Decimal("0.02"), Decimal("2900.5"))
    ]
    assert exchange.bodies == [stored.encode()]
    body = json.loads(exchange.bodies[0])
    signer = recover_agent_or_user_from_l1_action(
        body["action"], body["signature"], body["vaultAddress"], body["nonce"], body["expiresAfter"], False
    )
    assert signer == wallet.address
    assert gate.close(0)


async def test_mainnet_is_signed_for_with_a_slash_too(wallet: LocalAccount, exchange: FakeExchange) -> None:
    signatures = []
    for url in ("https://api.hyperliquid.xyz", "https://api.hyperliquid.xyz/", exchange.url):
        gateway = door(url, wallet)
        gateway._assets = {}
        with pytest.raises(BotError, match="UNKNOWN_SYMBOL"):
            gateway.sign_cancels([("ETH", 1)], 5)
        signatures.append(gateway._sign({"type": "noop"}, 5, None).signature)
        await gateway.close()
    assert signatures[0] == signatures[1] != signatures[2]


async def test_leverage_is_a_setting(gateway: Hyperliquid, exchange: FakeExchange) -> None:
    exchange.answers["updateLeverage"] = {"status": "ok", "response": {"type": "default"}}
    void = gateway.sign_noop(8)
    assert (void.action, void.nonce, void.action_count) == ({"type": "noop"}, 8, 1)
    envelope = gateway.sign_leverage("ETH", 3, is_cross=False, nonce=9)
    assert await gateway.send(envelope) == [OrderResult("success")]
    assert exchange.requests[-1][1]["action"] == {
        "type": "updateLeverage",
        "asset": 2,
        "isCross": False,
        "leverage": 3,
    }


@pytest.mark.parametrize(
    "fault",
    [
        Raw(500),
        Raw(502, b"<html>"),
        Raw(408),
        Raw(200, b"<html>"),
        Raw(200, b"null"),
        Raw(302, headers={"Location": "/exchange"}),
        Raw(drop=True),
    ],
)
async def test_a_write_without_a_usable_answer_is_sent_once_and_its_outcome_is_unknown(
    gateway: Hyperliquid, exchange: FakeExchange, fault: Raw
) -> None:
    exchange.answers["order"] = fault
    with pytest.raises(OutcomeUnknown, match="EXCHANGE_UNREACHABLE"):
        await gateway.send(order(gateway))
    assert len(exchange.bodies) == 1


async def test_a_write_that_hangs_has_an_unknown_outcome(exchange: FakeExchange, wallet: LocalAccount) -> None:
    gateway = door(exchange.url, wallet, timeout_s=0.2)
    await gateway.connect()
    exchange.answers["order"] = Raw(delay_s=1)
    gate = SendGate()
    gate.open()
    with pytest.raises(OutcomeUnknown):
        await gateway.send(order(gateway), gate)
    assert len(exchange.bodies) == 1
    assert gate.close(0)
    await gateway.close()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Raw(429, b"null"), ErrorCode.EXCHANGE_UNREACHABLE),
        (Raw(422, b"Failed to deserialize"), ErrorCode.EXCHANGE_REJECTED),
        ({"status": "err", "response": "Invalid TP/SL price."}, ErrorCode.EXCHANGE_REJECTED),
    ],
)
async def test_a_refused_write_did_not_run(
    gateway: Hyperliquid, exchange: FakeExchange, answer: object, code: ErrorCode
) -> None:
    exchange.answers["order"] = answer
    with pytest.raises(BotError) as caught:
        await gateway.send(order(gateway))
    assert caught.value.code == code
    assert not isinstance(caught.value, OutcomeUnknown)
    assert len(exchange.bodies) == 1


async def test_a_replay_of_what_arrived_is_recognised(gateway: Hyperliquid, exchange: FakeExchange) -> None:
    exchange.answers["order"] = {"status": "err", "response": "Invalid nonce: duplicate nonce 5"}
    with pytest.raises(DuplicateNonce):
        await gateway.send(order(gateway))


async def test_a_closed_gate_stops_orders_and_not_cancels(gateway: Hyperliquid, exchange: FakeExchange) -> None:
    exchange.answers["cancel"] = {
        "status": "ok",
        "response": {"type": "cancel", "data": {"statuses": ["success"]}},
    }
    with pytest.raises(GateClosed):
        await gateway.send(order(gateway), SendGate())
    assert await gateway.send(gateway.sign_cancels([("ETH", 1)], 6)) == [OrderResult("success")]
    assert len(exchange.bodies) == 1


async def test_orders_that_wait_for_a_thread_do_not_leave_after_the_gate_closed(
    gateway: Hyperliquid, exchange: FakeExchange
) -> None:
    """Many orders at once on few threads: those still waiting when the gate closes stay at home."""
    gate = SendGate()
    gate.open()
    arrived = asyncio.Event()
    exchange.on_exchange = arrived.set
    exchange.answers["order"] = Raw(body=json.dumps(FILLED).encode(), delay_s=0.1)
    sending = [asyncio.create_task(gateway.send(order(gateway, nonce), gate)) for nonce in range(1, 21)]
    await arrived.wait()
    assert await gate.aclose(1)
    await asyncio.sleep(0.02)
    at_close = len(exchange.bodies)
    outcomes = await asyncio.gather(*sending, return_exceptions=True)
    assert len(exchange.bodies) == at_close <= 4
    assert sum(isinstance(outcome, GateClosed) for outcome in outcomes) == 20 - at_close


async def test_a_cancelled_send_that_has_not_left_never_leaves(gateway: Hyperliquid, exchange: FakeExchange) -> None:
    exchange.answers["order"] = Raw(body=json.dumps(FILLED).encode(), delay_s=0.1)
    sending = [asyncio.create_task(gateway.send(order(gateway, nonce))) for nonce in range(1, 11)]
    await asyncio.sleep(0.05)
    at_cancel = len(exchange.bodies)
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)
    await asyncio.sleep(0.2)
    assert len(exchange.bodies) == at_cancel


class Hold:
    """Holds a request of the session after its thread began and before anything of it is sent."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        self.began.set()
        self.go_on.wait(5)
        return request


async def test_a_send_that_is_cancelled_while_connecting_never_leaves(
    gateway: Hyperliquid, exchange: FakeExchange
) -> None:
    hold = Hold()
    gateway.line._writing.session.auth = hold
    sending = asyncio.create_task(gateway.send(order(gateway)))
    await asyncio.to_thread(hold.began.wait, 5)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    hold.go_on.set()
    await asyncio.sleep(0.1)
    assert exchange.bodies == []


async def test_a_send_that_gave_up_before_it_left_was_not_sent(exchange: FakeExchange, wallet: LocalAccount) -> None:
    gateway = door(exchange.url, wallet, timeout_s=0.1)
    await gateway.connect()
    hold = Hold()
    gateway.line._writing.session.auth = hold
    with pytest.raises(BotError, match="was not sent") as caught:
        await gateway.send(order(gateway))
    assert not isinstance(caught.value, OutcomeUnknown)
    hold.go_on.set()
    await asyncio.sleep(0.1)
    assert exchange.bodies == []
    await gateway.close()


async def test_without_a_key_nothing_is_signed(exchange: FakeExchange) -> None:
    gateway = door(exchange.url)
    await gateway.connect()
    with pytest.raises(BotError, match=r"NOT_ALLOWED.*HL_SECRET_KEY"):
        order(gateway)
    await gateway.close()


async def test_after_closing_calls_fail_in_words(gateway: Hyperliquid) -> None:
    envelope = order(gateway)
    await gateway.close()
    for call in (gateway.open_orders(), gateway.send(envelope)):
        with pytest.raises(BotError, match="EXCHANGE_UNREACHABLE"):
            await call


async def test_the_key_is_in_no_repr(gateway: Hyperliquid, wallet: LocalAccount) -> None:
    shown = f"{gateway!r} {vars(gateway)!r} {order(gateway)!r}"
    assert wallet.key.hex().removeprefix("0x") not in shown


@pytest.mark.parametrize("status", [200, 400, 422])
async def test_a_key_that_the_exchange_repeats_is_not_shown(
    gateway: Hyperliquid, exchange: FakeExchange, wallet: LocalAccount, status: int
) -> None:
    key = wallet.key.hex().removeprefix("0x")
    answer = json.dumps({"status": "err", "response": f"your key {key} or 0x{key.upper()} is wrong"})
    exchange.answers["order"] = Raw(status, answer.encode())
    with pytest.raises(BotError) as refused:
        await gateway.send(order(gateway))
    assert "is wrong" in refused.value.message
    assert key not in refused.value.message.lower()
