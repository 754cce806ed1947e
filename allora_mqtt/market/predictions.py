"""Allora's inferences, and the price predictions they become."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, NoReturn

from allora_mqtt.market.topic_names import Topic, TopicKind, horizon_text
from allora_mqtt.market.wire import optional_decimal, quoted, to_decimal, to_int, to_time_s
from allora_mqtt.protocol.errors import BotError, ErrorCode

_MAX_FUTURE_S = 60
_MAX_DISTANCE_PCT = Decimal(20)
_MAX_LOG_RETURN = 5
"""A factor of 148: beyond this it is not a log-return but something else under its name."""
_PERCENTILE_TOLERANCE = Decimal("0.1")
_SAME_VALUE = Decimal("1e-9")
"""The API rounds what the chain has in full."""

Interval = tuple[Decimal, Decimal]


class Origin(StrEnum):
    """Where an inference was read."""

    API = "API"
    CHAIN = "chain"


@dataclass(frozen=True, slots=True)
class Inference:
    """One value of a topic as the network gave it: a price in USD or a log-return.

    Attributes:
        topic_id: the topic it belongs to.
        value: the network's combined inference.
        interval_68: the 15.87 and 84.13 percentiles, where given.
        interval_95: the 2.28 and 97.72 percentiles, where given.
        timestamp: unix seconds.
        origin: where it was read.
    """

    topic_id: int
    value: Decimal
    interval_68: Interval | None
    interval_95: Interval | None
    timestamp: float
    origin: Origin = Origin.API


@dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted price.

    Attributes:
        topic_id: the topic it came from.
        symbol: the asset.
        price: in USD.
        interval_68: lower and upper price between which the network sees 68 %, where given.
        interval_95: the same for 95 %.
        horizon_s: how far after `at` the price is predicted for, in seconds.
        at: when the inference was made, unix seconds.
        origin: where it was read.
    """

    topic_id: int
    symbol: str
    price: Decimal
    interval_68: Interval | None
    interval_95: Interval | None
    horizon_s: int
    at: float
    origin: Origin = Origin.API


def api_data(payload: object) -> Mapping[str, Any]:
    """Take the `data` out of an answer of Allora's API.

    Raises:
        BotError: PREDICTION_UNAVAILABLE, when the API reports a failure or the answer has another shape.
    """
    if not isinstance(payload, Mapping):
        _unavailable("Allora's answer has an unknown shape; check ALLORA_BASE_URL")
    if payload.get("status") is not True:
        reason = quoted(payload.get("apiResponseMessage") or "no reason given")
        _unavailable(f"Allora reports a failure: {reason}")
    data = payload.get("data")
    if not isinstance(data, Mapping):
        _unavailable("Allora's answer holds no data; check ALLORA_BASE_URL")
    return data


def parse_inference(payload: object, topic_id: int) -> Inference:
    """Read the answer to a request for a topic's latest inference.

    Args:
        payload: the decoded JSON.
        topic_id: the topic that was asked for.

    Raises:
        BotError: PREDICTION_UNAVAILABLE, with a sentence, for anything but a complete, finite value of that topic.
    """
    raw = api_data(payload).get("inference_data")
    if not isinstance(raw, Mapping):
        _unavailable(f"Allora has no inference for topic {topic_id} yet; it is asked again later")
    try:
        answered, timestamp = to_int(raw.get("topic_id")), to_time_s(raw.get("timestamp"))
        value = to_decimal(raw.get("network_inference_normalized"))
    except ValueError as error:
        _unavailable(f"Allora's value for topic {topic_id} cannot be read ({quoted(error)}); it is asked again later")
    if answered != topic_id:
        _unavailable(
            f"Allora answered with topic {answered} when topic {topic_id} was asked for; the value is not used"
        )
    inner, outer = intervals(
        raw.get("confidence_interval_percentiles_normalized"), raw.get("confidence_interval_values_normalized")
    )
    return Inference(topic_id=topic_id, value=value, interval_68=inner, interval_95=outer, timestamp=timestamp)


def intervals(names: object, values: object) -> tuple[Interval | None, Interval | None]:
    """Read the 68 % and the 95 % interval from percentiles and their values; None for one that is not there.

    Args:
        names: percentiles, as the network gives them.
        values: the value at each.
    """
    pairs = _percentiles(names, values)
    inner = _interval(pairs, Decimal("15.87"), Decimal("84.13"))
    return inner, _interval(pairs, Decimal("2.28"), Decimal("97.72"))


def is_same_value(one: Inference, other: Inference) -> bool:
    """Tell whether two inferences are one, read in two places: each place has a time of its own for it."""
    difference = abs(one.value - other.value)
    is_elsewhere = one.topic_id == other.topic_id and one.origin is not other.origin
    return is_elsewhere and difference <= abs(one.value) * _SAME_VALUE


def _percentiles(names: object, values: object) -> list[tuple[Decimal, Decimal]]:
    """Percentile and value in pairs; empty unless both lists can be read in full."""
    if not isinstance(names, list) or not isinstance(values, list) or len(names) != len(values):
        return []
    pairs = [(optional_decimal(name), optional_decimal(value)) for name, value in zip(names, values, strict=True)]
    return [(name, value) for name, value in pairs if name is not None and value is not None]


