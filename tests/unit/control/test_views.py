from datetime import UTC, datetime
from decimal import Decimal

from allora_mqtt.control.views import with_hit_rates
from allora_mqtt.protocol.books import Foreign, Performance, TopicResult
from allora_mqtt.store.predictions import HitRate

NOW = datetime(2026, 11, 21, tzinfo=UTC)
TRADED = TopicResult(topic_id=14, trades=2, wins=1, losses=1, trade_hit_rate_pct=Decimal(50), pnl_usd=Decimal(3))
UNTOUCHED = TopicResult(topic_id=9, trades=1, wins=0, losses=1, trade_hit_rate_pct=Decimal(0), pnl_usd=Decimal(-1))


def performance(*topics: TopicResult) -> Performance:
    zero = Decimal(0)
    return Performance(
        since=NOW, until=NOW, closed_pnl_usd=zero, fees_usd=zero, funding_usd=zero, pnl_usd=zero, trades=0, wins=0,
        losses=0, win_rate_pct=None, profit_factor=None, expectancy_usd=None, average_holding_s=None, best=None,
        worst=None, max_drawdown_usd=zero, max_drawdown_pct=zero, days=[], coins=[], topics=list(topics),
        foreign=Foreign(trades=0, pnl_usd=zero), equity=[],
    )  # fmt: skip


def test_each_topic_says_how_its_predictions_did_beside_its_trades() -> None:
    rates = [HitRate(14, "BTC", 28_800, samples=3, right=2, unresolved=1), HitRate(1, "BTC", 28_800, 0, 0, 4)]
    topics = with_hit_rates(performance(TRADED, UNTOUCHED), rates).topics
    assert [(one.topic_id, one.trades, one.predictions, one.prediction_hit_rate_pct) for one in topics] == [
        (1, 0, 0, None),
        (9, 1, 0, None),
        (14, 2, 3, Decimal("66.7")),
    ]
