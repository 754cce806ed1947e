import pytest

from allora_mqtt.market.topic_names import TopicKind, horizon_text, parse_configured_topics, parse_topic


@pytest.mark.parametrize(
    ("name", "symbol", "kind", "horizon_s"),
    [
        ("BTC 5min Prediction", "BTC", "price", 300),
        ("ETH 8h Price Prediction", "ETH", "price", 28800),
        ("BTC 8h Log-Return Prediction", "BTC", "log_return", 28800),
        ("ETH 24h Prediction", "ETH", "price", 86400),
        ("BTC 1d Log Return", "BTC", "log_return", 86400),
        ("SOL/USD - 10 min price prediction", "SOL", "price", 600),
        ("8 hour SOL/USD Log-Return Prediction", "SOL", "log_return", 28800),
        ("NEAR/USD - 8h Log-Return Prediction (5min updates)", "NEAR", "log_return", 28800),
        ("kPEPE 20m Price Prediction", "kPEPE", "price", 1200),
        ("BTC/USD 8h Volatility", "BTC", "other", 28800),
        ("ETH 5min Volatility Prediction", "ETH", "other", 300),
        ("BTC 24h Volume Prediction", "BTC", "other", 86400),
        ("BTC 8h Return", "BTC", "other", 28800),
        ("BTC 8h", "BTC", "other", 28800),
        ("BTC Price Prediction", "BTC", "price", None),
        ("BTC 5min 8h Prediction", "BTC", "price", None),
        ("BTC 1.5h Prediction", "BTC", "other", None),
        ("ETH/BTC 8h Price Prediction", None, "other", 28800),
        ("US Presidential Election", None, "other", None),
        ("Gas 24h Price Prediction", None, "other", 86400),
        ("", None, "other", None),
        ("ETH 10min Prediction", "ETH", "price", 600),
        ("BTC 8h Prediction", "BTC", "price", 28800),
        ("BTC 8h log-return", "BTC", "log_return", 28800),
        ("8-hour BTC/USD log return", "BTC", "log_return", 28800),
        ("BTC/USD 7 days Log-Returns prediction", "BTC", "log_return", 604800),
        ("BTC 20 minutes LogReturn", "BTC", "log_return", 1200),
        ("BTC 5MIN PRICE PREDICTION", "BTC", "price", 300),
        ("ETHUSDT 8h Price Prediction", "ETH", "price", 28800),
        ("BTCUSD/USD 8h Price Prediction", "BTC", "price", 28800),
        ("SOL/USD spot price, 8 hours ahead", "SOL", "price", 28800),
        ("1INCH 8hr price forecast", "1INCH", "price", 28800),
        ("BTC/USD - 8h Price Prediction (testnet, new every 5 min)", "BTC", "price", 28800),
        ("BTC 8h VOLATILITY", None, "other", 28800),
        ("BTC 8h Price Prediction (volatility)", "BTC", "other", 28800),
        ("BTC 8h Price Change Prediction", "BTC", "other", 28800),
        ("BTC 8h Direction Prediction", "BTC", "other", 28800),
        ("BTC dominance 8h Prediction", "BTC", "other", 28800),
        ("BTC 8h price in ETH", None, "other", 28800),
        ("Memecoin 1h Prediction", None, "other", 3600),
        ("US Presidential Election 2024 - Winning Party", "US", "other", None),
        ("R5 2024 Election 8h Prediction", None, "other", 28800),
        ("PLAYGROUND: 1 day BTC/USD Price Prediction", "BTC", "other", 86400),
        ("PLAYGROUND FAST - 5 minute BTC/USD Price Prediction", None, "other", 300),
        ("BTC ahead 8h", "BTC", "other", 28800),
    ],
)
def test_names_are_read_and_what_is_not_understood_is_no_signal(
    name: str, symbol: str | None, kind: str, horizon_s: int | None
) -> None:
    topic = parse_topic(1, name)
    assert (topic.kind, topic.horizon_s) == (kind, horizon_s)
    if kind != "other":
        assert topic.symbol == symbol
    assert topic.is_usable == (kind != "other" and horizon_s is not None)


def test_a_volatility_topic_keeps_its_asset() -> None:
    assert parse_topic(15, "BTC/USD 8h Volatility").symbol == "BTC"


def test_topics_from_the_configuration() -> None:
    first, second = parse_configured_topics("BTC:14:price:8h, ETH:2:log_return:20m,")
    assert (first.symbol, first.id, first.kind, first.horizon_s) == ("BTC", 14, TopicKind.PRICE, 28800)
    assert (second.symbol, second.id, second.kind, second.horizon_s) == ("ETH", 2, TopicKind.LOG_RETURN, 1200)
    assert first.is_usable
    assert parse_configured_topics("  ") == []


@pytest.mark.parametrize(
    "text",
    ["BTC", "BTC:14", "BTC:x:price:8h", "BTC:0:price:8h", "BTC:14:volatility:8h", "BTC:14:price:8", "BTC:14:price:0h"],
)
def test_a_bad_configuration_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="ALLORA_TOPICS") as caught:
        parse_configured_topics(f"ETH:9:price:8h,{text}")
    assert text in str(caught.value)


def test_a_topic_is_configured_once() -> None:
    with pytest.raises(ValueError, match="topic 14 twice"):
        parse_configured_topics("BTC:14:price:8h,ETH:14:price:8h")


@pytest.mark.parametrize(("seconds", "text"), [(300, "5m"), (1200, "20m"), (28800, "8h"), (86400, "1d"), (5400, "90m")])
def test_horizons_are_written_short(seconds: int, text: str) -> None:
    assert horizon_text(seconds) == text
