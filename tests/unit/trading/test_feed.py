from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from allora_mqtt.market.catalog import parse_topic
from allora_mqtt.market.dependency import Dependency
from allora_mqtt.market.predictions import Inference, Origin
from allora_mqtt.trading.feed import Feed, poll_pause_s
from tests.unit.trading.things import NOW_S, quote

ETH = parse_topic(9, "ETH 8h Price Prediction")
FROM_CHAIN = Inference(9, Decimal("2020.1234567890123456"), None, None, NOW_S, Origin.CHAIN)
FROM_API = replace(FROM_CHAIN, value=Decimal("2020.123456789"), timestamp=NOW_S + 30, origin=Origin.API)


@pytest.mark.parametrize(
    ("name", "epoch_s", "followed", "jitter", "pause_s"),
    [
        ("BTC 8h Price Prediction", 3600, 1, 0, 30),
        ("BTC 8h Price Prediction", 60, 1, 0, 20),
        ("BTC 5min Prediction", 3600, 1, 0, 30),
        ("BTC 1min Prediction", 3600, 1, 0, 20),
        ("BTC 8h Price Prediction", 1, 1, 0, 2),
        ("BTC 8h Price Prediction", 60, 1, 1, 22),
        ("BTC 8h Price Prediction", 60, 40, 0, 20),
        ("BTC 8h Price Prediction", 60, 60, 0, 30),
        ("BTC 8h Price Prediction", 3600, 200, 0.5, 105),
    ],
)
def test_a_topic_is_looked_at_as_often_as_it_needs_and_as_the_others_leave_room(
    name: str, epoch_s: int, followed: int, jitter: float, pause_s: float
) -> None:
    assert poll_pause_s(parse_topic(1, name, epoch_s=epoch_s), followed, jitter) == pytest.approx(pause_s)


@pytest.mark.parametrize("followed", [1, 10, 60, 229])
def test_all_together_never_ask_more_often_than_120_times_a_minute(followed: int) -> None:
    fastest = poll_pause_s(parse_topic(1, "BTC 5min Prediction", epoch_s=1), followed, 0)
    assert followed * 60 / fastest <= 120 + 1e-9


@pytest.mark.parametrize(
    ("later", "is_new"),
    [
        (FROM_API, False),
        (replace(FROM_API, value=Decimal("2020.2")), True),
        (replace(FROM_CHAIN, timestamp=NOW_S + 30), True),
        (replace(FROM_CHAIN, value=Decimal("2020.2")), False),
    ],
)
def test_one_value_read_in_two_places_is_one_prediction(later: Inference, *, is_new: bool) -> None:
    exchange = cast("Any", SimpleNamespace(info_health=Dependency("hyperliquid")))
    feed = Feed(exchange, cast("Any", None), [], 1, lambda: NOW_S)
    feed.quotes = {"ETH": quote()}
    feed.want({"ETH": 9})
    feed._take("ETH", ETH, FROM_CHAIN)
    first = feed.predictions["ETH"]
    feed._take("ETH", ETH, later)
    assert (feed.predictions["ETH"] is not first) is is_new
