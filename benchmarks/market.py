"""The simulated exchange with 200 coins that are traded and predicted, and a log of what it was asked, as a program.

The simulator lists 190 coins that are traded, and predicts some twenty. Here ten that were delisted are traded again,
so that there are 200, and each has an 8 h price prediction. Everything else is the simulator as it is shipped.
"""

import argparse
import asyncio
import json
import os
import time
from collections import deque
from importlib import resources
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from allora_mqtt import simulator
from allora_mqtt.simulator import predictions, server
from allora_mqtt.simulator.limits import exchange_weight, info_weight
from allora_mqtt.simulator.predictions import Topic
from allora_mqtt.simulator.universe import Universe
from allora_mqtt.simulator.world import World
from benchmarks.scale import COINS

_HORIZON_S: Final = 8 * 3600
_FIRST_TOPIC: Final = 1001
_KEPT: Final = 500_000


def wide_universe() -> Universe:
    """Return the simulator's coins, as many of them traded as the suite needs."""
    text = resources.files(simulator).joinpath("universe.json").read_text(encoding="utf-8")
    document = json.loads(text)
    missing = COINS - sum(not row.get("isDelisted", False) for row in document["assets"])
    for row in [row for row in document["assets"] if row.get("isDelisted", False)][:missing]:
        del row["isDelisted"]
    return Universe(document)


def wide_topics(universe: Universe) -> tuple[Topic, ...]:
    """Return the simulator's topics, and one for each coin that has none of 8 h."""
    known = predictions.topics(universe)
    predicted = {topic.coin for topic in known if topic.kind == "price" and topic.horizon_s == _HORIZON_S}
    more = [asset.name for asset in universe.live if asset.name not in predicted]
    return (
        *known,
        *(
            Topic(_FIRST_TOPIC + number, f"{coin} 8h Price Prediction", coin, "price", _HORIZON_S)
            for number, coin in enumerate(more)
        ),
    )


class Log:
    """What was asked, when it came and when its answer was ready; times are `time.monotonic()`, one clock for all."""

    def __init__(self) -> None:
        self._entries: deque[dict[str, Any]] = deque(maxlen=_KEPT)

    @web.middleware
    async def note(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note a request and its answer."""
        if request.path.startswith(("/sim", "/bench")):
            return await handler(request)
        came_at = time.monotonic()
        entry: dict[str, Any] = {"path": request.path, "came_at": came_at, "ready_at": None, **_asked(request)}
        if request.method == "POST":
            entry |= _told(json.loads(await request.read()))
        self._entries.append(entry)
        response = await handler(request)
        if request.path.startswith("/v2/allora/consumer") and isinstance(response, web.Response) and response.text:
            entry["of"] = json.loads(response.text).get("data", {}).get("inference_data", {}).get("timestamp")
        entry["ready_at"] = time.monotonic()
        return response

    async def show(self, request: web.Request) -> web.Response:
        """Return what was noted since a time."""
        since = float(request.query.get("since", "0"))
        return web.json_response([entry for entry in self._entries if entry["came_at"] >= since])


def _asked(request: web.Request) -> dict[str, Any]:
    topic = request.query.get("allora_topic_id")
    return {} if topic is None else {"type": "inference", "topic": int(topic)}


def _told(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        return {}
    action = body.get("action")
    if action is None:
        return {"type": body.get("type"), "weight": info_weight(str(body.get("type")))}
    orders = action.get("orders", [])
    return {
        "type": action.get("type"),
        "weight": exchange_weight(len(orders)),
        "assets": [order["a"] for order in orders if not order["r"]],
    }


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--epoch-s", type=float, required=True)
    parser.add_argument("--speed", type=float, required=True)
    asyncio.run(_serve(parser.parse_args()))


async def _serve(words: argparse.Namespace) -> None:
    log, build = Log(), server.build_app

    def build_wide(world: World, options: server.SimulatorOptions) -> web.Application:
        app = build(world, options)
        app.middlewares.insert(0, log.note)
        app.add_routes([web.get("/bench/log", log.show)])
        return app

    # The simulator has no option for what no exchange is like.
    setattr(server, "topics", wide_topics)  # noqa: B010
    setattr(server, "build_app", build_wide)  # noqa: B010
    setattr(Universe, "load", wide_universe)  # noqa: B010
    options = server.SimulatorOptions(
        port=words.port, speed=words.speed, epoch_s=words.epoch_s, rate_limit=False, skill=0.6
    )
    running = await server.serve(options)
    os.write(1, json.dumps({"url": running.url}).encode() + b"\n")
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
