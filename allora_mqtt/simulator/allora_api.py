"""Allora's door: the list of topics and the latest inference of a topic."""

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from http import HTTPStatus
from typing import Any

from aiohttp import web

from allora_mqtt.simulator.faults import FaultRule
from allora_mqtt.simulator.predictions import PERCENTILES, Inference, Network, Topic
from allora_mqtt.simulator.world import World

_CHAINS = frozenset({"allora-mainnet-1", "allora-testnet-1"})
_PAGE = 20
_TOKEN = re.compile(r"[0-9]{1,6}")
_BLOCK_S = 5
_DECIMALS = 18
_DEFAULT_STALE_S = 7_200.0
_ABSURD_FACTOR = 10.0
_PREDICTION_KINDS = frozenset({"stale_prediction", "nan_prediction", "absurd_prediction"})


@dataclass
class AlloraApi:
    """The handlers under `/v2`."""

    world: World
    network: Network
    topics: tuple[Topic, ...]

    def routes(self) -> list[web.RouteDef]:
        """What to add to the web application."""
        return [
            web.get("/v2/allora/{chain}/topics", self.list_topics),
            web.get("/v2/allora/consumer/{slug}", self.consume),
        ]

    async def list_topics(self, request: web.Request) -> web.Response:
        """One page of topics."""
        if not request.headers.get("x-api-key"):
            return _unauthorized()
        if request.match_info["chain"] not in _CHAINS:
            return _failure(HTTPStatus.NOT_FOUND, "unknown chain")
        token = request.query.get("continuation_token", "0")
        if not _TOKEN.fullmatch(token):
            return _failure(HTTPStatus.BAD_REQUEST, "invalid continuation_token")
        start = int(token)
        page = self.topics[start : start + _PAGE]
        following = str(start + _PAGE) if start + _PAGE < len(self.topics) else None
        updated = datetime.fromtimestamp(self.world.clock(), tz=UTC).isoformat(timespec="milliseconds")
        shown = [_topic(topic, self.network.epoch_s, updated.replace("+00:00", "Z")) for topic in page]
        return _success({"topics": shown, "continuation_token": following})

    async def consume(self, request: web.Request) -> web.Response:
        """The latest inference of a topic."""
        if not request.headers.get("x-api-key"):
            return _unauthorized()
        number = request.query.get("allora_topic_id", "")
        topic = next((one for one in self.topics if str(one.topic_id) == number), None)
        if topic is None:
            return _failure(HTTPStatus.NOT_FOUND, f"topic {number} not found")
        if not topic.is_active:
            return _failure(HTTPStatus.NOT_FOUND, f"no inference available for topic {number}")
        now_s = self.world.clock()
        rules = {rule.kind: rule for rule in self.world.faults.take("/v2", number, _PREDICTION_KINDS, {topic.coin})}
        inference = self.network.infer(topic, now_s - _stale_s(rules.get("stale_prediction")))
        if "absurd_prediction" in rules:
            inference = _absurd(inference)
        return _success(_inference(topic, inference, is_nan="nan_prediction" in rules))


def _stale_s(rule: FaultRule | None) -> float:
    if rule is None:
        return 0.0
    return _DEFAULT_STALE_S if rule.seconds is None else rule.seconds


def _absurd(inference: Inference) -> Inference:
    interval = tuple(value * _ABSURD_FACTOR for value in inference.interval)
    return Inference(inference.value * _ABSURD_FACTOR, interval, inference.time_s)


def _topic(topic: Topic, epoch_s: float, updated: str) -> dict[str, Any]:
    blocks = topic.horizon_s // _BLOCK_S
    return {
        "topic_id": topic.topic_id,
        "topic_name": topic.name,
        "description": None,
        "epoch_length": max(1, round(epoch_s / _BLOCK_S)),
        "ground_truth_lag": blocks,
        "loss_method": "mse",
        "worker_submission_window": 12,
        "worker_count": 100 + topic.topic_id,
        "reputer_count": 7,
        "total_staked_allo": 0.01,
        "total_emissions_allo": 7.16,
        "is_active": topic.is_active,
        "updated_at": updated,
    }


def _inference(topic: Topic, inference: Inference, *, is_nan: bool) -> dict[str, Any]:
    normalized, scaled = ("NaN", "NaN") if is_nan else _decimals(inference.value)
    values = [("NaN", "NaN") for _ in PERCENTILES] if is_nan else [_decimals(value) for value in inference.interval]
    percentiles = [_decimals(percentile) for percentile in PERCENTILES]
    digest = sha256(f"{topic.topic_id}/{inference.time_s}".encode()).hexdigest()
    return {
        "signature": f"0x{digest}{digest}1b",
        "token_decimals": _DECIMALS,
        "inference_data": {
            "network_inference": scaled,
            "network_inference_normalized": normalized,
            "confidence_interval_percentiles": [whole for _, whole in percentiles],
            "confidence_interval_percentiles_normalized": [text for text, _ in percentiles],
            "confidence_interval_values": [whole for _, whole in values],
            "confidence_interval_values_normalized": [text for text, _ in values],
            "topic_id": str(topic.topic_id),
            "timestamp": inference.time_s,
            "extra_data": "0x",
        },
    }


def _decimals(value: float) -> tuple[str, str]:
    """A value as a plain decimal and as an integer with 18 decimals."""
    number = Decimal(repr(value))
    plain = f"{number.quantize(Decimal(1).scaleb(-_DECIMALS)):f}".rstrip("0").rstrip(".")
    return plain, str(int(number.scaleb(_DECIMALS)))


def _success(data: dict[str, Any]) -> web.Response:
    return web.json_response({"request_id": str(uuid.uuid4()), "status": True, "data": data})


def _failure(status: HTTPStatus, message: str) -> web.Response:
    body = {"request_id": str(uuid.uuid4()), "status": False, "apiResponseMessage": message}
    return web.json_response(body, status=status)


def _unauthorized() -> web.Response:
    return _failure(HTTPStatus.UNAUTHORIZED, "missing x-api-key header")
