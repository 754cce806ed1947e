"""Deposits and withdrawals are no profit and no loss, whenever they come and however late they are told."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from allora_mqtt.control import views
from allora_mqtt.protocol.errors import WarningCode
from allora_mqtt.simulator.info import INFO_HANDLERS
from allora_mqtt.store.books import Books
from tests.integration.trading.bench import ETH, WALLET, Bench, Bot, until

LEDGER = "userNonFundingLedgerUpdates"


async def move(bench: Bench, usd: int, way: str = "bridge") -> None:
    """Deposit, or withdraw (below zero)."""
    body = {"address": WALLET.address, "usd": usd, "way": way}
    url = f"{bench.simulator.url}/sim/transfers"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        assert response.status == 200, await response.text()


def counted(bench: Bench) -> list[Decimal]:
    return [Decimal(amount) for (amount,) in bench.stored("select amount_usd from cash_flows order by at, flow_id")]


async def shows(bot: Bot, equity_usd: int) -> None:
    """Wait until the bot has seen this equity and knows where it comes from."""
    await until(
        lambda: bot.portfolio.counted_usd == equity_usd and not bot.engine.reconciler.losses.cash.is_waiting,
        f"an equity of {equity_usd}",
    )


async def point(bench: Bench, equity_usd: int) -> None:
    """Wait until the curve has this equity."""
    query = "select 1 from equity where cast(equity_usd as real) = ?"
    await until(lambda: bench.stored(query, equity_usd), f"a point at {equity_usd}")


def figures(bot: Bot, bench: Bench) -> dict[str, Decimal]:
    account = views.account(bot.portfolio, bench.clock.now())
    assert account is not None
    return account.model_dump(include={"daily_pnl_usd", "daily_pnl_pct", "drawdown_pct"})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The questions for the ledger that reach the exchange."""
    questions: list[dict[str, Any]] = []
    answer = INFO_HANDLERS[LEDGER]

    def note(world: Any, query: dict[str, Any]) -> Any:
        questions.append(query)
        return answer(world, query)

    monkeypatch.setitem(INFO_HANDLERS, LEDGER, note)
    return questions


@pytest.mark.parametrize("way", ["bridge", "spot", "account"])
async def test_a_withdrawal_opens_no_breaker_and_a_deposit_hides_no_loss(bench: Bench, way: str) -> None:
    bot = await bench.start({}, max_daily_loss_pct=5, max_drawdown_pct=15)
    await shows(bot, 10_000)
    await move(bench, -5_000, way)
    await shows(bot, 5_000)
    assert figures(bot, bench) == {"daily_pnl_usd": 0, "daily_pnl_pct": 0, "drawdown_pct": 0}
    bench.account.cash_usd -= 200
    await shows(bot, 4_800)
    assert figures(bot, bench) == {"daily_pnl_usd": -200, "daily_pnl_pct": -4, "drawdown_pct": 4}
    await move(bench, 43_200, way)
    await shows(bot, 48_000)
    assert figures(bot, bench) == {"daily_pnl_usd": -200, "daily_pnl_pct": -4, "drawdown_pct": 4}
    assert bot.seen.trips == []
    assert counted(bench) == [-5_000, 43_200]
    bench.account.cash_usd -= 600
    await until(lambda: bot.seen.trips, "the limit")
    assert bot.seen.trips == [("daily_loss", "lost 5.20 % today, the limit is 5 %")]


async def test_what_was_counted_is_neither_forgotten_nor_counted_twice_by_a_restart(bench: Bench) -> None:
    bot = await bench.start({}, max_daily_loss_pct=5)
    await shows(bot, 10_000)
    await move(bench, -5_000)
    await shows(bot, 5_000)
    await bench.stop(bot)
    bot = await bench.start({}, max_daily_loss_pct=5)
    await bench.looks(4)
    assert figures(bot, bench)["daily_pnl_pct"] == 0
    await bench.stop(bot)
    await move(bench, -2_500)
    await move(bench, 7_500)
    bench.account.cash_usd -= 200
    bot = await bench.start({}, max_daily_loss_pct=5)
    await shows(bot, 9_800)
    await bench.looks(3)
    assert figures(bot, bench)["daily_pnl_usd"] == -200
    assert bot.seen.trips == []
    assert counted(bench) == [-5_000, -2_500, 7_500]


async def test_a_deposit_at_night_while_nobody_was_there_is_no_drawdown(bench: Bench) -> None:
    bot = await bench.start({}, max_drawdown_pct=15)
    await shows(bot, 10_000)
    await bench.stop(bot)
    await move(bench, 20_000)
    bench.clock.advance(86_400)
    bot = await bench.start({}, max_drawdown_pct=15)
    await shows(bot, 30_000)
    await bench.looks(3)
    assert figures(bot, bench) == {"daily_pnl_usd": 0, "daily_pnl_pct": 0, "drawdown_pct": 0}
    assert bot.seen.trips == []


