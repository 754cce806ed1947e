from decimal import Decimal
from typing import Any

import pytest

from allora_mqtt.simulator import info_views as views
from allora_mqtt.simulator.account import Leverage
from tests.unit.simulator.bench import ETH, UNIVERSE, Bench, exit_order, limit, market_order


def state(bench: Bench) -> dict[str, Any]:
    return views.clearinghouse_state(bench.account, bench.market, bench.now_s)


def test_a_position_in_numbers(bench: Bench) -> None:
    bench.place(market_order(ETH, "-1"))
    bench.go(ETH=1_900.0)
    shown = state(bench)
    position = shown["assetPositions"][0]["position"]
    assert (position["szi"], position["entryPx"], position["positionValue"]) == ("-1.0", "1999.8", "1900.0")
    assert (position["unrealizedPnl"], position["marginUsed"]) == ("99.8", "95.0")
    assert Decimal(position["liquidationPx"]) > 10_000
    summary = shown["marginSummary"]
    assert Decimal(summary["accountValue"]) == bench.equity().quantize(Decimal("1e-6"))
    assert Decimal(summary["totalRawUsd"]) == Decimal(summary["accountValue"]) + 1_900
    # The initial margin is 95; a tenth of the notional has to stay.
    assert Decimal(shown["withdrawable"]) == Decimal(summary["accountValue"]) - 190


def test_an_isolated_position_shows_its_own_money(bench: Bench) -> None:
    bench.exchange.set_leverage(bench.account, ETH, Leverage(10, is_cross=False), bench.now_s)
    bench.place(market_order(ETH, "1"))
    shown = state(bench)
    position = shown["assetPositions"][0]["position"]
    assert position["leverage"] == {"type": "isolated", "value": 10, "rawUsd": "-1800.18"}
    assert position["marginUsed"] == "199.82"
    assert shown["crossMarginSummary"]["totalMarginUsed"] == "0.0"
    assert Decimal(shown["withdrawable"]) == bench.account.cash_usd.quantize(Decimal("1e-6")) - Decimal("200.02")


def test_open_orders_hide_triggers_and_the_frontend_s_shows_them(bench: Bench) -> None:
    bench.place(limit(ETH, "1", "1950"), exit_order(ETH, "-1", "1900", "sl"), grouping="normalTpsl")
    parent = next(iter(bench.account.orders.values()))
    assert views.open_order(parent, bench.market)["side"] == "B"
    shown = views.frontend_order(parent, bench.account, bench.market)
    assert (shown["orderType"], shown["isTrigger"], shown["triggerPx"]) == ("Limit", False, "0.0")
    (child,) = shown["children"]
    assert (child["orderType"], child["triggerPx"], child["triggerCondition"], child["reduceOnly"]) == (
        "Stop Market",
        "1900.0",
        "Price below 1900",
        True,
    )


def test_candles_join_and_the_last_one_ends_now(bench: Bench) -> None:
    bitcoin = UNIVERSE.assets[0]
    candles = list(views.candles(bitcoin, bench.market, "1m", 59_999, 600_000))
    assert [candle["t"] for candle in candles] == [minute * 60_000 for minute in range(11)]
    assert all(Decimal(one["l"]) <= Decimal(one["o"]) <= Decimal(one["h"]) for one in candles)
    assert [one["o"] for one in candles[1:]] == [one["c"] for one in candles[:-1]]
    assert len(list(views.candles(bitcoin, bench.market, "1m", 0, 6_000 * 60_000))) == 5_000


@pytest.mark.parametrize("index", [0, 3])
def test_a_delisted_asset_has_no_mid(bench: Bench, index: int) -> None:
    context = views.asset_context(UNIVERSE.assets[index], bench.market, bench.now_s)
    is_delisted = UNIVERSE.assets[index].is_delisted
    assert (context["midPx"] is None) == is_delisted
    assert (context["impactPxs"] is None) == is_delisted
    assert (UNIVERSE.assets[index].name in views.all_mids(bench.market, bench.now_s)) != is_delisted


def test_funding_history_is_hourly(bench: Bench) -> None:
    rows = views.funding_history(UNIVERSE.assets[0], bench.market, 1_000_000, 1_000_000 + 3 * 3_600_000)
    assert [row["time"] for row in rows] == [1_000_000 + hour * 3_600_000 for hour in range(4)]
    later = views.funding_history(UNIVERSE.assets[0], bench.market, 1_000_001, 1_000_000 + 3 * 3_600_000)
    assert later == rows[1:]
