"""A market that follows a real exchange: what it takes over, and what it refuses."""

import copy
from decimal import Decimal
from typing import Any

import pytest

from allora_mqtt.simulator.followed_market import FollowedMarket, UnusableAnswer, read_state
from allora_mqtt.simulator.universe import Asset

NOW_S = 1_800_000_000.0
NO_PRICES: list[Any] = [None, "", "NaN", "Infinity", "-1", "0", 70736.0, "1e999999999", {}]
NO_NUMBERS: list[Any] = ["NaN", "Infinity", "x", None, []]


def context(**changes: Any) -> dict[str, Any]:
    return {
        "funding": "0.0000125",
        "openInterest": "24469.1",
        "prevDayPx": "67779.0",
        "dayNtlVlm": "3631161834.2",
        "premium": "-0.0004",
        "oraclePx": "70770.0",
        "markPx": "70736.0",
        "midPx": "70739.5",
        "impactPxs": ["70739.0", "70740.25"],
        "dayBaseVlm": "52614.4",
        **changes,
    }


def answer(**btc: Any) -> list[Any]:
    """As mainnet's: a live asset, a delisted one that keeps its number, and one with isolated margin only."""
    universe = [
        {"szDecimals": 5, "name": "BTC", "maxLeverage": 40, "marginTableId": 56},
        {"szDecimals": 1, "name": "MATIC", "maxLeverage": 20, "marginTableId": 20, "isDelisted": True},
        {"szDecimals": 1, "name": "ODD", "maxLeverage": 3, "marginTableId": 3, "onlyIsolated": True},
    ]
    tiers = [{"lowerBound": "0.0", "maxLeverage": 40}, {"lowerBound": "150000000.0", "maxLeverage": 20}]
    meta = {"universe": universe, "marginTables": [[56, {"marginTiers": tiers}]], "collateralToken": 0}
    gone = context(markPx="0.37621", midPx=None, impactPxs=None, premium=None, funding="0.0", dayNtlVlm="0.0")
    odd = context(markPx="1.25", midPx="1.26", impactPxs=None, prevDayPx=None)
    return [meta, [context(**btc), gone, odd]]


def followed(found: list[Any] | None = None, at_s: float = NOW_S) -> tuple[FollowedMarket, tuple[Asset, ...]]:
    market = FollowedMarket(stale_after_s=9)
    market.take(read_state(answer() if found is None else found), at_s)
    return market, market.universe.assets


def test_assets_keep_the_exchange_s_numbers_decimals_and_leverage() -> None:
    _, (btc, matic, odd) = followed()
    assert (btc.index, btc.sz_decimals, btc.max_leverage, [tier.max_leverage for tier in btc.margin_tiers]) == (
        0,
        5,
        40,
        [40, 20],
    )
    assert (matic.index, matic.is_delisted) == (1, True)
    assert (odd.index, odd.is_isolated_only) == (2, True)


def test_prices_are_the_exchange_s_own() -> None:
    market, (btc, _, odd) = followed()
    assert market.mark(btc, NOW_S) == Decimal("70736.0")
    assert market.mid(btc, NOW_S) == Decimal("70739.5")
    # The impact prices, on the grid of prices: the ask is rounded against the buyer.
    assert market.bbo(btc, NOW_S) == (Decimal(70739), Decimal(70741))
    assert market.levels(btc, NOW_S, asks=True)[0].px == Decimal(70741)
    assert market.funding_rate(btc, 12345) == Decimal("0.0000125")
    assert market.day_before(btc, NOW_S) == 67779.0
    assert market.bbo(odd, NOW_S) == (Decimal("1.26"), Decimal("1.2601")), "without impact prices the mid"


def test_where_there_is_no_book_there_is_nothing_to_trade_against() -> None:
    market, (btc, matic, _) = followed(answer(midPx=None, impactPxs=None))
    for asset in (btc, matic):
        assert market.mid(asset, NOW_S) is None
        assert market.levels(asset, NOW_S, asks=True) == market.levels(asset, NOW_S, asks=False) == []
    assert market.mark(btc, NOW_S) == Decimal("70736.0")


@pytest.mark.parametrize("impact", [["70800", "70900"], ["70740", "70738"], ["nan", "1"], ["1"], "x", [None, None]])
def test_impact_prices_that_make_no_sense_are_left_out(impact: Any) -> None:
    market, (btc, *_) = followed(answer(impactPxs=impact))
    bid, ask = market.bbo(btc, NOW_S)
    assert bid <= Decimal("70739.5") <= ask
    assert ask - bid == 1


@pytest.mark.parametrize(
    "garbage",
    [
        *(answer(markPx=value) for value in NO_PRICES),
        *(answer(funding=value) for value in NO_NUMBERS),
        *(answer(dayNtlVlm=value) for value in NO_NUMBERS),
        None,
        {},
        [],
        [{}, []],
        [{"universe": [], "marginTables": [], "collateralToken": 0}, []],
        [answer()[0], answer()[1][:2]],
        [{**answer()[0], "universe": [{**asset, "szDecimals": "5"} for asset in answer()[0]["universe"]]}, answer()[1]],
        [{**answer()[0], "universe": [{**asset, "szDecimals": 40} for asset in answer()[0]["universe"]]}, answer()[1]],
        [{**answer()[0], "universe": [{**asset, "maxLeverage": 0} for asset in answer()[0]["universe"]]}, answer()[1]],
        [answer()[0], {}],
        ["meta", "contexts"],
    ],
)
def test_an_answer_that_cannot_be_traded_on_is_refused_as_a_whole(garbage: Any) -> None:
    with pytest.raises(UnusableAnswer):
        read_state(garbage)


def test_assets_that_change_places_are_refused_and_new_ones_taken() -> None:
    market, (btc, *_) = followed()
    swapped = answer()
    swapped[0]["universe"].reverse()
    swapped[1].reverse()
    with pytest.raises(UnusableAnswer, match="changed places"):
        market.take(read_state(swapped), NOW_S + 3)
    with pytest.raises(UnusableAnswer, match="changed places"):
        market.take(read_state([{**answer()[0], "universe": answer()[0]["universe"][:1]}, answer()[1][:1]]), NOW_S + 3)
    assert market.mark(btc, NOW_S) == Decimal("70736.0")
    longer = copy.deepcopy(answer(markPx="71000"))
    longer[0]["universe"].append({"szDecimals": 0, "name": "NEW", "maxLeverage": 5, "marginTableId": 5})
    longer[1].append(context(markPx="5"))
    market.take(read_state(longer), NOW_S + 3)
    new = market.universe.by_name("NEW")
    assert new is not None
    assert market.mark(new, NOW_S) == Decimal(5)
    assert market.mark(btc, NOW_S) == Decimal(71000), "an asset of the universe before is priced anew"


def test_trading_is_halted_until_there_are_prices_and_when_they_are_old() -> None:
    market = FollowedMarket(stale_after_s=9)
    market.failed("no connection")
    assert market.halted_because(NOW_S) == "no connection"
    market.take(read_state(answer()), NOW_S)
    assert market.halted_because(NOW_S + 9) is None
    market.failed("it is rate limiting")
    assert market.halted_because(NOW_S + 10) == "its prices are 10 s old: it is rate limiting"
    assert market.halted_because(NOW_S - 60) is not None, "a clock that was set back makes no prices fresh"
    market.take(read_state(answer()), NOW_S + 20)
    assert market.halted_because(NOW_S + 20) is None