async def test_money_that_is_gone_before_the_ledger_says_so_opens_nothing_and_lets_nothing_in(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allora_mqtt.trading.cash._PATIENCE", timedelta(seconds=60))
    bot = await bench.start({"ETH": ETH}, max_daily_loss_pct=5)
    await shows(bot, 10_000)
    bench.faults({"path": "/info", "type": LEDGER, "kind": "late_fills", "seconds": 500})
    await move(bench, -5_000)
    await until(lambda: bot.engine.reconciler.losses.cash.is_waiting, "it is asked for")
    bench.signal(ETH=0.01)
    bench.next_epoch()
    # The clock was put forward beyond all patience, and to when the ledger tells of it.
    await shows(bot, 5_000)
    assert bot.seen.trips == []
    assert counted(bench) == [-5_000]
    await bench.holding("ETH")


async def test_money_that_the_ledger_tells_of_before_the_account_shows_it_is_counted_when_it_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allora_mqtt.trading.cash._PATIENCE", timedelta(seconds=60))
    bot = await bench.start({}, max_daily_loss_pct=5)
    await shows(bot, 10_000)
    bench.faults({"path": "/info", "type": "clearinghouseState", "kind": "lagging_state", "seconds": 600})
    await move(bench, -5_000)
    monkeypatch.setattr("allora_mqtt.trading.cash._ASK_EVERY", timedelta(0))
    await until(lambda: bot.engine.reconciler.losses.cash.is_waiting, "the ledger is ahead")
    monkeypatch.setattr("allora_mqtt.trading.cash._ASK_EVERY", timedelta(hours=1))
    bench.faults()
    await shows(bot, 5_000)
    assert bot.seen.trips == []
    assert counted(bench) == [-5_000]
    assert figures(bot, bench)["daily_pnl_pct"] == 0


async def test_nothing_enters_while_it_is_not_known_where_money_has_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("allora_mqtt.trading.cash._PATIENCE", timedelta(days=1))
    bot = await bench.start({"ETH": ETH})
    await shows(bot, 10_000)
    bench.account.cash_usd -= 100
    await until(lambda: bot.engine.reconciler.losses.cash.is_waiting, "it is asked for")
    bench.signal(ETH=0.01)
    bench.next_epoch()
    why = "money has moved, and it is not known yet why"
    await until(lambda: "ETH" in bot.engine.signals and why in bot.engine.signals["ETH"].reasons, "no entry")
    assert bench.entries() == []


async def test_a_loss_that_no_transfer_explains_trips_though_the_ledger_cannot_be_read(bench: Bench) -> None:
    bot = await bench.start({}, max_daily_loss_pct=5)
    await shows(bot, 10_000)
    bench.faults({"path": "/info", "type": LEDGER, "kind": "http_500"})
    bench.account.cash_usd -= 600
    await until(lambda: bot.seen.trips, "the limit")


async def test_an_emptied_account_and_its_next_deposit_keep_the_days_loss(bench: Bench) -> None:
    bot = await bench.start({}, max_daily_loss_pct=5)
    await shows(bot, 10_000)
    bench.account.cash_usd -= 400
    await shows(bot, 9_600)
    await move(bench, -9_600)
    await shows(bot, 0)
    assert figures(bot, bench)["daily_pnl_usd"] == -400
    assert bot.seen.trips == []
    await move(bench, 19_200)
    await shows(bot, 19_200)
    assert figures(bot, bench) == {"daily_pnl_usd": -400, "daily_pnl_pct": -4, "drawdown_pct": 4}
    assert bot.seen.trips == []


async def test_the_ledger_is_not_asked_for_what_fills_explain(bench: Bench, asked: list[dict[str, Any]]) -> None:
    bench.signal(ETH=0.01)
    bot = await bench.start({"ETH": ETH})
    await bench.holding("ETH")
    await bot.engine.close("ETH", "command")
    await bench.looks(4)
    assert asked == [], "a first start knows all that it needs"
    bench.clock.advance(3601)
    await until(lambda: asked, "once an hour")
    await bench.looks(4)
    assert len(asked) == 1
    await bench.stop(bot)
    await bench.start({})
    await until(lambda: len(asked) == 2, "and at the start")


async def test_a_kind_that_nobody_knows_is_pointed_out_and_counts_as_a_result(bench: Bench) -> None:
    bot = await bench.start({}, max_daily_loss_pct=50)
    await shows(bot, 10_000)
    await move(bench, -1_000)
    bench.account.transfers[-1]["delta"] = {"type": "lunarTransfer", "amount": "1000"}
    await shows(bot, 9_000)
    assert figures(bot, bench)["daily_pnl_pct"] == -10
    (warning,) = views.cash_warning(bot.engine.reconciler.losses.cash.unclear.values())
    assert (warning.code, "lunarTransfer" in warning.message) == (WarningCode.CASH_FLOW_UNKNOWN, True)
    assert bench.stored("select kind, amount_usd from cash_flows") == [("lunarTransfer", None)]


async def test_the_drawdown_of_the_books_has_no_withdrawals_in_it(bench: Bench) -> None:
    bot = await bench.start({}, max_daily_loss_pct=50)
    equity = 10_000
    for change, is_moved in ((-500, False), (-4_750, True), (-475, False), (20_000, True)):
        await shows(bot, equity)
        bench.clock.advance(61)
        await point(bench, equity)
        equity += change
        if is_moved:
            await move(bench, change)
        else:
            bench.account.cash_usd += change
    await shows(bot, equity)
    bench.clock.advance(61)
    await point(bench, equity)
    now = bench.clock.now()
    found = await Books(bot.database).performance(now - timedelta(days=1), now)
    # 5 % and then 10 % are lost: 14.5 % of the peak, of which half was left at the lowest point.
    assert round(found.max_drawdown_pct, 6) == Decimal("14.5")
    assert round(found.max_drawdown_usd, 6) == Decimal(725)
