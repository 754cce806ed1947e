import json
from decimal import Decimal
from importlib import resources
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from allora_mqtt.market.quotes import quotes_from_contexts

META = {
    "universe": [
        {"name": "BTC", "szDecimals": 5, "maxLeverage": 40},
        {"name": "OLD", "szDecimals": 5, "maxLeverage": 40, "isDelisted": True},
        {"name": "ETH", "szDecimals": 4, "maxLeverage": 25},
        {"name": "SOL", "szDecimals": 2, "maxLeverage": 20},
    ]
}


def context(**changes: object) -> dict[str, Any]:
    base = {"markPx": "100.5", "midPx": "100", "oraclePx": "99", "funding": "0.0000125", "dayNtlVlm": "1000.5"}
    return base | {"impactPxs": ["99.9", "100.1"]} | changes


def test_a_context_becomes_a_quote() -> None:
    quote = quotes_from_contexts(META, [context()], 5.0)["BTC"]
    assert (quote.mark, quote.mid, quote.oracle) == (Decimal("100.5"), Decimal(100), Decimal(99))
    assert (quote.funding_rate, quote.volume_24h_usd) == (Decimal("0.0000125"), Decimal("1000.5"))
    assert quote.spread_pct == Decimal("0.2")
    assert quote.at == 5.0


def test_contexts_belong_to_assets_by_their_place() -> None:
    quotes = quotes_from_contexts(META, [context(), context(markPx="1"), context(markPx="2"), context(markPx="3")], 0)
    assert {symbol: quote.mark for symbol, quote in quotes.items()} == {"BTC": Decimal("100.5"), "ETH": 2, "SOL": 3}


def test_assets_without_a_usable_mark_price_are_left_out() -> None:
    for bad in ("NaN", "Infinity", "0", "-1", None, "", "1e99"):
        assert quotes_from_contexts(META, [context(markPx=bad)], 0) == {}
    assert quotes_from_contexts(META, [None, 3, "x"], 0) == {}


def test_a_book_that_is_empty_or_crossed_has_no_spread() -> None:
    def spread(**changes: object) -> Decimal | None:
        return quotes_from_contexts(META, [context(**changes)], 0)["BTC"].spread_pct

    assert spread(impactPxs=None) is None
    assert spread(impactPxs=["1"]) is None
    assert spread(impactPxs=["100.1", "99.9"]) is None
    assert spread(impactPxs=["NaN", "100"]) is None
    assert spread(midPx=None) == Decimal("0.2")


def test_the_shipped_universe_lists_every_live_asset() -> None:
    text = resources.files("allora_mqtt.simulator").joinpath("universe.json").read_text(encoding="utf-8")
    meta = {"universe": json.loads(text)["assets"]}
    live = [row["name"] for row in meta["universe"] if not row.get("isDelisted")]
    assert list(quotes_from_contexts(meta, [context()] * len(meta["universe"]), 0)) == live


@settings(max_examples=40, deadline=None)
@given(st.lists(st.none() | st.text() | st.dictionaries(st.sampled_from(list(context())), st.text() | st.floats())))
def test_no_junk_raises(contexts: list[Any]) -> None:
    quotes_from_contexts(META, contexts, 0)
    quotes_from_contexts(contexts, META, 0)
