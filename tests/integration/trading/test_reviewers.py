"""Reviewers asked over HTTP: whatever is no clear yes in time keeps the entry out, and nothing waits for them."""

import asyncio
import json
import logging
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from allora_mqtt.protocol.commands import Mode
from allora_mqtt.protocol.messages import Direction
from allora_mqtt.trading.review import Panel, Review
from tests.integration.trading.bench import BTC, ETH, Bench, Bot, until
from tests.integration.trading.chat import KEY, NO, YES, Chat, completion, serve_chat


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    async with serve_chat() as chat:
        yield chat


async def ask(chat: Chat, *models: str, quorum: int | None = None, timeout_s: float = 30) -> Review:
    async with aiohttp.ClientSession() as session:
        return await chat.panel(*models, quorum=quorum, timeout_s=timeout_s)(session).ask([])


async def said(bot: Bot, what: str, symbol: str = "ETH") -> str:
    """Wait until the newest signal of a symbol has a reason with these words."""
    signals = bot.engine.signals

    def found() -> str | None:
        reasons = signals[symbol].reasons if symbol in signals else []
        return next((reason for reason in reasons if what in reason), None)

    await until(found, f"{what!r} in {signals.get(symbol)}")
    return str(found())


# what one of them answers


async def test_an_approval_lets_the_entry_pass(chat: Chat) -> None:
    review = await ask(chat, "a")
    assert review == Review(True, "reviewers: 1 of 1 approve, 1 must (a: approves (confidence 80, risk 3): looks fine)")
    assert chat.keys == [f"Bearer {KEY}"]
    assert set(chat.asked[0]) == {"model", "messages", "stream"}


def answers(body: bytes, status: int = 200, **headers: str) -> Any:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers=headers)

    return answer


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"choices": [')
    assert request.transport is not None
    request.transport.abort()
    return response


_BODY = json.dumps(completion(YES)).encode()
_DEFLATED = zlib.compress(_BODY)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (NO, "says no (confidence 80, risk 3): too late"),
        (YES | {"confidence": 60}, "is only 60 % sure"),
        (YES | {"risk": 5}, "sees a risk of 5"),
        ("garbage", "not JSON"),
        (f"I think so: {json.dumps(YES)}", "not JSON"),
        (YES | {"approval": "yes"}, "approval is not true or false"),
        (answers(b"oops", 500), "answered HTTP 500"),
        (answers(_BODY, 201), "answered HTTP 201"),
        (answers(b"", 401), "answered HTTP 401"),
        (answers(_BODY, 307, Location="/elsewhere"), "answered HTTP 307"),
        (answers(b" " * 10_000_000 + _BODY), "answered more than 64 KiB"),
        (answers(_DEFLATED, 200, **{"Content-Encoding": "deflate"}), "compressed"),
        (answers(b"<html>"), "not JSON"),
        (_cut, "could not be asked (ClientPayloadError)"),
    ],
)
async def test_whatever_else_is_answered_is_a_veto_with_its_reason(chat: Chat, answer: object, why: str) -> None:
    chat.says["a"] = answer
    review = await ask(chat, "a")
    assert not review.is_approved
    assert why in review.reason
    assert chat.elsewhere == []
    assert len(chat.asked) == 1


async def test_who_does_not_answer_in_time_vetoes(chat: Chat) -> None:
    chat.may_answer.clear()
    review = await ask(chat, "a", timeout_s=0.3)
    assert review == Review(False, "reviewers: 0 of 1 approve, 1 must (a: no answer within 0.3 s)")


async def test_who_is_not_there_vetoes(chat: Chat) -> None:
    chat.url = "http://127.0.0.1:1"
    assert "could not be asked (ClientConnectorError)" in (await ask(chat, "a")).reason


