"""Allora's topics and the simulated network's inferences: pure functions of seed, topic and epoch."""

import math
import random
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from allora_mqtt.simulator.market import Market
from allora_mqtt.simulator.universe import Universe

_HOUR_S = 3_600
_FIRST_EXTRA_ID = 101
_EXTRA_COINS = (
    "AVAX", "BNB", "DOGE", "XRP", "LINK", "ADA", "ARB", "OP", "SUI", "LTC", "ATOM", "DOT", "UNI", "NEAR", "APT",
    "INJ", "TIA", "AAVE", "HYPE", "BCH", "TRX",
)  # fmt: skip
PERCENTILES = (2.28, 15.87, 50.0, 84.13, 97.72)  # -2, -1, 0, 1, 2 standard deviations

TopicKind = Literal["price", "log_return", "volatility", "unknown"]


@dataclass(frozen=True)
class Topic:
    """One topic.

    Attributes:
        topic_id: Its number.
        name: As the network publishes it.
        coin: What it is about.
        kind: What its value is; of a volatility topic the yearly volatility.
        horizon_s: How far ahead it looks.
        is_active: Whether it yields inferences.
    """

    topic_id: int
    name: str
    coin: str
    kind: TopicKind
    horizon_s: int
    is_active: bool = True


def topics(universe: Universe) -> tuple[Topic, ...]:
    """The topics of the simulated network: mainnet's own ids and names, an 8 h price topic for further coins, traps."""
    hour = _HOUR_S
    own = [
        *(_log_return(number, coin, 8 * hour, "8h") for number, coin in ((1, "BTC"), (2, "ETH"), (3, "SOL"))),
        *(_price(number, coin, 8 * hour, "8h") for number, coin in ((9, "ETH"), (10, "SOL"), (14, "BTC"))),
        Topic(13, "ETH 5min Prediction", "ETH", "price", 300),
        *(_log_return(number, coin, 24 * hour, "24h") for number, coin in ((15, "BTC"), (16, "ETH"), (17, "SOL"))),
        _log_return(18, "BTC", 1_200, "20min"),
        _log_return(19, "NEAR", 8 * hour, "8h"),
        Topic(20, "BTC 24h Volatility Prediction", "BTC", "volatility", 24 * hour),
        Topic(21, "ETH 10min Prediction", "ETH", "price", 600, is_active=False),
        Topic(22, "Reputation of the Quiet Majority (beta)", "BTC", "unknown", 24 * hour),
    ]
    live = {asset.name for asset in universe.live}
    coins = [coin for coin in _EXTRA_COINS if coin in live]
    extra = [_price(_FIRST_EXTRA_ID + number, coin, 8 * hour, "8h") for number, coin in enumerate(coins)]
    return (*own, *extra)


def _price(topic_id: int, coin: str, horizon_s: int, label: str) -> Topic:
    return Topic(topic_id, f"{coin} {label} Price Prediction", coin, "price", horizon_s)


def _log_return(topic_id: int, coin: str, horizon_s: int, label: str) -> Topic:
    return Topic(topic_id, f"{coin} {label} Log-Return Prediction", coin, "log_return", horizon_s)


@dataclass(frozen=True)
class Inference:
    """One inference.

    Attributes:
        value: A price in USD, a log-return, or whatever the topic predicts.
        interval: The values at `PERCENTILES`.
        time_s: Start of its epoch, unix seconds.
    """

    value: float
    interval: tuple[float, ...]
    time_s: int


@dataclass(frozen=True)
class Network:
    """The simulated Allora network.

    Attributes:
        market: Knows the prices, of the future too.
        seed: Same seed, same errors.
        skill: Correlation of predicted and true move, from 0 (noise) to 1 (an oracle).
        epoch_s: A topic's inference stands for this long of wall time, then a new one is made.
    """

    market: Market
    seed: int
    skill: float
    epoch_s: float

    def infer(self, topic: Topic, wall_s: float) -> Inference:
        """The inference of a topic at a wall time.

        The predicted move is `skill * true move + sqrt(1 - skill^2) * sigma * z` with a standard normal z, so that
        its correlation with the true move is the skill and its size that of true moves.
        """
        epoch = math.floor(wall_s / self.epoch_s)
        start_s = epoch * self.epoch_s
        asset = self.market.universe.by_name(topic.coin)
        if asset is None:
            raise LookupError(topic.coin)
        spot = self.market.price_at(asset, start_s, start_s)
        sigma = self.market.source.sigma(asset, topic.horizon_s)
        ahead_s = topic.horizon_s / self.market.clock.speed
        true_move = math.log(self.market.price_at(asset, start_s + ahead_s, start_s) / spot)
        noise = random.Random(f"{self.seed}/{topic.topic_id}/{epoch}").gauss()  # noqa: S311 -- not for secrets
        error_share = math.sqrt(1.0 - self.skill**2)
        move = self.skill * true_move + error_share * sigma * noise
        spread = sigma * error_share
        moves = [move + spread * NormalDist().inv_cdf(percentile / 100) for percentile in PERCENTILES]
        value, *interval = (_value(topic, spot, sigma, each) for each in (move, *moves))
        return Inference(value, tuple(interval), int(start_s))


def _value(topic: Topic, spot: float, sigma: float, move: float) -> float:
    match topic.kind:
        case "price":
            return spot * math.exp(move)
        case "log_return":
            return move
        case "volatility":
            return sigma * math.sqrt(365 * 86_400 / topic.horizon_s) * math.exp(move)
        case _:
            return 1.0 + move
