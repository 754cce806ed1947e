import pytest

from allora_mqtt.market.catalog import parse_topic
from allora_mqtt.trading.feed import poll_pause_s


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
