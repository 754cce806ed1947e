import contextlib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allora_mqtt.market.predictions import Inference, parse_inference, to_prediction, unusable_because
from allora_mqtt.market.topic_names import parse_topic
from allora_mqtt.protocol.errors import BotError, ErrorCode

PRICE = parse_topic(9, "ETH 8h Price Prediction")
LOG_RETURN = parse_topic(9, "ETH 8h Log-Return Prediction")
PERCENTILES = ["2.28", "15.87", "50", "84.13", "97.72"]


def payload(**changes: object) -> dict[str, Any]:
    inference = {
        "network_inference": "3365485208027959000000",
        "network_inference_normalized": "3365.485208027959",
        "confidence_interval_percentiles_normalized": PERCENTILES,
        "confidence_interval_values_normalized": ["3300", "3340", "3365", "3390", "3430"],
        "topic_id": "9",
        "timestamp": 1719866777,
    }
    return {"request_id": "x", "status": True, "data": {"signature": "0x", "inference_data": inference | changes}}


def refusal(answer: object) -> str:
    with pytest.raises(BotError) as caught:
        parse_inference(answer, 9)
    assert caught.value.code == ErrorCode.PREDICTION_UNAVAILABLE
    assert caught.value.message.endswith(".")
    return caught.value.message


def inference(value: str, interval: tuple[Decimal, Decimal] | None = None) -> Inference:
    return Inference(topic_id=9, value=Decimal(value), interval_68=interval, interval_95=None, timestamp=1000.0)


def test_an_inference_is_read_with_its_intervals() -> None:
    found = parse_inference(payload(timestamp="1719866777"), 9)
    assert found.value == Decimal("3365.485208027959")
    assert found.interval_68 == (Decimal(3340), Decimal(3390))
    assert found.interval_95 == (Decimal(3300), Decimal(3430))
    assert found.timestamp == 1719866777


@pytest.mark.parametrize(
    "changes",
    [
        {"confidence_interval_values_normalized": None},
        {"confidence_interval_values_normalized": ["1", "2"]},
        {"confidence_interval_values_normalized": ["9", "8", "7", "6", "5"]},
        {"confidence_interval_percentiles_normalized": ["a", "b", "c", "d", "e"]},
        {"confidence_interval_percentiles_normalized": []},
    ],
)
def test_an_unreadable_interval_is_left_out(changes: dict[str, Any]) -> None:
    found = parse_inference(payload(**changes), 9)
    assert (found.interval_68, found.interval_95) == (None, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network_inference_normalized": "NaN"}, "cannot be read"),
        ({"network_inference_normalized": None}, "cannot be read"),
        ({"network_inference_normalized": "1e400"}, "cannot be read"),
        ({"topic_id": "14"}, "topic 14"),
        ({"topic_id": None}, "cannot be read"),
        ({"timestamp": "soon"}, "cannot be read"),
        ({"timestamp": 0}, "not a time"),
        ({"timestamp": 1_795_000_000_000}, "not a time in seconds"),
    ],
)
def test_an_unreadable_inference_is_refused(changes: dict[str, Any], words: str) -> None:
    assert words in refusal(payload(**changes))


@pytest.mark.parametrize("answer", [None, [], "x", {}, {"status": True}, {"status": True, "data": {}}, {"data": {}}])
def test_another_shape_is_refused(answer: object) -> None:
    refusal(answer)


def test_the_apis_own_words_are_shown_on_one_line() -> None:
    message = refusal({"status": False, "apiResponseMessage": "topic\nasleep"})
    assert "topic asleep" in message


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(payload()["data"]["inference_data"])),
        st.none() | st.text() | st.floats() | st.integers() | st.lists(st.text() | st.floats(), max_size=6),
    )
)
def test_any_answer_gives_a_finite_inference_or_a_botterror(changes: dict[str, Any]) -> None:
    with contextlib.suppress(BotError):
        assert parse_inference(payload(**changes), 9).value.is_finite()


def test_a_price_stays_a_price() -> None:
    prediction = to_prediction(inference("3000", (Decimal(2900), Decimal(3100))), PRICE, Decimal(2950))
    assert (prediction.price, prediction.interval_68) == (Decimal(3000), (Decimal(2900), Decimal(3100)))
    assert (prediction.symbol, prediction.topic_id, prediction.horizon_s, prediction.at) == ("ETH", 9, 28800, 1000.0)


def test_a_log_return_is_applied_to_the_spot_price() -> None:
    prediction = to_prediction(inference("0.01", (Decimal("-0.01"), Decimal("0.03"))), LOG_RETURN, Decimal(1000))
    assert prediction.price.quantize(Decimal("0.0001")) == Decimal("1010.0502")
    assert prediction.interval_68 is not None
    low, high = prediction.interval_68
    assert low.quantize(Decimal("0.01")) == Decimal("990.05")
    assert high.quantize(Decimal("0.01")) == Decimal("1030.45")


def test_a_price_published_as_a_log_return_is_refused() -> None:
    with pytest.raises(BotError, match="cannot be turned into a price"):
        to_prediction(inference("3000"), LOG_RETURN, Decimal(3000))
    odd = to_prediction(inference("0", (Decimal(-1), Decimal(3000))), LOG_RETURN, Decimal(3000))
    assert odd.interval_68 is None


@pytest.mark.parametrize("value", ["0", "-1"])
def test_a_price_that_is_not_above_zero_is_refused(value: str) -> None:
    with pytest.raises(BotError, match="not above zero"):
        to_prediction(inference(value), PRICE, Decimal(3000))
    odd = to_prediction(inference("3000", (Decimal(value), Decimal(3000))), PRICE, Decimal(3000))
    assert odd.interval_68 is None


def test_a_value_of_another_topic_or_kind_is_refused() -> None:
    for topic in (parse_topic(8, "ETH 8h Price"), parse_topic(9, "ETH 8h Volatility"), parse_topic(9, "ETH Price")):
        with pytest.raises(BotError, match="PREDICTION_UNAVAILABLE"):
            to_prediction(inference("3000"), topic, Decimal(3000))


def reason(value: str = "3000", mark: str = "3000", now: float = 1000.0, max_age_s: float = 1800) -> str | None:
    return unusable_because(to_prediction(inference(value), PRICE, Decimal(1)), Decimal(mark), now, max_age_s)


def test_a_fresh_and_plausible_prediction_is_usable() -> None:
    assert reason() is None
    assert reason(now=1000 + 1800) is None
    assert reason(now=1000 - 60) is None
    assert reason(value="3600") is None
    assert reason(value="2400") is None


def test_a_prediction_is_unusable_with_its_reason() -> None:
    assert "1801 s old" in (reason(now=2801) or "")
    assert "101 s old" in (reason(now=1101, max_age_s=100) or "")
    assert "future" in (reason(now=1000 - 61) or "")
    assert "future" in (reason(now=float("nan")) or "")
    assert "20.1 %" in (reason(value="3602") or "")
    assert "away" in (reason(value="2398") or "")
    assert "not above zero" in (reason(mark="0") or "")
    assert "not above zero" in (reason(mark="NaN") or "")


def test_a_short_horizon_limits_the_age_further() -> None:
    topic = parse_topic(9, "ETH 5min Prediction")
    prediction = to_prediction(inference("3000"), topic, Decimal(1))
    assert unusable_because(prediction, Decimal(3000), 1300.0, 1800) is None
    assert "300 s is the limit" in (unusable_because(prediction, Decimal(3000), 1301.0, 1800) or "")