async def test_a_key_that_is_echoed_is_not_repeated(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    chat.says["a"] = NO | {"reasoning": f"your key {KEY} is bad"}
    assert "your key *** is bad" in (await ask(chat, "a")).reason
    chat.says["a"] = answers(json.dumps({"choices": [{"message": {"refusal": f"key {KEY}"}}]}).encode())
    assert "key ***" in (await ask(chat, "a")).reason
    assert KEY not in caplog.text
    async with aiohttp.ClientSession() as session:
        assert KEY not in repr(chat.panel("a")(session)._reviewers)


# several of them


@pytest.mark.parametrize(
    ("noes", "quorum", "approved"),
    [([], None, True), (["b"], None, False), (["b"], 2, True), (["a", "b"], 2, False), (["a", "b"], 1, True)],
)
async def test_as_many_must_approve_as_the_quorum_says(
    chat: Chat, noes: list[str], quorum: int | None, *, approved: bool
) -> None:
    chat.says = dict.fromkeys(noes, NO)
    review = await ask(chat, "a", "b", "c", quorum=quorum)
    assert review.is_approved is approved
    assert review.reason.startswith(f"reviewers: {3 - len(noes)} of 3 approve, {quorum or 3} must (a: ")


def test_a_quorum_that_nobody_could_fail_is_no_panel(chat: Chat) -> None:
    for quorum in (0, 2):
        with pytest.raises(ValueError, match="REVIEWER_QUORUM"):
            Panel([], quorum, None, 1, None)  # type: ignore[arg-type] # it asks nobody
    assert chat.asked == []


# on the bench


async def test_an_entry_waits_for_its_approval_and_its_record_has_it(bench: Bench, chat: Chat) -> None:
    chat.may_answer.clear()
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH}, panel=chat.panel("a"))
    await said(bot, "the reviewers are being asked")
    await bench.looks()
    assert (bench.sent(), len(chat.asked)) == ([], 1)
    chat.may_answer.set()
    await bench.holding("ETH")
    signal = next(one for one in bot.seen.signals if one.acted)
    assert signal.reasons[-1].startswith("reviewers: 1 of 1 approve")
    facts = chat.facts()
    assert (facts["symbol"], facts["direction"], facts["strategy"]) == ("ETH", "BUY", "allora_gap")
    assert facts["gap_pct"] == pytest.approx(1, abs=0.01)
    assert not {"equity", "address", "amount_usd", "size"} & set(facts)
    assert len(chat.asked) == 1


async def test_a_veto_is_recorded_once_and_nobody_is_asked_again_before_the_next_prediction(
    bench: Bench, chat: Chat
) -> None:
    chat.says["a"] = NO
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH}, panel=chat.panel("a"))
    reason = await said(bot, "says no")
    await bench.looks(5)
    assert (len(chat.asked), bench.sent()) == (1, [])
    told = [signal for signal in bot.seen.signals if reason in signal.reasons]
    assert [(one.direction, one.acted) for one in told] == [(Direction.BUY, False)]
    await until(lambda: len(bench.stored("select 1 from signals where reasons like '%says no%'")) == 1, "one row")
    chat.says["a"] = YES
    bench.next_epoch()
    await bench.holding("ETH")
    assert len(chat.asked) == 2


async def test_standby_does_not_wait_and_an_approval_after_it_sends_nothing(bench: Bench, chat: Chat) -> None:
    chat.may_answer.clear()
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH}, panel=chat.panel("a"))
    await said(bot, "the reviewers are being asked")
    async with asyncio.timeout(1):
        assert await bot.engine.block_entries()
    bot.follow({"ETH": ETH}, Mode.STANDBY)
    chat.may_answer.set()
    await until(lambda: any(one.review.is_approved for one in bot.engine._thoughts._asked.values()), "the approval")
    await bench.looks(5)
    assert bench.sent() == []
    assert "no entries in STANDBY" in bot.engine.signals["ETH"].reasons
    bot.follow({"ETH": ETH})
    await bench.holding("ETH")
    assert len(chat.asked) == 1


async def test_a_price_that_has_moved_meanwhile_is_planned_for_anew(bench: Bench, chat: Chat) -> None:
    chat.may_answer.clear()
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH}, panel=chat.panel("a"))
    await said(bot, "the reviewers are being asked")
    await bench.shift("ETH", 1.0095)
    await until(lambda: bot.engine.signals["ETH"].direction is Direction.HOLD, "the gap is gone")
    chat.may_answer.set()
    await until(lambda: any(one.review.is_approved for one in bot.engine._thoughts._asked.values()), "the approval")
    await bench.looks()
    assert bench.sent() == []
    # Now the price has passed the prediction, and nobody has approved of selling.
    await bench.shift("ETH", 1.01)
    await said(bot, "the reviewers approved BUY and not SELL")
    await bench.looks()
    assert (bench.sent(), len(chat.asked)) == ([], 1)


async def test_nobody_is_asked_about_what_is_refused_anyway(bench: Bench, chat: Chat) -> None:
    bench.signal(ETH=0.01, BTC=0.001)
    bot = await bench.start({"ETH": ETH, "BTC": BTC}, panel=chat.panel("a"), max_funding_pct=0, min_skill_pct=50)
    await said(bot, "gate min_skill_pct")
    await bench.looks()
    assert chat.asked == []


@pytest.mark.parametrize("answered", [True, False])
async def test_a_veto_outlives_a_restart(bench: Bench, chat: Chat, *, answered: bool) -> None:
    chat.says["a"] = NO
    if not answered:
        chat.may_answer.clear()
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH}, panel=chat.panel("a"))
    await said(bot, "says no" if answered else "the reviewers are being asked")
    like = "%says no%" if answered else "%being asked%"
    await until(lambda: bench.stored("select 1 from predictions where review like ?", like), "it is stored")
    await bench.stop(bot)
    chat.says["a"] = YES
    chat.may_answer.set()
    bot = await bench.start({"ETH": ETH}, panel=chat.panel("a"))
    await said(bot, "says no" if answered else "the bot was restarted while the reviewers were being asked")
    await bench.looks()
    assert (bench.sent(), len(chat.asked)) == ([], 1)
