import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allora_mqtt.market.catalog import Catalog, assets_from_meta, parse_topic, topics_from_api
from allora_mqtt.protocol.errors import ErrorCode, Rejected

META = {
    "universe": [
        {"name": "BTC", "szDecimals": 5, "maxLeverage": 40},
        {"szDecimals": 5},
        {"name": "kPEPE", "szDecimals": 0, "maxLeverage": 10, "marginMode": "strictIsolated"},
        {"name": "OLD", "szDecimals": 1, "maxLeverage": 3, "isDelisted": True},
        None,
        {"name": "ETH", "szDecimals": 4, "maxLeverage": 25, "onlyIsolated": True},
        {"name": "GONE", "szDecimals": 1, "maxLeverage": 3, "isDelisted": True},
    ]
}
NAMES = {
    1: "BTC 8h Log-Return Prediction",
    3: "BTC 24h Price Prediction",
    14: "BTC 8h Price Prediction",
    15: "BTC 8h Volatility",
    20: "BTC 8h Price Prediction",
    9: "ETH 8h Log-Return Prediction",
    30: "BNB 20m Price Prediction",
    31: "OLD 20m Price Prediction",
    32: "KPEPE 20m Price Prediction",
    40: "BTC Price Prediction",
    41: "Election",
}


@pytest.fixture
def catalog() -> Catalog:
    topics = {topic_id: parse_topic(topic_id, name) for topic_id, name in NAMES.items()}
    topics[50] = parse_topic(50, "BTC 8h Price Prediction", is_active=False)
    return Catalog(assets_from_meta(META), topics)


def refusal(catalog: Catalog, symbol: str, topic_id: int | None = None) -> tuple[ErrorCode, str]:
    with pytest.raises(Rejected) as caught:
        catalog.check(symbol, topic_id)
    return caught.value.code, caught.value.message


def test_junk_in_the_universe_moves_no_index() -> None:
    assets = assets_from_meta(META)
    assert {symbol: asset.index for symbol, asset in assets.items()} == {
        "BTC": 0,
        "kPEPE": 2,
        "OLD": 3,
        "ETH": 5,
        "GONE": 6,
    }
    assert assets["OLD"].is_delisted
    assert [asset.only_isolated for asset in assets.values()] == [False, True, False, True, False]


def test_symbols_are_found_whatever_their_case(catalog: Catalog) -> None:
    assert [catalog.resolve(text) for text in ("btc", "BTC", "KPEPE", "kpepe", "bnb")] == [
        "BTC",
        "BTC",
        "kPEPE",
        "kPEPE",
        "BNB",
    ]
    with pytest.raises(Rejected, match=r"UNKNOWN_SYMBOL.*'BTCC'.*BTC"):
        catalog.resolve("BTCC")


def test_availability(catalog: Catalog) -> None:
    assert {symbol: catalog.availability(symbol) for symbol in catalog.symbols()} == {
        "BNB": "allora",
        "BTC": "both",
        "ETH": "both",
        "OLD": "allora",
        "kPEPE": "both",
    }
    with pytest.raises(Rejected, match="NOT_TRADABLE"):
        catalog.availability("GONE")
    only_listed = Catalog(assets_from_meta(META), {})
    assert only_listed.availability("btc") == "hyperliquid"
    assert only_listed.symbols() == ["BTC", "ETH", "kPEPE"]


def test_topics_are_ordered_by_kind_then_nearness_to_eight_hours_then_id(catalog: Catalog) -> None:
    assert [topic.id for topic in catalog.topics_of("btc")] == [14, 20, 3, 1]
    assert catalog.default_topic("BTC").id == 14
    assert catalog.default_topic("eth").id == 9


def test_a_horizon_half_as_long_is_as_near_as_one_twice_as_long() -> None:
    topics = {5: parse_topic(5, "ETH 16h Prediction"), 6: parse_topic(6, "ETH 4h Prediction")}
    assert Catalog(assets_from_meta(META), topics).default_topic("ETH").id == 5


def test_activation_takes_the_named_or_the_default_topic(catalog: Catalog) -> None:
    assert catalog.check("btc", None).id == 14
    assert catalog.check("btc", 1).id == 1
    assert catalog.check("kpepe", None).symbol == "KPEPE"


@pytest.mark.parametrize(
    ("symbol", "topic_id", "code", "words"),
    [
        ("NOPE", None, ErrorCode.UNKNOWN_SYMBOL, "NOPE"),
        ("OLD", None, ErrorCode.NOT_TRADABLE, "delisted"),
        ("BNB", None, ErrorCode.NOT_TRADABLE, "not listed"),
        ("BTC", 999, ErrorCode.NO_TOPIC, "14 (price, 8h), 20 (price, 8h), 3 (price, 1d), 1 (log_return, 8h)"),
        ("BTC", 50, ErrorCode.NO_TOPIC, "not active"),
        ("BTC", 40, ErrorCode.NO_TOPIC, "how far ahead"),
        ("BTC", 9, ErrorCode.TOPIC_MISMATCH, "predicts ETH, not BTC"),
        ("ETH", 14, ErrorCode.TOPIC_MISMATCH, "predicts BTC, not ETH"),
        ("BTC", 15, ErrorCode.TOPIC_MISMATCH, "no price"),
        ("BTC", 41, ErrorCode.TOPIC_MISMATCH, "which asset"),
    ],
)
def test_activation_is_refused_with_advice(
    catalog: Catalog, symbol: str, topic_id: int | None, code: ErrorCode, words: str
) -> None:
    found, message = refusal(catalog, symbol, topic_id)
    assert found == code
    assert words in message
    assert message.count(". ") == 0


def test_a_listed_symbol_without_a_topic_says_so() -> None:
    code, message = refusal(Catalog(assets_from_meta(META), {}), "BTC")
    assert code == ErrorCode.NO_TOPIC
    assert "ALLORA_TOPICS" in message


def test_the_view_is_the_contracts(catalog: Catalog) -> None:
    view = catalog.view()
    assert view["BTC"].model_dump() == {
        "availability": "both",
        "topics": [
            {"id": 14, "kind": "price", "horizon": "8h"},
            {"id": 20, "kind": "price", "horizon": "8h"},
            {"id": 3, "kind": "price", "horizon": "1d"},
            {"id": 1, "kind": "log_return", "horizon": "8h"},
        ],
        "max_leverage": 40,
    }
    assert view["OLD"].max_leverage is None


def test_topics_are_read_from_the_api_and_junk_is_skipped() -> None:
    topics = topics_from_api(
        [
            {"topic_id": 14, "topic_name": "BTC 5min Prediction", "epoch_length": 60, "is_active": True},
            {"topic_id": "9", "topic_name": "ETH 8h Prediction", "epoch_length": 60, "is_active": False},
            {"topic_id": 0, "topic_name": "X 8h Prediction", "epoch_length": 60},
            {"topic_id": 5, "topic_name": None, "epoch_length": 60},
            {"topic_id": 5, "topic_name": "X 8h Prediction", "epoch_length": "NaN"},
            None,
            7,
        ]
    )
    assert sorted(topics) == [9, 14]
    assert (topics[14].epoch_s, topics[14].is_active, topics[9].is_active) == (300, True, False)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
entry_keys = st.sampled_from(
    ["topic_id", "topic_name", "epoch_length", "is_active", "name", "szDecimals", "maxLeverage", "isDelisted"]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(json_values | st.dictionaries(entry_keys, json_values), max_size=5))
def test_no_junk_stops_the_catalog(entries: list[object]) -> None:
    Catalog(assets_from_meta({"universe": entries}), topics_from_api(entries)).view()
