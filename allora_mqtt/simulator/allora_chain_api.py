"""The chain's door: a topic's latest inference by the emissions module, and the block that gives it its time."""

from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from aiohttp import web

from allora_mqtt.simulator.predictions import PERCENTILES, Network, Topic
from allora_mqtt.simulator.world import World

_CHAIN = "allora-mainnet-1"
_BLOCK_S = 5
_LABELLED = "v10"
"""From this version on a value is a list of labelled ones."""
_VERSIONS = frozenset({"v9", _LABELLED})


@dataclass
class AlloraChainApi:
    """The handlers under `/emissions` and `/cosmos`. They want no key and know no faults: these are the API's."""

    world: World
    network: Network
    topics: tuple[Topic, ...]

    def routes(self) -> list[web.RouteDef]:
        """What to add to the web application."""
        return [
            web.get("/emissions/{version}/latest_network_inferences/{topic}", self.latest),
            web.get("/cosmos/base/tendermint/v1beta1/blocks/{height}", self.block),
        ]

    async def latest(self, request: web.Request) -> web.Response:
        """The latest inference of a topic."""
        version, number = request.match_info["version"], request.match_info["topic"]
        if version not in _VERSIONS:
            return _failure(HTTPStatus.NOT_IMPLEMENTED, 12, "Not Implemented")
        topic = next((one for one in self.topics if str(one.topic_id) == number and one.is_active), None)
        if topic is None:
            return _failure(HTTPStatus.NOT_FOUND, 5, f"no network inferences for topic {number}")
        inference = self.network.infer(topic, self.world.clock())
        value: object = repr(inference.value)
        if version == _LABELLED:
            value = [{"label_id": 1, "label_name": "y", "value": value}]
        answer: dict[str, Any] = {
            "network_inferences": {"topic_id": number, "combined_value": value, "naive_value": value},
            "inferer_weights": [],
            "inference_block_height": str(inference.time_s // _BLOCK_S),
            "loss_block_height": "0",
            "confidence_interval_raw_percentiles": [str(percentile) for percentile in PERCENTILES],
            "confidence_interval_values": [repr(bound) for bound in inference.interval],
        }
        return web.json_response(answer)

    async def block(self, request: web.Request) -> web.Response:
        """A block that has been made: five seconds each, since 1970."""
        text = request.match_info["height"]
        height = int(text) if text.isdecimal() and text.isascii() else 0
        if not 0 < height * _BLOCK_S <= self.world.clock():
            return _failure(HTTPStatus.NOT_FOUND, 5, f"block {text[:20]} does not exist")
        made = datetime.fromtimestamp(height * _BLOCK_S, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000000Z")
        header = {"chain_id": _CHAIN, "height": str(height), "time": made}
        return web.json_response({"block_id": {"hash": ""}, "block": {"header": header}})


def _failure(status: HTTPStatus, code: int, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message, "details": []}, status=status)
