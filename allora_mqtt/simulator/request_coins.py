"""Which coins a request names, for faults that strike one coin only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from allora_mqtt.simulator.market import Market
from allora_mqtt.simulator.predictions import Topic


@dataclass(frozen=True)
class RequestCoins:
    """Reads the coins from a request's decoded body, or from its topic.

    Attributes:
        market: Knows the coin of an asset's number.
        topics: Know the coin of a prediction.
    """

    market: Market
    topics: tuple[Topic, ...]

    def of_topic(self, number: str | None) -> frozenset[str]:
        """The coin an Allora request asks about."""
        return frozenset(topic.coin for topic in self.topics if str(topic.topic_id) == number)

    def of_body(self, body: object) -> frozenset[str]:
        """The coins a request to `/info` or `/exchange` names."""
        if not isinstance(body, Mapping):
            return frozenset()
        inner = body.get("req")
        fields = [body, inner] if isinstance(inner, Mapping) else [body]
        named = [field.get("coin") for field in fields]
        numbers = _assets(body.get("action"))
        assets = (self.market.universe.by_index(number) for number in numbers if isinstance(number, int))
        return frozenset(
            [coin for coin in named if isinstance(coin, str)] + [asset.name for asset in assets if asset is not None]
        )


def _assets(action: object) -> Iterable[Any]:
    """The asset numbers in an action, whatever its type calls them."""
    if not isinstance(action, Mapping):
        return
    yield action.get("asset")
    for name in ("orders", "cancels", "modifies"):
        lines = action.get(name)
        for line in lines if isinstance(lines, list) else []:
            if isinstance(line, Mapping):
                order = line.get("order")
                yield (order if isinstance(order, Mapping) else line).get("a", line.get("asset"))
    order = action.get("order")
    if isinstance(order, Mapping):
        yield order.get("a")