def _interval(pairs: list[tuple[Decimal, Decimal]], low: Decimal, high: Decimal) -> Interval | None:
    lower = next((value for name, value in pairs if abs(name - low) <= _PERCENTILE_TOLERANCE), None)
    upper = next((value for name, value in pairs if abs(name - high) <= _PERCENTILE_TOLERANCE), None)
    return None if lower is None or upper is None or lower > upper else (lower, upper)


def to_prediction(inference: Inference, topic: Topic, spot: Decimal) -> Prediction:
    """Turn an inference into a price.

    A log-return r becomes `spot * exp(r)`, and its interval likewise; intervals that do not fit are left out.

    Args:
        inference: the topic's value.
        topic: the topic, with a known asset, kind and horizon.
        spot: the asset's price in USD when the inference was made, or the nearest known.

    Raises:
        BotError: PREDICTION_UNAVAILABLE, when the topic is no price signal, the inference is of another topic, or the
            numbers cannot be a price.
    """
    if inference.topic_id != topic.id:
        _unavailable(f"a value of topic {inference.topic_id} is not a value of topic {topic.id}; it is not used")
    if topic.symbol is None or topic.horizon_s is None or topic.kind is TopicKind.OTHER:
        _unavailable(f"topic {topic.id} is no price signal; choose another topic")
    is_log_return = topic.kind is TopicKind.LOG_RETURN
    price = _price(inference.value, spot) if is_log_return else inference.value
    if price is None:
        _unavailable(f"the log-return {inference.value} of topic {topic.id} cannot be turned into a price; not used")
    if price <= 0:
        _unavailable(f"the price {price} of topic {topic.id} is not above zero; it is not used")
    return Prediction(
        topic_id=topic.id,
        symbol=topic.symbol,
        price=price,
        interval_68=_price_interval(inference.interval_68, spot, is_log_return=is_log_return),
        interval_95=_price_interval(inference.interval_95, spot, is_log_return=is_log_return),
        horizon_s=topic.horizon_s,
        at=inference.timestamp,
        origin=inference.origin,
    )


def _price(log_return: Decimal, spot: Decimal) -> Decimal | None:
    if abs(log_return) > _MAX_LOG_RETURN or not spot.is_finite() or spot <= 0:
        return None
    return spot * log_return.exp()


def _price_interval(interval: Interval | None, spot: Decimal, *, is_log_return: bool) -> Interval | None:
    if interval is None:
        return None
    low, high = (_price(bound, spot) if is_log_return else bound for bound in interval)
    return None if low is None or high is None or low <= 0 else (low, high)


def unusable_because(
    prediction: Prediction,
    mark: Decimal,
    now: float,
    max_age_s: float,
    max_distance_pct: Decimal = _MAX_DISTANCE_PCT,
) -> str | None:
    """Say why a prediction must not be traded on, or None when it may.

    Args:
        prediction: the prediction.
        mark: the asset's mark price in USD.
        now: unix seconds.
        max_age_s: the oldest a prediction may be (`ALLORA_MAX_AGE_S`); its horizon limits it further.
        max_distance_pct: how far from the mark a believable price lies, in percent of the mark.
    """
    if not prediction.price.is_finite() or prediction.price <= 0:
        return f"the predicted price {prediction.price} is not above zero"
    if not mark.is_finite() or mark <= 0:
        return f"the mark price {mark} is not above zero"
    age_s = now - prediction.at
    if not math.isfinite(age_s) or age_s < -_MAX_FUTURE_S:
        return "the prediction is from the future"
    if age_s > min(max_age_s, prediction.horizon_s):
        return age_text(prediction, now, max_age_s)
    distance_pct = abs(prediction.price - mark) / mark * 100
    if distance_pct > max_distance_pct:
        return f"the prediction is {distance_pct:.1f} % away from the mark price, and {max_distance_pct} % is the limit"
    return None


def age_text(prediction: Prediction, now: float, max_age_s: float) -> str:
    """Say how old a prediction is, and which limit holds for it: `ALLORA_MAX_AGE_S` or its horizon, the shorter one.

    Args:
        prediction: the prediction.
        now: unix seconds.
        max_age_s: `ALLORA_MAX_AGE_S`.
    """
    limit_s, which = max_age_s, "ALLORA_MAX_AGE_S"
    if prediction.horizon_s <= max_age_s:
        limit_s, which = prediction.horizon_s, f"its horizon of {horizon_text(prediction.horizon_s)}"
    origin = "" if prediction.origin is Origin.API else f", read from the {prediction.origin}"
    age_s = max(0.0, now - prediction.at)
    return f"the prediction is {age_s:.0f} s old, and {limit_s:.0f} s is the limit ({which}){origin}"


def _unavailable(what: str) -> NoReturn:
    raise BotError(ErrorCode.PREDICTION_UNAVAILABLE, f"{what[0].upper()}{what[1:]}.")
