"""Small made-up histories, and the backtest of them."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from allora_mqtt.market.predictions import Prediction
from allora_mqtt.protocol.runtime import RuntimeSettings
from allora_mqtt.research.backtest import Backtest
from allora_mqtt.research.predictions import Known
from allora_mqtt.research.prices import Bar, Series
from allora_mqtt.research.run import Assumptions
from allora_mqtt.simulator.universe import Universe

UNIVERSE: Final = Universe.load()
HOUR_S: Final = 3_600.0
START: Final = 1_767_225_600.0
"""2026-01-01T00:00Z."""

Ohlc = tuple[int | str, int | str, int | str, int | str]


def hour(number: float) -> float:
    return START + number * HOUR_S


def bars(*rows: Ohlc, at: float = START, span_s: float = HOUR_S) -> tuple[Bar, ...]:
    return tuple(Bar(at + index * span_s, span_s, *(Decimal(price) for price in row)) for index, row in enumerate(rows))


def series(rows: Sequence[Bar], symbol: str = "BTC") -> Series:
    return Series(symbol, tuple(rows), (Path("made-up.csv"),), "0" * 64, ())


def known(at: float, price: int | str, *, horizon_s: int = 8 * 3600, delay_s: float = 0, **other: Any) -> Known:
    fields: dict[str, Any] = {"topic_id": 14, "symbol": "BTC", "interval_68": None, "interval_95": None} | other
    return Known(Prediction(price=Decimal(price), horizon_s=horizon_s, at=at, **fields), at + delay_s)


def backtest(
    history: Sequence[Series],
    predictions: Sequence[Known],
    assumptions: Assumptions | None = None,
    kind: type[Backtest] = Backtest,
    **settings: Any,
) -> Backtest:
    chosen = RuntimeSettings.model_validate(settings)
    return kind(history, predictions, chosen, assumptions or Assumptions(), UNIVERSE)
